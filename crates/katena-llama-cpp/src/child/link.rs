//! The callers' side: calls under way, and what comes back.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, Stream, StreamExt};
use katena_core::{Cancelled, Context, Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::keeper::Message;
use super::wire::{Call, Event, Info, Reply, WINDOW, Word};
use crate::handover::Sender;

/// What a call gets.
pub(super) enum Heard {
    Event(Event),
    Reply(Reply),
}

/// A call under way.
pub(super) struct Slot {
    heard: mpsc::UnboundedSender<Result<Heard>>,
    pub(super) deadline: Option<Instant>,
    /// The process that it was sent to.
    pub(super) sent_to: Option<u64>,
    /// Events that may still come before the reader has taken some.
    window: Arc<AtomicU32>,
}

/// What callers, the keeper and the readers of the socket share.
pub(super) struct Shared {
    calls: Mutex<HashMap<u64, Slot>>,
    next: AtomicU64,
    most: usize,
    /// The engine's process; 0: there is none.
    pub(super) process: AtomicU32,
    /// Processes that were started.
    pub(super) starts: AtomicU64,
}

impl Shared {
    pub(super) fn new(most: usize) -> Self {
        Self {
            calls: Mutex::default(),
            // 0 is about the engine.
            next: AtomicU64::new(1),
            most: most.max(1),
            process: AtomicU32::new(0),
            starts: AtomicU64::new(0),
        }
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, HashMap<u64, Slot>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a call with an error; false if it has ended already.
    pub(super) fn fail(&self, id: u64, error: Error) -> bool {
        let slot = self.calls().remove(&id);
        match slot {
            Some(slot) => {
                // Its reader may be dropping it.
                let _ = slot.heard.send(Err(error));
                true
            }
            None => false,
        }
    }

    /// Ends all calls that `which` names.
    pub(super) fn fail_where(&self, which: impl Fn(&Slot) -> bool, error: &Error) -> Vec<u64> {
        let ended: Vec<(u64, Slot)> = self.calls().extract_if(|_, slot| which(slot)).collect();
        ended
            .into_iter()
            .map(|(id, slot)| {
                let _ = slot.heard.send(Err(error.clone()));
                id
            })
            .collect()
    }

    /// Passes on what the process said about a call. Calls that it does not know, or that were sent to another process, are
    /// passed over: they were dropped a moment ago.
    ///
    /// # Errors
    /// `InvalidOutput` if the process sends more events than it may; the call has failed with it.
    pub(super) fn hear(&self, id: u64, from: u64, word: Result<Word>) -> Result<()> {
        let mut calls = self.calls();
        let Some(slot) = calls.get(&id).filter(|slot| slot.sent_to == Some(from)) else { return Ok(()) };
        let heard = match word {
            Ok(Word::Event(event)) => {
                let more = !matches!(event, Event::Finished(_));
                if slot
                    .window
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1))
                    .is_err()
                {
                    Err(Error::invalid_output("the engine's process sends more than it may"))
                } else if more {
                    let _ = slot.heard.send(Ok(Heard::Event(event)));
                    return Ok(());
                } else {
                    Ok(Heard::Event(event))
                }
            }
            Ok(Word::Reply(reply)) => Ok(Heard::Reply(reply)),
            Ok(Word::Failed(failure)) => Err(failure.into_error()),
            Ok(_) => Err(Error::invalid_output("the engine's process answers a call with something else")),
            Err(e) => Err(e),
        };
        let slot = calls.remove(&id);
        drop(calls);
        let broken = match &heard {
            Err(e) if e.kind() == ErrorKind::InvalidOutput => Err(e.clone()),
            _ => Ok(()),
        };
        if let Some(slot) = slot {
            let _ = slot.heard.send(heard);
        }
        broken
    }
}

/// The way to the engine, shared by the clones of a model and the answers under way. Dropping the last one ends the process.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Sender<Message>,
    pub(super) info: Info,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.keeper.try_send(Message::Close);
    }
}

impl Link {
    /// Sends a call on its way.
    ///
    /// # Errors
    /// `Cancelled` or `Timeout` by its context, `Unavailable` if as many calls are under way as may be.
    pub(super) fn call(self: &Arc<Self>, call: Call, context: &Context) -> Result<Incoming> {
        context.check()?;
        let (heard, receiver) = mpsc::unbounded_channel();
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let window = Arc::new(AtomicU32::new(WINDOW));
        let slot = Slot { heard, deadline: context.deadline, sent_to: None, window: window.clone() };
        {
            let mut calls = self.shared.calls();
            if calls.len() >= self.shared.most {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "as many calls wait for the engine as may wait",
                )
                .with_context("limit", self.shared.most.to_string())
                .with_retry_after(Duration::from_secs(1)));
            }
            calls.insert(id, slot);
        }
        let incoming = Incoming {
            link: self.clone(),
            id,
            receiver,
            window,
            taken: 0,
            cancelled: context.cancel.cancelled(),
            done: false,
        };
        self.keeper.try_send(Message::Call { id, call: Box::new(call) }).map_err(|_| ended())?;
        Ok(incoming)
    }

    /// The answer of a call that does not stream.
    ///
    /// # Errors
    /// As [`call`](Self::call), and what the engine says.
    pub(super) async fn ask(self: &Arc<Self>, call: Call, context: &Context) -> Result<Reply> {
        match self.call(call, context)?.next().await {
            Some(Ok(Heard::Reply(reply))) => Ok(reply),
            Some(Err(e)) => Err(e),
            Some(Ok(Heard::Event(_))) | None => Err(super::unexpected()),
        }
    }
}

/// The keeper's thread is gone; it never ends before the link unless it panicked.
pub(super) fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the thread that keeps the engine's process has ended")
}

/// What comes back of a call. Dropping it tells the engine to stop.
pub(super) struct Incoming {
    link: Arc<Link>,
    id: u64,
    receiver: mpsc::UnboundedReceiver<Result<Heard>>,
    window: Arc<AtomicU32>,
    /// Events read since the last credit.
    taken: u32,
    cancelled: Cancelled,
    done: bool,
}

impl Incoming {
    fn end(&mut self) {
        self.done = true;
        if self.link.shared.calls().remove(&self.id).is_some() {
            let _ = self.link.keeper.try_send(Message::Cancel { id: self.id });
        }
    }
}

impl Stream for Incoming {
    type Item = Result<Heard>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.cancelled.poll_unpin(cx).is_ready() {
            self.end();
            return Poll::Ready(Some(Err(Error::cancelled())));
        }
        let heard = ready!(self.receiver.poll_recv(cx)).unwrap_or_else(|| Err(ended()));
        match &heard {
            Ok(Heard::Event(Event::Finished(_)) | Heard::Reply(_)) | Err(_) => self.end(),
            Ok(Heard::Event(_)) => {
                self.taken += 1;
                if self.taken >= WINDOW / 2 {
                    let events = std::mem::take(&mut self.taken);
                    self.window.fetch_add(events, Ordering::AcqRel);
                    let _ = self.link.keeper.try_send(Message::Credit { id: self.id, events });
                }
            }
        }
        Poll::Ready(Some(heard))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.done {
            self.end();
        }
    }
}
