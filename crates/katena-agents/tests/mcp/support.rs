//! A good server, and one that answers by script.

use std::sync::Arc;

use async_trait::async_trait;
use katena_agents::mcp::{McpClient, McpOptions, McpServer};
use katena_core::{
    Document, Error, ErrorKind, FnTool, Query, Result, Retriever, Run, Scored, Source, Tool, ToolCall, func,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

#[derive(Debug)]
struct Shelf;

#[async_trait]
impl Retriever for Shelf {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        let tenant = query.context.labels.get("tenant").unwrap_or("nobody").to_owned();
        let document = Document::new(format!("{} for {tenant}", query.text), Source::new("shelf.md"));
        Ok(vec![Scored::new(document, 1.0)])
    }
}

/// A server with a tool of each kind, some of which fail.
pub fn server() -> McpServer {
    let add = async |args: Add, _run: Run| Ok((args.a + args.b).to_string());
    let fail = async |_: Nothing, _run: Run| -> Result<String> {
        Err(Error::new(ErrorKind::Tool, "no such city").with_context("path", "/secret/path"))
    };
    let leak = async |_: Nothing, _run: Run| -> Result<String> {
        Err(Error::unexpected("password=hunter2 at /secret/path"))
    };
    let count = func(async |words: Vec<String>, _run: Run| Ok(json!({"words": words.len()})));
    McpServer::new("good", "1.0")
        .with_instructions("Call add.")
        .with_tool(FnTool::new("add", "Adds two numbers.", add))
        .with_tool(FnTool::new("fail", "Fails.", fail))
        .with_tool(FnTool::new("leak", "Fails inside.", leak))
        .with_tool(FnTool::new("panic", "Panics.", async |_: Nothing, _run: Run| -> Result<String> {
            panic!("at /secret/path")
        }))
        .with_retriever("search", "Searches the shelf.", Shelf)
        .with_chain("count", "Counts words.", count)
}

/// The tool of that name, called.
pub async fn call(client: &McpClient, name: &str, arguments: &str, run: &Run) -> Result<String> {
    let tool = tool(client, name).await;
    tool.call(ToolCall::new("1", &tool.spec().name, arguments), run).await.map(|o| o.text())
}

pub async fn tool(client: &McpClient, name: &str) -> Arc<dyn Tool> {
    let tools = client.tools().await.unwrap();
    tools.into_iter().find(|t| t.spec().name == name).unwrap_or_else(|| panic!("no tool {name}"))
}

/// Connected to `server` in this process.
pub async fn connected(server: McpServer, run: Run) -> McpClient {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move { server.serve_io(theirs, run).await });
    McpClient::io(ours, McpOptions::new("good")).await.unwrap()
}

/// A server in this process that answers each message by raw lines, or hangs up.
pub fn scripted(mut answer: impl FnMut(&Value) -> Option<Vec<String>> + Send + 'static) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let (read, mut write) = tokio::io::split(theirs);
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Some(answers) = answer(&serde_json::from_str(&line).unwrap()) else { return };
            for line in answers {
                if write.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    });
    ours
}

/// The answer to a request.
pub fn reply(request: &Value, result: Value) -> Vec<String> {
    vec![json!({"jsonrpc": "2.0", "id": request["id"], "result": result}).to_string()]
}

/// What any server says to `initialize` and `tools/list`; `other` says the rest.
pub fn polite(
    tools: Value,
    mut other: impl FnMut(&Value) -> Option<Vec<String>> + Send + 'static,
) -> DuplexStream {
    scripted(move |request| match request["method"].as_str() {
        Some("initialize") => Some(reply(request, hello())),
        Some("tools/list") => Some(reply(request, json!({"tools": tools}))),
        Some(notification) if notification.starts_with("notifications/") => {
            other(request);
            Some(Vec::new())
        }
        _ => other(request),
    })
}

pub fn hello() -> Value {
    json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {"listChanged": true}, "prompts": {}, "resources": {}},
        "serverInfo": {"name": "bad", "version": "0"},
    })
}

pub fn one_tool() -> Value {
    json!([{"name": "go", "description": "Goes.", "inputSchema": {"type": "object"}}])
}
