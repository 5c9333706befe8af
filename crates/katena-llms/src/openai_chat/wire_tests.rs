use katena_core::ErrorKind;
use serde_json::json;

use super::*;
use crate::openai_shared::parse;

fn decode(raw: Value) -> Result<ChatResponse> {
    decode_response(raw, "openai")
}

#[test]
fn a_whole_reply() {
    let raw = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "model": "m-2025", "system_fingerprint": "fp", "new": {"x": 1},
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "Let me see.", "reasoning_content": "hm", "refusal": null, "annotations": [],
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
                {"type": "function", "function": {"name": "g", "arguments": {"y": [2]}}},
            ]},
            "logprobs": {"content": [{"token": "Let", "logprob": -0.5, "bytes": null,
                "top_logprobs": [{"token": "Let", "logprob": -0.5}, {"token": "Well", "logprob": -1.5}]}], "refusal": null}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5.0, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}},
    });
    let response = decode(raw.clone()).unwrap();
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "hm".into(), signature: None },
            Part::text("Let me see."),
            Part::ToolCall(ToolCall::new("a", "f", "{\"x\":1}")),
            Part::ToolCall(ToolCall::new("call_chatcmpl-1_1", "g", "{\"y\":[2]}")),
        ]
    );
    assert_eq!(response.finish, FinishReason::ToolCalls);
    assert_eq!(response.usage, Usage::new(10, 5).with_cached_tokens(4).with_reasoning_tokens(2));
    assert_eq!((response.id.as_deref(), response.model.as_deref()), (Some("chatcmpl-1"), Some("m-2025")));
    let top = vec![("Let".to_owned(), -0.5), ("Well".to_owned(), -1.5)];
    assert_eq!(response.logprobs.unwrap(), [TokenLogprob::new("Let", -0.5, top)]);
    assert_eq!(response.raw, Some(raw));
}

#[test]
fn nulls_unknown_words_and_lists_of_parts() {
    let message = |message: Value, finish: Value| {
        decode(json!({"error": null, "usage": null, "choices": [{"message": message, "finish_reason": finish, "logprobs": null}]}))
            .unwrap()
    };
    let r = message(json!({"content": null, "tool_calls": null, "refusal": "I can't."}), json!("stop"));
    assert_eq!((r.text().as_str(), r.refusal(), r.usage), ("", Some("I can't."), Usage::default()));
    let r = message(json!({"content": "x"}), json!("brand_new"));
    assert_eq!(r.finish, FinishReason::Other("brand_new".into()));
    assert_eq!(message(json!({"content": "x"}), json!("")).finish, FinishReason::Stop);
    assert_eq!(message(json!({"content": "x"}), json!(null)).finish, FinishReason::Stop);
    let parts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "image_url", "image_url": {"url": "u"}}]);
    let r = message(json!({"content": parts}), json!("stop"));
    assert_eq!(r.text(), "ab");
    assert!(matches!(&r.message.parts[0], Part::Reasoning { text, .. } if text == "hm"));
    assert!(matches!(&r.message.parts[2], Part::Opaque { vendor, .. } if vendor == "openai"));
    let r = message(
        json!({"content": null, "function_call": {"name": "f", "arguments": "{}"}}),
        json!("function_call"),
    );
    assert_eq!(r.tool_calls().next().unwrap().name, "f");
}

#[test]
fn errors_in_a_reply_of_success() {
    let kind = |raw: Value| decode(raw).unwrap_err().kind();
    assert_eq!(kind(json!({"error": {"message": "busy", "code": 429}})), ErrorKind::RateLimited);
    assert_eq!(kind(json!({"error": "overloaded"})), ErrorKind::Unavailable);
    assert_eq!(
        kind(json!({"choices": [{"error": {"message": "x", "code": 502}, "message": {}}]})),
        ErrorKind::Unavailable
    );
    assert_eq!(kind(json!({"choices": []})), ErrorKind::InvalidOutput);
    assert_eq!(kind(json!({})), ErrorKind::InvalidOutput);
    assert_eq!(kind(json!([1])), ErrorKind::InvalidOutput);
    assert_eq!(kind(json!({"choices": "x"})), ErrorKind::InvalidOutput);
    assert_eq!(
        kind(json!({"choices": [{"message": {"tool_calls": [{"function": {}}]}}]})),
        ErrorKind::InvalidOutput
    );
}

#[test]
fn half_characters_are_mended_and_whole_ones_kept() {
    let mended = |text: &str| parse::<Value>(text).unwrap();
    assert_eq!(mended(r#"{"c":"a\ud83d"}"#), json!({"c": "a\u{fffd}"}));
    assert_eq!(mended(r#"{"c":"\ude00b\\ud83d\ud83d\ude00"}"#), json!({"c": "\u{fffd}b\\ud83d\u{1f600}"}));
    assert_eq!(mended(r#"["\ud83d\ud83d\ude00"]"#), json!(["\u{fffd}\u{1f600}"]));
    assert!(parse::<Value>(r#"{"c":"\ud83d"#).is_err());
    assert!(parse::<Value>("\\").is_err());
}

#[test]
fn counts_by_every_name() {
    let usage = |usage: Value| {
        let raw = json!({"choices": [{"message": {"content": "x"}}], "usage": usage});
        decode(raw).unwrap().usage
    };
    let base = |more: Value| {
        let mut value = json!({"prompt_tokens": 10, "completion_tokens": 5});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        usage(value)
    };
    let cached = Usage::new(10, 5).with_cached_tokens(4);
    assert_eq!(base(json!({"prompt_tokens_details": {"cached_tokens": 4}})), cached);
    assert_eq!(base(json!({"prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6})), cached);
    assert_eq!(base(json!({"num_cached_tokens": 4})), cached);
    assert_eq!(base(json!({"cache_read_input_tokens": 4, "prompt_tokens_details": null})), cached);
    let written = Usage::new(10, 5).with_cache_write_tokens(3);
    assert_eq!(base(json!({"prompt_tokens_details": {"cache_write_tokens": 3}})), written);
    assert_eq!(base(json!({"cache_creation_input_tokens": 3})), written);
    assert_eq!(base(json!({"reasoning_tokens": 2})), Usage::new(10, 5).with_reasoning_tokens(2));
    assert_eq!(usage(json!(null)), Usage::default());
}

#[test]
fn signed_reasoning_and_an_empty_call_of_the_old_form() {
    let details =
        json!([{"type": "reasoning.summary", "summary": "hm"}, {"type": "reasoning.encrypted", "data": "e"}]);
    let message = json!({"content": "Hi", "reasoning_details": details, "function_call": {"name": "", "arguments": ""}});
    let response = decode(json!({"choices": [{"message": message, "finish_reason": ""}]})).unwrap();
    let signature = format!("openai:{}", json!({ "reasoning_details": details }));
    let reasoning = Part::Reasoning { text: "hm".into(), signature: Some(signature) };
    assert_eq!(response.message.parts, [reasoning, Part::text("Hi")]);
    assert_eq!((response.finish, response.finish_raw), (FinishReason::Stop, None));
}
