//! Fake chat models.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};

use crate::chat::{ChatModel, ChatRequest, ResponseFormat, ToolChoice};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{ChatEvent, ChatStream};
use crate::info::{ChatCapabilities, ModelInfo};
use crate::message::{Message, Part, Role, ToolCall};
use crate::response::{ChatResponse, FinishReason, Usage};

fn refuse_what_is_impossible(request: &ChatRequest, can: ChatCapabilities) -> Result<()> {
    request.context.check()?;
    if request.messages.is_empty() {
        return Err(Error::invalid_input("a chat request needs at least one message"));
    }
    let no = |what: &'static str| Err(Error::unsupported(what));
    if !request.tools.is_empty() && !can.tools {
        return no("this fake calls no tools");
    }
    if request.response_format.is_some() && !can.json_schema {
        return no("this fake writes no JSON");
    }
    if let Some(ResponseFormat::Regex { .. } | ResponseFormat::Grammar { .. }) = request.response_format {
        return no("this fake writes no text of a regular expression or grammar");
    }
    if request.logprobs.is_some() && !can.logprobs {
        return no("this fake has no log-probabilities");
    }
    if request.seed.is_some() && !can.seed {
        return no("this fake has no sampler to seed");
    }
    if !request.stop.is_empty() && !can.stop {
        return no("this fake stops at no text");
    }
    let images = |p: &Part| {
        matches!(p, Part::Image { .. } | Part::Audio { .. } | Part::Video { .. } | Part::File { .. })
    };
    if !can.images && request.messages.iter().flat_map(|m| &m.parts).any(images) {
        return no("this fake sees no media");
    }
    Ok(())
}

/// Splits after each space, so that streams have several deltas.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// A stream of a ready response, text word by word, that stops at the cancel signal.
fn stream_of(response: ChatResponse, context: &Context) -> ChatStream {
    let mut events = Vec::new();
    for event in ChatEvent::of_response(response) {
        match event {
            ChatEvent::Delta { part, text } => events.extend(words(&text).map(|w| ChatEvent::delta(part, w))),
            event => events.push(event),
        }
    }
    let cancel = context.cancel.clone();
    let mut cut = false;
    stream::iter(events)
        .map(move |event| if cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(event) })
        .take_while(move |event| std::future::ready(!std::mem::replace(&mut cut, event.is_err())))
        .boxed()
}

/// Answers with the last user message; words count as tokens.
///
/// With a required tool call it calls the first (or named) tool with `{}`-like arguments made from the schema's required
/// fields; with a JSON schema it writes the same kind of object.
#[derive(Debug, Clone)]
pub struct EchoChat {
    info: ModelInfo,
}

impl Default for EchoChat {
    fn default() -> Self {
        let can =
            ChatCapabilities::none().with_usage().with_stop().with_seed().with_tools().with_json_schema();
        Self { info: ModelInfo::new("fake", "echo").with_capabilities(can) }
    }
}

impl EchoChat {
    /// An echo.
    pub fn new() -> Self {
        Self::default()
    }

    fn answer(&self, request: &ChatRequest) -> Result<ChatResponse> {
        refuse_what_is_impossible(request, self.info.capabilities)?;
        let input: u64 = request.messages.iter().map(|m| words(&m.text()).count() as u64).sum();
        let forced = match &request.tool_choice {
            Some(ToolChoice::Required) => request.tools.first(),
            Some(ToolChoice::Named(name)) => request.tools.iter().find(|t| t.name == *name),
            _ => None,
        };
        if let Some(tool) = forced {
            let call = ToolCall::new("call_1", &tool.name, example(&tool.parameters).to_string());
            let message = Message::new(Role::Assistant, vec![Part::ToolCall(call)]);
            return Ok(ChatResponse::new(message, FinishReason::ToolCalls).with_usage(Usage::new(input, 1)));
        }
        let said = request
            .messages
            .iter()
            .rev()
            .find(|m| m.role == Role::User)
            .map(Message::text)
            .unwrap_or_default();
        let mut text = match &request.response_format {
            Some(crate::ResponseFormat::JsonSchema { schema, .. }) => example(schema).to_string(),
            Some(crate::ResponseFormat::JsonObject) => "{}".to_owned(),
            // `check` has refused the others.
            _ => said,
        };
        for stop in request.stop.iter().filter(|s| !s.is_empty()) {
            if let Some(at) = text.find(stop.as_str()) {
                text.truncate(at);
            }
        }
        let mut finish = FinishReason::Stop;
        if let Some(limit) = request.max_tokens.map(|m| m as usize)
            && words(&text).count() > limit
        {
            text = words(&text).take(limit).collect();
            finish = FinishReason::Length;
        }
        let output = words(&text).count() as u64;
        let parts = if text.is_empty() { Vec::new() } else { vec![Part::text(text)] };
        Ok(ChatResponse::new(Message::new(Role::Assistant, parts), finish)
            .with_usage(Usage::new(input, output)))
    }
}

