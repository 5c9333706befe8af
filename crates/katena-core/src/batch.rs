//! Batches: many chat requests that a vendor answers within hours, for less.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::chat::ChatRequest;
use crate::clock::Clock;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::info::ModelInfo;
use crate::response::ChatResponse;

/// One request of a batch, with the caller's own name for it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchRequest {
    /// The caller's name, unique in the batch; the result comes under it. 1 to 64 ASCII letters, digits, `-` and `_` are
    /// fine with every vendor.
    pub custom_id: String,
    /// What is asked. Its context is not used: the batch has its own.
    pub request: ChatRequest,
}

/// Requests that are handed in together.
///
/// ```
/// use katena_core::{BatchOrder, ChatRequest, Message};
/// let order = BatchOrder::new()
///     .with_request("one", ChatRequest::new([Message::user("What is 2 + 2?")]))
///     .with_request("two", ChatRequest::new([Message::user("What is 3 + 3?")]));
/// assert!(order.check().is_ok());
/// assert!(order.with_request("one", ChatRequest::default()).check().is_err());
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct BatchOrder {
    /// The requests.
    pub requests: Vec<BatchRequest>,
    /// Vendor extras of the batch itself by name, sent as they are.
    pub extra: BTreeMap<String, Value>,
    /// Labels, deadline and cancel signal of handing it in; they don't bound the batch.
    pub context: Context,
}

impl fmt::Debug for BatchOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchOrder").field("requests", &self.requests.len()).finish_non_exhaustive()
    }
}

impl BatchOrder {
    /// Without requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a request.
    pub fn with_request(mut self, custom_id: impl Into<String>, request: ChatRequest) -> Self {
        self.requests.push(BatchRequest { custom_id: custom_id.into(), request });
        self
    }

    /// Adds a vendor extra.
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// Sets labels, deadline and cancel signal of handing it in.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// What every vendor demands: at least one request, and a name of its own for each.
    ///
    /// # Errors
    /// Kind `InvalidInput` if there are no requests, or a name is empty or comes twice.
    pub fn check(&self) -> Result<()> {
        if self.requests.is_empty() {
            return Err(Error::invalid_input("a batch needs at least one request"));
        }
        let mut seen = BTreeSet::new();
        for BatchRequest { custom_id, .. } in &self.requests {
            if custom_id.is_empty() || !seen.insert(custom_id) {
                let what = "each request of a batch needs a name of its own";
                return Err(Error::invalid_input(what).with_context("custom id", custom_id.clone()));
            }
        }
        Ok(())
    }
}

/// How far a batch is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchState {
    /// It is checked, or waits for its turn.
    Waiting,
    /// It is worked on.
    Running,
    /// It was cancelled, and the vendor finishes what it had begun.
    Cancelling,
    /// Every request has its answer or its error.
    Completed,
    /// It was cancelled; what was answered before has its result.
    Cancelled,
    /// The vendor's time for it ended; what was answered before has its result.
    Expired,
    /// It failed as a whole.
    Failed,
    /// The vendor's own word; taken as not over.
    Other(String),
}

impl BatchState {
    /// True if nothing more will be answered.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Expired | Self::Failed)
    }
}

/// How many requests are how far; `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchCounts {
    /// All.
    pub total: Option<u64>,
    /// Not answered yet.
    pub waiting: Option<u64>,
    /// Answered.
    pub succeeded: Option<u64>,
    /// Ended in an error.
    pub failed: Option<u64>,
    /// Cancelled before they were answered.
    pub cancelled: Option<u64>,
    /// Not answered in time.
    pub expired: Option<u64>,
}

/// A batch as the vendor tells of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChatBatch {
    /// The vendor's id.
    pub id: String,
    /// How far it is.
    pub state: BatchState,
    /// The vendor's own word for that.
    pub state_raw: Option<String>,
    /// How many requests are how far.
    pub counts: BatchCounts,
    /// Why it failed as a whole.
    pub error: Option<Error>,
    /// What the vendor told, as it was, without results.
    pub raw: Value,
}

impl ChatBatch {
    /// A batch of which only id and state are known.
    pub fn new(id: impl Into<String>, state: BatchState) -> Self {
        Self {
            id: id.into(),
            state,
            state_raw: None,
            counts: BatchCounts::default(),
            error: None,
            raw: Value::Null,
        }
    }

    /// Sets the vendor's own word for the state.
    pub fn with_state_raw(mut self, word: impl Into<String>) -> Self {
        self.state_raw = Some(word.into());
        self
    }

    /// Sets the counts.
    pub fn with_counts(mut self, counts: BatchCounts) -> Self {
        self.counts = counts;
        self
    }

    /// Sets why it failed.
    pub fn with_error(mut self, error: Error) -> Self {
        self.error = Some(error);
        self
    }

