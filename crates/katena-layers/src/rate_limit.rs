//! A limit on requests and tokens a minute.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use katena_core::{ChatEvent, ChatRequest, ChatStream, Context, Error, ErrorKind, Result, Usage};

use crate::around::{Answer, Around, Asked, Call, Weight, layer_for};
use crate::clock::{Stopped, Time, with_clock};
use crate::estimate;
use crate::lanes::{Grant, Lane, Lanes};
use crate::watch::{Watch, watch};

/// How much a minute. What is unset is not limited.
///
/// ```
/// use katena_layers::PerMinute;
/// let limit = PerMinute::requests(600).with_tokens(90_000);
/// assert_eq!((limit.requests, limit.tokens), (Some(600), Some(90_000)));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PerMinute {
    /// Calls that begin within any minute; 0 refuses each.
    pub requests: Option<u64>,
    /// Tokens of prompt and answer within any minute; 0 refuses each call that has some.
    pub tokens: Option<u64>,
}

impl PerMinute {
    /// A limit on calls alone.
    pub fn requests(requests: u64) -> Self {
        Self { requests: Some(requests), tokens: None }
    }

    /// A limit on tokens alone.
    pub fn tokens(tokens: u64) -> Self {
        Self { requests: None, tokens: Some(tokens) }
    }

    /// Sets the limit on calls.
    pub fn with_requests(mut self, requests: u64) -> Self {
        self.requests = Some(requests);
        self
    }

    /// Sets the limit on tokens.
    pub fn with_tokens(mut self, tokens: u64) -> Self {
        self.tokens = Some(tokens);
        self
    }
}

type Key = dyn Fn(&Context) -> Option<String> + Send + Sync;
type Estimate = dyn Fn(&ChatRequest) -> u64 + Send + Sync;

/// Keeps calls within so many requests and tokens a minute, in all or per key (tenant, feature, …).
///
/// - No minute, wherever it begins, has more than the limit; the account is full again as the oldest calls become a minute
///   old.
/// - Calls wait for their turn in the order in which they came, each key by itself. One that is cancelled or dropped while it
///   waits leaves no hole: nothing was taken for it.
/// - A call that could not begin before its deadline, or within the longest wait, is refused at once as `RateLimited`, with
///   the wait that it would have taken in [`Error::retry_after`].
/// - Tokens are estimated before the call (a token is 4 bytes of text; for the answer `max_tokens`, or what
///   [`with_output_estimate`](RateLimit::with_output_estimate) says) and put right by the usage after it. A call that the
///   other side refused has used none; of a stream that was dropped, what had come counts. Without usage the estimate stays.
/// - A call that is larger than the limit waits for an empty minute and goes then; whether it is too large is not ours to say.
/// - Stores, retrievers and tools have requests only.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use std::time::Duration;
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, ErrorKind, Message, fake::EchoChat};
/// use katena_layers::{PerMinute, RateLimit};
/// let limit = RateLimit::new(PerMinute::requests(1)).with_max_wait(Duration::ZERO);
/// let model = EchoChat::new().layer(limit);
/// let request = ChatRequest::new([Message::user("hello")]);
/// assert!(model.generate(&request).await.is_ok());
/// let error = model.generate(&request).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::RateLimited);
/// assert!(error.retry_after().unwrap() > Duration::from_secs(30));
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct RateLimit {
    limit: PerMinute,
    limits: Arc<HashMap<String, PerMinute>>,
    key: Option<Arc<Key>>,
    estimate: Option<Arc<Estimate>>,
    output_estimate: u64,
    max_wait: Option<Duration>,
    lanes: Arc<Lanes>,
    time: Time,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("limit", &self.limit)
            .field("per_key", &self.key.is_some())
            .field("max_wait", &self.max_wait)
            .finish_non_exhaustive()
    }
}

impl RateLimit {
    /// This much, for all calls together.
    pub fn new(limit: PerMinute) -> Self {
        Self {
            limit,
            limits: Arc::default(),
            key: None,
            estimate: None,
            output_estimate: 256,
            max_wait: None,
            lanes: Arc::default(),
            time: Time::default(),
        }
    }

    /// This much for each value of a label; calls without it share one account.
    pub fn with_key_label(self, label: impl Into<String>) -> Self {
        let label = label.into();
        self.with_key(move |context| context.labels.get(&label).map(str::to_owned))
    }

    /// This much for each key that the function finds; calls for which it gives `None` share one account.
    pub fn with_key(mut self, key: impl Fn(&Context) -> Option<String> + Send + Sync + 'static) -> Self {
        self.key = Some(Arc::new(key));
        self
    }

    /// Another limit for one key.
    pub fn with_limit_of(mut self, key: impl Into<String>, limit: PerMinute) -> Self {
        Arc::make_mut(&mut self.limits).insert(key.into(), limit);
        self
    }

