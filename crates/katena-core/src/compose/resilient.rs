//! Combinators for steps that may fail: another chain, another try, a time limit.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use serde_json::json;

use crate::chain::Chain;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::run::{Event, Run};

/// True if nothing else may be tried: the run is over.
fn is_final(error: &Error, run: &Run) -> bool {
    error.kind() == ErrorKind::Cancelled || run.context().check().is_err()
}

/// See [`fallback`](crate::ChainExt::fallback).
#[derive(Clone, Debug)]
pub struct OrElse<A, B>(A, B);

impl<A, B> OrElse<A, B> {
    pub(crate) fn new(first: A, second: B) -> Self {
        Self(first, second)
    }
}

#[async_trait]
impl<A, B> Chain for OrElse<A, B>
where
    A: Chain,
    A::Input: Clone,
    B: Chain<Input = A::Input, Output = A::Output>,
{
    type Input = A::Input;
    type Output = A::Output;
    async fn call(&self, input: A::Input, run: &Run) -> Result<A::Output> {
        let error = match self.0.call(input.clone(), run).await {
            Err(error) if !is_final(&error, run) => error,
            done => return done,
        };
        run.emit(Event::Custom { name: "fallback".into(), value: json!({"after": error.kind().as_str()}) })
            .await;
        self.1.call(input, run).await.map_err(|e| e.with_context("first", error.to_string()))
    }
}

/// How often and how patiently a chain is tried again. Only temporary errors are.
///
/// The wait is drawn between half of and the whole of `base × 2ⁿ`, at most `cap`; a
/// [`retry_after`](Error::retry_after) of the error that is longer counts instead, unless the deadline comes first.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use katena_core::{Backoff, ManualClock};
/// let patient = Backoff::new(Arc::new(ManualClock::new())).with_attempts(5).with_base(Duration::from_secs(1));
/// # let _ = patient;
/// ```
#[derive(Clone)]
pub struct Backoff {
    clock: Arc<dyn Clock>,
    attempts: u32,
    base: Duration,
    cap: Duration,
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

impl Backoff {
    /// Three attempts in all, waits from 0.5 s to 8 s by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, attempts: 3, base: Duration::from_millis(500), cap: Duration::from_secs(8) }
    }

    /// Sets the attempts in all, 1 and up.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Sets the first wait.
    pub fn with_base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the longest wait.
    pub fn with_cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// The wait before attempt `n + 1`, n from 1.
    fn wait(&self, n: u32, error: &Error) -> Duration {
        let whole = self.base.saturating_mul(1 << (n - 1).min(16)).min(self.cap);
        // The standard library's hash keys are the randomness that core has.
        let share = RandomState::new().hash_one(n) as f64 / u64::MAX as f64;
        let wait = whole.mul_f64(0.5 + share / 2.0);
        error.retry_after().map_or(wait, |asked| asked.max(wait))
    }
}

/// See [`retry`](crate::ChainExt::retry).
#[derive(Clone, Debug)]
pub struct Retried<C> {
    chain: C,
    backoff: Backoff,
}

impl<C> Retried<C> {
    pub(crate) fn new(chain: C, backoff: Backoff) -> Self {
        Self { chain, backoff }
    }
}

#[async_trait]
impl<C: Chain> Chain for Retried<C>
where
    C::Input: Clone,
{
    type Input = C::Input;
    type Output = C::Output;
    async fn call(&self, input: C::Input, run: &Run) -> Result<C::Output> {
        let mut attempt = 1;
        loop {
            let error = match self.chain.call(input.clone(), run).await {
                Err(error) if error.is_temporary() && !is_final(&error, run) => error,
                done => return done,
            };
            let wait = self.backoff.wait(attempt, &error);
            let too_late = run.context().deadline.is_some_and(|d| self.backoff.clock.now() + wait >= d);
            if attempt >= self.backoff.attempts || too_late {
                return Err(error.with_context("attempts", attempt.to_string()));
            }
            attempt += 1;
            let value = json!({"attempt": attempt, "after": error.kind().as_str()});
            run.emit(Event::Custom { name: "retry".into(), value }).await;
            run.guard(async {
                self.backoff.clock.sleep(wait).await;
                Ok(())
            })
            .await?;
        }
    }
}

/// See [`timeout`](crate::ChainExt::timeout).
#[derive(Clone)]
pub struct TimedOut<C> {
    chain: C,
    limit: Duration,
    clock: Arc<dyn Clock>,
}

impl<C: fmt::Debug> fmt::Debug for TimedOut<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedOut")
            .field("chain", &self.chain)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<C> TimedOut<C> {
    pub(crate) fn new(chain: C, limit: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { chain, limit, clock }
    }
}

#[async_trait]
impl<C: Chain> Chain for TimedOut<C> {
    type Input = C::Input;
    type Output = C::Output;
    async fn call(&self, input: C::Input, run: &Run) -> Result<C::Output> {
        // The parts inside see the limit as their deadline, and are dropped when it passes.
        let until = self.clock.now() + self.limit;
        let context = run.context().clone();
        let deadline = context.deadline.map_or(until, |d| d.min(until));
        let inner = run.clone().with_context(context.with_deadline(deadline));
        match select(self.chain.call(input, &inner), self.clock.sleep(self.limit)).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(Error::new(ErrorKind::Timeout, "the step took too long")),
        }
    }
}

/// Feeds clones of one input into several chains at once and puts their outputs into a struct's fields.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChainExt, func, parallel};
/// #[derive(Debug, PartialEq)]
/// struct Facts { length: usize, loud: String }
/// let facts = parallel!(Facts {
///     length: func(async |text: String, _run| Ok(text.len())),
///     loud: func(async |text: String, _run| Ok(text.to_uppercase())),
/// });
/// assert_eq!(facts.run("abc").await?, Facts { length: 3, loud: "ABC".into() });
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[macro_export]
macro_rules! parallel {
    ($name:ident { $($field:ident: $chain:expr),+ $(,)? }) => {
        $crate::ChainExt::map($crate::Parallel::new(($($chain,)+)), |($($field,)+)| $name { $($field),+ })
    };
}
