//! Time for the layers: tokio's, or the clock that a test moves.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use katena_core::{Clock, Context, Error, ErrorKind, Result};
use tokio::runtime::Handle;

/// Longer waits are cut to this, so that adding one to an instant cannot overflow.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Tokio's clock, for whatever takes a [`Clock`]. Layers use it by themselves; `Run::with_clock` and tests take it by name.
///
/// ```
/// use katena_core::{Clock, ErrorKind};
/// use katena_layers::TokioClock;
/// assert_eq!(TokioClock::current().unwrap_err().kind(), ErrorKind::Config, "no runtime here");
///
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// runtime.block_on(async {
///     let clock = TokioClock::current().unwrap();
///     let start = clock.now();
///     clock.sleep(std::time::Duration::from_millis(1)).await;
///     assert!(clock.now() > start);
/// });
/// ```
#[derive(Clone)]
pub struct TokioClock(Handle);

impl fmt::Debug for TokioClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokioClock")
    }
}

impl TokioClock {
    /// The clock of the runtime that this is called on. It works wherever it is polled, as long as that runtime lives.
    ///
    /// # Errors
    /// Kind `Config` without a tokio runtime, or with one without timers.
    pub fn current() -> Result<Self> {
        drop(tokio_sleep(Duration::ZERO)?);
        Handle::try_current().map(Self).map_err(|e| no_runtime().with_source(e))
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        let _inside = self.0.enter();
        tokio::time::Instant::now().into_std()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let _inside = self.0.enter();
        Box::pin(tokio::time::sleep(duration.min(LONGEST)))
    }
}

fn no_runtime() -> Error {
    Error::config("waiting needs a tokio runtime with timers, or another clock by `with_clock`")
}

fn tokio_sleep(duration: Duration) -> Result<Nap> {
    Handle::try_current().map_err(|e| no_runtime().with_source(e))?;
    // Tokio does not say whether a runtime has timers; it panics when one is made without.
    catch_unwind(AssertUnwindSafe(|| -> Nap { Box::pin(tokio::time::sleep(duration)) }))
        .map_err(|_| no_runtime())
}

/// A wait that has begun.
pub(crate) type Nap = BoxFuture<'static, ()>;

/// The time that a layer lives in.
#[derive(Clone, Default)]
pub(crate) struct Time(Option<Arc<dyn Clock>>);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(clock) => clock.fmt(f),
            None => f.write_str("TokioClock"),
        }
    }
}

impl From<Arc<dyn Clock>> for Time {
    fn from(clock: Arc<dyn Clock>) -> Self {
        Self(Some(clock))
    }
}

impl Time {
    pub(crate) fn now(&self) -> Instant {
        match &self.0 {
            Some(clock) => clock.now(),
            None => tokio::time::Instant::now().into_std(),
        }
    }

    /// Begins a wait.
    pub(crate) fn nap(&self, duration: Duration) -> Result<Nap> {
        let duration = duration.min(LONGEST);
        match &self.0 {
            Some(clock) => Ok(clock.sleep(duration)),
            None => tokio_sleep(duration),
        }
    }

    /// Time left until the context's deadline.
    pub(crate) fn left(&self, context: &Context) -> Option<Duration> {
        Some(context.deadline?.saturating_duration_since(self.now()))
    }

    /// Waits; the cancel signal ends it with an error.
    pub(crate) async fn wait(&self, context: &Context, duration: Duration) -> Result<()> {
        self.within(context, None, self.nap(duration)?).await.map_err(Stopped::into_error)
    }

    /// Runs `future` until it is done, the signal is given, the deadline passes, or `limit` is over. The future is looked
    /// at first each time, and nothing is set up if it is done at once.
    pub(crate) async fn within<F: Future>(
        &self,
        context: &Context,
        limit: Option<Duration>,
        future: F,
    ) -> std::result::Result<F::Output, Stopped> {
        let mut future = pin!(future);
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
            return Ok(done);
        }
        let mut cancelled = context.cancel.cancelled();
        let left = self.left(context);
        let mut nap = match (left, limit) {
            (None, None) => None,
            (a, b) => {
                let shorter = a.into_iter().chain(b).min().unwrap_or_default();
                Some(self.nap(shorter).map_err(Stopped::Failed)?)
            }
        };
        poll_fn(|cx| {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if cancelled.poll_unpin(cx).is_ready() {
                return Poll::Ready(Err(Stopped::Cancelled));
            }
            if nap.as_mut().is_some_and(|nap| nap.poll_unpin(cx).is_ready()) {
                let deadline = left.is_some_and(|left| limit.is_none_or(|limit| left <= limit));
                return Poll::Ready(Err(if deadline { Stopped::Deadline } else { Stopped::Limit }));
            }
            Poll::Pending
        })
        .await
    }
}

/// Why a wait ended before what was waited for.
#[derive(Debug)]
pub(crate) enum Stopped {
    Cancelled,
    Deadline,
    Limit,
    Failed(Error),
}

impl Stopped {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Cancelled => Error::cancelled(),
            Self::Deadline => past_deadline(),
            Self::Limit => Error::new(ErrorKind::Timeout, "the wait took too long"),
            Self::Failed(error) => error,
        }
    }
}

/// The context's deadline passed. Trying again cannot help, which the kind alone would not say.
pub(crate) fn past_deadline() -> Error {
    Error::new(ErrorKind::Timeout, "the deadline has passed").with_temporary(false)
}

/// Adds `with_clock` to a layer with a field `time`.
macro_rules! with_clock {
    ($layer:ty) => {
        impl $layer {
            /// Takes the time from this clock instead of tokio's.
            pub fn with_clock(mut self, clock: std::sync::Arc<dyn katena_core::Clock>) -> Self {
                self.time = clock.into();
                self
            }
        }
    };
}
pub(crate) use with_clock;

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
