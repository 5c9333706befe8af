//! What every law uses: readable failures, a runtime, real parallelism.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use katena_core::{Context, Error, ErrorKind, Result};

/// The law that a check belongs to; each failure names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Law(pub(crate) &'static str);

impl Law {
    #[track_caller]
    pub(crate) fn broken(self, what: impl fmt::Display) -> ! {
        panic!("the law `{}` is broken: {what}", self.0)
    }

    #[track_caller]
    pub(crate) fn check(self, holds: bool, what: impl fmt::Display) {
        if !holds {
            self.broken(what);
        }
    }

    #[track_caller]
    pub(crate) fn same<T: PartialEq + fmt::Debug>(self, what: &str, got: &T, wanted: &T) {
        if got != wanted {
            self.broken(format!("{what}: got {got:?}, wanted {wanted:?}"));
        }
    }

    #[track_caller]
    pub(crate) fn ok<T>(self, what: &str, result: Result<T>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => self.broken(format!("{what} failed: {error:?}")),
        }
    }

    #[track_caller]
    pub(crate) fn fails<T>(self, what: &str, kind: ErrorKind, result: Result<T>) -> Error {
        match result {
            Ok(_) => self.broken(format!("{what} must fail as `{kind}`, but it succeeded")),
            Err(error) if error.kind() == kind => error,
            Err(error) => self.broken(format!("{what} must fail as `{kind}`, but it failed so: {error:?}")),
        }
    }

    /// Says why a law has nothing to check on this component.
    #[expect(clippy::print_stderr, reason = "a skipped check must be seen")]
    pub(crate) fn skip(self, why: &str) {
        eprintln!("skipped: {}: {why}", self.0);
    }
}

/// A context whose signal has been given.
pub(crate) fn cancelled() -> Context {
    let context = Context::new();
    context.cancel.cancel();
    context
}

/// Runs `n` futures on threads of their own, all at once. Needs the multi-thread runtime.
pub(crate) fn parallel<T, F, Fut>(n: usize, make: F) -> Vec<T>
where
    T: Send,
    F: Fn(usize) -> Fut + Sync,
    Fut: Future<Output = T>,
{
    let handle = tokio::runtime::Handle::current();
    let (handle, make) = (&handle, &make);
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || handle.block_on(make(i)))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    })
}

/// A law that has not ended by then hangs: far above what the slowest component needs.
const HANGS_AFTER: Duration = Duration::from_secs(600);

/// Runs one test on a runtime of its own; a hanging one fails.
#[track_caller]
pub fn run<F, Fut>(name: &str, test: F)
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let (done, ended) = channel::<()>();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Dropped on return and on panic, which the waiting side sees at once.
        let _done = done;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("the test runtime could not be built: {error}"));
        runtime.block_on(test());
        runtime.shutdown_timeout(Duration::from_secs(10));
    });
    let thread = thread.unwrap_or_else(|error| panic!("the test thread could not be started: {error}"));
    match ended.recv_timeout(HANGS_AFTER) {
        Err(RecvTimeoutError::Timeout) => panic!("{name} has not ended after {HANGS_AFTER:?}: it hangs"),
        _ => {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    }
}

/// Prints that a test was skipped because its maker gave `None`.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn skip(name: &str) {
    eprintln!("skipped: {name}: the maker gave no component");
}

/// What a maker gave. Its inherent methods win over the trait's, which is how `Option`, `Result` and pairs are told
/// from plain components without overlapping impls.
#[derive(Debug)]
pub struct Made<T>(pub T);

impl<T> Made<Option<T>> {
    /// `None` skips.
    pub fn given(self) -> Option<T> {
        self.0
    }
}

impl<T, E: fmt::Debug> Made<std::result::Result<T, E>> {
    /// An error of the maker fails the test.
    #[track_caller]
    pub fn given(self) -> Option<T> {
        match self.0 {
            Ok(component) => Some(component),
            Err(error) => panic!("the maker failed: {error:?}"),
        }
    }
}

impl<T, G: Any> Made<(T, G)> {
    /// The second of a pair is kept until the test is over.
    pub fn split(self) -> (Box<dyn Any>, T) {
        (Box::new(self.0.1), self.0.0)
    }
}

/// A plain component.
pub trait Plain: Sized {
    /// The component's type.
    type Component;
    /// The component.
    fn given(self) -> Option<Self::Component>;
    /// The component and nothing beside it.
    fn split(self) -> (Box<dyn Any>, Self::Component);
}

impl<T> Plain for Made<T> {
    type Component = T;
    fn given(self) -> Option<T> {
        Some(self.0)
    }
    fn split(self) -> (Box<dyn Any>, T) {
        (Box::new(()), self.0)
    }
}
