//! Cohere's component against a small server that speaks its protocol (a double, not Cohere).

#![cfg(feature = "cohere")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatModel as _, ChatRequest, ChatResponse, ErrorKind, Message, ModelCatalog as _, Result,
};
use katena_llms::CohereChat;
use katena_testkit::FAKE_KEY;
use serde_json::{Value, json};
use support::{Reply, Seen, Server};

fn said(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|b| b["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// Answers like a model: calls a tool or writes JSON if told to, else repeats what it was asked, word by word.
fn double(seen: &Seen) -> Reply {
    if seen.path != "/v2/chat" {
        return Reply::new(404, "application/json", r#"{"message":"not found"}"#);
    }
    let body = seen.json();
    let asked = body["messages"].as_array().unwrap();
    let input: usize = asked.iter().map(|m| said(m).split(' ').count()).sum();
    let streams = body["stream"] == true;
    let usage = |output: usize| json!({"tokens": {"input_tokens": input, "output_tokens": output}});
    let event = |value: &Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
    if body["tool_choice"] == "REQUIRED" {
        let function = &body["tools"][0]["function"];
        let key = function["parameters"]["required"][0].as_str().unwrap().to_owned();
        let arguments = json!({ key: "utc" }).to_string();
        let call = json!({"id": "c1", "type": "function", "function": {"name": function["name"], "arguments": arguments}});
        if !streams {
            let message = json!({"role": "assistant", "tool_plan": "I will.", "tool_calls": [call]});
            let whole =
                json!({"id": "r", "message": message, "finish_reason": "TOOL_CALL", "usage": usage(3)});
            return Reply::json(whole.to_string());
        }
        let events = [
            json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will."}}}),
            json!({"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": call}}}),
            json!({"type": "tool-call-end", "index": 0}),
            json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": usage(3)}}),
        ];
        return Reply::sse(events.iter().map(event).collect::<String>());
    }
    let mut text = match body["response_format"]["json_schema"] {
        Value::Object(_) => json!({"colour": "red", "ready": true}).to_string(),
        _ => format!("You said: {}", said(asked.last().unwrap())),
    };
    let mut reason = "COMPLETE";
    for stop in body["stop_sequences"].as_array().into_iter().flatten() {
        if let Some(at) = text.find(stop.as_str().unwrap()) {
            text.truncate(at);
            reason = "STOP_SEQUENCE";
        }
    }
    let mut words: Vec<&str> = text.split_inclusive(' ').collect();
    if let Some(max) = body["max_tokens"].as_u64().filter(|m| (*m as usize) < words.len()) {
        words.truncate(max as usize);
        reason = "MAX_TOKENS";
    }
    if !streams {
        let message = json!({"role": "assistant", "content": [{"type": "text", "text": words.concat()}]});
        let whole =
            json!({"id": "r", "message": message, "finish_reason": reason, "usage": usage(words.len())});
        return Reply::json(whole.to_string());
    }
    let piece = |word: &&str| {
        event(
            &json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}}),
        )
    };
    let mut events: String = words.iter().map(piece).collect();
    events += &event(&json!({"type": "content-end", "index": 0}));
    events += &event(
        &json!({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage(words.len())}}),
    );
    Reply::sse(events)
}

fn model(server: &Server) -> CohereChat {
    CohereChat::new("m", FAKE_KEY).with_base_url(&server.url).unwrap()
}

katena_testkit::chat_model_contract!(scripted, async {
    let server = Server::start(double).await;
    (model(&server), server)
});

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

async fn fold(model: &CohereChat, request: &ChatRequest) -> Result<ChatResponse> {
    let mut stream = model.stream(request).await?;
    let mut answer = Accumulator::new();
    while let Some(event) = stream.next().await {
        answer.push(&event?)?;
    }
    answer.finish()
}

#[tokio::test]
async fn failures_are_typed() {
    let half = "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"half\"}}}}\n\n";
    for (reply, kind) in [
        (
            Reply::new(401, "application/json", r#"{"id":"x","message":"invalid api token"}"#),
            ErrorKind::Unauthenticated,
        ),
        (Reply::new(429, "application/json", r#"{"message":"slow down"}"#), ErrorKind::RateLimited),
        (Reply::sse(half), ErrorKind::Unavailable),
        (Reply::sse(""), ErrorKind::Unavailable),
        (Reply::json("{}"), ErrorKind::InvalidOutput),
    ] {
        let server = Server::always(reply.clone()).await;
        let model = model(&server);
        for error in [model.generate(&ask()).await.unwrap_err(), fold(&model, &ask()).await.unwrap_err()] {
            assert_eq!((error.kind(), error.vendor()), (kind, Some("cohere")), "{reply:?}: {error:?}");
            assert!(!format!("{error:?}").contains(FAKE_KEY));
        }
    }
}

#[tokio::test]
async fn all_pages_of_models() {
    let server = Server::start(|seen| {
        Reply::json(if seen.path.contains("page_token=two") {
            r#"{"models":[{"name":"b"}]}"#
        } else {
            r#"{"models":[{"name":"a"}],"next_page_token":"two"}"#
        })
    })
    .await;
    let models = model(&server).models().await.unwrap();
    assert_eq!(models.iter().map(|m| m.model.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(server.requests()[0].path.starts_with("/v1/models?endpoint=chat"));
    let endless = Server::always(Reply::json(r#"{"models":[],"next_page_token":"more"}"#)).await;
    assert_eq!(self::model(&endless).models().await.unwrap_err().kind(), ErrorKind::InvalidOutput);
}