    /// Refuses calls that would wait longer; zero refuses all that would wait.
    pub fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }

    /// Sets the tokens expected of an answer where the request has no `max_tokens`. 256 if unset.
    pub fn with_output_estimate(mut self, tokens: u64) -> Self {
        self.output_estimate = tokens;
        self
    }

    /// Counts the tokens of a chat's prompt by this function, such as a tokenizer's, instead of by bytes.
    pub fn with_estimate(mut self, estimate: impl Fn(&ChatRequest) -> u64 + Send + Sync + 'static) -> Self {
        self.estimate = Some(Arc::new(estimate));
        self
    }

    fn lane(&self, context: &Context) -> (Arc<Lane>, PerMinute) {
        let Some(key) = &self.key else { return (self.lanes.only(), self.limit) };
        let Some(key) = key(context) else { return (self.lanes.only(), self.limit) };
        let limit = self.limits.get(&key).copied().unwrap_or(self.limit);
        (self.lanes.of(key, &self.time), limit)
    }

    async fn enter(&self, call: &Call<'_>) -> Result<Grant> {
        if call.context.cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        let (lane, limit) = self.lane(call.context);
        let tokens = call.weight.input.saturating_add(call.weight.output);
        if limit.requests == Some(0) || (limit.tokens == Some(0) && tokens > 0) {
            return Err(refused("nothing is allowed here").with_temporary(false));
        }
        let longest = self.max_wait.into_iter().chain(self.time.left(call.context)).min();
        let place = match lane.enter(limit, tokens, longest, &self.time) {
            Ok(grant) => return Ok(grant),
            Err(Some(wait)) => return Err(full(wait)),
            Err(None) => lane.queue(),
        };
        let turn = place.turn(limit, tokens, longest, &self.time);
        match self.time.within(call.context, self.max_wait, turn).await {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(Stopped::Limit)) | Err(Stopped::Limit) => Err(full(Duration::ZERO)),
            Ok(Err(stopped)) | Err(stopped) => Err(stopped.into_error()),
        }
    }
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::RateLimited, message).with_context("layer", "rate_limit")
}

fn full(wait: Duration) -> Error {
    let error = refused("the limit of this minute is reached");
    if wait.is_zero() { error } else { error.with_retry_after(wait) }
}

with_clock!(RateLimit);
layer_for!(RateLimit: ChatModel, Embedder, Reranker, VectorStore, Retriever, Tool);

/// What the answer says was used; what it does not say stays as it was estimated.
fn used(weight: Weight, usage: Usage) -> Option<u64> {
    match (usage.input_tokens, usage.output_tokens) {
        (None, None) => None,
        (input, output) => {
            Some(input.unwrap_or(weight.input).saturating_add(output.unwrap_or(weight.output)))
        }
    }
}

/// True if the other side answered with an error: then it made no tokens. A timeout or a cut line does not tell.
fn used_nothing(error: &Error) -> bool {
    error.status().is_some() && error.kind() != ErrorKind::Timeout
}

impl Around for RateLimit {
    fn weigh(&self, asked: Asked<'_>) -> Weight {
        match asked {
            Asked::Chat(request) => Weight {
                input: match &self.estimate {
                    Some(estimate) => estimate(request),
                    None => estimate::of_chat(request),
                },
                output: request.max_tokens.map_or(self.output_estimate, u64::from),
            },
            Asked::Embed(request) => Weight { input: estimate::of_embed(request), output: 0 },
            Asked::Rerank(request) => Weight { input: estimate::of_rerank(request), output: 0 },
            Asked::Other => Weight::default(),
        }
    }

    async fn call<T, F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let grant = self.enter(&call).await?;
        let result = attempt().await;
        match &result {
            Ok(answer) => {
                if let Some(tokens) = answer.usage().and_then(|usage| used(call.weight, usage)) {
                    grant.settle(tokens);
                }
            }
            Err(error) if used_nothing(error) => grant.settle(0),
            Err(_) => {}
        }
        result
    }

    async fn stream<F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<ChatStream>
    where
        F: Future<Output = Result<ChatStream>> + Send,
    {
        let grant = self.enter(&call).await?;
        match attempt().await {
            Ok(stream) => {
                Ok(watch(stream, Counted { grant: Some(grant), weight: call.weight, bytes: 0, begun: false }))
            }
            Err(error) => {
                if used_nothing(&error) {
                    grant.settle(0);
                }
                Err(error)
            }
        }
    }
}

/// Puts a stream's tokens right when it is over, or dropped.
struct Counted {
    grant: Option<Grant>,
    weight: Weight,
    bytes: u64,
    begun: bool,
}

impl Watch for Counted {
    fn event(&mut self, event: &mut ChatEvent) {
        self.begun = true;
        match event {
            ChatEvent::Delta { text, .. } => self.bytes += text.len() as u64,
            ChatEvent::Finished(response) => {
                if let (Some(tokens), Some(grant)) = (used(self.weight, response.usage), self.grant.take()) {
                    grant.settle(tokens);
                }
                self.grant = None;
            }
            _ => {}
        }
    }

    fn failed(&mut self, error: Error) -> Error {
        if !self.begun
            && used_nothing(&error)
            && let Some(grant) = self.grant.take()
        {
            grant.settle(0);
        }
        error
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(grant) = self.grant.take()
            && self.begun
        {
            grant.settle(self.weight.input.saturating_add(estimate::of_bytes(self.bytes)));
        }
    }
}

#[cfg(test)]
#[path = "rate_limit_tests.rs"]
mod tests;
