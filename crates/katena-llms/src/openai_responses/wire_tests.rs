use katena_core::{ErrorKind, Part, TokenLogprob, ToolCall};

use super::*;

fn decode(raw: Value) -> Result<ChatResponse> {
    decode_response(raw, "openai")
}

#[test]
fn a_whole_reply() {
    let raw = json!({
        "id": "resp_1", "object": "response", "model": "m-2025", "status": "completed", "error": null, "new": {"x": 1},
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}, {"text": "so"}],
                "encrypted_content": "e"},
            {"type": "message", "id": "msg_1", "role": "assistant", "content": [
                {"type": "output_text", "text": "Let me see.", "annotations": [],
                    "logprobs": [{"token": "Let", "logprob": -0.5, "bytes": [1],
                        "top_logprobs": [{"token": "Let", "logprob": -0.5}, {"token": "Well", "logprob": -1.5}]}]},
                {"type": "refusal", "refusal": "No."}, {"type": "hologram", "data": 1}]},
            {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "f", "arguments": "{\"x\":1}"},
            {"type": "function_call", "id": "fc_2", "name": "g", "arguments": {"y": [2]}},
            {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"},
        ],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
            "output_tokens_details": {"reasoning_tokens": 2}},
    });
    let response = decode(raw.clone()).unwrap();
    let opaque = |value| Part::Opaque { vendor: "openai".into(), value };
    let signature = Some(items::signature(&raw["output"][0], "openai"));
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "hm\n\nso".into(), signature },
            Part::text("Let me see."),
            Part::Refusal { text: "No.".into() },
            opaque(json!({"type": "hologram", "data": 1})),
            Part::ToolCall(ToolCall::new("a", "f", "{\"x\":1}")),
            Part::ToolCall(ToolCall::new("fc_2", "g", "{\"y\":[2]}")),
            opaque(raw["output"][4].clone()),
        ]
    );
    assert_eq!(
        (response.finish.clone(), response.finish_raw.as_deref()),
        (FinishReason::ToolCalls, Some("completed"))
    );
    let usage = Usage::new(10, 5).with_cached_tokens(4).with_cache_write_tokens(1).with_reasoning_tokens(2);
    assert_eq!(response.usage, usage);
    assert_eq!((response.id.as_deref(), response.model.as_deref()), (Some("resp_1"), Some("m-2025")));
    let top = vec![("Let".to_owned(), -0.5), ("Well".to_owned(), -1.5)];
    assert_eq!(response.logprobs.unwrap(), [TokenLogprob::new("Let", -0.5, top)]);
    assert_eq!(response.raw, Some(raw));
}

#[test]
fn why_it_ended() {
    let finish = |status: Value, reason: Value| {
        let raw = json!({"status": status, "output": [], "incomplete_details": {"reason": reason}});
        let response = decode(raw).unwrap();
        (response.finish, response.finish_raw)
    };
    let incomplete = Some("incomplete".to_owned());
    assert_eq!(
        finish(json!("incomplete"), json!("max_output_tokens")),
        (FinishReason::Length, incomplete.clone())
    );
    assert_eq!(
        finish(json!("incomplete"), json!("content_filter")),
        (FinishReason::ContentFilter, incomplete.clone())
    );
    assert_eq!(finish(json!("incomplete"), json!("new")), (FinishReason::Other("new".into()), incomplete));
    assert_eq!(finish(json!("completed"), json!(null)), (FinishReason::Stop, Some("completed".into())));
    assert_eq!(
        finish(json!("queued"), json!(null)),
        (FinishReason::Other("queued".into()), Some("queued".into()))
    );
    assert_eq!(finish(json!(null), json!(null)), (FinishReason::Stop, None));
}

#[test]
fn errors_in_a_reply_of_success() {
    let kind = |raw: Value| decode(raw).unwrap_err().kind();
    let failed =
        |code: &str| json!({"status": "failed", "output": [], "error": {"code": code, "message": "m"}});
    assert_eq!(kind(failed("rate_limit_exceeded")), ErrorKind::RateLimited);
    assert_eq!(kind(failed("server_error")), ErrorKind::Unavailable);
    assert_eq!(kind(failed("invalid_image_url")), ErrorKind::InvalidInput);
    assert_eq!(kind(failed("image_content_policy_violation")), ErrorKind::Refused);
    assert_eq!(kind(failed("content_filter")), ErrorKind::Refused);
    assert_eq!(decode(failed("server_error")).unwrap_err().message(), "m");
    assert_eq!(kind(json!({"status": "failed", "output": []})), ErrorKind::Unavailable);
    assert_eq!(kind(json!({"status": "cancelled", "output": []})), ErrorKind::Cancelled);
    assert_eq!(kind(json!({"detail": "no such route"})), ErrorKind::Unavailable);
    for odd in [json!({}), json!([]), json!(1), json!({"output": "x"})] {
        assert_eq!(kind(odd), ErrorKind::InvalidOutput);
    }
    let nameless = json!({"output": [{"type": "function_call", "call_id": "a", "arguments": "{}"}]});
    assert_eq!(kind(nameless), ErrorKind::InvalidOutput);
}

#[test]
fn odd_but_readable() {
    let text = |output: Value| decode(json!({ "output": output })).unwrap().text();
    assert_eq!(text(json!([{"content": "plain"}])), "plain");
    assert_eq!(text(json!([{"type": "message", "content": ["a", {"text": "b"}]}])), "ab");
    assert_eq!(text(json!([{"type": "message", "content": null}, {"type": "message"}])), "");
    assert_eq!(text(json!([1, null, "x"])), "");
}
