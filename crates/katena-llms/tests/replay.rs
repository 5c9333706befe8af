//! Recorded traffic of Chat Completions, replayed through the decoders in process.

#![cfg(feature = "openai")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use base64::Engine as _;
use katena_core::{Accumulator, ChatResponse, Error, FinishReason, Part, Result};
use katena_http::ErrorDetails;
use katena_http::sse::SseDecoder;
use katena_llms::openai_chat::{OpenAiStreamDecoder, decode_response};
use serde_json::{Value, json};

const VENDORS: [&str; 12] = [
    "openai",
    "groq",
    "deepseek",
    "openrouter",
    "mistral",
    "llamacpp",
    "perplexity",
    "zai",
    "venice",
    "cerebras",
    "azure",
    "gpustack",
];

fn lines(name: &str) -> Option<Vec<Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/replay").join(name);
    let file = std::fs::File::open(path).ok()?;
    let text = BufReader::new(flate2::read::GzDecoder::new(file));
    Some(text.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect())
}

fn decode_stream(body: &[u8], split: usize) -> Result<ChatResponse> {
    let mut sse = SseDecoder::new();
    let mut decoder = OpenAiStreamDecoder::new("v");
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
    if text.trim().is_empty() {
        json!({})
    } else {
        serde_json::from_str(text).unwrap_or_else(|_| json!({ "__raw__": text }))
    }
}

fn finish(reason: &FinishReason) -> &str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
        _ => "?",
    }
}

/// What is wrong, by the same measure as the shared checker.
fn faults(expected: &Value, got: &Result<ChatResponse>) -> Vec<String> {
    let text = |key: &str| expected[key].as_str().unwrap_or("");
    if expected["kind"] == "error" {
        let message: String = expected["error"]["message"].as_str().unwrap_or("").chars().take(60).collect();
        return match got {
            Ok(_) => vec!["no error".into()],
            Err(error) => error_faults(error, &expected["error"]["status"], &message),
        };
    }
    let r = match got {
        Ok(r) => r,
        Err(error) => return vec![format!("spurious error {error}")],
    };
    let mut faults = Vec::new();
    let mut same = |what: &str, ok: bool| {
        if !ok {
            faults.push(what.to_owned());
        }
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
    same("finish", text("finish").is_empty() || finish(&r.finish) == text("finish"));
    for (key, count) in [("input", r.usage.input_tokens), ("output", r.usage.output_tokens)] {
        same(key, expected["usage"][key].is_null() || expected["usage"][key].as_u64() == count);
    }
    faults
}

fn error_faults(error: &Error, status: &Value, message: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if status.as_u64() != Some(200) && status.as_u64() != error.status().map(u64::from) {
        faults.push(format!("status {:?} for {status}", error.status()));
    }
    if !error.message().contains(message) {
        faults.push(format!("message lost: {}", error.message()));
    }
    faults
}

#[test]
fn recorded_answers_are_understood() {
    let Some(expected) = lines("expect.jsonl.gz") else {
        println!("skipped: the recorded traffic is not beside this checkout");
        return;
    };
    let expected: BTreeMap<String, Value> =
        expected.into_iter().map(|e| (e["id"].as_str().unwrap().to_owned(), e)).collect();
    let mut wrong = Vec::new();
    for vendor in VENDORS {
        let (mut right, mut all) = (0, 0);
        for row in lines(&format!("{vendor}.jsonl.gz")).unwrap() {
            let id = row["id"].as_str().unwrap();
            let Some(want) = expected.get(id).filter(|_| row["api"] == "chat.completions") else { continue };
            let body = match row["body_b64"].as_str() {
                Some(packed) => base64::prelude::BASE64_STANDARD.decode(packed).unwrap(),
                None => row["body"].as_str().unwrap().as_bytes().to_vec(),
            };
            let status = row["status"].as_u64().or_else(|| row["status"].as_str()?.parse().ok()).unwrap();
            let faults = faults(want, &decode(u16::try_from(status).unwrap(), &body));
            all += 1;
            if faults.is_empty() {
                right += 1;
            } else {
                wrong.push(format!("{id}: {}", faults.join("; ")));
            }
        }
        println!("{vendor:12}{right:5}/{all}");
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
