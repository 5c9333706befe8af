use super::*;

fn decode(raw: Value) -> Result<ChatResponse> {
    decode_response(raw, "cohere")
}

#[test]
fn a_plan_calls_and_citations() {
    let raw = json!({
        "id": "r1", "finish_reason": "TOOL_CALL", "new": 1,
        "message": {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": ""}, {"type": "chart", "x": 1}],
            "tool_plan": "I will ask.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                {"function": {"name": "g", "arguments": null}},
            ],
            "citations": [{"start": 0}],
        },
        "usage": {"billed_units": {"input_tokens": 5, "output_tokens": 2}, "cached_tokens": 4,
            "tokens": {"input_tokens": 90, "output_tokens": 7, "reasoning_tokens": 3}},
    });
    let response = decode(raw).unwrap();
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "hm".into(), signature: None },
            Part::Opaque { vendor: "cohere".into(), value: json!({"type": "chart", "x": 1}) },
            Part::Reasoning { text: "I will ask.".into(), signature: None },
            Part::ToolCall(ToolCall::new("a", "f", "{\"x\":1}")),
            Part::ToolCall(ToolCall::new("call_r1_1", "g", "")),
            Part::Opaque {
                vendor: "cohere".into(),
                value: json!({"type": "citations", "citations": [{"start": 0}]})
            },
        ]
    );
    assert_eq!(response.finish, FinishReason::ToolCalls);
    assert_eq!(response.usage, Usage::new(90, 7).with_cached_tokens(4).with_reasoning_tokens(3));
}

#[test]
fn reasons_to_end() {
    let end = |reason: &str| {
        decode(json!({"message": {"content": [{"type": "text", "text": "x"}]}, "finish_reason": reason}))
    };
    assert_eq!(end("COMPLETE").unwrap().finish, FinishReason::Stop);
    assert_eq!(end("STOP_SEQUENCE").unwrap().finish, FinishReason::Stop);
    assert_eq!(end("MAX_TOKENS").unwrap().finish, FinishReason::Length);
    assert_eq!(end("NEW_ONE").unwrap().finish, FinishReason::Other("NEW_ONE".into()));
    assert_eq!(end("STOP_SEQUENCE").unwrap().finish_raw.as_deref(), Some("STOP_SEQUENCE"));
    assert_eq!(end("ERROR").unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(end("TIMEOUT").unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn lenient_about_shapes_strict_about_nothing_at_all() {
    let text = decode(json!({"message": {"content": "plain"}, "usage": null, "logprobs": null})).unwrap();
    assert_eq!((text.text().as_str(), text.usage), ("plain", Usage::default()));
    let scored =
        json!({"message": {"content": "ab"}, "logprobs": [{"text": "ab", "logprobs": [-0.5, -1.0]}]});
    let scored = decode(scored).unwrap().logprobs.unwrap();
    assert_eq!(scored, [TokenLogprob::new("ab", -0.5, vec![]), TokenLogprob::new("", -1.0, vec![])]);
    assert_eq!(decode(json!({"message": "model not found"})).unwrap_err().message(), "model not found");
    assert_eq!(decode(json!({"id": "x"})).unwrap_err().kind(), ErrorKind::InvalidOutput);
    let nameless = json!({"message": {"tool_calls": [{"function": {"arguments": "{}"}}]}});
    assert_eq!(decode(nameless).unwrap_err().kind(), ErrorKind::InvalidOutput);
}
