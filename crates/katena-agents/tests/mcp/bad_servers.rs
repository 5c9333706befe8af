//! Servers that misbehave: each is a clear error, in time.

use std::time::{Duration, Instant};

use katena_agents::mcp::{McpClient, McpLimits, McpOptions};
use katena_core::{Context, ErrorKind, Run, ToolCall};
use serde_json::json;
use tokio::io::DuplexStream;

use crate::support::{call, hello, one_tool, polite, reply, scripted, tool};

/// Short limits only where no answer comes: a busy machine is slow to connect and to list.
const SOON: Duration = Duration::from_millis(300);

fn bad() -> McpOptions {
    McpOptions::new("bad")
}

async fn kind_of_call(stream: DuplexStream) -> ErrorKind {
    let client = McpClient::io(stream, bad()).await.unwrap();
    call(&client, "bad__go", "{}", &Run::new()).await.unwrap_err().kind()
}

/// The call alone has the short limit.
async fn kind_of_short_call(stream: DuplexStream) -> ErrorKind {
    let client = McpClient::io(stream, bad()).await.unwrap();
    let go = tool(&client, "bad__go").await;
    let run = Run::from(Context::new().with_deadline(Instant::now() + SOON));
    go.call(ToolCall::new("1", "bad__go", "{}"), &run).await.unwrap_err().kind()
}

#[tokio::test]
async fn noise_between_messages_is_passed_over() {
    let stream = polite(one_tool(), |request| {
        let mut lines = vec![
            "starting up ...".to_owned(),
            "{\"half\": ".to_owned(),
            String::new(),
            "[1, 2".to_owned(),
            "\u{feff}\u{0}".to_owned(),
        ];
        lines.extend(reply(request, json!({"content": [{"type": "text", "text": "fine"}]})));
        Some(lines)
    });
    let client = McpClient::io(stream, bad()).await.unwrap();
    assert_eq!(call(&client, "bad__go", "{}", &Run::new()).await.unwrap(), "fine");
}

