use katena_core::{Accumulator, FinishReason, Part, ToolCall};
use serde_json::json;

use super::*;

fn fold(events: &[Value]) -> Result<ChatResponse> {
    let (mut decoder, mut answer) = (AnthropicStreamDecoder::new("anthropic"), Accumulator::new());
    for event in events {
        decoder.push("message", &event.to_string())?;
        while let Some(event) = decoder.next_event() {
            answer.push(&event)?;
        }
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        answer.push(&event)?;
    }
    answer.finish()
}

fn start(n: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": n, "content_block": block})
}

fn delta(n: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": n, "delta": delta})
}

fn stop(n: u64) -> Value {
    json!({"type": "content_block_stop", "index": n})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ]
}

fn begin() -> Value {
    json!({"type": "message_start", "message": {"id": "m", "model": "x", "content": [],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1}}})
}

#[test]
fn every_block_has_its_part() {
    let mut events = vec![
        begin(),
        json!({"type": "ping"}),
        json!({"type": "of_tomorrow", "index": 3}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "Hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "si"})),
        delta(0, json!({"type": "signature_delta", "signature": "g"})),
        stop(0),
        start(1, json!({"type": "redacted_thinking", "data": "xyz"})),
        stop(1),
        start(2, json!({"type": "text", "text": "", "citations": []})),
        delta(2, json!({"type": "text_delta", "text": "It "})),
        delta(2, json!({"type": "citations_delta", "citation": {"cited_text": "a"}})),
        delta(2, json!({"type": "delta_of_tomorrow", "x": 1})),
        delta(2, json!({"type": "text_delta", "text": "rains."})),
        delta(2, json!({"type": "citations_delta", "citation": {"cited_text": "b"}})),
        stop(2),
        start(3, json!({"type": "text", "text": ""})),
        stop(3),
        start(4, json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        delta(4, json!({"type": "input_json_delta", "partial_json": "{\"q\":"})),
        delta(4, json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(4),
        start(5, json!({"type": "tool_use", "id": "t1", "name": "f", "input": {}})),
        stop(5),
        start(
            6,
            json!({"type": "tool_use", "id": "t2", "name": "g", "input": {"a": 1}, "caller": {"type": "code"}}),
        ),
        stop(6),
        start(7, json!({"type": "of_tomorrow", "log": "a", "n": null})),
        delta(7, json!({"type": "of_tomorrow_delta", "log": "b", "n": 2})),
        stop(7),
    ];
    events.extend(end("tool_use"));
    let r = fold(&events).unwrap();
    assert_eq!(
        r.message.parts,
        [
            Part::Reasoning { text: "Hm".into(), signature: Some("sig".into()) },
            wire::opaque(json!({"type": "redacted_thinking", "data": "xyz"})),
            Part::text("It rains."),
            wire::fields("citations", json!([{"cited_text": "a"}, {"cited_text": "b"}])),
            wire::opaque(
                json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}})
            ),
            Part::ToolCall(ToolCall::new("t1", "f", "{}")),
            Part::ToolCall(ToolCall::new("t2", "g", r#"{"a":1}"#)),
            wire::fields("caller", json!({"type": "code"})),
            wire::opaque(json!({"type": "of_tomorrow", "log": "ab", "n": 2})),
        ]
    );
    assert_eq!((r.finish, r.finish_raw.as_deref()), (FinishReason::ToolCalls, Some("tool_use")));
    assert_eq!((r.usage.input_tokens, r.usage.output_tokens), (Some(7), Some(9)));
    assert_eq!((r.usage.cached_tokens, r.usage.cache_write_tokens), (Some(4), None));
    assert_eq!((r.id.as_deref(), r.vendor.as_deref()), (Some("m"), Some("anthropic")));
}

#[test]
fn counts_are_running_totals_and_null_tells_nothing() {
    let r = fold(&[
        begin(),
        json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5, "input_tokens": 8}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 6, "input_tokens": null}}),
        json!({"type": "message_stop"}),
    ])
    .unwrap();
    assert_eq!((r.usage.input_tokens, r.usage.output_tokens), (Some(12), Some(6)));
}

