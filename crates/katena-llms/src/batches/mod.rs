//! Batches of chat requests at OpenAI, Anthropic and Gemini: answered within a day, for about half the price.
//!
//! A batch is made of the chat model that would answer its requests one by one, and its results are read by the same
//! decoder. [`BatchModelExt::wait`](katena_core::BatchModelExt::wait) waits until it is over.
//!
//! | features | component | how |
//! |---|---|---|
//! | `batches`, `openai` (or `responses`) | `OpenAiBatch` | a file of requests, a batch, files of results |
//! | `batches`, `anthropic` | `AnthropicBatch` | one call, results as lines |
//! | `batches`, `gemini` | `GeminiBatch` | one call, an operation that holds its results |

#[cfg(feature = "anthropic")]
mod anthropic;
#[cfg(feature = "gemini")]
mod gemini;
#[cfg(any(feature = "openai", feature = "responses"))]
mod openai;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::{
    BatchOrder, BatchResult, BatchResults, ChatBatch, ChatRequest, ChatResponse, Context, Error, ErrorKind,
    ModelInfo, Result,
};
use katena_http::ndjson::NdjsonStream;
use katena_http::{Endpoint, HttpClient, HttpRequest, Method};
use serde_json::Value;

#[cfg(feature = "anthropic")]
pub use anthropic::AnthropicBatch;
#[cfg(feature = "gemini")]
pub use gemini::GeminiBatch;
#[cfg(any(feature = "openai", feature = "responses"))]
pub use openai::OpenAiBatch;

/// What a chat model lends to its batches.
#[allow(dead_code, reason = "each vendor is a feature")]
#[async_trait]
pub(crate) trait Batched: fmt::Debug + Send + Sync + 'static {
    fn info(&self) -> &ModelInfo;
    fn client(&self) -> &HttpClient;
    fn endpoint(&self) -> &Endpoint;
    /// The body that would ask for a whole answer.
    fn encode(&self, request: &ChatRequest) -> Result<Value>;
    /// Reads a whole answer.
    fn decode(&self, raw: Value) -> Result<ChatResponse>;
    /// Adds the context, and the token that is good now.
    async fn open(&self, call: HttpRequest, context: &Context) -> Result<HttpRequest>;
}

/// Calls that every vendor's batches are made of.
#[derive(Clone)]
#[allow(dead_code, reason = "each vendor is a feature")]
pub(crate) struct Desk(Arc<dyn Batched>);

#[allow(dead_code, reason = "each vendor is a feature and uses its own part of this")]
impl Desk {
    fn new(chat: impl Batched) -> Self {
        Self(Arc::new(chat))
    }

    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    /// Names the vendor in an error.
    fn named(&self, error: Error) -> Error {
        error.with_vendor(self.info().vendor.clone())
    }

    fn request(&self, method: Method, path: &str) -> Result<HttpRequest> {
        HttpRequest::new(method, self.0.endpoint(), path)
    }

    /// Calls, and reads the reply with `read`.
    async fn ask<T>(
        &self,
        call: HttpRequest,
        context: &Context,
        read: impl FnOnce(Value) -> Result<T>,
    ) -> Result<T> {
        context.check()?;
        let call = self.0.open(call.with_header("accept", "application/json"), context).await?;
        let reply = self.0.client().send(call).await?;
        reply.json::<Value>().and_then(read).map_err(|e| reply.mark(e))
    }

    /// The bodies of all requests, with their names; one that can't be said fails them all.
    fn bodies<'a>(&self, order: &'a BatchOrder) -> Result<Vec<(&'a str, Value)>> {
        order.check().map_err(|e| self.named(e))?;
        let body = |r: &'a katena_core::BatchRequest| match self.0.encode(&r.request) {
            Ok(body) => Ok((r.custom_id.as_str(), body)),
            Err(e) => Err(self.named(e).with_context("custom id", r.custom_id.clone())),
        };
        order.requests.iter().map(body).collect()
    }

    /// Results that come as lines; one that `read` can't understand is one error.
    async fn lines(
        &self,
        path: &str,
        read: fn(&dyn Batched, Value) -> Result<BatchResult>,
    ) -> Result<BatchResults> {
        let call = self.0.open(self.request(Method::Get, path)?, &Context::new()).await?;
        let body = self.0.client().open(call).await?;
        let (mark, chat) = (body.marker(), self.0.clone());
        let results = NdjsonStream::new(body).map(move |line| {
            let broken = |e: serde_json::Error| {
                Error::invalid_output("a line of the batch's results can't be read").with_source(e)
            };
            let result = line.and_then(|l| serde_json::from_str::<Value>(&l).map_err(broken));
            result.and_then(|value| read(&*chat, value)).map_err(&mark)
        });
        Ok(results.boxed())
    }
}

/// The name that a result carries.
#[allow(dead_code, reason = "each vendor is a feature")]
fn custom_id(result: &Value) -> Result<String> {
    match result.get("custom_id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err(Error::invalid_output("a result of the batch does not say whose it is")),
    }
}

/// An id as it may stand in a path.
#[allow(dead_code, reason = "each vendor is a feature")]
fn path_part(id: &str) -> Result<&str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.starts_with('.') || !id.chars().all(fine) {
        return Err(Error::invalid_input("not an id of this vendor")
            .with_context("id", id.chars().take(200).collect::<String>()));
    }
    Ok(id)
}

#[allow(dead_code, reason = "each vendor is a feature")]
fn expired() -> Error {
    Error::new(ErrorKind::Timeout, "the batch expired before this request was answered")
}

#[allow(dead_code, reason = "each vendor is a feature")]
fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the batch was cancelled before this request was answered")
}

/// Whether there can be results; if not, why.
#[allow(dead_code, reason = "each vendor is a feature")]
fn check_over(batch: &ChatBatch) -> Result<()> {
    use katena_core::BatchState;
    let error = match &batch.state {
        BatchState::Failed => match &batch.error {
            Some(error) => error.clone(),
            None => Error::invalid_input("the batch failed as a whole"),
        },
        state if state.is_over() => return Ok(()),
        _ => Error::new(ErrorKind::Unavailable, "the batch is not over yet").with_temporary(true),
    };
    Err(error.with_context("batch", batch.id.clone()))
}

/// Extras of the order go into the body, unless they repeat what it has.
#[allow(dead_code, reason = "each vendor is a feature")]
fn add_extras(body: &mut Value, order: &BatchOrder, ours: &[&str]) -> Result<()> {
    for (name, value) in &order.extra {
        if ours.contains(&name.as_str()) {
            return Err(Error::invalid_input("an extra repeats a field that the batch sets")
                .with_context("extra", name.clone()));
        }
        body[name] = value.clone();
    }
    Ok(())
}

/// A body as a value.
#[allow(dead_code, reason = "each vendor is a feature")]
pub(crate) fn value_of(body: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(body)
        .map_err(|e| Error::invalid_input("a request can't be written as JSON").with_source(e))
}