    /// Sets what the vendor told.
    pub fn with_raw(mut self, raw: Value) -> Self {
        self.raw = raw;
        self
    }
}

/// The result of one request: its name, and its answer or its own error.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchResult {
    /// The caller's name for the request.
    pub custom_id: String,
    /// The answer; else why there is none: `Timeout` if the batch expired before, `Cancelled` if it was cancelled before.
    pub response: Result<ChatResponse>,
}

impl BatchResult {
    /// A result.
    pub fn new(custom_id: impl Into<String>, response: Result<ChatResponse>) -> Self {
        Self { custom_id: custom_id.into(), response }
    }
}

/// Results in the vendor's order, which is any. An `Err` item is a result that can't be read (`InvalidOutput`; the stream goes on)
/// or a stream that broke (the last item).
pub type BatchResults = BoxStream<'static, Result<BatchResult>>;

/// A model that answers batches of requests.
///
/// # Contract
/// - `bad_orders_are_invalid`: an order without requests, or with a name that is empty or comes twice, is `InvalidInput`.
/// - `one_bad_request_is_all`: a request that can't be expressed fails the order, and nothing is handed in.
/// - `results_come_by_name`: each result carries the name of its request; the order is any.
/// - `results_wait_for_the_end`: results of a batch that is not over are `Unavailable`, which is temporary.
/// - `one_bad_result_is_one`: a result that can't be read is one `Err` item; the others come.
/// - `cut_results_are_an_error`: results that were cut off end with an `Err` item, never silently.
#[async_trait]
pub trait BatchModel: fmt::Debug + Send + Sync {
    /// Name and abilities.
    fn info(&self) -> &ModelInfo;

    /// Hands in a batch.
    async fn create(&self, order: &BatchOrder) -> Result<ChatBatch>;

    /// Tells how far a batch is.
    async fn get(&self, id: &str) -> Result<ChatBatch>;

    /// Asks the vendor to stop; what is answered already stays.
    async fn cancel(&self, id: &str) -> Result<ChatBatch>;

    /// The results of a batch that is over.
    async fn results(&self, id: &str) -> Result<BatchResults>;
}

/// How to wait for a batch.
///
/// ```
/// use std::time::Duration;
/// let wait = katena_core::BatchWait::new().with_every(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchWait {
    /// The time between two looks: 30 s.
    pub every: Duration,
    /// The longest time in all: 25 h, since vendors give a batch 24.
    pub at_most: Duration,
    /// How many looks in a row may fail for a while: 5.
    pub patience: u32,
    /// Deadline and cancel signal of the waiting; the batch goes on.
    pub context: Context,
}

impl Default for BatchWait {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            at_most: Duration::from_secs(25 * 3600),
            patience: 5,
            context: Context::new(),
        }
    }
}

impl BatchWait {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time between two looks.
    pub fn with_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Sets the longest time in all.
    pub fn with_at_most(mut self, at_most: Duration) -> Self {
        self.at_most = at_most;
        self
    }

    /// Sets how many looks in a row may fail for a while.
    pub fn with_patience(mut self, patience: u32) -> Self {
        self.patience = patience;
        self
    }

    /// Sets deadline and cancel signal of the waiting.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// Conveniences of every [`BatchModel`].
pub trait BatchModelExt: BatchModel {
    /// Looks again and again until the batch is over, however it ended. A temporary error is borne as long as
    /// [`patience`](BatchWait::patience) says.
    ///
    /// # Errors
    /// Kind `Timeout` after the longest time or the deadline, `Cancelled` after the signal; those of
    /// [`get`](BatchModel::get).
    fn wait<'a>(
        &'a self,
        id: &'a str,
        clock: &'a dyn Clock,
        how: &'a BatchWait,
    ) -> BoxFuture<'a, Result<ChatBatch>> {
        Box::pin(async move {
            let start = clock.now();
            let mut failed = 0;
            loop {
                how.context.check()?;
                let pause = match how.context.cancel.guard(self.get(id)).await {
                    Ok(batch) if batch.state.is_over() => return Ok(batch),
                    Ok(_) => {
                        failed = 0;
                        how.every
                    }
                    Err(error) if error.is_temporary() && failed < how.patience => {
                        failed += 1;
                        error.retry_after().unwrap_or_default().max(how.every)
                    }
                    Err(error) => return Err(error),
                };
                let passed = clock.now().saturating_duration_since(start);
                if passed.saturating_add(pause) > how.at_most {
                    return Err(
                        Error::new(ErrorKind::Timeout, "the batch is not over yet").with_context("batch", id)
                    );
                }
                let nap = clock.sleep(pause);
                how.context.cancel.guard(nap.map(Ok)).await?;
            }
        })
    }
}

impl<M: BatchModel + ?Sized> BatchModelExt for M {}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
