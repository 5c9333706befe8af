//! Batches of OpenAI: a file of requests, a batch, files of results.

use std::fmt;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use katena_core::{
    BatchCounts, BatchModel, BatchOrder, BatchResult, BatchResults, BatchState, ChatBatch, Context, Error,
    ModelInfo, Result,
};
use katena_http::multipart::Form;
use katena_http::{ErrorDetails, Method};
use serde_json::{Value, json};

use super::{Batched, Desk, add_extras, cancelled, check_over, custom_id, expired, path_part};

/// The most requests of a batch, and bytes of its file, by the vendor's page on batches.
const MAX_REQUESTS: usize = 50_000;
const MAX_BYTES: usize = 200 << 20;

/// Batches of a model of OpenAI, or of a server with the same routes for files and batches.
///
/// ```no_run
/// use katena_core::{BatchModel, BatchOrder, ChatRequest, Message};
/// use katena_llms::OpenAiChat;
/// use katena_llms::batches::OpenAiBatch;
/// # async fn f() -> katena_core::Result<()> {
/// let batches = OpenAiBatch::new(OpenAiChat::from_env("gpt-5-mini")?);
/// let order = BatchOrder::new().with_request("one", ChatRequest::new([Message::user("What is 2 + 2?")]));
/// let batch = batches.create(&order).await?;
/// println!("{} is {:?}", batch.id, batch.state);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenAiBatch {
    desk: Desk,
    route: String,
}

impl fmt::Debug for OpenAiBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiBatch").field("chat", &self.desk.0).field("route", &self.route).finish()
    }
}

impl OpenAiBatch {
    /// Batches of chat completions, at the model's address and with its key.
    #[cfg(feature = "openai")]
    pub fn new(chat: crate::OpenAiChat) -> Self {
        Self { desk: Desk::new(chat), route: "/v1/chat/completions".to_owned() }
    }

    /// Batches of responses, at the model's address and with its key.
    #[cfg(feature = "responses")]
    pub fn responses(chat: crate::OpenAiResponses) -> Self {
        Self { desk: Desk::new(chat), route: "/v1/responses".to_owned() }
    }

    /// Sets the route that each request names, where a server calls it otherwise; `/v1/chat/completions` or `/v1/responses`
    /// without this.
    pub fn with_route(mut self, route: impl Into<String>) -> Self {
        self.route = route.into();
        self
    }

    async fn call(&self, method: Method, path: &str) -> Result<ChatBatch> {
        let call = self.desk.request(method, path)?;
        self.desk.ask(call, &Context::new(), read_batch).await
    }

    /// The file of requests, one a line.
    fn file(&self, order: &BatchOrder) -> Result<Vec<u8>> {
        let bodies = self.desk.bodies(order)?;
        if bodies.len() > MAX_REQUESTS {
            return Err(Error::invalid_input("the batch has more requests than the vendor takes"));
        }
        let mut file = Vec::new();
        for (id, body) in bodies {
            let line = json!({"custom_id": id, "method": "POST", "url": self.route, "body": body});
            serde_json::to_writer(&mut file, &line)
                .map_err(|e| Error::invalid_input("a request can't be written as JSON").with_source(e))?;
            file.push(b'\n');
            if file.len() > MAX_BYTES {
                return Err(Error::invalid_input("the batch is larger than the vendor takes"));
            }
        }
        Ok(file)
    }
}

#[async_trait]
impl BatchModel for OpenAiBatch {
    fn info(&self) -> &ModelInfo {
        self.desk.info()
    }

    async fn create(&self, order: &BatchOrder) -> Result<ChatBatch> {
        let file = self.file(order).map_err(|e| self.desk.named(e))?;
        let mut body = json!({"endpoint": self.route});
        add_extras(&mut body, order, &["input_file_id", "endpoint"]).map_err(|e| self.desk.named(e))?;
        if body.get("completion_window").is_none() {
            body["completion_window"] = json!("24h");
        }
        let form = Form::new().with_text("purpose", "batch");
        let form = form.with_file("file", "batch.jsonl", "application/jsonl", file).encode()?;
        let call = self.desk.request(Method::Post, "files")?.with_body("multipart/form-data", form.bytes);
        let call = call.with_header("content-type", form.content_type);
        let file = self.desk.ask(call, &order.context, |raw| match raw["id"].as_str() {
            Some(id) => Ok(id.to_owned()),
            None => Err(Error::invalid_output("the server's reply is no file")),
        });
        let file = file.await?;
        body["input_file_id"] = json!(file);
        let call = self.desk.request(Method::Post, "batches")?.with_json(&body)?;
        // The file is there now; who wants to can use it again or take it away.
        let batch = self.desk.ask(call, &order.context, read_batch).await;
        batch.map_err(|e| e.with_context("input file", file))
    }

