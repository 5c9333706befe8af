use katena_core::ErrorKind;

use super::*;

fn decode(content: Value, stop: &str, usage: Value) -> ChatResponse {
    let raw = json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": stop,
        "usage": usage, "metrics": {"latencyMs": 1}, "unknown": [1]});
    decode_response(raw, "bedrock").unwrap()
}

#[test]
fn blocks_in_order() {
    let cited = json!({"citationsContent": {"content": [{"text": "Ruby "}, {"text": "1993."}], "citations": [{"title": "T"}]}});
    let redacted = json!({"reasoningContent": {"redactedContent": "AAAA"}});
    let own = json!({"toolUse": {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use", "input": {"q": 1}}});
    let r = decode(
        json!([
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
            redacted,
            {"text": "Hi", "cachePoint": null},
            {"text": ""},
            cited,
            own,
            {"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": 1.5}, "type": "tool_use"}},
            {"toolUse": {"toolUseId": "2", "name": "g", "input": {}}},
            {"hologram": {"x": 1}},
            {},
            null,
        ]),
        "tool_use",
        json!({"inputTokens": 10, "outputTokens": 5.0, "totalTokens": 115, "cacheReadInputTokens": 60,
            "cacheWriteInputTokenCount": 40}),
    );
    let opaque = |value: &Value| Part::Opaque { vendor: "bedrock".into(), value: value.clone() };
    assert_eq!(
        r.message.parts,
        [
            Part::Reasoning { text: "hm".into(), signature: Some("sig".into()) },
            opaque(&redacted),
            Part::text("Hi"),
            Part::text("Ruby 1993."),
            opaque(&cited),
            opaque(&own),
            Part::ToolCall(ToolCall::new("1", "f", r#"{"a":1.5}"#)),
            Part::ToolCall(ToolCall::new("2", "g", "{}")),
            opaque(&json!({"hologram": {"x": 1}})),
        ]
    );
    assert_eq!((r.finish.clone(), r.finish_raw.as_deref()), (FinishReason::ToolCalls, Some("tool_use")));
    assert_eq!(r.usage, Usage::new(110, 5).with_cached_tokens(60).with_cache_write_tokens(40));
    assert!(r.raw.is_some());
}

#[test]
fn reasons() {
    for (word, want) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("guardrail_intervened", FinishReason::ContentFilter),
        ("content_filtered", FinishReason::ContentFilter),
        ("malformed_tool_use", FinishReason::Other("malformed_tool_use".into())),
        ("", FinishReason::Stop),
    ] {
        assert_eq!(decode(json!([{"text": "x"}]), word, Value::Null).finish, want, "{word}");
    }
    assert_eq!(decode(json!([]), "end_turn", json!({"inputTokens": null})).usage, Usage::default());
}

#[test]
fn what_is_no_answer() {
    let kind = |raw: Value| decode_response(raw, "bedrock").unwrap_err().kind();
    assert_eq!(kind(json!({"message": "no", "__type": "ThrottlingException"})), ErrorKind::RateLimited);
    assert_eq!(kind(json!({"Message": "down"})), ErrorKind::Unavailable);
    assert_eq!(kind(json!({})), ErrorKind::InvalidOutput);
    assert_eq!(kind(json!([1])), ErrorKind::InvalidOutput);
    let nameless = json!({"output": {"message": {"content": [{"toolUse": {"toolUseId": "1"}}]}}});
    assert_eq!(kind(nameless), ErrorKind::InvalidOutput);
}

#[test]
fn exceptions_by_name() {
    for (name, kind, temporary) in [
        ("throttlingException", ErrorKind::RateLimited, true),
        ("internalServerException", ErrorKind::Unavailable, true),
        ("serviceUnavailableException", ErrorKind::Unavailable, true),
        ("modelStreamErrorException", ErrorKind::Unavailable, true),
        ("modelTimeoutException", ErrorKind::Timeout, true),
        ("validationException", ErrorKind::InvalidInput, false),
        ("accessDeniedException", ErrorKind::PermissionDenied, false),
        ("newException", ErrorKind::Unavailable, true),
    ] {
        let error =
            exception(name, br#"{"message":"because","originalMessage":"inner","originalStatusCode":424}"#);
        assert_eq!(
            (error.kind(), error.is_temporary(), error.message()),
            (kind, temporary, "because"),
            "{name}"
        );
        assert_eq!((error.context("type"), error.context("original status")), (Some(name), Some("424")));
    }
    let long = exception("validationException", br#"{"message":"Input is too long for requested model."}"#);
    assert_eq!(long.kind(), ErrorKind::ContextTooLong);
    assert_eq!(exception("x", b"\xFF").message(), "x");
    assert_eq!(exception("InternalFailure", br#""as text""#).message(), "as text");
}
