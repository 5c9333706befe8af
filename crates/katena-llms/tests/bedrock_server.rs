//! Bedrock against a double that speaks Converse: what is sent, how errors read, and the contract of a chat model.

#![cfg(feature = "bedrock")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::{ChatModel, ChatRequest, ErrorKind, Message, ModelCatalog as _, Result, TokenCounter as _};
use katena_llms::bedrock::{AwsAuth, BedrockChat, Credentials, CredentialsProvider};
use katena_testkit::FAKE_KEY;
use serde_json::{Map, Value, json};
use support::{Reply, Seen, Server, Step};

/// CRC-32, written apart from the decoder's.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (!(crc & 1)).wrapping_add(1));
        }
    }
    !crc
}

fn frame_of(kind: &str, name: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    let name_header = if kind == "exception" { ":exception-type" } else { ":event-type" };
    for (key, value) in [(name_header, name), (":content-type", "application/json"), (":message-type", kind)]
    {
        headers.push(u8::try_from(key.len()).unwrap());
        headers.extend_from_slice(key.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = 16 + headers.len() + payload.len();
    let mut frame = u32::try_from(total).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&crc(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&crc(&frame).to_be_bytes());
    frame
}

fn frame(name: &str, value: &Value) -> Vec<u8> {
    frame_of("event", name, &value.to_string())
}

fn event_stream(body: impl Into<Vec<u8>>) -> Reply {
    Reply::new(200, "application/vnd.amazon.eventstream", body)
}

/// Every text in what was sent.
fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|v| texts(v, out)),
        Value::Object(map) => {
            out.extend(map.get("text").and_then(Value::as_str).map(str::to_owned));
            map.values().filter(|v| !v.is_string()).for_each(|v| texts(v, out));
        }
        _ => {}
    }
}

/// Something that fits a simple schema.
fn example(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            Value::Object(properties.map(|(k, v)| (k.clone(), example(v))).collect::<Map<_, _>>())
        }
        Some("boolean") => json!(true),
        _ => json!("Oslo"),
    }
}

/// The blocks of the answer, why it ended, how many tokens it has.
fn answer(body: &Value) -> (Vec<Value>, &'static str, usize) {
    let (choice, tools) = (&body["toolConfig"]["toolChoice"], body["toolConfig"]["tools"].as_array());
    let tools: Vec<&Value> = tools.into_iter().flatten().map(|t| &t["toolSpec"]).collect();
    let tool = match choice {
        Value::Object(c) if c.contains_key("any") => tools.first(),
        Value::Object(c) if c.contains_key("tool") => {
            tools.iter().find(|t| t["name"] == choice["tool"]["name"])
        }
        _ => None,
    };
    if let Some(tool) = tool {
        let input = example(&tool["inputSchema"]["json"]);
        let call = json!({"toolUse": {"toolUseId": "tooluse_1", "name": tool["name"], "input": input}});
        return (vec![json!({"text": "Let me see."}), call], "tool_use", 9);
    }
    let mut heard = Vec::new();
    texts(body["messages"].as_array().unwrap().last().unwrap(), &mut heard);
    let schema = body.pointer("/outputConfig/textFormat/structure/jsonSchema/schema");
    let mut text = match schema.and_then(Value::as_str) {
        Some(schema) => example(&serde_json::from_str(schema).unwrap()).to_string(),
        None => format!("I heard: {}", heard.concat()),
    };
    let mut reason = "end_turn";
    let config = &body["inferenceConfig"];
    let limit = config["maxTokens"].as_u64().map_or(usize::MAX, |n| usize::try_from(n).unwrap());
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    if words.len() > limit {
        text = words[..limit].concat();
        reason = "max_tokens";
    }
    for stop in config["stopSequences"].as_array().into_iter().flatten() {
        if let Some(at) = text.find(stop.as_str().unwrap()) {
            text.truncate(at);
            reason = "stop_sequence";
        }
    }
    let tokens = text.split_inclusive(' ').count();
    (vec![json!({"text": text})], reason, tokens)
}

