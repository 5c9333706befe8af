//! MCP both ways in one program: a server with a tool, a retriever and a chain, a client that lists and calls them, and a
//! scripted model that uses them: `cargo run -p katena-examples --example mcp_both_ways`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::path::Path;

use katena::agents::mcp::{McpClient, McpOptions, McpServer};
use katena::fake::{HashEmbedder, ScriptedChat};
use katena::prelude::*;
use katena::{FinishReason, ToolCall, ToolResult};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Weeks {
    /// Working days.
    days: f64,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Greet {
    /// Whom to greet.
    name: String,
}

async fn server() -> Result<McpServer> {
    let handbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("handbook");
    let index = VectorIndex::new(MemoryStore::new(), HashEmbedder::new(512));
    index.ingest(DirectoryLoader::new(handbook), RecursiveSplitter::chars(600)).await?.complete()?;

    let weeks = FnTool::new("weeks", "Turns working days into weeks.", async |args: Weeks, _run: Run| {
        Ok(format!("{} weeks", args.days / 5.0))
    });
    let greet = func(async |input: Greet, _run: Run| Ok(format!("Good morning, {}!", input.name)));
    Ok(McpServer::new("office", "1.0")
        .with_tool(weeks)
        .with_retriever("search_handbook", "Searches the staff's handbook.", index.retriever().top_k(2))
        .with_chain("greet", "Greets somebody.", greet))
}

fn asks(id: &str, tool: &str, arguments: &str) -> ChatResponse {
    let call = Part::ToolCall(ToolCall::new(id, tool, arguments));
    ChatResponse::new(Message::new(Role::Assistant, vec![call]), FinishReason::ToolCalls)
}

#[tokio::main]
async fn main() -> Result<()> {
    // In earnest the two are programs of their own: `server.serve_stdio(run)` there and `McpClient::stdio(command, options)`
    // here, or HTTP between them.
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let serving = tokio::spawn(server().await?.serve_io(theirs, Run::new()));
    let client = McpClient::io(ours, McpOptions::new("office")).await?;

    let tools = client.tools().await?;
    for tool in &tools {
        println!("{:24} {}", tool.spec().name, tool.spec().description);
    }

    let call = ToolCall::new("0", "office__greet", r#"{"name": "Ada"}"#);
    println!("\n{}\n", tools[2].call(call, &Run::new()).await?.text());

    // A model that looks it up, converts it and answers.
    let model = ScriptedChat::new([
        Ok(asks(
            "1",
            "office__search_handbook",
            r#"{"query": "paid leave of full-time employees", "top_k": 1}"#,
        )),
        Ok(asks("2", "office__weeks", r#"{"days": 20}"#)),
        Ok(ChatResponse::new(Message::assistant("Twenty days [1]: four weeks."), FinishReason::Stop)),
    ]);
    let run = Run::new();
    let specs: Vec<_> = tools.iter().map(|t| t.spec().clone()).collect();
    let mut messages = vec![Message::user("How many weeks of paid leave do full-time employees have?")];
    loop {
        let request = ChatRequest::new(messages.clone()).with_tools(specs.clone());
        let response = run.chat(&model, request).await?;
        messages.push(response.message.clone());
        if response.finish != FinishReason::ToolCalls {
            println!("{}", response.text());
            break;
        }
        for call in response.tool_calls() {
            let found = tools.iter().find(|t| t.spec().name == call.name);
            let result = match found {
                Some(tool) => tool.call(call.clone(), &run).await.map(|o| o.text()),
                None => Ok(format!("there is no tool {}", call.name)),
            };
            let result = result.unwrap_or_else(|error| error.to_string());
            println!("{}({})\n{result}", call.name, call.arguments);
            messages.push(Message::tool(ToolResult::text(call, result)));
        }
    }

    // The server ends with its last client: with the connection's last tool, that is.
    drop((client, tools));
    serving.await.map_err(|e| Error::unexpected("the server broke off").with_source(e))?
}
