//! Scripted replies and small tools.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unnecessary_wraps,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "each test file uses some of it"
)]

use std::sync::{Arc, Mutex};

use katena_core::fake::ScriptedChat;
use katena_core::{
    ChatModel, ChatRequest, ChatResponse, ChatStream, FinishReason, FnTool, Message, ModelInfo, Part, Result,
    Role, Run, ToolCall, ToolResult, Usage,
};

/// A reply with these tool calls: id, name, arguments.
pub fn calls<'a>(calls: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Result<ChatResponse> {
    let parts =
        calls.into_iter().map(|(id, name, args)| Part::ToolCall(ToolCall::new(id, name, args))).collect();
    let message = Message::new(Role::Assistant, parts);
    Ok(ChatResponse::new(message, FinishReason::ToolCalls).with_usage(Usage::new(10, 5)))
}

/// A reply with one tool call.
pub fn call(name: &str, args: &str) -> Result<ChatResponse> {
    calls([("c1", name, args)])
}

/// A reply with text.
pub fn text(text: &str) -> Result<ChatResponse> {
    Ok(ChatResponse::new(Message::assistant(text), FinishReason::Stop).with_usage(Usage::new(10, 5)))
}

/// A model with native tool calls.
pub fn script(replies: impl IntoIterator<Item = Result<ChatResponse>>) -> ScriptedChat {
    ScriptedChat::new(replies)
}

/// A scripted model without tool calls, for ReAct.
#[derive(Debug, Clone)]
pub struct TextOnly(pub ScriptedChat, ModelInfo);

impl TextOnly {
    pub fn new<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self(ScriptedChat::texts(texts), ModelInfo::new("fake", "text-only"))
    }
}

#[async_trait::async_trait]
impl ChatModel for TextOnly {
    fn info(&self) -> &ModelInfo {
        &self.1
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        assert!(request.tools.is_empty(), "no tools are offered to a model without tool calls");
        self.0.generate(request).await
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        self.0.stream(request).await
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Query {
    /// What to look for.
    pub query: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub struct Path {
    /// The file.
    pub path: String,
}

/// What tools were run with, in the order in which they began.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn push(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A tool that gives back a fixed text.
pub fn search(log: &Log, found: &str) -> FnTool {
    let state = (log.clone(), found.to_owned());
    FnTool::with_state(
        "search",
        "Searches.",
        state,
        async |(log, found): (Log, String), args: Query, _run: Run| {
            log.push(format!("search {}", args.query));
            Ok(found)
        },
    )
}

/// A tool that must not run without leave.
pub fn delete(log: &Log) -> FnTool {
    FnTool::with_state("delete", "Deletes a file.", log.clone(), async |log: Log, args: Path, _run: Run| {
        log.push(format!("delete {}", args.path));
        Ok(format!("deleted {}", args.path))
    })
}

/// All tool results of a conversation, in order.
pub fn results(messages: &[Message]) -> Vec<ToolResult> {
    let parts = messages.iter().flat_map(|m| &m.parts);
    parts.filter_map(|p| if let Part::ToolResult(r) = p { Some(r.clone()) } else { None }).collect()
}

/// The text of a result.
pub fn said(result: &ToolResult) -> String {
    result
        .parts
        .iter()
        .filter_map(|p| if let Part::Text { text } = p { Some(text.as_str()) } else { None })
        .collect()
}

/// The error of a result, as the model sees it.
pub fn error_of(result: &ToolResult) -> serde_json::Value {
    assert!(result.is_error, "{}", said(result));
    serde_json::from_str(&said(result)).unwrap()
}

/// A memory that keeps all of a history.
#[derive(Debug, Default)]
pub struct Everything(katena_core::fake::InMemoryHistory);

#[async_trait::async_trait]
impl katena_core::Memory for Everything {
    async fn recall(&self, request: &katena_core::RecallRequest) -> Result<Vec<Message>> {
        katena_core::ChatHistory::messages(&self.0, &request.session).await
    }
    async fn record(&self, request: katena_core::RecordRequest) -> Result<()> {
        katena_core::ChatHistory::append(&self.0, &request.session, request.messages).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        katena_core::ChatHistory::clear(&self.0, session).await
    }
}
