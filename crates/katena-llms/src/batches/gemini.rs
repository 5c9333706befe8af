//! Batches of Gemini's Developer API: one call, an operation that holds its results.

use std::fmt;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use katena_core::{
    BatchCounts, BatchModel, BatchOrder, BatchResult, BatchResults, BatchState, ChatBatch, Context, Error,
    ErrorKind, ModelInfo, Result,
};
use katena_http::{ErrorDetails, Method};
use serde_json::{Value, json};

use super::{Batched, Desk, add_extras, check_over, custom_id, path_part};
use crate::gemini::GeminiChat;

/// The most bytes of requests within the call, by the vendor's page on batches.
const MAX_BYTES: usize = 20 << 20;

/// Batches of a Gemini model of the Developer API.
///
/// The requests go within the call, 20 MiB at most, and the results come within the operation. The extra `displayName` names
/// the batch in the vendor's list.
///
/// ```no_run
/// use katena_core::{BatchModel, BatchOrder, ChatRequest, Message};
/// use katena_llms::batches::GeminiBatch;
/// use katena_llms::gemini::GeminiChat;
/// # async fn f() -> katena_core::Result<()> {
/// let batches = GeminiBatch::new(GeminiChat::from_env("gemini-2.5-flash")?)?;
/// let order = BatchOrder::new().with_request("one", ChatRequest::new([Message::user("What is 2 + 2?")]));
/// let batch = batches.create(&order).await?;
/// println!("{} is {:?}", batch.id, batch.state);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct GeminiBatch {
    chat: GeminiChat,
    desk: Desk,
}

impl fmt::Debug for GeminiBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeminiBatch").field("chat", &self.chat).finish_non_exhaustive()
    }
}

impl GeminiBatch {
    /// Batches of this model, at its address and with its key.
    ///
    /// # Errors
    /// Kind `Unsupported` for a model on Vertex AI, which has batches of another kind.
    pub fn new(chat: GeminiChat) -> Result<Self> {
        if !chat.is_developer() {
            return Err(Error::unsupported("this place has no batches of this protocol"));
        }
        Ok(Self { desk: Desk::new(chat.clone()), chat })
    }

    async fn operation(&self, id: &str) -> Result<Value> {
        let call = self.desk.request(Method::Get, &path(id)?)?;
        self.desk.ask(call, &Context::new(), Ok).await
    }
}

/// An operation's name is `batches/…`; the bare id is understood too.
fn path(id: &str) -> Result<String> {
    Ok(format!("batches/{}", path_part(id.strip_prefix("batches/").unwrap_or(id))?))
}

#[async_trait]
impl BatchModel for GeminiBatch {
    fn info(&self) -> &ModelInfo {
        self.desk.info()
    }

    async fn create(&self, order: &BatchOrder) -> Result<ChatBatch> {
        let requests = self.desk.bodies(order)?.into_iter();
        let requests = requests.map(|(id, body)| json!({"request": body, "metadata": {"custom_id": id}}));
        let requests = json!({"requests": requests.collect::<Vec<_>>()});
        let mut batch = json!({"inputConfig": {"requests": requests}});
        add_extras(&mut batch, order, &["inputConfig", "input_config"]).map_err(|e| self.desk.named(e))?;
        if batch.get("displayName").is_none() && batch.get("display_name").is_none() {
            batch["displayName"] = json!("katena");
        }
        let path = format!("{}:batchGenerateContent", self.chat.model_path());
        let call = self.desk.request(Method::Post, &path)?.with_json(&json!({"batch": batch}))?;
        if call.body().len() > MAX_BYTES {
            return Err(self
                .desk
                .named(Error::invalid_input("the batch is larger than the vendor takes within a call")));
        }
        self.desk.ask(call, &order.context, read_batch).await
    }

    async fn get(&self, id: &str) -> Result<ChatBatch> {
        read_batch(self.operation(id).await?).map_err(|e| self.desk.named(e))
    }

    async fn cancel(&self, id: &str) -> Result<ChatBatch> {
        let call =
            self.desk.request(Method::Post, &format!("{}:cancel", path(id)?))?.with_json(&json!({}))?;
        self.desk.ask(call, &Context::new(), |_| Ok(())).await?;
        self.get(id).await
    }

