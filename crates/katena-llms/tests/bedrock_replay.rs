//! Recorded traffic of Bedrock, replayed through the decoders in process.

#![cfg(feature = "bedrock")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says what it skips"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use base64::Engine as _;
use katena_core::{Accumulator, ChatResponse, Error, Part, Result};
use katena_http::ErrorDetails;
use katena_http::aws::EventStreamDecoder;
use katena_llms::bedrock::{ConverseStreamDecoder, decode_response, server_tool_call};
use serde_json::{Value, json};

fn lines(name: &str) -> Option<Vec<Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/replay").join(name);
    let file = std::fs::File::open(path).ok()?;
    let text = BufReader::new(flate2::read::GzDecoder::new(file));
    Some(text.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect())
}

fn decode_stream(body: &[u8], split: usize) -> Result<ChatResponse> {
    let mut frames = EventStreamDecoder::new();
    let mut decoder = ConverseStreamDecoder::new("bedrock");
    let mut answer = Accumulator::new();
    for piece in body.chunks(split.max(1)) {
        frames.push(piece)?;
        while let Some(frame) = frames.next_frame() {
            assert_eq!(frame.message_type(), "event");
            decoder.push(frame.event_type(), std::str::from_utf8(&frame.payload).unwrap())?;
            while let Some(event) = decoder.next_event() {
                answer.push(&event)?;
            }
        }
    }
    frames.finish()?;
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
    if let Ok(value) = value {
        return decode_response(value, "bedrock");
    }
    let whole = decode_stream(body, body.len());
    for split in [1, 7, 100] {
        let again = decode_stream(body, split);
        assert_eq!(again.map_err(|e| e.to_string()), whole.clone().map_err(|e| e.to_string()));
    }
    whole
}

fn arguments(text: &str) -> Value {
    if text.trim().is_empty() { json!({}) } else { serde_json::from_str(text).unwrap() }
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
    let reasoned =
        r.message.parts.iter().any(|p| matches!(p, Part::Reasoning { text, .. } if !text.is_empty()));
    same("reasoning", text("reasoning").is_empty() || reasoned);
    let call = |p: &Part| if let Part::ToolCall(c) = p { Some(c.clone()) } else { server_tool_call(p) };
    let calls = r.message.parts.iter().filter_map(call);
    let calls: Vec<Value> = calls.map(|c| json!({"name": c.name, "args": arguments(&c.arguments)})).collect();
    let wanted: Vec<Value> = expected["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| json!({"name": c["name"], "args": c["args"]}))
        .collect();
    same("tool calls", calls == wanted);
    same("finish", text("finish").is_empty() || r.finish_raw.as_deref() == Some(text("finish")));
    let cache = r.usage.cached_tokens.unwrap_or(0) + r.usage.cache_write_tokens.unwrap_or(0);
    let input = r.usage.input_tokens.map(|n| n - cache);
    for (key, count) in [("input", input), ("output", r.usage.output_tokens)] {
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
    let (mut wrong, mut right, mut unjudged, mut text_of_frames) = (Vec::new(), 0, 0, 0);
    for row in lines("bedrock.jsonl.gz").unwrap() {
        let (id, api) = (row["id"].as_str().unwrap(), row["api"].as_str().unwrap());
        if !api.starts_with("converse") {
            continue;
        }
        let mut body = match row["body_b64"].as_str() {
            Some(packed) => base64::prelude::BASE64_STANDARD.decode(packed).unwrap(),
            None => row["body"].as_str().unwrap().as_bytes().to_vec(),
        };
        // A few recorders wrote the frames as base64 text, and the verdicts were made from that text: they say that the
        // answer is empty. What those frames say is checked all the same.
        let is_text =
            row["ctype"].as_str().is_some_and(|c| c.contains("eventstream")) && body.starts_with(b"AAAA");
        if is_text {
            body = base64::prelude::BASE64_STANDARD.decode(&body).unwrap();
        }
        let status = row["status"].as_u64().or_else(|| row["status"].as_str()?.parse().ok()).unwrap();
        let got = decode(u16::try_from(status).unwrap(), &body);
        let faults = match expected.get(id) {
            Some(_) if is_text => {
                text_of_frames += 1;
                let whole = got.as_ref().is_ok_and(|r| {
                    r.tool_calls().count() == 1 && r.finish_raw.as_deref() == Some("tool_use")
                });
                if whole { Vec::new() } else { vec!["a tool call in frames as text".to_owned()] }
            }
            Some(want) => faults(want, &got),
            None => {
                unjudged += 1;
                got.err().map(|e| e.to_string()).into_iter().collect()
            }
        };
        right += usize::from(faults.is_empty());
        if !faults.is_empty() {
            wrong.push(format!("{id}: {}", faults.join("; ")));
        }
    }
    println!("bedrock {right} right, {text_of_frames} of them frames as text, {unjudged} without a verdict");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
