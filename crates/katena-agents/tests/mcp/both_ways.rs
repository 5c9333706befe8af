//! Katena speaks with Katena over a stream in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use katena_agents::mcp::{McpClient, McpOptions, McpServer, McpServerLimits};
use katena_core::{Cancel, Context, ErrorKind, FnTool, Labels, Part, Role, Run};
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use crate::support::{call, connected, hello, one_tool, polite, reply, scripted, server, tool};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

katena_testkit::tool_contract!(contract, async {
    let client = connected(server(), Run::new()).await;
    tool(&client, "good__add").await
});

#[tokio::test]
async fn tools_retrievers_and_chains_are_offered_and_called() {
    let labels = Labels::new().with("tenant", "acme");
    let client = connected(server(), Run::new().with_labels(labels)).await;
    let names: Vec<String> = client.tools().await.unwrap().iter().map(|t| t.spec().name.clone()).collect();
    let wanted = ["good__add", "good__fail", "good__leak", "good__panic", "good__search", "good__count"];
    assert_eq!(names, wanted);
    assert_eq!(client.instructions().as_deref(), Some("Call add."));
    assert!(client.refused().is_empty());

    let run = Run::new();
    assert_eq!(call(&client, "good__add", r#"{"a":2,"b":3,"unknown":[]}"#, &run).await.unwrap(), "5");
    let found = call(&client, "good__search", r#"{"query":"tea"}"#, &run).await.unwrap();
    assert_eq!(found, "[1] shelf.md\n> tea for acme\n");
    let counted = call(&client, "good__count", r#"{"input":["a","b"]}"#, &run).await.unwrap();
    assert_eq!(counted, r#"{"words":2}"#);
}

#[tokio::test]
async fn errors_tell_what_concerns_the_client_and_no_more() {
    let client = connected(server(), Run::new()).await;
    let run = Run::new();
    let said = async |name: &str, arguments: &str| {
        let error = call(&client, name, arguments, &run).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tool, "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        error.message().to_owned()
    };
    assert_eq!(said("good__fail", "{}").await, "no such city");
    assert_eq!(said("good__leak", "{}").await, "the tool failed: unexpected");
    assert_eq!(said("good__panic", "{}").await, "the tool failed: unexpected");
    assert!(said("good__add", r#"{"a":2}"#).await.contains("missing field `b`"));
    assert!(said("good__add", r#"{"a":"two","b":3}"#).await.contains("invalid type"));
    // The server goes on.
    assert_eq!(call(&client, "good__add", r#"{"a":1,"b":1}"#, &run).await.unwrap(), "2");
}

/// A server whose tool waits for ever, says when it was called and when it was stopped.
fn waiting() -> (McpServer, Arc<Notify>, mpsc::UnboundedReceiver<&'static str>) {
    let (tell, told) = mpsc::unbounded_channel();
    let called = Arc::new(Notify::new());
    let state = (tell, called.clone());
    let wait = FnTool::with_state(
        "wait",
        "Waits.",
        state,
        |(tell, called): (mpsc::UnboundedSender<&'static str>, Arc<Notify>), _: Nothing, run: Run| async move {
            called.notify_one();
            // In a task of its own, as a tool may have: it hears the signal, though the call is gone.
            tokio::spawn(async move {
                run.context().cancel.cancelled().await;
                tell.send("stopped").unwrap();
            });
            std::future::pending::<katena_core::Result<String>>().await
        },
    );
    (McpServer::new("waiting", "1").with_tool(wait), called, told)
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_server() {
    let (server, called, mut told) = waiting();
    let client = connected(server, Run::new()).await;
    let asked = client.clone();
    let task = tokio::spawn(async move { call(&asked, "good__wait", "{}", &Run::new()).await });
    called.notified().await;
    task.abort();
    assert_eq!(told.recv().await, Some("stopped"));
}

#[tokio::test]
async fn the_runs_cancel_signal_and_deadline_end_a_call() {
    let (server, called, mut told) = waiting();
    let client = connected(server, Run::new()).await;
    let cancel = Cancel::new();
    let run = Run::from(Context::new().with_cancel(cancel.clone()));
    let asked = client.clone();
    let task = tokio::spawn(async move { call(&asked, "good__wait", "{}", &run).await });
    called.notified().await;
    cancel.cancel();
    assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(told.recv().await, Some("stopped"));

    // Long enough for the server to hear of the call.
    let soon = Context::new().with_deadline(Instant::now() + Duration::from_millis(1500));
    let error = call(&client, "good__wait", "{}", &Run::from(soon)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(told.recv().await, Some("stopped"));
    let over = Run::new();
    over.context().cancel.cancel();
    assert_eq!(call(&client, "good__wait", "{}", &over).await.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_servers_own_limits_hold() {
    let (server, called, mut told) = waiting();
    let limits = McpServerLimits::new().with_max_pending_calls(1);
    let client = connected(server.with_limits(limits), Run::new()).await;
    let asked = client.clone();
    let first = tokio::spawn(async move { call(&asked, "good__wait", "{}", &Run::new()).await });
    called.notified().await;
    let busy = call(&client, "good__wait", "{}", &Run::new()).await.unwrap_err();
    assert!(busy.message().contains("busy"), "{busy}");
    first.abort();
    assert_eq!(told.recv().await, Some("stopped"));

    let (server, _called, mut told) = waiting();
    let limits = McpServerLimits::new().with_call_timeout(Duration::from_millis(100));
    let client = connected(server.with_limits(limits), Run::new()).await;
    let late = call(&client, "good__wait", "{}", &Run::new()).await.unwrap_err();
    assert_eq!(late.message(), "the tool failed: timeout");
    assert_eq!(told.recv().await, Some("stopped"));

    let limits = McpServerLimits::new().with_max_message_bytes(1000);
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let serving = tokio::spawn(crate::support::server().with_limits(limits).serve_io(theirs, Run::new()));
    let client = McpClient::io(ours, McpOptions::new("good")).await.unwrap();
    let long = format!(r#"{{"query":"{}"}}"#, "x".repeat(2000));
    let error = call(&client, "good__search", &long, &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(serving.await.unwrap().unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[tokio::test]
async fn arguments_and_results_have_limits() {
    let client = connected(server(), Run::new()).await;
    let long = format!(r#"{{"a":1,"b":1,"c":"{}"}}"#, "x".repeat(1 << 20));
    let error = call(&client, "good__add", &long, &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOutput);
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(
        call(&client, "good__add", &deep, &Run::new()).await.unwrap_err().kind(),
        ErrorKind::InvalidOutput
    );
    let limits = McpServerLimits::new().with_max_result_bytes(10);
    let client = connected(server().with_limits(limits), Run::new()).await;
    let error = call(&client, "good__search", r#"{"query":"tea"}"#, &Run::new()).await.unwrap_err();
    assert!(error.message().contains("larger than the limit"), "{error}");
}

#[tokio::test]
async fn serving_ends_with_its_client_and_at_the_signal() {
    let (ours, theirs) = tokio::io::duplex(1000);
    let serving = tokio::spawn(server().serve_io(theirs, Run::new()));
    let client = McpClient::io(ours, McpOptions::new("good")).await.unwrap();
    let kept = tool(&client, "good__add").await;
    drop(client);
    // A tool keeps the connection open; the last one to go closes it.
    let call = katena_core::ToolCall::new("1", "good__add", r#"{"a":1,"b":1}"#);
    assert_eq!(kept.call(call, &Run::new()).await.unwrap().text(), "2");
    drop(kept);
    serving.await.unwrap().unwrap();

    let (ours, theirs) = tokio::io::duplex(1000);
    let run = Run::new();
    let serving = tokio::spawn(server().serve_io(theirs, run.clone()));
    let client = McpClient::io(ours, McpOptions::new("good")).await.unwrap();
    run.context().cancel.cancel();
    assert_eq!(serving.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(client.tools().await.unwrap_err().kind(), ErrorKind::Unavailable);

    let twice = server().with_retriever("add", "Again.", NoPassages);
    let (_ours, theirs) = tokio::io::duplex(1000);
    assert_eq!(twice.serve_io(theirs, Run::new()).await.unwrap_err().kind(), ErrorKind::Config);
}

#[derive(Debug)]
struct NoPassages;

#[async_trait::async_trait]
impl katena_core::Retriever for NoPassages {
    async fn retrieve(
        &self,
        _: &katena_core::Query,
    ) -> katena_core::Result<Vec<katena_core::Scored<katena_core::Document>>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn listings_have_pages_and_change() {
    let named = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let mut listings = 0;
    let stream = scripted(move |request| {
        Some(match request["method"].as_str() {
            Some("initialize") => reply(request, hello()),
            Some("tools/list") => match request["params"]["cursor"].as_str() {
                None => {
                    listings += 1;
                    let first = named(&format!("first_{listings}"));
                    reply(request, json!({"tools": [first], "nextCursor": "2"}))
                }
                Some(cursor) => {
                    assert_eq!(cursor, "2");
                    reply(request, json!({"tools": [named("second"), named("hidden")]}))
                }
            },
            Some("tools/call") => {
                let mut lines =
                    vec![json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}).to_string()];
                lines.extend(reply(request, json!({"content": []})));
                lines
            }
            _ => Vec::new(),
        })
    });
    let options = McpOptions::new("s").with_tools(["first_1", "first_2", "second"]);
    let client = McpClient::io(stream, options).await.unwrap();
    let names = async || -> Vec<String> {
        client.tools().await.unwrap().iter().map(|t| t.spec().name.clone()).collect()
    };
    assert_eq!(names().await, ["s__first_1", "s__second"]);
    assert_eq!(names().await, ["s__first_1", "s__second"]);
    let missing = client.refused();
    assert_eq!((missing.len(), missing[0].name.as_str()), (1, "first_2"));
    call(&client, "s__second", "{}", &Run::new()).await.unwrap();
    assert_eq!(names().await, ["s__first_2", "s__second"]);
}

#[tokio::test]
async fn tools_that_break_a_rule_are_refused_by_name() {
    let tools = json!([
        {"name": "a.b", "inputSchema": {"type": "object"}},
        {"name": "a_b", "inputSchema": {"type": "object"}},
        {"name": "list", "inputSchema": {"type": "array"}},
        {"name": "fine", "inputSchema": {"type": "object"}},
    ]);
    let client = McpClient::io(polite(tools, |_| None), McpOptions::new("s")).await.unwrap();
    let tools = client.tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|t| t.spec().name.as_str()).collect();
    assert_eq!(names, ["s__a_b", "s__fine"]);
    let refused: Vec<(String, String)> = client.refused().into_iter().map(|r| (r.name, r.reason)).collect();
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[0], ("a_b".into(), "its name here is already that of `a.b`".into()));
    assert_eq!(refused[1].0, "list");
    for bad in ["", "two words", "a__b.c", &"x".repeat(33)] {
        let error = McpClient::io(polite(one_tool(), |_| None), McpOptions::new(bad)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{bad:?}");
    }
}

#[tokio::test]
async fn prompts_and_resources_are_read() {
    let stream = polite(one_tool(), |request| {
        let text = |text: &str| json!({"type": "text", "text": text});
        Some(match request["method"].as_str() {
            Some("prompts/list") => reply(
                request,
                json!({"prompts": [{"name": "greet", "arguments": [{"name": "who", "required": true}]}]}),
            ),
            Some("prompts/get") => {
                let who = request["params"]["arguments"]["who"].as_str().unwrap();
                let user = json!({"role": "user", "content": text(&format!("Greet {who}."))});
                let assistant = json!({"role": "assistant", "content": text("Hello!")});
                reply(request, json!({"messages": [user, assistant]}))
            }
            Some("resources/list") => reply(
                request,
                json!({"resources": [{"uri": "mem://a", "name": "a", "mimeType": "text/plain"}]}),
            ),
            Some("resources/read") => reply(
                request,
                json!({"contents": [{"uri": "mem://a", "text": "inside"}, {"uri": "mem://b", "blob": "aGk="}]}),
            ),
            _ => Vec::new(),
        })
    });
    let client = McpClient::io(stream, McpOptions::new("s")).await.unwrap();
    let prompts = client.prompts().await.unwrap();
    assert_eq!((prompts[0].name.as_str(), prompts[0].arguments[0].required), ("greet", true));
    let arguments = BTreeMap::from([("who".to_owned(), "Ada".to_owned())]);
    let messages = client.prompt("greet", &arguments).await.unwrap();
    assert_eq!((messages[0].role, messages[0].text().as_str()), (Role::User, "Greet Ada."));
    assert_eq!(messages[1].role, Role::Assistant);
    let resources = client.resources().await.unwrap();
    assert_eq!((resources[0].uri.as_str(), resources[0].mime.as_deref()), ("mem://a", Some("text/plain")));
    let parts = client.read_resource("mem://a").await.unwrap();
    assert_eq!(parts[0], Part::text("[resource mem://a]\ninside\n"));
    assert!(matches!(&parts[1], Part::File { name: Some(name), .. } if name == "mem://b"));
    // Our own server has neither.
    let own = connected(server(), Run::new()).await;
    assert_eq!(own.read_resource("x").await.unwrap_err().kind(), ErrorKind::Unsupported);
}
