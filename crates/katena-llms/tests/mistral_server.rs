//! Mistral's component against a small server that speaks its protocol (a double, not Mistral).

#![cfg(feature = "mistral")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatModel as _, ChatRequest, ChatResponse, ErrorKind, Message, ModelCatalog as _, Part,
    Result,
};
use katena_llms::MistralChat;
use katena_testkit::FAKE_KEY;
use serde_json::{Value, json};
use support::{Reply, Seen, Server};

fn said(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(chunks) => chunks.iter().filter_map(|c| c["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// Answers like a model: calls a tool or writes JSON if told to, else repeats what it was asked, word by word.
fn double(seen: &Seen) -> Reply {
    if seen.path != "/v1/chat/completions" {
        return Reply::new(404, "application/json", r#"{"detail":"not found"}"#);
    }
    let body = seen.json();
    let asked = body["messages"].as_array().unwrap();
    let fits = |id: &Value| {
        id.as_str().is_some_and(|id| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    let calls = asked.iter().flat_map(|m| m["tool_calls"].as_array().into_iter().flatten());
    if !calls.map(|c| &c["id"]).chain(asked.iter().filter_map(|m| m.get("tool_call_id"))).all(fits) {
        return Reply::new(
            400,
            "application/json",
            r#"{"object":"error","message":"bad id","type":"invalid_request_error"}"#,
        );
    }
    let input: usize = asked.iter().map(|m| said(m).split(' ').count()).sum();
    let mut reason = "stop";
    let mut deltas: Vec<Value> = Vec::new();
    let choice = &body["tool_choice"];
    if choice == "any" || choice.is_object() {
        let tools = body["tools"].as_array().unwrap();
        let named = |t: &&Value| choice == "any" || t["function"]["name"] == choice["function"]["name"];
        let function = &tools.iter().find(named).unwrap()["function"];
        let key = function["parameters"]["required"][0].as_str().unwrap().to_owned();
        let arguments = json!({ key: "utc" }).to_string();
        let call = json!({"id": "aB3dE6gH9", "index": 0, "function": {"name": function["name"], "arguments": arguments}});
        deltas.push(json!({"content": "", "tool_calls": [call]}));
        reason = "tool_calls";
    } else {
        let mut text = match body["response_format"]["json_schema"] {
            Value::Object(_) => json!({"colour": "red", "ready": true}).to_string(),
            _ => format!("You said: {}", said(asked.last().unwrap())),
        };
        for stop in body["stop"].as_array().into_iter().flatten() {
            if let Some(at) = text.find(stop.as_str().unwrap()) {
                text.truncate(at);
            }
        }
        let mut words: Vec<&str> = text.split_inclusive(' ').collect();
        if let Some(max) = body["max_tokens"].as_u64().filter(|m| (*m as usize) < words.len()) {
            words.truncate(max as usize);
            reason = "length";
        }
        deltas.extend(words.iter().map(|word| json!({"content": word})));
    }
    let usage = json!({"prompt_tokens": input, "completion_tokens": deltas.len()});
    if body["stream"] != true {
        let mut message = deltas[0].clone();
        message["content"] = deltas.iter().map(|d| d["content"].as_str().unwrap()).collect::<String>().into();
        let choice = json!({"index": 0, "message": message, "finish_reason": reason});
        return Reply::json(json!({"id": "r", "choices": [choice], "usage": usage}).to_string());
    }
    let chunk = |choice: Value| json!({"id": "r", "choices": [choice]});
    let mut events: Vec<Value> = deltas.iter().map(|d| chunk(json!({"index": 0, "delta": d}))).collect();
    events.push(chunk(json!({"index": 0, "delta": {"content": ""}, "finish_reason": reason})));
    events.last_mut().unwrap()["usage"] = usage;
    let mut text = String::new();
    for event in &events {
        text.extend(["data: ", &event.to_string(), "\n\n"]);
    }
    Reply::sse(text + "data: [DONE]\n\n")
}

fn model(server: &Server) -> MistralChat {
    MistralChat::new("m", FAKE_KEY).with_base_url(format!("{}/v1", server.url)).unwrap()
}

katena_testkit::chat_model_contract!(scripted, async {
    let server = Server::start(double).await;
    (model(&server), server)
});

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

async fn fold(model: &MistralChat, request: &ChatRequest) -> Result<ChatResponse> {
    let mut stream = model.stream(request).await?;
    let mut answer = Accumulator::new();
    while let Some(event) = stream.next().await {
        answer.push(&event?)?;
    }
    answer.finish()
}

#[tokio::test]
async fn failures_are_typed() {
    let half = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half\"}}]}\n\n";
    for (reply, kind) in [
        (Reply::new(401, "application/json", r#"{"detail":"Invalid API Key"}"#), ErrorKind::Unauthenticated),
        (
            Reply::new(
                400,
                "application/json",
                r#"{"object":"error","message":"Invalid model: x","type":"invalid_model","code":"1500"}"#,
            ),
            ErrorKind::InvalidInput,
        ),
        (Reply::sse(half), ErrorKind::Unavailable),
        (Reply::sse(""), ErrorKind::Unavailable),
        (Reply::json("{}"), ErrorKind::InvalidOutput),
    ] {
        let server = Server::always(reply.clone()).await;
        let model = model(&server);
        for error in [model.generate(&ask()).await.unwrap_err(), fold(&model, &ask()).await.unwrap_err()] {
            assert_eq!((error.kind(), error.vendor()), (kind, Some("mistral")), "{reply:?}: {error:?}");
            assert!(!format!("{error:?}").contains(FAKE_KEY));
        }
    }
}

#[tokio::test]
async fn thinking_goes_back_as_it_came() {
    let chunks = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "144"}]);
    let whole = json!({"choices": [{"index": 0, "message": {"content": chunks}, "finish_reason": "stop"}]});
    let server = Server::always(Reply::json(whole.to_string())).await;
    let model = model(&server);
    let answer = model.generate(&ask()).await.unwrap();
    assert!(matches!(&answer.message.parts[0], Part::Reasoning { text, .. } if text == "hm"));
    let next = ChatRequest::new([Message::user("12 × 12?"), answer.message, Message::user("Sure?")]);
    model.generate(&next).await.unwrap();
    assert_eq!(server.requests()[1].json()["messages"][1]["content"], chunks);
}

#[tokio::test]
async fn the_models_of_the_account() {
    let server = Server::always(Reply::json(r#"{"object":"list","data":[{"id":"a"}]}"#)).await;
    assert_eq!(model(&server).models().await.unwrap()[0].model, "a");
    assert_eq!(server.requests()[0].path, "/v1/models");
}
