use katena_core::{ErrorKind, ToolCall};
use serde_json::json;

use super::*;

fn decode(raw: Value) -> Result<ChatResponse> {
    decode_response(raw, "gemini")
}

fn parts(parts: Value) -> Vec<Part> {
    decode(json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}))
        .unwrap()
        .message
        .parts
}

#[test]
fn a_whole_reply() {
    let raw = json!({
        "responseId": "r-1", "modelVersion": "gemini-9", "createTime": "x", "new": {"x": 1},
        "candidates": [{
            "index": 0, "finishReason": "STOP", "finishMessage": "Model generated function call(s).", "avgLogprobs": -0.1,
            "content": {"role": "model", "parts": [
                {"text": "hm", "thought": true},
                {"text": "Let me "}, {"text": "see."},
                {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "S1"},
                {"functionCall": {"id": "own", "name": "g"}},
            ]},
            "logprobsResult": {
                "chosenCandidates": [{"token": "Let", "tokenId": 1, "logProbability": -0.5}, {"token": " me", "logProbability": 1e-9}],
                "topCandidates": [{"candidates": [{"token": "Let", "logProbability": -0.5}, {"token": "Well", "logProbability": -1.5}]}, {}],
            },
        }],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "totalTokenCount": 25,
            "toolUsePromptTokenCount": 3, "cachedContentTokenCount": 4},
    });
    let response = decode(raw.clone()).unwrap();
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "hm".into(), signature: None },
            Part::text("Let me see."),
            Part::Reasoning { text: String::new(), signature: Some("gemini:next:S1".into()) },
            Part::ToolCall(ToolCall::new("call_r-1_0", "f", "{\"x\":1}")),
            Part::ToolCall(ToolCall::new("own", "g", "")),
        ]
    );
    assert_eq!(response.finish, FinishReason::ToolCalls);
    assert_eq!(response.finish_raw.as_deref(), Some("STOP"));
    assert_eq!(response.usage, Usage::new(10, 12).with_reasoning_tokens(7).with_cached_tokens(4));
    assert_eq!((response.id.as_deref(), response.model.as_deref()), (Some("r-1"), Some("gemini-9")));
    let logprobs = response.logprobs.unwrap();
    assert_eq!(
        logprobs[0],
        TokenLogprob::new("Let", -0.5, vec![("Let".into(), -0.5), ("Well".into(), -1.5)])
    );
    assert_eq!(logprobs[1], TokenLogprob::new(" me", 0.0, vec![]));
    assert_eq!(response.raw, Some(raw));
}

