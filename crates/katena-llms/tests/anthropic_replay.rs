//! Recorded traffic of Anthropic Messages, replayed through the decoders in process.

#![cfg(feature = "anthropic")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use base64::Engine as _;
use katena_core::{Accumulator, ChatResponse, FinishReason, Part, Result};
use katena_http::ErrorDetails;
use katena_http::sse::SseDecoder;
use katena_llms::anthropic::{AnthropicStreamDecoder, decode_response};
use serde_json::{Value, json};

fn shared(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals").join(path)
}

fn lines(name: &str) -> Option<Vec<Value>> {
    let file = std::fs::File::open(shared("replay").join(name)).ok()?;
    let text = BufReader::new(flate2::read::GzDecoder::new(file));
    Some(text.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect())
}

fn fold(body: &[u8], split: usize) -> Result<ChatResponse> {
    let (mut sse, mut decoder, mut answer) =
        (SseDecoder::new(), AnthropicStreamDecoder::new("anthropic"), Accumulator::new());
    for piece in body.chunks(split) {
        sse.push(piece)?;
        while let Some(event) = sse.next_event() {
            decoder.push(&event.event, &event.data)?;
        }
        while let Some(event) = decoder.next_event() {
            answer.push(&event)?;
        }
    }
    if let Some(event) = sse.finish_json() {
        decoder.push(&event.event, &event.data)?;
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        answer.push(&event)?;
    }
    answer.finish()
}

/// The stream's answer, the same however its bytes are cut.
fn decode_stream(body: &[u8]) -> Result<ChatResponse> {
    let whole = fold(body, body.len().max(1));
    for split in [1, 7, 100] {
        let again = fold(body, split);
        match (&whole, &again) {
            (Ok(a), Ok(b)) => assert_eq!(a, b),
            (a, b) => assert_eq!(
                a.as_ref().map_err(ToString::to_string).err(),
                b.as_ref().map_err(ToString::to_string).err()
            ),
        }
    }
    whole
}

fn decode(status: u16, body: &[u8]) -> Result<ChatResponse> {
    let value = serde_json::from_slice::<Value>(body);
    if !(200..300).contains(&status) {
        let details = value.ok().as_ref().and_then(ErrorDetails::from_value).unwrap_or_default();
        return Err(details.into_error(Some(status)));
    }
    match value {
        Ok(value) => decode_response(value, "anthropic"),
        Err(_) => decode_stream(body),
    }
}

fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({ "__raw__": text }))
}

/// What is wrong, by the same measure as the shared checker.
fn faults(expected: &Value, got: &Result<ChatResponse>) -> Vec<String> {
    let text = |key: &str| expected[key].as_str().unwrap_or("");
    if expected["kind"] == "error" {
        let message: String = expected["error"]["message"].as_str().unwrap_or("").chars().take(60).collect();
        let Err(error) = got else { return vec!["no error".into()] };
        let status = expected["error"]["status"].as_u64();
        let mut faults = Vec::new();
        if status != Some(200) && status != error.status().map(u64::from) {
            faults.push(format!("status {:?}", error.status()));
        }
        if !error.message().contains(&message) {
            faults.push(format!("message lost: {}", error.message()));
        }
        return faults;
    }
    let r = match got {
        Ok(r) => r,
        Err(error) => return vec![format!("spurious error {error:?}")],
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
    same("finish", text("finish").is_empty() || r.finish_raw.as_deref() == Some(text("finish")));
    let fresh = |u: &katena_core::Usage| {
        Some(u.input_tokens? - u.cached_tokens.unwrap_or(0) - u.cache_write_tokens.unwrap_or(0))
    };
    for (key, count) in [("input", fresh(&r.usage)), ("output", r.usage.output_tokens)] {
        same(key, expected["usage"][key].is_null() || expected["usage"][key].as_u64() == count);
    }
    faults
}

#[test]
fn recorded_answers_are_understood() {
    let Some(expected) = lines("expect.jsonl.gz") else {
        println!("skipped: the recorded traffic is not beside this checkout");
        return;
    };
    let expected: BTreeMap<String, Value> = expected
        .into_iter()
        .filter(|e| e["api"] == "messages")
        .map(|e| (e["id"].as_str().unwrap().to_owned(), e))
        .collect();
    let (mut wrong, mut all) = (Vec::new(), 0);
    for vendor in ["anthropic", "openrouter", "vertex", "bedrock"] {
        for row in lines(&format!("{vendor}.jsonl.gz")).unwrap() {
            let Some(want) = expected.get(row["id"].as_str().unwrap()) else { continue };
            let body = match row["body_b64"].as_str() {
                Some(packed) => base64::prelude::BASE64_STANDARD.decode(packed).unwrap(),
                None => row["body"].as_str().unwrap().as_bytes().to_vec(),
            };
            let status = row["status"].as_u64().or_else(|| row["status"].as_str()?.parse().ok()).unwrap();
            let faults = faults(want, &decode(u16::try_from(status).unwrap(), &body));
            all += 1;
            if !faults.is_empty() {
                wrong.push(format!("{}: {}", row["id"], faults.join("; ")));
            }
        }
    }
    println!("messages {}/{all} of {}", all - wrong.len(), expected.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(all, expected.len());
}

fn fixture(name: &str) -> Option<ChatResponse> {
    let Ok(body) = std::fs::read(shared("sdk_fixtures/anthropic").join(name)) else {
        println!("skipped: the recorded streams are not beside this checkout");
        return None;
    };
    Some(decode_stream(&body).unwrap())
}

fn opaque<'a>(response: &'a ChatResponse, kind: &str) -> &'a Value {
    let own = |p: &'a Part| match p {
        Part::Opaque { vendor, value } if vendor == "anthropic" && value["type"] == kind => Some(value),
        _ => None,
    };
    response.message.parts.iter().find_map(own).unwrap()
}

