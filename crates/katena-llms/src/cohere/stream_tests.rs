use katena_core::{Accumulator, ErrorKind, FinishReason, Part, ToolCall};
use serde_json::json;

use super::*;

fn run(events: &[Value]) -> Result<ChatResponse> {
    let mut decoder = CohereStreamDecoder::new("cohere");
    let mut answer = Accumulator::new();
    for event in events {
        decoder.push("message", &event.to_string())?;
    }
    let ended = decoder.finish();
    while let Some(event) = decoder.next_event() {
        answer.push(&event)?;
    }
    ended?;
    answer.finish()
}

fn content(kind: &str, index: u64, key: &str, text: &str) -> Value {
    json!({"type": kind, "index": index, "delta": {"message": {"content": {key: text}}}})
}

fn end(reason: &str) -> Value {
    let usage = json!({"tokens": {"input_tokens": 9, "output_tokens": 4}, "cached_tokens": 2});
    json!({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage}})
}

#[test]
fn a_plan_and_calls() {
    let call = |kind: &str, index: u64, call: Value| json!({"type": kind, "index": index, "delta": {"message": {"tool_calls": call}}});
    let response = run(&[
        json!({"type": "message-start", "id": "r", "delta": {"message": {"role": "assistant", "content": []}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I will"}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": " ask."}}}),
        call("tool-call-start", 0, json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}})),
        call("tool-call-delta", 0, json!({"function": {"arguments": "{\"x\""}})),
        call("tool-call-start", 1, json!({"id": "b", "function": {"name": "g", "arguments": ""}})),
        call("tool-call-delta", 0, json!({"function": {"arguments": ":1}"}})),
        json!({"type": "tool-call-end", "index": 0}),
        call("tool-call-delta", 1, json!({"function": {"arguments": "{}"}})),
        json!({"type": "brand-new-event"}),
        end("TOOL_CALL"),
    ])
    .unwrap();
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "I will ask.".into(), signature: None },
            Part::ToolCall(ToolCall::new("a", "f", "{\"x\":1}")),
            Part::ToolCall(ToolCall::new("b", "g", "{}")),
        ]
    );
    assert_eq!(
        (&response.finish, response.finish_raw.as_deref()),
        (&FinishReason::ToolCalls, Some("TOOL_CALL"))
    );
    assert_eq!(response.usage, Usage::new(9, 4).with_cached_tokens(2));
    assert_eq!(response.id.as_deref(), Some("r"));
}

#[test]
fn thinking_text_and_citations() {
    let response = run(&[
        content("content-start", 0, "thinking", ""),
        content("content-delta", 0, "thinking", "hm"),
        json!({"type": "content-end", "index": 0}),
        content("content-start", 1, "text", ""),
        content("content-delta", 1, "text", "Rain"),
        json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 0, "end": 4}}}}),
        json!({"type": "citation-end", "index": 0}),
        content("content-delta", 1, "text", " today."),
        json!({"type": "content-end", "index": 1}),
        end("COMPLETE"),
        json!("[ignored]"),
    ])
    .unwrap();
    let cited = json!({"type": "citations", "citations": [{"start": 0, "end": 4}]});
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "hm".into(), signature: None },
            Part::text("Rain today."),
            Part::Opaque { vendor: "cohere".into(), value: cited },
        ]
    );
}

#[test]
fn one_index_for_two_kinds() {
    let response = run(&[
        content("content-delta", 0, "thinking", "hm"),
        content("content-delta", 0, "text", "Hi"),
        end("COMPLETE"),
    ]);
    assert_eq!(response.unwrap().message.parts.len(), 2);
}

#[test]
fn errors_and_cuts() {
    let kind = |events: &[Value]| run(events).unwrap_err().kind();
    let half = content("content-delta", 0, "text", "half");
    assert_eq!(kind(&[]), ErrorKind::Unavailable);
    assert_eq!(kind(std::slice::from_ref(&half)), ErrorKind::Unavailable);
    let failed =
        json!({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "out of memory"}});
    let error = run(&[half.clone(), failed]).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "out of memory"));
    assert_eq!(
        run(&[half, json!({"message": "too many requests"})]).unwrap_err().message(),
        "too many requests"
    );
    let lost = json!({"type": "tool-call-delta", "index": 3, "delta": {"message": {"tool_calls": {}}}});
    assert_eq!(kind(&[lost]), ErrorKind::InvalidOutput);
    assert_eq!(kind(&[content("content-delta", 1 << 40, "text", "x")]), ErrorKind::InvalidOutput);
    let mut decoder = CohereStreamDecoder::new("cohere");
    assert_eq!(decoder.push("content-delta", "{").unwrap_err().kind(), ErrorKind::InvalidOutput);
    assert_eq!(decoder.push("error", "went wrong").unwrap_err().message(), "went wrong");
}