#[test]
fn signatures_and_items_of_the_vendor_keep_their_place() {
    let code = json!({"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "C"});
    let draft = json!({"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thought": true});
    let got = parts(json!([
        {"text": "a", "thought": true, "thoughtSignature": "T"},
        {"text": "b", "thoughtSignature": "N"},
        code, draft,
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thoughtSignature": "I"},
        {"inline_data": {"mime_type": "audio/wav", "data": "AA=="}},
        {"text": "", "thoughtSignature": "E"},
        {"thoughtSignature": "E2"}, {}, null, {"text": ""},
    ]));
    let signed = |text: &str, signature: &str| Part::Reasoning {
        text: text.into(),
        signature: Some(signature.into()),
    };
    let media = |mime: &str| Media::Base64 { mime: mime.into(), data: "AA==".into() };
    assert_eq!(
        got,
        [
            signed("a", "gemini:thought:T"),
            signed("", "gemini:next:N"),
            Part::text("b"),
            Part::Opaque { vendor: "gemini".into(), value: code },
            Part::Opaque { vendor: "gemini".into(), value: draft },
            signed("", "gemini:next:I"),
            Part::Image { media: media("image/png") },
            Part::Audio { media: media("audio/wav") },
            signed("", "gemini:alone:E"),
            signed("", "gemini:alone:E2"),
        ]
    );
}

#[test]
fn words_numbers_and_nulls() {
    let finish = |finish: Value, parts: Value| {
        let r = decode(
            json!({"candidates": [{"content": {"parts": parts}, "finishReason": finish}], "usageMetadata": null}),
        );
        let r = r.unwrap();
        assert_eq!(r.usage, Usage::default());
        (r.finish, r.finish_raw)
    };
    let raw = |word: &str| Some(word.to_owned());
    assert_eq!(finish(json!("MAX_TOKENS"), json!([])), (FinishReason::Length, raw("MAX_TOKENS")));
    assert_eq!(finish(json!(1), json!([])), (FinishReason::Stop, raw("1")));
    assert_eq!(finish(json!(2), json!(null)), (FinishReason::Length, raw("2")));
    assert_eq!(finish(json!("SAFETY"), json!(null)), (FinishReason::ContentFilter, raw("SAFETY")));
    assert_eq!(finish(json!("NEW"), json!([])), (FinishReason::Other("NEW".into()), raw("NEW")));
    assert_eq!(finish(json!(null), json!([{"text": "x"}])), (FinishReason::Stop, None));
    assert_eq!(finish(json!("FINISH_REASON_UNSPECIFIED"), json!([])), (FinishReason::Stop, None));
    let call = json!([{"functionCall": {"name": "f", "args": null}}]);
    assert_eq!(finish(json!("STOP"), call.clone()).0, FinishReason::ToolCalls);
    assert_eq!(
        finish(json!("UNEXPECTED_TOOL_CALL"), call).0,
        FinishReason::Other("UNEXPECTED_TOOL_CALL".into())
    );
    // The second candidate is not the answer.
    let two = json!({"candidates": [{"index": 1, "content": {"parts": [{"text": "b"}]}}, {"content": {"parts": [{"text": "a"}]}}]});
    assert_eq!(decode(two).unwrap().text(), "a");
}

#[test]
fn a_list_of_chunks_is_a_stream_that_came_whole() {
    let chunk = |text: &str| json!({"candidates": [{"content": {"parts": [{"text": text}]}}], "usageMetadata": {"promptTokenCount": 9}});
    let mut list = vec![chunk("a"), chunk("b")];
    let cut = decode(Value::Array(list.clone())).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::Unavailable);
    list.push(json!({"candidates": [{"finishReason": 1}], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}}));
    let response = decode(Value::Array(list)).unwrap();
    assert_eq!((response.text().as_str(), response.usage), ("ab", Usage::new(3, 2)));
    assert!(response.raw.unwrap().is_array());
    let busy = json!([{"error": {"code": 429, "message": "busy", "status": "RESOURCE_EXHAUSTED"}}]);
    assert_eq!(decode(busy).unwrap_err().kind(), ErrorKind::RateLimited);
}

#[test]
fn errors_in_a_reply_of_success() {
    let kind = |raw: Value| decode(raw).unwrap_err().kind();
    assert_eq!(
        kind(json!({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}})),
        ErrorKind::Unavailable
    );
    assert_eq!(kind(json!({"candidates": []})), ErrorKind::InvalidOutput);
    assert_eq!(kind(json!({})), ErrorKind::InvalidOutput);
    assert_eq!(kind(json!([])), ErrorKind::Unavailable);
    assert_eq!(kind(json!([1])), ErrorKind::InvalidOutput);
    assert_eq!(kind(json!("x")), ErrorKind::InvalidOutput);
    let nameless = json!({"candidates": [{"content": {"parts": [{"functionCall": {"args": {}}}]}}]});
    assert_eq!(kind(nameless), ErrorKind::InvalidOutput);
    let pieces = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a"}]}}]}}]});
    assert_eq!(kind(pieces), ErrorKind::InvalidOutput);
    let blocked = json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "no"}, "usageMetadata": {}});
    let error = decode(blocked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("PROHIBITED_CONTENT") && error.message().contains("no"), "{error}");
    // Ratings without a block are none.
    assert_eq!(kind(json!({"promptFeedback": {"safetyRatings": []}})), ErrorKind::InvalidOutput);
}