#[tokio::test]
async fn replies_to_other_requests_are_no_reply() {
    let stream = polite(one_tool(), |_| {
        let result = json!({"content": [{"type": "text", "text": "forged"}]});
        Some(
            [json!(4711), json!("x"), json!(-1)]
                .map(|id| json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
                .to_vec(),
        )
    });
    assert_eq!(kind_of_short_call(stream).await, ErrorKind::Timeout);
}

#[tokio::test]
async fn silence_ends_by_the_timeout() {
    assert_eq!(kind_of_short_call(polite(one_tool(), |_| Some(Vec::new()))).await, ErrorKind::Timeout);
    // And by the options' own limit, also when tools are listed.
    let limits = McpLimits::new().with_call_timeout(SOON);
    let stream = scripted(|request| {
        Some(if request["method"] == "initialize" { reply(request, hello()) } else { Vec::new() })
    });
    let client = McpClient::io(stream, bad().with_limits(limits)).await.unwrap();
    assert_eq!(client.tools().await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_server_that_goes_away_is_unavailable() {
    assert_eq!(kind_of_call(polite(one_tool(), |_| None)).await, ErrorKind::Unavailable);
    let client = McpClient::io(polite(one_tool(), |_| None), bad()).await.unwrap();
    call(&client, "bad__go", "{}", &Run::new()).await.unwrap_err();
    // And stays so, at once.
    let tools = client.tools().await.unwrap();
    let again = tools[0].call(ToolCall::new("2", "bad__go", "{}"), &Run::new()).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_huge_reply_is_refused() {
    let stream = polite(one_tool(), |request| {
        let text = "x".repeat(3 << 20);
        Some(reply(request, json!({"content": [{"type": "text", "text": text}]})))
    });
    let limits = McpLimits::new().with_max_message_bytes(1 << 20);
    let client = McpClient::io(stream, bad().with_limits(limits)).await.unwrap();
    let error = call(&client, "bad__go", "{}", &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{error}");

    let stream = polite(one_tool(), |request| {
        let text = "x".repeat(2000);
        Some(reply(request, json!({"content": [{"type": "text", "text": text}]})))
    });
    let limits = McpLimits::new().with_max_result_bytes(1000);
    let client = McpClient::io(stream, bad().with_limits(limits)).await.unwrap();
    let error = call(&client, "bad__go", "{}", &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{error}");
}

#[tokio::test]
async fn replies_of_a_wrong_shape_are_errors() {
    for result in [json!(7), json!({"content": 7}), json!({"content": [{"type": "hologram"}]}), json!(null)] {
        let stream = polite(one_tool(), move |request| Some(reply(request, result.clone())));
        let kind = kind_of_short_call(stream).await;
        assert!(matches!(kind, ErrorKind::InvalidOutput | ErrorKind::Timeout), "{kind}");
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let stream = polite(one_tool(), move |request| {
        Some(vec![format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[],"structuredContent":{deep}}}}}"#,
            request["id"]
        )])
    });
    assert_eq!(kind_of_short_call(stream).await, ErrorKind::Timeout);
}

#[tokio::test]
async fn error_replies_keep_their_words_and_get_a_kind() {
    for (code, kind) in [
        (-32602, ErrorKind::InvalidOutput),
        (-32601, ErrorKind::Unsupported),
        (-32603, ErrorKind::Tool),
        (1234, ErrorKind::Tool),
    ] {
        let stream = polite(one_tool(), move |request| {
            let error = json!({"code": code, "message": "no ".repeat(10_000), "data": {"x": 1}});
            Some(vec![json!({"jsonrpc": "2.0", "id": request["id"], "error": error}).to_string()])
        });
        let client = McpClient::io(stream, bad()).await.unwrap();
        let error = call(&client, "bad__go", "{}", &Run::new()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}");
        assert!(error.message().starts_with("no no") && error.message().len() <= 2000);
    }
}

#[tokio::test]
async fn listings_without_end_are_refused() {
    for tools in [one_tool(), json!([])] {
        let stream = scripted(move |request| {
            Some(match request["method"].as_str() {
                Some("initialize") => reply(request, hello()),
                Some("tools/list") => reply(request, json!({"tools": tools, "nextCursor": "again"})),
                _ => Vec::new(),
            })
        });
        let client = McpClient::io(stream, bad()).await.unwrap();
        assert_eq!(client.tools().await.unwrap_err().kind(), ErrorKind::InvalidOutput);
    }
    let many: Vec<_> =
        (0..300).map(|n| json!({"name": format!("t{n}"), "inputSchema": {"type": "object"}})).collect();
    let client = McpClient::io(polite(json!(many), |_| None), bad()).await.unwrap();
    assert_eq!(client.tools().await.unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[tokio::test]
async fn a_bad_start_is_an_error_in_time() {
    let soon = || bad().with_limits(McpLimits::new().with_connect_timeout(SOON));
    let silent = McpClient::io(scripted(|_| Some(Vec::new())), soon()).await.unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::Timeout);
    let gone = McpClient::io(scripted(|_| None), bad()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Unavailable);
    let other = scripted(|request| Some(reply(request, json!({"tools": []}))));
    let other = McpClient::io(other, bad()).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::InvalidOutput, "{other}");
    let wrong_id =
        scripted(|_| Some(vec![json!({"jsonrpc": "2.0", "id": 99, "result": hello()}).to_string()]));
    let wrong_id = McpClient::io(wrong_id, soon()).await.unwrap_err();
    assert!(matches!(wrong_id.kind(), ErrorKind::InvalidOutput | ErrorKind::Timeout), "{wrong_id}");
}

#[tokio::test]
async fn questions_of_the_server_are_declined() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut asked = None;
    let stream = scripted(move |message| match message["method"].as_str() {
        Some("initialize") => Some(reply(message, hello())),
        Some("tools/list") => Some(reply(message, json!({"tools": one_tool()}))),
        Some("tools/call") => {
            asked = Some(message.clone());
            let question = json!({"messages": [], "maxTokens": 10});
            let id = "q1";
            Some(vec![
                json!({"jsonrpc": "2.0", "id": id, "method": "sampling/createMessage", "params": question})
                    .to_string(),
            ])
        }
        None if message["id"] == "q1" => {
            tell.send(message.clone()).unwrap();
            Some(reply(asked.as_ref().unwrap(), json!({"content": []})))
        }
        _ => Some(Vec::new()),
    });
    let client = McpClient::io(stream, bad()).await.unwrap();
    call(&client, "bad__go", "{}", &Run::new()).await.unwrap();
    let answer = told.recv().await.unwrap();
    assert!(answer.get("error").is_some(), "{answer}");
}
