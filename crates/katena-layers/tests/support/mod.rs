//! A virtual clock that jumps to the next wait, and a driver that polls many calls on one thread.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use katena_core::Clock;

pub(crate) mod server;

/// Time that passes only when nobody has anything to do.
#[derive(Clone)]
pub(crate) struct SimClock(Arc<Mutex<Sim>>);

struct Sim {
    start: Instant,
    now: Instant,
    next: u64,
    sleepers: BTreeMap<(Instant, u64), Waker>,
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimClock")
    }
}

impl SimClock {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Sim { start: now, now, next: 0, sleepers: BTreeMap::new() })))
    }

    pub(crate) fn shared(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }

    /// Time since the clock was made.
    pub(crate) fn elapsed(&self) -> Duration {
        let sim = self.sim();
        sim.now - sim.start
    }

    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap()
    }

    /// Jumps to the next wait's end. False if nobody waits.
    fn jump(&self) -> bool {
        let mut sim = self.sim();
        let Some((&(at, _), _)) = sim.sleepers.first_key_value() else { return false };
        sim.now = at;
        let mut due = Vec::new();
        while let Some(first) = sim.sleepers.first_entry() {
            if first.key().0 > at {
                break;
            }
            due.push(first.remove());
        }
        drop(sim);
        due.into_iter().for_each(Waker::wake);
        true
    }

    /// Runs all futures to their end; results in their order. Panics if they wait for nothing.
    pub(crate) fn run<F: Future>(&self, futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
        let mut running: FuturesUnordered<_> = futures
            .into_iter()
            .enumerate()
            .map(|(number, future)| async move { (number, future.await) })
            .collect();
        let mut done = Vec::new();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        loop {
            match running.poll_next_unpin(&mut cx) {
                Poll::Ready(Some(result)) => done.push(result),
                Poll::Ready(None) => break,
                Poll::Pending if woken.0.swap(false, Ordering::SeqCst) => {}
                Poll::Pending => assert!(self.jump(), "{} calls wait for nothing", running.len()),
            }
        }
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.sim().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut sim = self.sim();
        sim.next += 1;
        let key = (sim.now + duration, sim.next);
        drop(sim);
        Box::pin(Sleep { clock: self.clone(), key })
    }
}

struct Sleep {
    clock: SimClock,
    key: (Instant, u64),
}

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut sim = self.clock.sim();
        if sim.now >= self.key.0 {
            return Poll::Ready(());
        }
        sim.sleepers.insert(self.key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.clock.sim().sleepers.remove(&self.key);
    }
}