fn counts(r: &ChatResponse) -> (Option<u64>, Option<u64>) {
    (r.usage.input_tokens, r.usage.output_tokens)
}

#[test]
fn plain_texts_and_tools_of_the_sdk() {
    let Some(r) = fixture("lib/streaming/fixtures/basic_response.txt") else { return };
    assert_eq!((r.text().as_str(), counts(&r)), ("Hello there!", (Some(11), Some(6))));
    assert_eq!(r.model.as_deref(), Some("claude-3-opus-latest"));
    let r = fixture("lib/streaming/fixtures/tool_use_response.txt").unwrap();
    assert_eq!(r.text(), "I'll check the current weather in Paris for you.");
    let call = r.tool_calls().next().unwrap();
    assert_eq!((call.name.as_str(), call.id.as_str()), ("get_weather", "toolu_01NRLabsLyVHZPKxbKvkfSMn"));
    assert_eq!(call.parse::<Value>().unwrap(), json!({"location": "Paris"}));
    assert_eq!((r.finish.clone(), counts(&r)), (FinishReason::ToolCalls, (Some(377), Some(65))));
    assert_eq!(r.message.parts.len(), 2, "the direct caller is no news");
}

#[test]
fn arguments_that_were_cut_off_are_kept_as_text() {
    let Some(r) = fixture("lib/streaming/fixtures/incomplete_partial_json_response.txt") else { return };
    let call = r.tool_calls().next().unwrap();
    assert!(call.arguments.starts_with("{\"filename\": \"taxes.txt\", \"lines_of_text\": ["));
    assert!(call.arguments.ends_with("\n\"Filing taxes"));
    assert_eq!((r.finish.clone(), r.finish_raw.as_deref()), (FinishReason::Length, Some("max_tokens")));
    assert_eq!(counts(&r), (Some(450), Some(124)));
}

#[test]
fn refusals_of_the_sdk() {
    let Some(r) = fixture("lib/streaming/fixtures/refusal_response.txt") else { return };
    assert_eq!((r.finish.clone(), r.finish_raw.as_deref()), (FinishReason::ContentFilter, Some("refusal")));
    assert_eq!(r.raw.as_ref().unwrap()["stop_details"]["category"], "cyber");
    assert!(r.message.parts.is_empty());
    let r = fixture("fixtures/fable-fallback/stream-a-refusal.sse").unwrap();
    assert_eq!((r.text().as_str(), r.finish_raw.as_deref()), ("Hi", Some("refusal")));
    let Part::Reasoning { text, signature } = &r.message.parts[0] else { panic!("no reasoning") };
    assert!(text.starts_with("Simple educational question"));
    assert!(signature.as_ref().unwrap().starts_with("c3ludGhldGlj"));
    let details = &r.raw.as_ref().unwrap()["stop_details"];
    assert_eq!(details["fallback_credit_token"], "tok_synthetic_fixture_a");
    assert_eq!((counts(&r), r.usage.reasoning_tokens), ((Some(28), Some(106)), Some(67)));
    let r = fixture("fixtures/fable-fallback/stream-a-toolrefusal.sse").unwrap();
    assert_eq!(
        opaque(&r, "server_tool_use")["input"],
        json!({"query": "solar eclipse viewing safety news 2026"})
    );
    assert!(opaque(&r, "web_search_tool_result")["content"].is_array());
    assert_eq!(r.text(), "Here's a summary of this year's solar eclipses and how");
    // What comes last is the running total.
    assert_eq!(counts(&r), (Some(28), Some(106)));
}

#[test]
fn compactions_and_fallbacks_of_the_sdk() {
    let Some(r) = fixture("lib/streaming/fixtures/compaction_response.txt") else { return };
    let compaction = opaque(&r, "compaction");
    assert_eq!(compaction["content"], "Earlier conversation summarized.");
    assert!(compaction["encrypted_content"].as_str().unwrap().ends_with("compaction_payload"));
    assert_eq!(r.text(), "Hello there!");
    let r = fixture("lib/streaming/fixtures/fallback_response.txt").unwrap();
    assert_eq!(r.model.as_deref(), Some("claude-sonnet-4-5"), "the model that spoke");
    assert_eq!(opaque(&r, "fallback")["from"]["model"], "claude-opus-4-7");
    let r = fixture("lib/streaming/fixtures/fallback_credit_response.txt").unwrap();
    assert_eq!(r.raw.as_ref().unwrap()["usage"]["fallback_credit"]["status"]["type"], "redeemed");
    assert_eq!(counts(&r), (Some(25), Some(8)));
    let r = fixture("fixtures/fable-fallback/stream-b-fallback.sse").unwrap();
    assert!(r.text().starts_with(" there! Happy to explain.") && r.text().ends_with("your interest!"));
    assert_eq!(counts(&r), (Some(31), Some(547)));
}
