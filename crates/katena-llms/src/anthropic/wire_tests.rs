use katena_core::ErrorKind;

use super::*;

#[test]
fn every_block_has_its_part() {
    let raw = json!({"id": "msg_1", "model": "claude-x", "role": "assistant", "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Rain", "citations": [{"type": "char_location", "cited_text": "x"}]},
        {"type": "text", "text": "", "citations": null},
        {"type": "text", "text": " today.", "citations": null},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {}, "caller": {"type": "direct"}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {"a": 1}, "caller": {"type": "code", "tool_id": "s"}},
        {"type": "yet_to_come", "x": 1},
    ], "stop_reason": "tool_use", "usage": {"input_tokens": 5, "cache_read_input_tokens": 10,
        "cache_creation_input_tokens": 20, "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}}});
    let r = decode_response(raw.clone(), "anthropic").unwrap();
    assert_eq!(
        r.message.parts,
        [
            Part::Reasoning { text: "Hm.".into(), signature: Some("sig".into()) },
            opaque(json!({"type": "redacted_thinking", "data": "xyz"})),
            Part::text("Rain"),
            fields("citations", json!([{"type": "char_location", "cited_text": "x"}])),
            Part::text(" today."),
            Part::ToolCall(ToolCall::new("t1", "f", "{}")),
            Part::ToolCall(ToolCall::new("t2", "g", r#"{"a":1}"#)),
            fields("caller", json!({"type": "code", "tool_id": "s"})),
            opaque(json!({"type": "yet_to_come", "x": 1})),
        ]
    );
    let usage = r.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(35), Some(7)));
    assert_eq!((usage.cached_tokens, usage.cache_write_tokens), (Some(10), Some(20)));
    assert_eq!(usage.reasoning_tokens, Some(3));
    assert_eq!((r.finish, r.finish_raw.as_deref()), (FinishReason::ToolCalls, Some("tool_use")));
    assert_eq!((r.id.as_deref(), r.model.as_deref()), (Some("msg_1"), Some("claude-x")));
    assert_eq!(r.raw, Some(raw));
}

#[test]
fn reasons_to_stop() {
    for (word, want) in [
        (Some("end_turn"), FinishReason::Stop),
        (Some("stop_sequence"), FinishReason::Stop),
        (Some("max_tokens"), FinishReason::Length),
        (Some("model_context_window_exceeded"), FinishReason::Length),
        (Some("refusal"), FinishReason::ContentFilter),
        (Some("pause_turn"), FinishReason::Other("pause_turn".into())),
        (None, FinishReason::Stop),
    ] {
        let raw = json!({"content": [], "stop_reason": word, "role": "assistant"});
        let r = decode_response(raw, "anthropic").unwrap();
        assert_eq!((r.finish, r.finish_raw.as_deref()), (want, word));
        // What the vendor did not count is unknown.
        assert_eq!(r.usage, Usage::default());
    }
}

#[test]
fn errors_and_rubbish() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_1"});
    let error = decode_response(error, "anthropic").unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "Overloaded"));
    assert_eq!(error.request_id(), Some("req_1"));
    for raw in [
        json!({}),
        json!([1]),
        json!({"content": 3}),
        json!({"content": [3]}),
        json!({"content": [{"type": "tool_use"}]}),
    ] {
        let kind = decode_response(raw.clone(), "anthropic").unwrap_err().kind();
        assert_eq!(kind, ErrorKind::InvalidOutput, "{raw}");
    }
    // Counts of other types than numbers are unknown, and break nothing.
    let odd = json!({"content": [{"type": "text", "text": "x"}], "usage": {"input_tokens": "3", "output_tokens": 2.0}});
    let r = decode_response(odd, "anthropic").unwrap();
    assert_eq!((r.usage.input_tokens, r.usage.output_tokens), (None, Some(2)));
}
