//! What is kept of a graph's run, and where.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// How a thread stood at a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CheckpointStatus {
    /// Steps are left to do.
    Running,
    /// It waits for an answer.
    Interrupted,
    /// It is at its end.
    Finished,
}

/// One line of a thread's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its number in the thread, from 0, without gaps.
    pub step: u64,
    /// The number at which the process that wrote it took the thread over.
    pub owner: u64,
    /// The checkpoint that it goes on from; differs from `step - 1` after a rewind.
    pub parent: Option<u64>,
    /// The node that is next; [`END`](crate::END) at the end.
    pub node: String,
    /// How the thread stood.
    pub status: CheckpointStatus,
    /// When it was made, in milliseconds since 1970 by the writer's clock.
    pub time_ms: u64,
}

impl CheckpointInfo {
    /// A running checkpoint whose parent is the one before it.
    pub fn new(step: u64, owner: u64, node: impl Into<String>) -> Self {
        let (parent, node) = (step.checked_sub(1), node.into());
        Self { step, owner, parent, node, status: CheckpointStatus::Running, time_ms: 0 }
    }

    /// Sets the parent.
    pub fn with_parent(mut self, parent: Option<u64>) -> Self {
        self.parent = parent;
        self
    }

    /// Sets the status.
    pub fn with_status(mut self, status: CheckpointStatus) -> Self {
        self.status = status;
        self
    }

    /// Sets the time.
    pub fn with_time_ms(mut self, time_ms: u64) -> Self {
        self.time_ms = time_ms;
        self
    }

    /// The compare-and-set of [`CheckpointStore::put`], for stores that can read before they write. `newest` is the step
    /// and the owner of the thread's newest checkpoint.
    ///
    /// # Errors
    /// [`Checkpoint::conflict`] if this one may not follow.
    pub fn check_follows(&self, thread: &str, newest: Option<(u64, u64)>) -> Result<()> {
        let follows = match newest {
            None => self.step == 0 && self.owner == 0,
            Some((step, owner)) => {
                step.checked_add(1) == Some(self.step) && (self.owner == owner || self.owner == self.step)
            }
        };
        if follows { Ok(()) } else { Err(Checkpoint::conflict(thread)) }
    }
}

/// A place from which a graph's run can go on.
///
/// The body is JSON that only the graph reads; it carries its own version.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The line of the history.
    pub info: CheckpointInfo,
    /// Positions and states, as JSON text.
    pub body: String,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("info", &self.info).field("bytes", &self.body.len()).finish()
    }
}

impl Checkpoint {
    /// A checkpoint.
    pub fn new(info: CheckpointInfo, body: impl Into<String>) -> Self {
        Self { info, body: body.into() }
    }

    /// What a store answers to a writer that another one has overtaken: `Unavailable`, not temporary.
    pub fn conflict(thread: &str) -> Error {
        let message = "another process goes on with this thread, or has deleted it";
        Error::new(ErrorKind::Unavailable, message).with_temporary(false).with_context("thread", thread)
    }
}

/// Names a recorded effect within a thread.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct EffectKey {
    /// Which visit of which node: distinct for every turn of a loop and every parallel branch.
    pub place: String,
    /// The effect's own name.
    pub name: String,
}

impl EffectKey {
    /// A key.
    pub fn new(place: impl Into<String>, name: impl Into<String>) -> Self {
        Self { place: place.into(), name: name.into() }
    }
}

/// Keeps the checkpoints of threads and the results of their side effects.
///
/// A thread is taken over by putting a checkpoint whose `owner` is its own `step`; whoever wrote before is refused from then
/// on. So of any number of processes that go on with one thread only the last can write.
///
/// # Contract
/// - `starts_empty`: an unknown thread has no checkpoints and no effects; deleting it is no error.
/// - `put_then_get`: a checkpoint comes back as it went in, by its step and as the newest.
/// - `put_is_compare_and_set`: the first step is 0, each next one more; any other is a [`conflict`](Checkpoint::conflict)
///   and changes nothing.
/// - `only_the_owner_writes`: after a take-over the former owner's checkpoints and effects are conflicts.
/// - `list_is_in_order`: all steps, oldest first.
/// - `effects_are_recorded_once`: a recorded result comes back; recording its key again is a conflict, the first stays.
/// - `threads_are_apart`: writing or deleting one leaves the others.
/// - `delete_forgets`: checkpoints and effects; the thread can begin anew, its former owner is refused.
/// - `concurrent_puts_have_one_winner`: the others get conflicts.
/// - `any_text_survives`: in names, bodies and results, up to megabytes.
#[async_trait]
pub trait CheckpointStore: fmt::Debug + Send + Sync {
    /// Adds a checkpoint, if it follows the newest; returns once it is kept.
    async fn put(&self, thread: &str, checkpoint: Checkpoint) -> Result<()>;

    /// The newest checkpoint.
    async fn latest(&self, thread: &str) -> Result<Option<Checkpoint>>;

    /// The checkpoint of a step.
    async fn get(&self, thread: &str, step: u64) -> Result<Option<Checkpoint>>;

    /// The history, oldest first.
    async fn list(&self, thread: &str) -> Result<Vec<CheckpointInfo>>;

    /// Forgets a thread.
    async fn delete(&self, thread: &str) -> Result<()>;

    /// The recorded result of an effect, as JSON text; a conflict if the thread's owner is another.
    async fn effect(&self, thread: &str, owner: u64, key: &EffectKey) -> Result<Option<String>>;

    /// Records the result of an effect; returns once it is kept.
    async fn record_effect(&self, thread: &str, owner: u64, key: EffectKey, result: String) -> Result<()>;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<C: CheckpointStore + ?Sized> CheckpointStore for Arc<C> {
    async fn put(&self, thread: &str, checkpoint: Checkpoint) -> Result<()> {
        (**self).put(thread, checkpoint).await
    }
    async fn latest(&self, thread: &str) -> Result<Option<Checkpoint>> {
        (**self).latest(thread).await
    }
    async fn get(&self, thread: &str, step: u64) -> Result<Option<Checkpoint>> {
        (**self).get(thread, step).await
    }
    async fn list(&self, thread: &str) -> Result<Vec<CheckpointInfo>> {
        (**self).list(thread).await
    }
    async fn delete(&self, thread: &str) -> Result<()> {
        (**self).delete(thread).await
    }
    async fn effect(&self, thread: &str, owner: u64, key: &EffectKey) -> Result<Option<String>> {
        (**self).effect(thread, owner, key).await
    }
    async fn record_effect(&self, thread: &str, owner: u64, key: EffectKey, result: String) -> Result<()> {
        (**self).record_effect(thread, owner, key, result).await
    }
}
