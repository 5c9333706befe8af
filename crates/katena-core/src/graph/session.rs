//! One process's hold on a thread: what is kept, and where in it each line of steps stands.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::lock::Mutex;

use super::checkpoint::{Checkpoint, CheckpointInfo, CheckpointStore, EffectKey};
use super::stored::{Body, Frame, Inside};
use crate::error::{Error, Result};

#[derive(Clone, Copy)]
enum Turn {
    Branch(usize),
    Inner,
}

/// Where a line of steps lies in the graph's run.
#[derive(Clone)]
pub(super) struct Place {
    turns: Vec<Turn>,
    path: String,
}

impl Place {
    pub(super) fn top() -> Self {
        Self { turns: Vec::new(), path: String::new() }
    }

    /// The line of a branch of the fan-out at step `seq`.
    pub(super) fn branch(&self, seq: u64, branch: usize) -> Self {
        self.down(Turn::Branch(branch), format_args!("{seq}.{branch}/"))
    }

    /// The line of the sub-graph at step `seq`.
    pub(super) fn inner(&self, seq: u64) -> Self {
        self.down(Turn::Inner, format_args!("{seq}/"))
    }

    fn down(&self, turn: Turn, path: fmt::Arguments<'_>) -> Self {
        let mut place = self.clone();
        place.turns.push(turn);
        // Writing to a string can't fail.
        let _ = place.path.write_fmt(path);
        place
    }

    /// Names a step of this line; no other step of the run has this name.
    pub(super) fn step(&self, seq: u64) -> String {
        format!("{}{seq}", self.path)
    }
}

/// A session, if there are checkpoints.
#[derive(Clone)]
pub(super) struct Env(Option<Arc<Session>>);

impl Env {
    pub(super) fn bare() -> Self {
        Self(None)
    }

    pub(super) fn new(session: Arc<Session>) -> Self {
        Self(Some(session))
    }

    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        self.0.as_ref()
    }

    /// True once a step has failed: no line begins another.
    pub(super) fn is_stopping(&self) -> bool {
        self.0.as_ref().is_some_and(|s| s.stopping.load(Ordering::SeqCst))
    }

    pub(super) fn stop(&self) {
        if let Some(session) = &self.0 {
            session.stopping.store(true, Ordering::SeqCst);
        }
    }
}

pub(super) struct Session {
    store: Arc<dyn CheckpointStore>,
    pub(super) thread: String,
    owner: u64,
    timeline: u64,
    stopping: AtomicBool,
    kept: Mutex<Kept>,
}

struct Kept {
    body: Body,
    step: u64,
    /// Whether the body has changed since that step.
    staged: bool,
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

pub(super) fn checkpoint(step: u64, owner: u64, body: &Body) -> Result<Checkpoint> {
    let info = CheckpointInfo::new(step, owner, body.root.frame.at.clone());
    let info = info.with_status(body.status()).with_time_ms(now_ms());
    Ok(Checkpoint::new(info, body.write()?))
}

/// The number after a step's.
pub(super) fn after(step: u64) -> Result<u64> {
    step.checked_add(1).ok_or_else(|| Error::invalid_input("the checkpoint's number is out of range"))
}

impl Session {
    /// Takes the thread over, by a checkpoint of its own.
    pub(super) async fn take(
        store: Arc<dyn CheckpointStore>,
        thread: String,
        step: u64,
        body: Body,
    ) -> Result<Arc<Self>> {
        store.put(&thread, checkpoint(step, step, &body)?).await?;
        let timeline = body.timeline;
        let kept = Mutex::new(Kept { body, step, staged: false });
        Ok(Arc::new(Self { store, thread, owner: step, timeline, stopping: AtomicBool::new(false), kept }))
    }

    /// Changes a line's frame and keeps that.
    pub(super) async fn commit(&self, place: &Place, change: impl FnOnce(&mut Frame)) -> Result<()> {
        let mut kept = self.kept.lock().await;
        change(kept.frame(place)?);
        self.put(&mut kept).await
    }

    async fn put(&self, kept: &mut Kept) -> Result<()> {
        let step = after(kept.step)?;
        self.store.put(&self.thread, checkpoint(step, self.owner, &kept.body)?).await?;
        kept.step = step;
        kept.staged = false;
        Ok(())
    }

    /// Begins the lines inside of a node; kept with their first step.
    pub(super) async fn stage(&self, place: &Place, inside: Inside) -> Result<()> {
        let mut kept = self.kept.lock().await;
        kept.staged = true;
        kept.frame(place)?.inside = Some(inside);
        Ok(())
    }

    /// Keeps what is only begun; gives it all, and the number of its checkpoint.
    pub(super) async fn rest(&self) -> Result<(Body, u64)> {
        let mut kept = self.kept.lock().await;
        if kept.staged {
            self.put(&mut kept).await?;
        }
        Ok((kept.body.clone(), kept.step))
    }

    fn key(&self, step: &str, name: &str) -> EffectKey {
        EffectKey::new(format!("{}:{step}", self.timeline), name)
    }

    pub(super) async fn effect(&self, step: &str, name: &str) -> Result<Option<String>> {
        self.store.effect(&self.thread, self.owner, &self.key(step, name)).await
    }

    pub(super) async fn record_effect(&self, step: &str, name: &str, result: String) -> Result<()> {
        self.store.record_effect(&self.thread, self.owner, self.key(step, name), result).await
    }

    pub(super) fn idempotency_key(&self, step: &str, name: &str) -> String {
        format!("{}/{}/{name}", self.thread, self.key(step, name).place)
    }
}

impl Kept {
    fn frame(&mut self, place: &Place) -> Result<&mut Frame> {
        let lost = || Error::unexpected("a line of steps has lost its place in the checkpoint");
        let mut frame = &mut self.body.root.frame;
        for turn in &place.turns {
            frame = match (turn, &mut frame.inside) {
                (Turn::Branch(n), Some(Inside::Branches(branches))) => {
                    branches.get_mut(*n).ok_or_else(lost)?
                }
                (Turn::Inner, Some(Inside::Graph(root))) => &mut root.frame,
                _ => return Err(lost()),
            };
        }
        Ok(frame)
    }
}
