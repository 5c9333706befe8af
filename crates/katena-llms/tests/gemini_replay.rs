//! Recorded traffic of Gemini on both services, read by the protocol's decoders and compared with what was there.
//!
//! The recordings lie beside the checkout and are not part of it; without them the test says so and passes.

#![cfg(feature = "gemini")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use base64::Engine as _;
use katena_core::{Accumulator, ChatModel as _, ChatRequest, ChatResponse, Message, Part, Result};
use katena_http::ErrorDetails;
use katena_http::sse::SseDecoder;
use katena_llms::GeminiChat;
use katena_llms::gemini::{GeminiStreamDecoder, decode_response};
use serde_json::{Value, json};

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;
use support::{Reply, Server};

fn lines(name: &str) -> Option<Vec<Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/replay").join(name);
    let file = std::fs::File::open(path).ok()?;
    let text = BufReader::new(flate2::read::GzDecoder::new(file));
    Some(text.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect())
}

/// The recordings of the protocol with their verdicts, by vendor.
fn recordings() -> Option<Vec<(&'static str, Value, Value)>> {
    let Some(expected) = lines("expect.jsonl.gz") else {
        println!("skipped: the recorded traffic is not beside this checkout");
        return None;
    };
    let expected: BTreeMap<String, Value> =
        expected.into_iter().map(|e| (e["id"].as_str().unwrap().to_owned(), e)).collect();
    let mut all = Vec::new();
    for vendor in ["gemini", "vertex"] {
        for row in lines(&format!("{vendor}.jsonl.gz")).unwrap() {
            if !matches!(row["api"].as_str(), Some("gemini" | "gemini.stream")) {
                continue;
            }
            if let Some(want) = expected.get(row["id"].as_str().unwrap()) {
                all.push((vendor, row, want.clone()));
            }
        }
    }
    Some(all)
}

fn body(row: &Value) -> Vec<u8> {
    match row["body_b64"].as_str() {
        Some(packed) => base64::prelude::BASE64_STANDARD.decode(packed).unwrap(),
        None => row["body"].as_str().unwrap().as_bytes().to_vec(),
    }
}

fn status(row: &Value) -> u16 {
    let status = row["status"].as_u64().or_else(|| row["status"].as_str()?.parse().ok()).unwrap();
    u16::try_from(status).unwrap()
}

fn decode_stream(body: &[u8], split: usize) -> Result<ChatResponse> {
    let (mut sse, mut decoder) = (SseDecoder::new(), GeminiStreamDecoder::new("v"));
    let mut answer = Accumulator::new();
    for piece in body.chunks(split.max(1)) {
        sse.push(piece)?;
        while let Some(event) = sse.next_event() {
            decoder.push(&event.event, &event.data)?;
            while let Some(event) = decoder.next_event() {
                answer.push(&event)?;
            }
        }
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        answer.push(&event)?;
    }
    answer.finish()
}

fn decode(status: u16, body: &[u8]) -> Result<ChatResponse> {
    let value = serde_json::from_slice::<Value>(body);
    if !(200..300).contains(&status) {
        let details = value.ok().as_ref().and_then(ErrorDetails::from_value).unwrap_or_default();
        return Err(details.into_error(Some(status)));
    }
    match value {
        Ok(value) => decode_response(value, "v"),
        Err(_) => {
            let whole = decode_stream(body, body.len());
            for split in [1, 7, 100] {
                assert_eq!(
                    decode_stream(body, split).map_err(|e| e.to_string()),
                    whole.clone().map_err(|e| e.to_string())
                );
            }
            whole
        }
    }
}

fn arguments(text: &str) -> Value {
    if text.trim().is_empty() { json!({}) } else { serde_json::from_str(text).unwrap() }
}

