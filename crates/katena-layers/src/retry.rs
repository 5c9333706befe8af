//! Trying again after temporary errors.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use katena_core::{ChatEvent, ChatStream, Error, Layer, Result, Tool};

use crate::around::{Answer, Around, Call, Wrapped, is_own_refusal, layer_for};
use crate::clock::{Time, with_clock};
use crate::watch::{Watch, begin, watch};

/// What [`Retry`] does when the other side asks for a longer wait than the cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LongHint {
    /// The hint counts as none: our own delay.
    #[default]
    Ignore,
    /// No further try; the error, with its hint, goes to the caller.
    GiveUp,
}

/// Tries again after temporary errors: 2 retries, the first after 0.5 s, each further one after twice as long, at most 8 s,
/// each shortened by up to a quarter at random.
///
/// - What is temporary is said by [`Error::is_temporary`]; a vendor's `x-should-retry` has already decided it there. Used-up
///   quotas and other faults of the request are not tried again, nor is what a limit or a breaker below has refused.
/// - A wait that the other side asks for ([`Error::retry_after`]) is kept, up to a cap (120 s), and stretched by up to a
///   quarter (at most the backoff's cap), so that clients told the same do not come back together. A hint of zero is none.
/// - A wait that would reach the context's deadline is not begun: the last error comes at once. A cancel signal ends a wait.
/// - Streams are tried again until their first event, never after it. `stream` returns when that event is there.
/// - [`ChatResponse::attempts`](katena_core::ChatResponse::attempts) says how many tries it took; the last error says it
///   under `attempts` in its context.
/// - Tools are called again only with [`with_tools`](Retry::with_tools): a call may have had its effect. Writing the same
///   records again changes nothing; the number that a repeated `delete` gives may leave out what the first try deleted. A
///   history's `append` and a memory's `record` are made once.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
/// # runtime.block_on(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::{EchoChat, FlakyChat}};
/// use katena_layers::Retry;
/// let model = FlakyChat::new(EchoChat::new(), 2).layer(Retry::default());
/// let answer = model.generate(&ChatRequest::new([Message::user("hello")])).await.unwrap();
/// assert_eq!((answer.text().as_str(), answer.attempts), ("hello", Some(3)));
/// # });
/// ```
#[derive(Clone)]
pub struct Retry {
    retries: u32,
    base: Duration,
    cap: Duration,
    hint_cap: Duration,
    long_hint: LongHint,
    tools: bool,
    random: Option<Arc<Mutex<fastrand::Rng>>>,
    time: Time,
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("retries", &self.retries)
            .field("base", &self.base)
            .field("cap", &self.cap)
            .finish_non_exhaustive()
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new(2)
    }
}

impl Retry {
    /// Tries again at most so often; 0 is never.
    pub fn new(retries: u32) -> Self {
        Self {
            retries,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            hint_cap: Duration::from_secs(120),
            long_hint: LongHint::Ignore,
            tools: false,
            random: None,
            time: Time::default(),
        }
    }

    /// Sets the first delay; each further one is twice as long. 0.5 s if unset.
    pub fn with_base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets the longest delay of our own. 8 s if unset.
    pub fn with_cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets the longest wait that the other side may ask for. 120 s if unset.
    pub fn with_hint_cap(mut self, cap: Duration) -> Self {
        self.hint_cap = cap;
        self
    }

    /// Says what happens if it asks for a longer one.
    pub fn with_long_hint(mut self, long_hint: LongHint) -> Self {
        self.long_hint = long_hint;
        self
    }

    /// Repeats tool calls too. Only for tools that may run twice.
    pub fn with_tools(mut self) -> Self {
        self.tools = true;
        self
    }