fn frames(content: &[Value], reason: &str, usage: &Value) -> Vec<u8> {
    let mut out = frame("messageStart", &json!({"role": "assistant", "p": "abc"}));
    for (n, block) in content.iter().enumerate() {
        let (whole, wrap): (String, fn(&str) -> Value) = match block.get("toolUse") {
            Some(call) => {
                let start = json!({"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}});
                out.extend(frame("contentBlockStart", &json!({"contentBlockIndex": n, "start": start})));
                (call["input"].to_string(), |piece| json!({"toolUse": {"input": piece}}))
            }
            None => (block["text"].as_str().unwrap().to_owned(), |piece| json!({"text": piece})),
        };
        for piece in whole.split_inclusive(' ') {
            out.extend(frame("contentBlockDelta", &json!({"contentBlockIndex": n, "delta": wrap(piece)})));
        }
        out.extend(frame("contentBlockStop", &json!({"contentBlockIndex": n})));
    }
    out.extend(frame("messageStop", &json!({"stopReason": reason})));
    out.extend(frame("metadata", &json!({"usage": usage, "metrics": {"latencyMs": 1}})));
    out
}

fn reply(seen: &Seen) -> Reply {
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.headers["authorization"], format!("Bearer {FAKE_KEY}"));
    let body = seen.json();
    let mut roles: Vec<&str> =
        body["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    let turns = roles.len();
    roles.dedup();
    assert_eq!(roles.len(), turns, "roles take turns");
    let (content, reason, tokens) = answer(&body);
    let mut heard = Vec::new();
    texts(&body["messages"], &mut heard);
    let words = heard.concat().split(' ').count();
    let usage = json!({"inputTokens": words, "outputTokens": tokens, "totalTokens": words + tokens,
        "cacheReadInputTokens": 2, "cacheWriteInputTokens": 0});
    match seen.path.as_str() {
        "/model/amazon.nova-lite-v1%3A0/converse-stream" => {
            event_stream(frames(&content, reason, &usage)).in_pieces(7)
        }
        "/model/amazon.nova-lite-v1%3A0/converse" => {
            let message = json!({"role": "assistant", "content": content});
            Reply::json(
                json!({"output": {"message": message}, "stopReason": reason, "usage": usage}).to_string(),
            )
        }
        other => panic!("unknown path {other}"),
    }
}

async fn double() -> (BedrockChat, Server) {
    let server = Server::start(reply).await;
    let model = BedrockChat::with_bearer("amazon.nova-lite-v1:0", "us-east-1", FAKE_KEY);
    let can = model.info().capabilities.with_json_schema();
    (model.with_capabilities(can).with_base_url(&server.url).unwrap(), server)
}

katena_testkit::chat_model_contract!(bedrock_double, async { double().await });

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

async fn model(reply: Reply) -> (BedrockChat, Server) {
    let server = Server::always(reply).await;
    let model = BedrockChat::with_bearer("m", "us-east-1", FAKE_KEY).with_base_url(&server.url).unwrap();
    (model, server)
}

async fn last(model: &BedrockChat) -> Result<String> {
    let mut stream = model.stream(&ask()).await?;
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        if let katena_core::ChatEvent::Finished(response) = event? {
            text = response.text();
        }
    }
    Ok(text)
}

#[derive(Debug, Default)]
struct Rotating(AtomicUsize);

#[async_trait]
impl CredentialsProvider for Rotating {
    async fn credentials(&self) -> Result<Credentials> {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Credentials::new(format!("KEY{n}"), FAKE_KEY).with_session_token("session"))
    }
}

#[tokio::test]
async fn each_call_is_signed_by_itself() {
    let answer = r#"{"output":{"message":{"content":[{"text":"Hi"}]}},"stopReason":"end_turn"}"#;
    let server = Server::always(Reply::json(answer).with_header("x-amzn-requestid", "req-1")).await;
    let auth = AwsAuth::provider(Arc::new(Rotating::default()));
    let arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/a b";
    let model = BedrockChat::new(arn, "us-east-1", auth).with_base_url(&server.url).unwrap();
    for _ in 0..2 {
        let response = model.generate(&ask()).await.unwrap();
        assert_eq!(
            (response.request_id.as_deref(), response.vendor.as_deref()),
            (Some("req-1"), Some("bedrock"))
        );
    }
    let seen = server.requests();
    let path = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fa%20b/converse";
    for (n, request) in seen.iter().enumerate() {
        assert_eq!(request.path, path);
        let authorization = &request.headers["authorization"];
        assert!(
            authorization.starts_with(&format!("AWS4-HMAC-SHA256 Credential=KEY{n}/")),
            "{authorization}"
        );
        assert!(
            authorization
                .contains("/us-east-1/bedrock/aws4_request, SignedHeaders=accept;content-type;host;")
        );
        assert_eq!(request.headers["x-amz-security-token"], "session");
    }
}