/// What is wrong, by the same measure as the shared checker.
fn faults(expected: &Value, got: &Result<ChatResponse>) -> Vec<String> {
    let text = |key: &str| expected[key].as_str().unwrap_or("");
    let mut faults = Vec::new();
    let mut same = |what: &str, ok: bool| {
        if !ok {
            faults.push(what.to_owned());
        }
    };
    let r = match (expected["kind"] == "error", got) {
        (true, Ok(_)) => return vec!["no error".into()],
        (true, Err(error)) => {
            let message: String =
                expected["error"]["message"].as_str().unwrap_or("").chars().take(60).collect();
            let status = expected["error"]["status"].as_u64();
            same("status", status == Some(200) || status == error.status().map(u64::from));
            same("message", error.message().contains(&message));
            return faults;
        }
        (false, Err(error)) => return vec![format!("spurious error {error}")],
        (false, Ok(r)) => r,
    };
    same("text", r.text() == text("text"));
    same("refusal", r.refusal().unwrap_or("") == text("refusal"));
    let reasoned =
        r.message.parts.iter().any(|p| matches!(p, Part::Reasoning { text, .. } if !text.is_empty()));
    same("reasoning", text("reasoning").is_empty() || reasoned);
    let calls: Vec<Value> =
        r.tool_calls().map(|c| json!({"name": c.name, "args": arguments(&c.arguments)})).collect();
    let wanted: Vec<Value> = expected["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| json!({"name": c["name"], "args": c["args"]}))
        .collect();
    same("tool calls", calls == wanted);
    let finish = match &expected["finish"] {
        Value::Number(n) => Some(n.to_string()),
        word => word.as_str().map(str::to_owned),
    };
    same("finish", finish.is_none() || r.finish_raw == finish);
    // The verdicts count the answer without its reasoning.
    let answer = r.usage.output_tokens.map(|n| n - r.usage.reasoning_tokens.unwrap_or(0));
    for (key, count) in [("input", r.usage.input_tokens), ("output", answer)] {
        same(key, expected["usage"][key].is_null() || expected["usage"][key].as_u64() == count);
    }
    faults
}

#[test]
fn recorded_answers_are_understood() {
    let Some(rows) = recordings() else { return };
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::<(&str, String), (u32, u32)>::new());
    for (vendor, row, want) in rows {
        let got = decode(status(&row), &body(&row));
        let faults = faults(&want, &got);
        let (right, all) = counts.entry((vendor, row["api"].to_string())).or_default();
        *all += 1;
        if faults.is_empty() {
            *right += 1;
        } else {
            wrong.push(format!("{}: {}", row["id"], faults.join("; ")));
        }
    }
    for ((vendor, api), (right, all)) in counts {
        println!("{vendor:8}{api:16}{right:5}/{all}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A recorded answer that goes back stands there part by part as it came, signatures and all.
#[tokio::test]
async fn recorded_answers_go_back_as_they_came() {
    let Some(rows) = recordings() else { return };
    let reply = json!({"candidates": [{"content": {"parts": [{"text": "ok"}]}, "finishReason": "STOP"}]});
    let server = Server::always(Reply::json(reply.to_string())).await;
    let model = GeminiChat::new("m", "test-key").with_base_url(&server.url).unwrap();
    let (mut compared, mut signed) = (0, 0);
    for (_, row, want) in rows {
        let Ok(raw) = serde_json::from_slice::<Value>(&body(&row)) else { continue };
        let parts = raw["candidates"][0]["content"]["parts"].clone();
        if want["kind"] != "ok" || !parts.is_array() {
            continue;
        }
        let answer = decode_response(raw, "gemini").unwrap().message;
        let request = ChatRequest::new([Message::user("?"), answer, Message::user("!")]);
        model.generate(&request).await.unwrap();
        let sent = server.requests().last().unwrap().json();
        let mut back = sent["contents"][1]["parts"].clone();
        // Ids that we made up are sent; the recorded calls mostly had none.
        for (back, came) in back.as_array_mut().unwrap().iter_mut().zip(parts.as_array().unwrap()) {
            if came["functionCall"].is_object() && came["functionCall"]["id"].is_null() {
                back["functionCall"].as_object_mut().unwrap().remove("id");
            }
            signed += u32::from(came["thoughtSignature"].is_string());
        }
        let text = |v: &Value| -> String {
            v.as_array().unwrap().iter().filter_map(|p| p["text"].as_str()).collect()
        };
        if back != parts {
            // Texts that follow each other may become one.
            assert_eq!(text(&back), text(&parts), "{}", row["id"]);
            let rest = |v: &Value| -> Vec<Value> {
                let other = |p: &&Value| p["text"].is_null() || p["thoughtSignature"].is_string();
                v.as_array().unwrap().iter().filter(other).cloned().collect()
            };
            assert_eq!(rest(&back), rest(&parts), "{}", row["id"]);
        }
        compared += 1;
    }
    println!("{compared} answers went back, {signed} signatures in them");
    assert!(compared > 100 && signed > 50, "{compared} {signed}");
}