    async fn results(&self, id: &str) -> Result<BatchResults> {
        let mut operation = self.operation(id).await?;
        let batch = read_batch(operation.clone()).and_then(|b| check_over(&b).map(|()| b));
        let batch = batch.map_err(|e| self.desk.named(e))?;
        // The output stands in two places.
        let outputs =
            [take(&mut operation, "response"), take(&mut take(&mut operation, "metadata"), "output")];
        let mut found = None;
        for mut output in outputs {
            let mut list = take(&mut output, "inlinedResponses");
            if list.is_object() {
                list = take(&mut list, "inlinedResponses");
            }
            if let Value::Array(list) = list {
                found = Some(list);
                break;
            }
            if output["responsesFile"].is_string() {
                let what = "the results stand in a file, which only a batch from a file has";
                return Err(self.desk.named(Error::unsupported(what)));
            }
        }
        let list = match found {
            Some(list) => list,
            None if batch.state == BatchState::Completed => {
                return Err(self.desk.named(Error::invalid_output("the batch is over, but has no results")));
            }
            None => Vec::new(),
        };
        let desk = self.desk.clone();
        let results = list.into_iter().map(move |raw| read_result(&*desk.0, raw).map_err(|e| desk.named(e)));
        Ok(stream::iter(results).boxed())
    }
}

/// Takes a member out; null if there is none.
fn take(value: &mut Value, key: &str) -> Value {
    value.as_object_mut().and_then(|o| o.remove(key)).unwrap_or_default()
}

/// Numbers come as text.
fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn read_batch(mut raw: Value) -> Result<ChatBatch> {
    let Some(id) = raw["name"].as_str().map(str::to_owned) else {
        return Err(Error::invalid_output("the server's reply is no batch"));
    };
    if let Some(raw) = raw.as_object_mut() {
        raw.remove("response");
        if let Some(metadata) = raw.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("output");
        }
    }
    let error = raw.get("error").filter(|e| !e.is_null()).map(error_of);
    let word = raw["metadata"]["state"].as_str().unwrap_or_default();
    let state = match word.rsplit("STATE_").next().unwrap_or_default() {
        "PENDING" | "QUEUED" => BatchState::Waiting,
        "RUNNING" => BatchState::Running,
        "CANCELLING" => BatchState::Cancelling,
        "SUCCEEDED" | "PARTIALLY_SUCCEEDED" => BatchState::Completed,
        "FAILED" => BatchState::Failed,
        "CANCELLED" => BatchState::Cancelled,
        "EXPIRED" => BatchState::Expired,
        "" | "UNSPECIFIED" if raw["done"] == true && error.is_some() => BatchState::Failed,
        "" | "UNSPECIFIED" if raw["done"] == true => BatchState::Completed,
        "" => BatchState::Waiting,
        other => BatchState::Other(other.to_owned()),
    };
    let stats = &raw["metadata"]["batchStats"];
    let mut counts = BatchCounts::default();
    counts.total = count(&stats["requestCount"]);
    counts.waiting = count(&stats["pendingRequestCount"]);
    counts.succeeded = count(&stats["successfulRequestCount"]);
    counts.failed = count(&stats["failedRequestCount"]);
    let mut batch = ChatBatch::new(id, state).with_counts(counts);
    if !word.is_empty() {
        batch = batch.with_state_raw(word);
    }
    batch.error = error;
    Ok(batch.with_raw(raw))
}

/// An error of the operation or of one request: a `google.rpc.Status`, whose code is not one of HTTP.
fn error_of(status: &Value) -> Error {
    let details = ErrorDetails::from_value(&json!({ "error": status })).unwrap_or_default();
    let kind = match status["code"].as_u64() {
        Some(1) => ErrorKind::Cancelled,
        Some(3 | 9 | 11) => ErrorKind::InvalidInput,
        Some(4) => ErrorKind::Timeout,
        Some(5) => ErrorKind::NotFound,
        Some(7) => ErrorKind::PermissionDenied,
        Some(8) => ErrorKind::RateLimited,
        Some(12) => ErrorKind::Unsupported,
        Some(16) => ErrorKind::Unauthenticated,
        _ => return details.into_error(None),
    };
    Error::new(kind, details.message)
}

fn read_result(chat: &dyn Batched, mut raw: Value) -> Result<BatchResult> {
    let id = custom_id(&raw["metadata"])?;
    let response = match raw.get("error").filter(|e| !e.is_null()) {
        Some(error) => Err(error_of(error)),
        None if raw["response"].is_object() => chat.decode(raw["response"].take()),
        None => {
            return Err(Error::invalid_output("a result of the batch has neither answer nor error")
                .with_context("custom id", id));
        }
    };
    let vendor = &chat.info().vendor;
    let response = response.map(|mut r| {
        r.vendor.get_or_insert_with(|| vendor.clone());
        r
    });
    Ok(BatchResult::new(id, response.map_err(|e| e.with_vendor(vendor.clone()))))
}
