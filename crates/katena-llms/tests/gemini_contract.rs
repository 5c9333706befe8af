//! The contract of a chat model, against a double: a small server that speaks the protocol and says the prompt's
//! words again.

#![cfg(feature = "gemini")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::sync::Arc;

use katena_http::StaticToken;
use katena_llms::GeminiChat;
use katena_testkit::FAKE_KEY;
use serde_json::{Value, json};

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;
use support::{Reply, Seen, Server};

/// What the double says: its tokens, and why it stops.
fn answer(body: &Value) -> (Vec<String>, &'static str) {
    let config = &body["generationConfig"];
    let contents = body["contents"].as_array().unwrap();
    let said = |c: &Value| -> String {
        c["parts"].as_array().unwrap().iter().filter_map(|p| p["text"].as_str()).collect()
    };
    let text = if config["responseJsonSchema"].is_object() {
        r#"{"colour": "red", "ready": true}"#.to_owned()
    } else {
        format!("You said: {}", said(contents.last().unwrap()))
    };
    let limit = config["maxOutputTokens"].as_u64().unwrap_or(1000) as usize;
    let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    let mut reason = if words.len() > limit { "MAX_TOKENS" } else { "STOP" };
    let mut kept: Vec<String> = words.into_iter().take(limit).collect();
    let whole = kept.concat();
    let stops = config["stopSequences"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(at) = stops.filter_map(|s| whole.find(s)).min() {
        reason = "STOP";
        kept = whole[..at].split_inclusive(' ').map(str::to_owned).collect();
    }
    (kept, reason)
}

fn logprobs(token: &str, config: &Value) -> Value {
    if config["responseLogprobs"] != true {
        return Value::Null;
    }
    let rivals = config["logprobs"].as_u64().unwrap_or(0);
    let top: Vec<Value> = (0..rivals)
        .map(|n| json!({"token": format!("{token}{n}"), "logProbability": -0.5 - n as f64}))
        .collect();
    json!({"chosenCandidates": [{"token": token, "logProbability": -0.5}], "topCandidates": [{"candidates": top}]})
}

/// The reply as chunks of a stream.
fn chunks(body: &Value) -> Vec<Value> {
    let config = &body["generationConfig"];
    let prompt = json!([body["systemInstruction"], body["contents"]]).to_string().len() / 4;
    let count = |n: usize| json!({"promptTokenCount": prompt, "candidatesTokenCount": n, "totalTokenCount": prompt + n});
    let calling = &body["toolConfig"]["functionCallingConfig"];
    if calling["mode"] == "ANY" {
        let name = calling["allowedFunctionNames"][0].as_str();
        let name =
            name.unwrap_or_else(|| body["tools"][0]["functionDeclarations"][0]["name"].as_str().unwrap());
        let args = if name == "get_time" { json!({"zone": "utc"}) } else { json!({"city": "Oslo"}) };
        let part = json!({"functionCall": {"name": name, "args": args}, "thoughtSignature": "c2ln"});
        let candidate = json!({"content": {"parts": [part]}, "finishReason": "STOP"});
        return vec![json!({"candidates": [candidate], "usageMetadata": count(8), "responseId": "r"})];
    }
    let (tokens, reason) = answer(body);
    let last = tokens.len();
    let mut chunks: Vec<Value> = tokens
        .iter()
        .enumerate()
        .map(|(n, token)| {
            let mut candidate = json!({"content": {"parts": [{"text": token}], "role": "model"}, "index": 0});
            if !logprobs(token, config).is_null() {
                candidate["logprobsResult"] = logprobs(token, config);
            }
            json!({"candidates": [candidate], "usageMetadata": count(n + 1), "responseId": "r"})
        })
        .collect();
    chunks.push(json!({"candidates": [{"finishReason": reason}], "usageMetadata": count(last)}));
    chunks
}

fn reply(seen: &Seen) -> Reply {
    let wrong = |message: &str| {
        let error = json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}});
        Reply::new(400, "application/json", error.to_string())
    };
    let body = seen.json();
    if body["contents"].as_array().is_none_or(Vec::is_empty) {
        return wrong("contents are missing");
    }
    let chunks = chunks(&body);
    if seen.path.ends_with(":streamGenerateContent?alt=sse") {
        let mut text = String::new();
        for chunk in chunks {
            write!(text, "data: {chunk}\r\n\r\n").unwrap();
        }
        return Reply::sse(text).in_pieces(97);
    }
    if !seen.path.ends_with(":generateContent") {
        return wrong("no such method");
    }
    let list = |pointer: &str| -> Vec<Value> {
        chunks.iter().filter_map(|c| c.pointer(pointer)?.as_array()).flatten().cloned().collect()
    };
    let mut whole = chunks.last().unwrap().clone();
    whole["candidates"][0]["content"] =
        json!({"parts": list("/candidates/0/content/parts"), "role": "model"});
    if body["generationConfig"]["responseLogprobs"] == true {
        whole["candidates"][0]["logprobsResult"] = json!({
            "chosenCandidates": list("/candidates/0/logprobsResult/chosenCandidates"),
            "topCandidates": list("/candidates/0/logprobsResult/topCandidates"),
        });
    }
    Reply::json(whole.to_string())
}

async fn developer() -> (GeminiChat, Server) {
    let server = Server::start(reply).await;
    (GeminiChat::new("double", FAKE_KEY).with_base_url(format!("{}/v1beta", server.url)).unwrap(), server)
}

async fn vertex() -> (GeminiChat, Server) {
    let server = Server::start(reply).await;
    let model = GeminiChat::vertex("double", "acme", "global", Arc::new(StaticToken::new(FAKE_KEY))).unwrap();
    (model.with_base_url(format!("{}/v1beta1", server.url)).unwrap(), server)
}

/// A model that states nothing but usage, so that each refusal is seen.
async fn plain() -> (GeminiChat, Server) {
    let (model, server) = developer().await;
    (model.with_capabilities(katena_core::ChatCapabilities::none().with_usage()), server)
}

katena_testkit::chat_model_contract!(developer_double, async { developer().await });
katena_testkit::chat_model_contract!(vertex_double, async { vertex().await });
katena_testkit::chat_model_contract!(plain_double, async { plain().await });