#[tokio::test]
async fn errors_by_header_body_and_frame() {
    let refused = Reply::new(400, "application/json", r#"{"message":"too much"}"#)
        .with_header("x-amzn-errortype", "ServiceQuotaExceededException:http://internal.amazon.com/");
    let (quota, _server) = model(refused).await;
    for error in [quota.generate(&ask()).await.unwrap_err(), last(&quota).await.unwrap_err()] {
        assert_eq!(
            (error.kind(), error.status(), error.message()),
            (ErrorKind::QuotaExceeded, Some(400), "too much")
        );
    }
    let (expired, _server) = model(
        Reply::new(403, "application/json", r#"{"Message":"The security token is expired"}"#)
            .with_header("x-amzn-errortype", "ExpiredTokenException"),
    )
    .await;
    assert_eq!(expired.generate(&ask()).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let mut body = frame("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": {"text": "Hal"}}));
    body.extend(frame_of("exception", "throttlingException", r#"{"message":"slow down"}"#));
    let (throttled, _server) = model(event_stream(body).with_header("x-amzn-requestid", "req-2")).await;
    let error = last(&throttled).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message(), error.is_temporary()),
        (ErrorKind::RateLimited, "slow down", true)
    );
    assert_eq!((error.request_id(), error.vendor()), (Some("req-2"), Some("bedrock")));
}

#[tokio::test]
async fn a_cut_stream_is_no_short_answer() {
    let body = frames(&[json!({"text": "Hello world"})], "end_turn", &json!({"inputTokens": 1}));
    for cut in [body.len() / 3, body.len() / 2, body.len() - 1] {
        let (ended, _server) = model(event_stream(&body[..cut])).await;
        assert_eq!(last(&ended).await.unwrap_err().kind(), ErrorKind::Unavailable, "cut at {cut}");
        let (broken, _server) = model(event_stream(&body[..cut]).then(Step::Cut)).await;
        assert_eq!(last(&broken).await.unwrap_err().kind(), ErrorKind::Unavailable, "cut at {cut}");
    }
    let mut bad = body.clone();
    bad[40] ^= 1;
    let (bad, _server) = model(event_stream(bad)).await;
    assert_eq!(last(&bad).await.unwrap_err().kind(), ErrorKind::InvalidOutput);
    // Whatever it is called.
    let (plain, _server) = model(Reply::new(200, "text/plain", body).in_pieces(1)).await;
    assert_eq!(last(&plain).await.unwrap(), "Hello world");
    let (empty, _server) = model(event_stream("")).await;
    assert_eq!(last(&empty).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let (page, _server) = model(Reply::new(200, "text/html", "<html>")).await;
    assert_eq!(last(&page).await.unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[tokio::test]
async fn a_server_that_answers_at_once() {
    let answer = r#"{"output":{"message":{"content":[{"text":"At once"}]}},"stopReason":"end_turn"}"#;
    let (model, _server) = model(Reply::json(answer)).await;
    assert_eq!(last(&model).await.unwrap(), "At once");
}

#[tokio::test]
async fn models_and_counts() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/foundation-models" => Reply::json(
            r#"{"modelSummaries":[
                {"modelId":"amazon.nova-lite-v1:0","inputModalities":["TEXT","IMAGE"],"outputModalities":["TEXT"]},
                {"modelId":"amazon.titan-embed-text-v2:0","outputModalities":["EMBEDDING"]},
                {"modelId":"anthropic.claude-x","inputModalities":["TEXT"]}]}"#,
        ),
        "/model/m/count-tokens" => {
            let input = &seen.json()["input"]["converse"];
            assert_eq!(*input, json!({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}));
            Reply::json(r#"{"inputTokens":11}"#)
        }
        other => panic!("{other}"),
    })
    .await;
    let model = BedrockChat::with_bearer("m", "us-east-1", FAKE_KEY).with_base_url(&server.url).unwrap();
    let models = model.models().await.unwrap();
    let ids: Vec<&str> = models.iter().map(|m| m.model.as_str()).collect();
    assert_eq!(ids, ["amazon.nova-lite-v1:0", "anthropic.claude-x"]);
    assert!(models[0].capabilities.images && !models[1].capabilities.images);
    assert_eq!(model.count_tokens(&ask()).await.unwrap(), 11);
}