    async fn get(&self, id: &str) -> Result<ChatBatch> {
        self.call(Method::Get, &format!("batches/{}", path_part(id)?)).await
    }

    async fn cancel(&self, id: &str) -> Result<ChatBatch> {
        self.call(Method::Post, &format!("batches/{}/cancel", path_part(id)?)).await
    }

    async fn results(&self, id: &str) -> Result<BatchResults> {
        let batch = self.get(id).await?;
        check_over(&batch).map_err(|e| self.desk.named(e))?;
        let mut files = Vec::new();
        for key in ["output_file_id", "error_file_id"] {
            if let Some(file) = batch.raw[key].as_str() {
                files.push(format!("files/{}/content", path_part(file).map_err(|e| self.desk.named(e))?));
            }
        }
        let desk = self.desk.clone();
        let each =
            stream::iter(files).then(move |path| {
                let desk = desk.clone();
                async move {
                    desk.lines(&path, read_result).await.unwrap_or_else(|e| stream::iter([Err(e)]).boxed())
                }
            });
        Ok(each.flatten().boxed())
    }
}

fn read_batch(raw: Value) -> Result<ChatBatch> {
    let Some(id) = raw["id"].as_str() else {
        return Err(Error::invalid_output("the server's reply is no batch"));
    };
    let word = raw["status"].as_str().unwrap_or_default();
    let state = match word {
        "validating" => BatchState::Waiting,
        "in_progress" | "finalizing" => BatchState::Running,
        "cancelling" => BatchState::Cancelling,
        "completed" => BatchState::Completed,
        "cancelled" => BatchState::Cancelled,
        "expired" => BatchState::Expired,
        "failed" => BatchState::Failed,
        other => BatchState::Other(other.to_owned()),
    };
    let count = |key: &str| raw["request_counts"][key].as_u64();
    let mut counts = BatchCounts::default();
    // Nothing is counted while the file is checked.
    counts.total = count("total").filter(|n| *n > 0 || state != BatchState::Waiting);
    counts.succeeded = count("completed");
    counts.failed = count("failed");
    let done = counts.succeeded.unwrap_or(0).saturating_add(counts.failed.unwrap_or(0));
    counts.waiting = counts.total.filter(|_| !state.is_over()).map(|n| n.saturating_sub(done));
    let mut batch = ChatBatch::new(id, state).with_state_raw(word).with_counts(counts);
    if batch.state == BatchState::Failed {
        let first = raw["errors"]["data"].get(0).or_else(|| raw["errors"].get(0));
        let details = first.and_then(ErrorDetails::from_value);
        batch.error =
            details.map(|d| Error::invalid_input(d.message).with_context("code", d.code.unwrap_or_default()));
    }
    Ok(batch.with_raw(raw))
}

fn read_result(chat: &dyn Batched, mut raw: Value) -> Result<BatchResult> {
    let id = custom_id(&raw)?;
    let mut reply = raw["response"].take();
    let status = reply["status_code"].as_u64().and_then(|n| u16::try_from(n).ok());
    let request_id = reply["request_id"].as_str().map(str::to_owned);
    let mut response = match (&raw["error"], status) {
        (Value::Null, Some(200..=299)) => chat.decode(reply["body"].take()),
        (Value::Null, Some(status)) => {
            Err(ErrorDetails::from_value(&reply["body"]).unwrap_or_default().into_error(Some(status)))
        }
        (Value::Null, None) => {
            return Err(Error::invalid_output("a result of the batch has neither answer nor error")
                .with_context("custom id", id));
        }
        (error, _) => Err(match error["code"].as_str() {
            Some("batch_expired") => expired(),
            Some("batch_cancelled") => cancelled(),
            _ => ErrorDetails::from_value(&json!({ "error": error })).unwrap_or_default().into_error(None),
        }),
    };
    if let Some(request_id) = request_id {
        response = match response {
            Ok(response) => Ok(response.with_request_id(request_id)),
            Err(error) => Err(error.with_request_id(request_id)),
        };
    }
    let vendor = &chat.info().vendor;
    if let Ok(response) = &mut response {
        response.vendor.get_or_insert_with(|| vendor.clone());
    }
    Ok(BatchResult::new(id, response.map_err(|e| e.with_vendor(vendor.clone()))))
}