    /// Makes the random part of the delays repeatable.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.random = Some(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))));
        self
    }

    /// How long to wait before the `retry`-th retry (counted from 1) after this error; `None` if there is none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use katena_core::{Error, ErrorKind};
    /// use katena_layers::Retry;
    /// let busy = Error::new(ErrorKind::Unavailable, "overloaded");
    /// let wait = Retry::default().wait_before(2, &busy).unwrap();
    /// assert!(wait > Duration::from_millis(750) && wait <= Duration::from_secs(1));
    /// assert!(Retry::default().wait_before(3, &busy).is_none());
    /// ```
    pub fn wait_before(&self, retry: u32, error: &Error) -> Option<Duration> {
        if retry > self.retries || !error.is_temporary() || is_own_refusal(error) {
            return None;
        }
        let share = self.random() / 4.0;
        match error.retry_after().filter(|hint| !hint.is_zero()) {
            Some(hint) if hint <= self.hint_cap => {
                Some(hint.saturating_add(hint.min(self.cap.saturating_mul(4)).mul_f64(share)))
            }
            Some(_) if self.long_hint == LongHint::GiveUp => None,
            _ => {
                let doublings = retry.saturating_sub(1).min(31);
                Some(self.base.saturating_mul(1 << doublings).min(self.cap).mul_f64(1.0 - share))
            }
        }
    }

    /// From 0 to below 1.
    fn random(&self) -> f64 {
        match &self.random {
            Some(random) => random.lock().unwrap_or_else(PoisonError::into_inner).f64(),
            None => fastrand::f64(),
        }
    }

    /// Waits for the next try, or gives the error back for good.
    async fn next(&self, call: &Call<'_>, tries: u32, error: Error) -> Result<()> {
        if call.context.cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        let told = |error: Error| {
            let tell = tries > 1 || error.is_temporary();
            if tell { error.with_context("attempts", tries.to_string()) } else { error }
        };
        let Some(wait) = self.wait_before(tries, &error) else { return Err(told(error)) };
        if self.time.left(call.context).is_some_and(|left| left <= wait) {
            return Err(told(error));
        }
        tracing::debug!(tries, wait_ms = wait.as_millis() as u64, kind = %error.kind(), "trying again");
        self.time.wait(call.context, wait).await
    }

    async fn repeat<T, F: Future<Output = Result<T>>>(
        &self,
        call: &Call<'_>,
        mut attempt: impl FnMut() -> F,
    ) -> Result<(T, u32)> {
        let mut tries = 0;
        loop {
            match attempt().await {
                Ok(answer) => return Ok((answer, tries)),
                Err(error) => {
                    tries = u32::saturating_add(tries, 1);
                    self.next(call, tries, error).await?;
                }
            }
        }
    }
}

with_clock!(Retry);
layer_for!(Retry: ChatModel, Embedder, Reranker, VectorStore, Retriever, ChatHistory, Memory, RecordStore);

impl Layer<dyn Tool> for Retry {
    fn layer(&self, inner: Arc<dyn Tool>) -> Arc<dyn Tool> {
        if self.tools { Arc::new(Wrapped::new(self.clone(), inner)) } else { inner }
    }
}

/// Tells the finished response how many tries went before.
struct Tried(u32);

impl Watch for Tried {
    fn event(&mut self, event: &mut ChatEvent) {
        if let ChatEvent::Finished(response) = event {
            response.tried_before(self.0);
        }
    }
}

impl Around for Retry {
    const REPEATS: bool = true;

    async fn call<T, F>(&self, call: Call<'_>, attempt: impl FnMut() -> F + Send) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let (mut answer, tries) = self.repeat(&call, attempt).await?;
        answer.tried_before(tries);
        Ok(answer)
    }

    async fn once<T, F>(&self, _: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        attempt().await
    }

    async fn stream<F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<ChatStream>
    where
        F: Future<Output = Result<ChatStream>> + Send,
    {
        let begun = || {
            let opening = attempt();
            async { begin(opening.await?).await }
        };
        let (stream, tries) = self.repeat(&call, begun).await?;
        Ok(watch(stream, Tried(tries)))
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