/// The plainest value that fits a simple schema.
fn example(schema: &serde_json::Value) -> serde_json::Value {
    use serde_json::{Value, json};
    if let Some(first) = schema.get("enum").and_then(|e| e.get(0)) {
        return first.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let fields = schema.get("properties").and_then(Value::as_object);
            let object = fields.into_iter().flatten().map(|(k, v)| (k.clone(), example(v)));
            Value::Object(object.collect())
        }
        Some("array") => json!([]),
        Some("integer" | "number") => json!(0),
        Some("boolean") => json!(false),
        Some("null") => Value::Null,
        _ => json!("text"),
    }
}

#[async_trait]
impl ChatModel for EchoChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.answer(request)
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        Ok(stream_of(self.answer(request)?, &request.context))
    }
}

/// Answers with prepared responses, in order, and keeps the requests that it got.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChatModel, ChatRequest, Message, fake::ScriptedChat};
/// let model = ScriptedChat::texts(["one", "two"]);
/// let request = ChatRequest::new([Message::user("count")]);
/// assert_eq!(model.generate(&request).await.unwrap().text(), "one");
/// assert_eq!(model.generate(&request).await.unwrap().text(), "two");
/// assert!(model.generate(&request).await.is_err());
/// assert_eq!(model.requests().len(), 3);
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct ScriptedChat {
    info: ModelInfo,
    script: Arc<Mutex<VecDeque<Result<ChatResponse>>>>,
    requests: Arc<Mutex<Vec<ChatRequest>>>,
}

impl fmt::Debug for ScriptedChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScriptedChat")
    }
}

impl ScriptedChat {
    /// Answers with these, in order; afterwards each call is an error.
    pub fn new(script: impl IntoIterator<Item = Result<ChatResponse>>) -> Self {
        let can = ChatCapabilities::none().with_tools().with_json_schema().with_images().with_logprobs();
        Self {
            info: ModelInfo::new("fake", "scripted").with_capabilities(can),
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            requests: Arc::default(),
        }
    }

    /// Answers with these texts, in order.
    pub fn texts<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self::new(texts.into_iter().map(|text| {
            let text = text.into();
            let usage = Usage::new(1, words(&text).count() as u64);
            Ok(ChatResponse::new(Message::assistant(text), FinishReason::Stop).with_usage(usage))
        }))
    }

    /// The requests so far, with their contexts.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn next(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        refuse_what_is_impossible(request, self.info.capabilities)?;
        let next = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.unwrap_or_else(|| Err(Error::unexpected("the script has no further answer")))
    }
}

#[async_trait]
impl ChatModel for ScriptedChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.next(request)
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        Ok(stream_of(self.next(request)?, &request.context))
    }
}

/// Fails a number of times, then answers as another model does. Streams fail before their first event, or in the middle.
#[derive(Debug)]
pub struct FlakyChat<M> {
    inner: M,
    left: Mutex<u32>,
    error: Error,
    mid_stream: bool,
}

impl<M: ChatModel> FlakyChat<M> {
    /// `inner` after `failures` temporary errors of kind `Unavailable`.
    pub fn new(inner: M, failures: u32) -> Self {
        let error = Error::new(ErrorKind::Unavailable, "the fake is flaky");
        Self { inner, left: Mutex::new(failures), error, mid_stream: false }
    }

    /// Fails with this error.
    pub fn with_error(mut self, error: Error) -> Self {
        self.error = error;
        self
    }

    /// Lets streams fail after their first event.
    pub fn with_failures_mid_stream(mut self) -> Self {
        self.mid_stream = true;
        self
    }

    fn fails(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        fails
    }
}

#[async_trait]
impl<M: ChatModel> ChatModel for FlakyChat<M> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        if self.fails() { Err(self.error.clone()) } else { self.inner.generate(request).await }
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        if !self.fails() {
            return self.inner.stream(request).await;
        }
        if !self.mid_stream {
            return Err(self.error.clone());
        }
        let error = stream::iter([Err(self.error.clone())]);
        Ok(self.inner.stream(request).await?.take(1).chain(error).boxed())
    }
}
