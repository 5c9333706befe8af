//! Time as a part that tests can replace.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

/// A source of time. Core has no runtime, so it has no real sleeping clock; layers bring one on tokio.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present moment.
    fn now(&self) -> Instant;
    /// Resolves once `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// A clock for tests that moves only by [`advance`](ManualClock::advance).
///
/// ```
/// use std::time::Duration;
/// use katena_core::{Clock, ManualClock};
/// let clock = ManualClock::new();
/// let start = clock.now();
/// let nap = clock.sleep(Duration::from_secs(5));
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(clock.now() - start, Duration::from_secs(5));
/// futures_util::FutureExt::now_or_never(nap).expect("over");
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Manual>>);

struct Manual {
    now: Instant,
    wakers: Vec<Waker>,
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManualClock")
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Manual { now: Instant::now(), wakers: Vec::new() })))
    }
}

impl ManualClock {
    /// A clock that stands still.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock and wakes every sleeper whose time has come.
    pub fn advance(&self, duration: Duration) {
        let wakers = {
            let mut m = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            m.now += duration;
            std::mem::take(&mut m.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (state, until) = (self.0.clone(), self.now() + duration);
        Box::pin(std::future::poll_fn(move |cx| {
            let mut m = state.lock().unwrap_or_else(PoisonError::into_inner);
            if m.now >= until {
                return Poll::Ready(());
            }
            m.wakers.push(cx.waker().clone());
            Poll::Pending
        }))
    }
}
