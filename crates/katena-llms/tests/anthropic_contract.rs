//! The contract of a chat model, against a double that speaks Anthropic Messages: it says again what it heard.

#![cfg(feature = "anthropic")]
#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use katena_core::ChatModel as _;
use katena_llms::AnthropicChat;
use katena_testkit::FAKE_KEY;
use serde_json::{Map, Value, json};
use support::{Reply, Seen, Server};

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

/// The blocks of the answer and why it ended.
fn answer(body: &Value) -> (Value, &'static str, usize) {
    let choice = &body["tool_choice"];
    let tools = body["tools"].as_array().cloned().unwrap_or_default();
    let tool = match choice["type"].as_str() {
        Some("any") => tools.first(),
        Some("tool") => tools.iter().find(|t| t["name"] == choice["name"]),
        _ => None,
    };
    if let Some(tool) = tool {
        let input = example(&tool["input_schema"]);
        let call = json!({"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": input});
        return (json!([{"type": "text", "text": "Let me see."}, call]), "tool_use", 9);
    }
    let format = &body["output_config"]["format"];
    let mut heard = Vec::new();
    texts(body["messages"].as_array().unwrap().last().unwrap(), &mut heard);
    let mut text = if format.is_object() {
        example(&format["schema"]).to_string()
    } else {
        format!("I heard: {}", heard.concat())
    };
    let mut reason = "end_turn";
    let limit = usize::try_from(body["max_tokens"].as_u64().unwrap()).unwrap();
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    if words.len() > limit {
        text = words[..limit].concat();
        reason = "max_tokens";
    }
    for stop in body["stop_sequences"].as_array().into_iter().flatten() {
        if let Some(at) = text.find(stop.as_str().unwrap()) {
            text.truncate(at);
            reason = "stop_sequence";
        }
    }
    let tokens = text.split_inclusive(' ').count();
    (json!([{"type": "text", "text": text}]), reason, tokens)
}

fn sse(message: &Value) -> String {
    let mut text = String::new();
    let mut event = |value: Value| {
        let name = value["type"].as_str().unwrap().to_owned();
        text.extend(["event: ", &name, "\ndata: ", &value.to_string(), "\n\n"]);
    };
    let mut head = message.clone();
    head["content"] = json!([]);
    head["usage"]["output_tokens"] = json!(1);
    event(json!({"type": "message_start", "message": head}));
    event(json!({"type": "ping"}));
    for (n, block) in message["content"].as_array().unwrap().iter().enumerate() {
        let mut start = block.clone();
        let (key, kind, field) = match block["type"].as_str().unwrap() {
            "text" => ("text", "text_delta", "text"),
            _ => ("input", "input_json_delta", "partial_json"),
        };
        let whole = block[key].as_str().map_or_else(|| block[key].to_string(), str::to_owned);
        start[key] = if key == "text" { json!("") } else { json!({}) };
        event(json!({"type": "content_block_start", "index": n, "content_block": start}));
        for piece in whole.split_inclusive(' ') {
            event(json!({"type": "content_block_delta", "index": n, "delta": {"type": kind, field: piece}}));
        }
        event(json!({"type": "content_block_stop", "index": n}));
    }
    let usage = json!({"output_tokens": message["usage"]["output_tokens"]});
    event(json!({"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}, "usage": usage}));
    event(json!({"type": "message_stop"}));
    text
}

fn reply(seen: &Seen) -> Reply {
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/messages"));
    assert_eq!(seen.headers["x-api-key"], FAKE_KEY);
    assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
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
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"],
        "content": content, "stop_reason": reason, "usage": {"input_tokens": words,
        "cache_read_input_tokens": 2, "cache_creation_input_tokens": 0, "output_tokens": tokens}});
    if body["stream"] == true { Reply::sse(sse(&message)) } else { Reply::json(message.to_string()) }
}

async fn double() -> (AnthropicChat, Server) {
    let server = Server::start(reply).await;
    let model = AnthropicChat::new("claude-opus-4-6", FAKE_KEY).with_base_url(&server.url).unwrap();
    assert!(model.info().capabilities.tools && model.info().capabilities.json_schema);
    (model, server)
}

katena_testkit::chat_model_contract!(anthropic_double, async { double().await });