#[cfg(feature = "anthropic")]
mod claude {
    use base64::Engine as _;
    use katena_llms::bedrock::BedrockClaude;

    use super::*;

    fn chunk(event: &Value) -> Vec<u8> {
        let bytes = base64::prelude::BASE64_STANDARD.encode(event.to_string());
        frame("chunk", &json!({"bytes": bytes, "p": "abc"}))
    }

    #[tokio::test]
    async fn within_the_envelope() {
        let server = Server::start(|seen| match seen.path.as_str() {
            "/model/anthropic.claude-opus-4-6-v1%3A0/invoke" => Reply::json(
                json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
                    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn",
                    "usage": {"input_tokens": 3, "cache_read_input_tokens": 9, "output_tokens": 1}})
                .to_string(),
            ),
            "/model/anthropic.claude-opus-4-6-v1%3A0/invoke-with-response-stream" => {
                let events = [
                    json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3}}}),
                    json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
                    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
                    json!({"type": "content_block_stop", "index": 0}),
                    json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
                    json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}}),
                ];
                event_stream(events.iter().flat_map(chunk).collect::<Vec<u8>>()).in_pieces(11)
            }
            "/model/anthropic.claude-opus-4-6-v1%3A0/count-tokens" => {
                let packed = seen.json()["input"]["invokeModel"]["body"].as_str().unwrap().to_owned();
                let body = base64::prelude::BASE64_STANDARD.decode(packed).unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["anthropic_version"], "bedrock-2023-05-31");
                Reply::json(r#"{"inputTokens":7}"#)
            }
            other => panic!("{other}"),
        })
        .await;
        let model = BedrockClaude::with_bearer("anthropic.claude-opus-4-6-v1:0", "us-east-1", FAKE_KEY)
            .with_base_url(&server.url)
            .unwrap()
            .with_beta("some-beta");
        let whole = model.generate(&ask()).await.unwrap();
        assert_eq!((whole.text().as_str(), whole.vendor.as_deref()), ("Hello", Some("bedrock")));
        assert_eq!((whole.usage.input_tokens, whole.usage.cached_tokens), (Some(12), Some(9)));
        let mut stream = model.stream(&ask()).await.unwrap();
        let mut text = None;
        while let Some(event) = stream.next().await {
            if let katena_core::ChatEvent::Finished(response) = event.unwrap() {
                text = Some((response.text(), response.finish_raw, response.vendor));
            }
        }
        let word = |text: &str| Some(text.to_owned());
        assert_eq!(text, Some(("Hello".to_owned(), word("end_turn"), word("bedrock"))));
        assert_eq!(model.count_tokens(&ask()).await.unwrap(), 7);
        for seen in &server.requests()[..2] {
            let body = seen.json();
            assert_eq!(body["anthropic_version"], "bedrock-2023-05-31");
            assert_eq!(body["anthropic_beta"], json!(["some-beta"]));
            assert!(body.get("model").is_none() && body.get("stream").is_none(), "{body}");
        }
        let error = model.generate(&ChatRequest::new([])).await.unwrap_err();
        assert_eq!((error.kind(), error.vendor()), (ErrorKind::InvalidInput, Some("bedrock")));
    }

    #[tokio::test]
    async fn exceptions_and_bad_frames() {
        let start = chunk(&json!({"type": "message_start", "message": {"usage": {}}}));
        let bad = [
            (
                frame_of("exception", "modelStreamErrorException", r#"{"message":"m"}"#),
                ErrorKind::Unavailable,
            ),
            (frame("chunk", &json!({"bytes": "!"})), ErrorKind::InvalidOutput),
            (frame("chunk", &json!({})), ErrorKind::InvalidOutput),
            (frame("other", &json!({})), ErrorKind::Unavailable),
        ];
        for (frame, kind) in bad {
            let server = Server::always(event_stream([start.clone(), frame].concat())).await;
            let model =
                BedrockClaude::with_bearer("m", "us-east-1", FAKE_KEY).with_base_url(&server.url).unwrap();
            let mut stream = model.stream(&ask()).await.unwrap();
            let mut end = None;
            while let Some(event) = stream.next().await {
                end = event.err();
            }
            assert_eq!(end.unwrap().kind(), kind);
        }
    }
}