#[test]
fn without_its_end_there_is_no_answer() {
    let mut events = vec![begin(), start(0, json!({"type": "text", "text": "Hello"})), stop(0)];
    events.extend(end("end_turn"));
    for cut in 0..events.len() {
        let error = fold(&events[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "cut after {cut}");
    }
    assert_eq!(fold(&events).unwrap().text(), "Hello");
    // The end alone is no answer either.
    assert_eq!(fold(&end("x")[1..]).unwrap_err().kind(), ErrorKind::Unavailable);
    // A block that was not ended is ended with the answer.
    events.remove(2);
    assert_eq!(fold(&events).unwrap().text(), "Hello");
}

#[test]
fn errors_in_the_midst_are_typed() {
    for (word, kind) in [
        ("overloaded_error", ErrorKind::Unavailable),
        ("rate_limit_error", ErrorKind::RateLimited),
        ("authentication_error", ErrorKind::Unauthenticated),
        ("invalid_request_error", ErrorKind::InvalidInput),
        ("billing_error", ErrorKind::QuotaExceeded),
    ] {
        let event =
            json!({"type": "error", "error": {"type": word, "message": "Trouble"}, "request_id": "r"});
        for name in ["error", "message"] {
            let mut decoder = AnthropicStreamDecoder::new("anthropic");
            decoder.push("message_start", &begin().to_string()).unwrap();
            let error = decoder.push(name, &event.to_string()).unwrap_err();
            assert_eq!((error.kind(), error.message()), (kind, "Trouble"));
            assert_eq!(error.request_id(), Some("r"));
        }
    }
    let mut decoder = AnthropicStreamDecoder::new("anthropic");
    assert_eq!(decoder.push("error", "boom").unwrap_err().message(), "boom");
    let bare = r#"{"error":{"message":"No."}}"#;
    assert_eq!(decoder.push("message", bare).unwrap_err().message(), "No.");
}

#[test]
fn rubbish_is_said() {
    for event in [
        delta(0, json!({"type": "text_delta", "text": "x"})),
        start(0, json!("x")),
        start(0, json!({"type": "tool_use", "id": "t"})),
    ] {
        let error = fold(&[begin(), event.clone()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{event}");
    }
    let mut decoder = AnthropicStreamDecoder::new("anthropic");
    assert_eq!(decoder.push("message", "{").unwrap_err().kind(), ErrorKind::InvalidOutput);
    let block = start(0, json!({"type": "text", "text": ""}));
    let flood = vec![block; MAX_BLOCKS + 1];
    assert_eq!(fold(&flood).unwrap_err().kind(), ErrorKind::InvalidOutput);
    // Rubbish after the end is nobody's business.
    let mut decoder = AnthropicStreamDecoder::new("anthropic");
    for event in [begin()].iter().chain(&end("end_turn")) {
        decoder.push("message", &event.to_string()).unwrap();
    }
    assert!(decoder.is_done());
    decoder.push("message", "data: rubbish").unwrap();
    decoder.push("message", "[DONE]").unwrap();
    decoder.finish().unwrap();
}

#[test]
fn input_that_was_cut_off_stays_as_text() {
    let mut events = vec![
        begin(),
        start(0, json!({"type": "server_tool_use", "id": "s", "name": "f", "input": {}})),
        delta(0, json!({"type": "input_json_delta", "partial_json": "{\"q\":"})),
    ];
    events.extend(end("max_tokens"));
    let r = fold(&events).unwrap();
    let wanted = json!({"type": "server_tool_use", "id": "s", "name": "f", "input": "{\"q\":"});
    assert_eq!(r.message.parts, [wire::opaque(wanted)]);
}
