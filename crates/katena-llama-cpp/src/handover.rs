//! The way from callers to a model's thread: a bounded queue, and a bell that is never missed.
//!
//! Callers never block: a full queue is an error that they pass on. The thread waits for whichever comes first: an
//! item, a [`wake`](Sender::wake), the end of the last sender, or a point in time.
//!
//! Only `Mutex` and `Condvar` are used, both named through `super::sync`, so that `tests/handover_shuttle.rs` can run
//! this file under a scheduler that tries thousands of interleavings.

use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;
use std::time::Instant;

use super::sync::{Arc, Condvar, Mutex};

/// Why an item was not taken; it comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrySend<T> {
    /// As many items wait as may wait.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

impl<T> fmt::Debug for TrySend<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
        })
    }
}

struct State<T> {
    queue: VecDeque<T>,
    /// A wake that no wait has seen yet.
    woken: bool,
    senders: usize,
    receiving: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
}

impl<T> Shared<T> {
    /// Runs `f` under the lock. No code of a caller runs there, so a panic leaves nothing half done.
    fn with<R>(&self, f: impl FnOnce(&mut State<T>) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The callers' end. Dropping the last one closes the queue; what is in it can still be taken.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The thread's end. Dropping it drops what waits, and sending fails.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

/// A queue of at most `capacity` items (at least 1).
pub(crate) fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), woken: false, senders: 1, receiving: true };
    let shared =
        Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), capacity: capacity.max(1) });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T> Sender<T> {
    /// Puts an item at the end of the queue and wakes the thread. Never blocks for room.
    ///
    /// # Errors
    /// The item, if the queue is full or the receiver is gone.
    pub(crate) fn try_send(&self, item: T) -> Result<(), TrySend<T>> {
        self.0.with(|state| {
            if !state.receiving {
                return Err(TrySend::Closed(item));
            }
            if state.queue.len() >= self.0.capacity {
                return Err(TrySend::Full(item));
            }
            state.queue.push_back(item);
            Ok(())
        })?;
        self.0.changed.notify_one();
        Ok(())
    }

    /// Ends the thread's wait, now or the next one: a reader made room, or a stream was dropped.
    pub(crate) fn wake(&self) {
        self.0.with(|state| state.woken = true);
        self.0.changed.notify_one();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.with(|state| state.senders += 1);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let last = self.0.with(|state| {
            state.senders -= 1;
            state.senders == 0
        });
        if last {
            self.0.changed.notify_one();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("capacity", &self.0.capacity).finish_non_exhaustive()
    }
}

impl<T> Receiver<T> {
    /// Moves at most `most` items, oldest first. Never blocks. Says how many.
    pub(crate) fn take(&mut self, into: &mut impl Extend<T>, most: usize) -> usize {
        // `extend` is the caller's code and runs without the lock.
        let taken: VecDeque<T> = self.0.with(|state| {
            let count = state.queue.len().min(most);
            state.queue.drain(..count).collect()
        });
        let count = taken.len();
        into.extend(taken);
        count
    }

    /// Blocks until an item waits, somebody called [`wake`](Sender::wake) since the last wait, every sender is gone, or
    /// the time has come. Returns at once while one of these holds: take all that waits, and keep what can't begin yet.
    pub(crate) fn wait(&mut self, until: Option<Instant>) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.woken && state.queue.is_empty() && state.senders > 0 {
            state = match until {
                None => self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let now = Instant::now();
                    if now >= until {
                        break;
                    }
                    self.0.changed.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.woken = false;
    }

    /// True once every sender is gone. Items may still wait.
    pub(crate) fn closed(&self) -> bool {
        self.0.with(|state| state.senders == 0)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = self.0.with(|state| {
            state.receiving = false;
            std::mem::take(&mut state.queue)
        });
        // Items may hold senders, whose drop takes the lock.
        drop(left);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("capacity", &self.0.capacity).finish_non_exhaustive()
    }
}
