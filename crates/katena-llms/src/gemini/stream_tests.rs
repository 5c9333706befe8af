use std::fmt::Write as _;

use katena_core::{Accumulator, FinishReason};
use serde_json::json;

use super::*;

fn run(chunks: &[Value]) -> Result<ChatResponse> {
    let mut decoder = GeminiStreamDecoder::new("gemini");
    let mut answer = Accumulator::new();
    for chunk in chunks {
        decoder.push("message", &chunk.to_string())?;
        while let Some(event) = decoder.next_event() {
            answer.push(&event).unwrap();
        }
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        answer.push(&event).unwrap();
    }
    answer.finish()
}

fn part(part: Value) -> Value {
    json!({"candidates": [{"content": {"parts": [part], "role": "model"}, "index": 0}], "responseId": "r", "modelVersion": "m"})
}

fn last(reason: &str) -> Value {
    json!({"candidates": [{"content": {"role": "model"}, "finishReason": reason}],
        "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}})
}

#[test]
fn the_golden_stream() {
    let text = include_str!("golden/stream.txt");
    let mut events = String::new();
    let mut decoder = GeminiStreamDecoder::new("gemini");
    for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        decoder.push("message", data).unwrap();
        while let Some(event) = decoder.next_event() {
            writeln!(events, "{event:?}").unwrap();
        }
    }
    decoder.finish().unwrap();
    while let Some(event) = decoder.next_event() {
        writeln!(events, "{event:?}").unwrap();
    }
    assert_eq!(events, include_str!("golden/events.txt"));
}

#[test]
fn thoughts_texts_and_calls_in_order() {
    let got = run(&[
        part(json!({"text": "I ", "thought": true})),
        part(json!({"text": "think", "thought": true})),
        part(json!({"text": "Hel"})),
        part(json!({"text": "lo"})),
        part(json!({"text": "!", "thoughtSignature": "S"})),
        part(json!({"text": " more"})),
        part(json!({"functionCall": {"name": "f", "args": {"a": [1]}}})),
        part(json!({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "F"})),
        part(json!({"text": "", "thoughtSignature": "E"})),
        last("STOP"),
    ])
    .unwrap();
    let signed = |s: &str| Part::Reasoning { text: String::new(), signature: Some(s.into()) };
    assert_eq!(
        got.message.parts,
        [
            Part::Reasoning { text: "I think".into(), signature: None },
            Part::text("Hello"),
            signed("gemini:next:S"),
            Part::text("!"),
            Part::text(" more"),
            Part::ToolCall(ToolCall::new("call_r_0", "f", "{\"a\":[1]}")),
            signed("gemini:next:F"),
            Part::ToolCall(ToolCall::new("call_r_1", "f", "{}")),
            signed("gemini:alone:E"),
        ]
    );
    assert_eq!(got.finish, FinishReason::ToolCalls);
    assert_eq!(got.usage, Usage::new(4, 5).with_reasoning_tokens(3));
}

#[test]
fn it_ends_with_the_connection_once_a_finish_reason_was_seen() {
    let cut = run(&[part(json!({"text": "a"}))]).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::Unavailable);
    assert_eq!(run(&[]).unwrap_err().kind(), ErrorKind::Unavailable);
    // A reason in the midst of the answer does not end it.
    let got =
        run(&[part(json!({"text": "a"})), last("STOP"), part(json!({"text": "b"})), last("MAX_TOKENS")])
            .unwrap();
    assert_eq!((got.text().as_str(), got.finish), ("ab", FinishReason::Length));
    let mut decoder = GeminiStreamDecoder::new("gemini");
    decoder.push("message", &last("STOP").to_string()).unwrap();
    assert!(!decoder.is_done());
    decoder.push("message", "[DONE]").unwrap();
    assert!(decoder.is_done());
    decoder.push("message", "not read any more").unwrap();
    decoder.finish().unwrap();
    decoder.finish().unwrap();
    assert!(matches!(decoder.next_event(), Some(ChatEvent::Finished(_))));
    assert_eq!(decoder.next_event(), None);
}

#[test]
fn what_comes_before_an_error_stays() {
    let mut decoder = GeminiStreamDecoder::new("gemini");
    decoder.push("message", &part(json!({"text": "a"})).to_string()).unwrap();
    let error = decoder.push("message", r#"{"error": {"code": 500, "message": "oops"}}"#).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "oops"));
    assert!(matches!(decoder.next_event(), Some(ChatEvent::Start { .. })));
    let kind = |event: &str, data: &str| GeminiStreamDecoder::new("g").push(event, data).unwrap_err().kind();
    assert_eq!(kind("error", r#"{"code": 429, "message": "slow down"}"#), ErrorKind::RateLimited);
    assert_eq!(kind("message", r#"{"promptFeedback": {"blockReason": "SAFETY"}}"#), ErrorKind::Refused);
    assert_eq!(kind("message", "{"), ErrorKind::InvalidOutput);
    assert_eq!(kind("message", "7"), ErrorKind::InvalidOutput);
    let shown = format!("{decoder:?}");
    assert!(shown.contains("GeminiStreamDecoder") && !shown.contains("\"a\""), "{shown}");
}
