//! What is called and how trouble is told, against a scripted server.

#![cfg(feature = "anthropic")]
#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use std::time::Duration;

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatModel, ChatRequest, ChatResponse, ErrorKind, Message, ModelCatalog as _, Result,
    TokenCounter as _,
};
use katena_llms::AnthropicChat;
use serde_json::json;
use support::{Reply, Server, Step};

const KEY: &str = "sk-ant-very-secret-123456";
const WHOLE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-x",
    "content":[{"type":"text","text":"Grüße ☕"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":9}}"#;

fn sse() -> String {
    [
        r#"{"type":"message_start","message":{"id":"msg_1","model":"claude-x","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüße"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" ☕"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
        r#"{"type":"message_stop"}"#,
    ]
    .map(|data| format!("data: {data}\n\n"))
    .concat()
}

fn model(server: &Server) -> AnthropicChat {
    AnthropicChat::new("claude-x", KEY).with_base_url(&server.url).unwrap()
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

async fn fold(model: &AnthropicChat, request: &ChatRequest) -> Result<ChatResponse> {
    let mut stream = model.stream(request).await?;
    let mut answer = Accumulator::new();
    while let Some(event) = stream.next().await {
        answer.push(&event?)?;
    }
    answer.finish()
}

/// Both ways of asking.
async fn both(reply: Reply) -> [Result<ChatResponse>; 2] {
    let server = Server::always(reply).await;
    let model = model(&server);
    [model.generate(&ask()).await, fold(&model, &ask()).await]
}

#[tokio::test]
async fn either_form_of_reply_answers_either_call() {
    for reply in [
        Reply::json(WHOLE),
        Reply::sse(sse()),
        Reply::sse(sse()).in_pieces(1),
        Reply::sse(sse().replace('\n', "\r\n")),
        Reply::sse(sse().trim_end()),
        Reply::sse(format!("{}data: [DONE]\n\ndata: rubbish\n\n", sse())),
        Reply::new(200, "text/event-stream", WHOLE),
        Reply::sse(sse()).with_header("request-id", "req_9"),
    ] {
        for result in both(reply.clone()).await {
            let r = result.unwrap_or_else(|e| panic!("{:?} {e:?}", reply.headers));
            assert_eq!((r.text().as_str(), r.finish_raw.as_deref()), ("Grüße ☕", Some("end_turn")));
            assert_eq!((r.usage.input_tokens, r.usage.output_tokens), (Some(3), Some(9)));
            assert_eq!(r.vendor.as_deref(), Some("anthropic"));
            let id = reply.headers.iter().find(|(n, _)| n == "request-id").map(|(_, v)| v.as_str());
            assert_eq!(r.request_id.as_deref(), id);
        }
    }
}

#[tokio::test]
async fn a_reply_cut_anywhere_is_never_a_short_answer() {
    let text = sse();
    let cuts = [20, text.find('ü').unwrap() + 1, text.find(r#"{"type":"message_stop"#).unwrap() - 6];
    for at in cuts {
        let part = text.as_bytes()[..at].to_vec();
        for reply in [Reply::sse(part.clone()), Reply::sse(part).then(Step::Cut)] {
            for result in both(reply).await {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable, "cut at {at}");
            }
        }
    }
}

#[tokio::test]
async fn trouble_is_typed() {
    let error =
        |word: &str| json!({"type": "error", "error": {"type": word, "message": "Trouble."}}).to_string();
    let begun = &sse()[..sse().find(r#"data: {"type":"content_block_stop"#).unwrap()];
    for (reply, kind, status) in [
        (Reply::new(529, "application/json", error("overloaded_error")), ErrorKind::Unavailable, Some(529)),
        (Reply::new(429, "application/json", error("rate_limit_error")), ErrorKind::RateLimited, Some(429)),
        (
            Reply::new(401, "application/json", error("authentication_error")),
            ErrorKind::Unauthenticated,
            Some(401),
        ),
        (Reply::new(400, "application/json", error("billing_error")), ErrorKind::QuotaExceeded, Some(400)),
        (Reply::new(413, "application/json", error("request_too_large")), ErrorKind::InvalidInput, Some(413)),
        (Reply::json(error("api_error")), ErrorKind::Unavailable, None),
        (
            Reply::sse(format!("{begun}event: error\ndata: {}\n\n", error("overloaded_error"))),
            ErrorKind::Unavailable,
            None,
        ),
        (Reply::new(200, "text/html", "<html>Sign in</html>"), ErrorKind::InvalidOutput, Some(200)),
        (Reply::json("{}"), ErrorKind::InvalidOutput, None),
    ] {
        for result in both(reply.clone()).await {
            let e = result.unwrap_err();
            assert_eq!((e.kind(), e.status(), e.vendor()), (kind, status, Some("anthropic")), "{e:?}");
            assert!(!format!("{e:?}{e}").contains(KEY));
        }
    }
    let long = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "prompt is too long: 300000 tokens > 200000 maximum"}});
    for result in both(Reply::new(400, "application/json", long.to_string())).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ContextTooLong);
    }
}

#[tokio::test]
async fn the_request_is_what_it_should_be() {
    let reply = Reply::json(WHOLE)
        .with_header("anthropic-ratelimit-requests-remaining", "49")
        .with_header("anthropic-ratelimit-tokens-limit", "1000");
    let server = Server::always(reply).await;
    let model = model(&server)
        .with_beta("one")
        .with_max_tokens(7)
        .with_server_tool(json!({"type": "t", "name": "n"}));
    let r = model.generate(&ask().with_extra("betas", json!(["two"]))).await.unwrap();
    let limits = r.rate_limits.unwrap();
    assert_eq!((limits.requests_left, limits.tokens), (Some(49), Some(1000)));
    fold(&model, &ask()).await.unwrap();
    let seen = server.requests();
    assert_eq!(seen[0].path, "/v1/messages");
    assert_eq!(seen[0].headers["x-api-key"], KEY);
    assert_eq!(seen[0].headers["anthropic-version"], "2023-06-01");
    assert_eq!(seen[0].headers["anthropic-beta"], "one,two");
    assert_eq!(
        seen[0].json(),
        json!({"model": "claude-x", "max_tokens": 7, "tools": [{"type": "t", "name": "n"}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]})
    );
    assert_eq!(
        (seen[1].json()["stream"].clone(), seen[1].headers["accept"].as_str()),
        (json!(true), "text/event-stream")
    );
    let bearer =
        AnthropicChat::new("claude-x", "").with_auth_token("tok").with_base_url(&server.url).unwrap();
    bearer.generate(&ask()).await.unwrap();
    let last = server.requests().pop().unwrap();
    assert_eq!(last.headers["authorization"], "Bearer tok");
    assert!(!last.headers.contains_key("x-api-key") && !last.headers.contains_key("anthropic-beta"));
}

#[tokio::test]
async fn tokens_are_counted_and_models_listed() {
    let server = Server::start(|seen| match seen.path.split('?').next().unwrap() {
        "/v1/messages/count_tokens" => Reply::json(r#"{"input_tokens":14}"#),
        _ if seen.path.contains("after_id=b") => {
            Reply::json(r#"{"data":[{"id":"claude-3-haiku-20240307","type":"model"}],"has_more":false,"last_id":"c"}"#)
        }
        _ => Reply::json(
            r#"{"data":[{"id":"claude-z","max_input_tokens":1000000},{"id":"claude-sonnet-4-5"}],"has_more":true,"last_id":"b"}"#,
        ),
    })
    .await;
    let model = model(&server);
    assert_eq!(model.count_tokens(&ask().with_temperature(0.5)).await.unwrap(), 14);
    let body = server.requests()[0].json();
    assert_eq!(body["model"], "claude-x");
    assert!(body.get("max_tokens").is_none() && body.get("temperature").is_none());
    let models = model.models().await.unwrap();
    let names: Vec<&str> = models.iter().map(|m| m.model.as_str()).collect();
    assert_eq!(names, ["claude-z", "claude-sonnet-4-5", "claude-3-haiku-20240307"]);
    assert_eq!(models[0].context_tokens, Some(1_000_000));
    assert!(!models[2].capabilities.files && models[1].capabilities.files);
    let odd = Server::always(Reply::json("{}")).await;
    for error in [
        self::model(&odd).count_tokens(&ask()).await.unwrap_err(),
        self::model(&odd).models().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidOutput);
    }
}

#[cfg(feature = "vertex")]
#[tokio::test]
async fn vertex_takes_a_fresh_token_for_each_call() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    #[async_trait::async_trait]
    impl katena_http::TokenSource for Counting {
        async fn token(&self) -> Result<katena_http::Secret> {
            Ok(format!("token-{}", self.0.fetch_add(1, Ordering::SeqCst)).into())
        }
    }

    let server = Server::start(|seen| {
        if seen.path.ends_with("streamRawPredict") { Reply::sse(sse()) } else { Reply::json(WHOLE) }
    })
    .await;
    let model = AnthropicChat::vertex("claude-sonnet-4-5@20250929", "p", "eu", Arc::new(Counting::default()))
        .unwrap()
        .with_base_url(format!("{}/v1", server.url))
        .unwrap()
        .with_beta("b");
    let r = model.generate(&ask().with_max_tokens(5)).await.unwrap();
    assert_eq!(r.vendor.as_deref(), Some("vertex"));
    fold(&model, &ask()).await.unwrap();
    let seen = server.requests();
    let models = "/v1/projects/p/locations/eu/publishers/anthropic/models/claude-sonnet-4-5@20250929";
    assert_eq!(seen[0].path, format!("{models}:rawPredict"));
    assert_eq!(seen[1].path, format!("{models}:streamRawPredict"));
    assert_eq!(seen[0].headers["authorization"], "Bearer token-0");
    assert_eq!(seen[1].headers["authorization"], "Bearer token-1");
    assert_eq!(seen[0].headers["anthropic-beta"], "b");
    assert_eq!(
        seen[0].json(),
        json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 5,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]})
    );
    assert_eq!(seen[1].json()["stream"], true);
    assert_eq!(model.models().await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn the_end_of_the_message_ends_the_stream() {
    let server = Server::always(Reply::sse(sse()).then(Step::Stall)).await;
    let answer = tokio::time::timeout(Duration::from_secs(60), fold(&model(&server), &ask())).await;
    assert_eq!(answer.unwrap().unwrap().text(), "Grüße ☕");
    server.wait_gone(1).await;
}
