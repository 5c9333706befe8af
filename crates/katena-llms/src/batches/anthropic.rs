//! Batches of Anthropic: one call, results as lines.

use std::fmt;

use async_trait::async_trait;
use katena_core::{
    BatchCounts, BatchModel, BatchOrder, BatchResult, BatchResults, BatchState, ChatBatch, Context, Error,
    ModelInfo, Result,
};
use katena_http::{ErrorDetails, Method};
use serde_json::{Value, json};

use super::{Batched, Desk, add_extras, cancelled, check_over, custom_id, expired, path_part};
use crate::AnthropicChat;
use crate::anthropic::below_v1;

/// The most requests of a batch, and bytes of its body, by the vendor's page on batches.
const MAX_REQUESTS: usize = 100_000;
const MAX_BYTES: usize = 256 << 20;

/// Batches of a model of Anthropic's own API. Names of requests are 1 to 64 letters, digits, `-` and `_`.
///
/// ```no_run
/// use futures_util::StreamExt;
/// use katena_core::{BatchModel, BatchOrder, ChatRequest, Message};
/// use katena_llms::AnthropicChat;
/// use katena_llms::batches::AnthropicBatch;
/// # async fn f() -> katena_core::Result<()> {
/// let batches = AnthropicBatch::new(AnthropicChat::from_env("claude-haiku-4-5")?)?;
/// let order = BatchOrder::new().with_request("one", ChatRequest::new([Message::user("What is 2 + 2?")]));
/// let batch = batches.create(&order).await?;
/// // Hours later:
/// let mut results = batches.results(&batch.id).await?;
/// while let Some(result) = results.next().await {
///     let result = result?;
///     println!("{}: {}", result.custom_id, result.response?.text());
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AnthropicBatch {
    chat: AnthropicChat,
    desk: Desk,
}

impl fmt::Debug for AnthropicBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicBatch").field("chat", &self.chat).finish_non_exhaustive()
    }
}

impl AnthropicBatch {
    /// Batches of this model, at its address and with its key.
    ///
    /// # Errors
    /// Kind `Unsupported` for a model on Vertex AI, which has batches of another kind.
    pub fn new(chat: AnthropicChat) -> Result<Self> {
        if !chat.is_api() {
            return Err(Error::unsupported("this place has no batches of this protocol"));
        }
        Ok(Self { desk: Desk::new(chat.clone()), chat })
    }

    fn path(&self, rest: &str) -> String {
        below_v1(self.desk.0.endpoint(), &format!("messages/batches{rest}"))
    }

    async fn call(&self, method: Method, rest: &str) -> Result<ChatBatch> {
        let call = self.desk.request(method, &self.path(rest))?;
        self.desk.ask(call, &Context::new(), read_batch).await
    }
}

#[async_trait]
impl BatchModel for AnthropicBatch {
    fn info(&self) -> &ModelInfo {
        self.desk.info()
    }

    async fn create(&self, order: &BatchOrder) -> Result<ChatBatch> {
        let bodies = self.desk.bodies(order)?;
        if bodies.len() > MAX_REQUESTS {
            return Err(self
                .desk
                .named(Error::invalid_input("the batch has more requests than the vendor takes")));
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if let Some((id, _)) = bodies.iter().find(|(id, _)| id.len() > 64 || !id.chars().all(fine)) {
            let what = "the vendor takes names of 1 to 64 letters, digits, - and _";
            return Err(self.desk.named(Error::invalid_input(what)).with_context("custom id", *id));
        }
        let betas = self.chat.betas_of(order.requests.iter().map(|r| &r.request))?;
        let requests = bodies.into_iter().map(|(id, body)| json!({"custom_id": id, "params": body}));
        let mut body = json!({"requests": requests.collect::<Vec<_>>()});
        add_extras(&mut body, order, &["requests"]).map_err(|e| self.desk.named(e))?;
        let mut call = self.desk.request(Method::Post, &self.path(""))?.with_json(&body)?;
        if call.body().len() > MAX_BYTES {
            return Err(self.desk.named(Error::invalid_input("the batch is larger than the vendor takes")));
        }
        if !betas.is_empty() {
            call = call.with_header("anthropic-beta", betas.join(","));
        }
        self.desk.ask(call, &order.context, read_batch).await
    }

    async fn get(&self, id: &str) -> Result<ChatBatch> {
        self.call(Method::Get, &format!("/{}", path_part(id)?)).await
    }

    async fn cancel(&self, id: &str) -> Result<ChatBatch> {
        self.call(Method::Post, &format!("/{}/cancel", path_part(id)?)).await
    }

    /// The address of the results that the vendor names is not followed: the key goes only where it was set to go.
    async fn results(&self, id: &str) -> Result<BatchResults> {
        check_over(&self.get(id).await?).map_err(|e| self.desk.named(e))?;
        self.desk.lines(&self.path(&format!("/{}/results", path_part(id)?)), read_result).await
    }
}

fn read_batch(raw: Value) -> Result<ChatBatch> {
    let Some(id) = raw["id"].as_str() else {
        return Err(Error::invalid_output("the server's reply is no batch"));
    };
    let count = |key: &str| raw["request_counts"][key].as_u64();
    let mut counts = BatchCounts::default();
    counts.waiting = count("processing");
    counts.succeeded = count("succeeded");
    counts.failed = count("errored");
    counts.cancelled = count("canceled");
    counts.expired = count("expired");
    let all = [counts.waiting, counts.succeeded, counts.failed, counts.cancelled, counts.expired];
    counts.total = all.into_iter().sum();
    let word = raw["processing_status"].as_str().unwrap_or_default();
    let state = match word {
        "in_progress" => BatchState::Running,
        "canceling" => BatchState::Cancelling,
        // The vendor ends all batches alike; the counts tell how.
        "ended" if counts.cancelled > Some(0) => BatchState::Cancelled,
        "ended" if counts.expired > Some(0) => BatchState::Expired,
        "ended" => BatchState::Completed,
        other => BatchState::Other(other.to_owned()),
    };
    Ok(ChatBatch::new(id, state).with_state_raw(word).with_counts(counts).with_raw(raw.clone()))
}

fn read_result(chat: &dyn Batched, mut raw: Value) -> Result<BatchResult> {
    let id = custom_id(&raw)?;
    let mut result = raw["result"].take();
    let response = match result["type"].as_str() {
        Some("succeeded") => chat.decode(result["message"].take()),
        Some("errored") => {
            // The error stands within an envelope that is itself an error.
            let details =
                ErrorDetails::from_value(&result["error"]).or_else(|| ErrorDetails::from_value(&result));
            Err(details.unwrap_or_default().into_error(None))
        }
        Some("canceled") => Err(cancelled()),
        Some("expired") => Err(expired()),
        _ => {
            return Err(Error::invalid_output("a result of the batch is of an unknown kind")
                .with_context("custom id", id));
        }
    };
    let vendor = chat.info().vendor.clone();
    Ok(BatchResult::new(id, response.map_err(|e| e.with_vendor(vendor))))
}
