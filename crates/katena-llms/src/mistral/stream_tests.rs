use katena_core::{Accumulator, ToolCall};
use serde_json::json;

use super::*;

fn run(events: &[Value]) -> Result<ChatResponse> {
    let mut decoder = MistralStreamDecoder::new("mistral");
    let mut answer = Accumulator::new();
    for event in events {
        decoder.push("message", event.as_str().map_or(event.to_string(), str::to_owned).as_str())?;
    }
    let ended = decoder.finish();
    while let Some(event) = decoder.next_event() {
        answer.push(&event)?;
    }
    ended?;
    answer.finish()
}

fn delta(delta: Value) -> Value {
    json!({"id": "r", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn end(reason: &str) -> Value {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 4, "num_cached_tokens": 2, "prompt_audio_seconds": 3});
    json!({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": reason}], "usage": usage})
}

#[test]
fn thinking_references_text_and_calls_in_order() {
    let thought =
        |text: &str| json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]});
    let response = run(&[
        delta(json!({"role": "assistant", "content": ""})),
        delta(thought("h")),
        delta(thought("m")),
        delta(json!({"content": [{"type": "text", "text": "See "}, {"type": "reference", "reference_ids": [1]}]})),
        delta(json!({"content": "there."})),
        json!({"choices": [{"index": 1, "delta": {"content": "another choice"}}]}),
        delta(json!({"tool_calls": [
            {"id": "aB3dE6gH9", "function": {"name": "f", "arguments": "{}"}, "index": 0},
            {"id": "bB3dE6gH9", "function": {"name": "g", "arguments": {"x": 1}}, "index": 0},
        ]})),
        end("tool_calls"),
        json!("[DONE]"),
        json!("rubbish"),
    ])
    .unwrap();
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "hm".into(), signature: None },
            Part::text("See "),
            Part::Opaque {
                vendor: "mistral".into(),
                value: json!({"type": "reference", "reference_ids": [1]})
            },
            Part::text("there."),
            Part::ToolCall(ToolCall::new("aB3dE6gH9", "f", "{}")),
            Part::ToolCall(ToolCall::new("bB3dE6gH9", "g", "{\"x\":1}")),
        ]
    );
    assert_eq!(
        (&response.finish, response.finish_raw.as_deref()),
        (&FinishReason::ToolCalls, Some("tool_calls"))
    );
    assert_eq!(response.usage, Usage::new(9, 4).with_cached_tokens(2));
    assert_eq!((response.id.as_deref(), response.model.as_deref()), (Some("r"), Some("m")));
}

#[test]
fn calls_in_pieces_and_without_ids() {
    let piece = |call: Value| delta(json!({ "tool_calls": [call] }));
    let response = run(&[
        piece(json!({"index": 0, "id": "null", "function": {"name": "f", "arguments": "{\"a\""}})),
        piece(json!({"index": 1, "function": {"name": "g", "arguments": ""}})),
        piece(json!({"index": 0, "function": {"arguments": ":1}"}})),
        end("tool_calls"),
    ])
    .unwrap();
    let calls: Vec<_> =
        response.tool_calls().map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str())).collect();
    assert_eq!(calls, [("call_r_0", "f", "{\"a\":1}"), ("call_r_1", "g", "")]);
    let nameless = run(&[piece(json!({"index": 0, "function": {"arguments": "{}"}}))]);
    assert_eq!(nameless.unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[test]
fn reasons_to_end() {
    let finish = |reason| run(&[delta(json!({"content": "x"})), end(reason)]).map(|r| r.finish);
    assert_eq!(finish("stop").unwrap(), FinishReason::Stop);
    assert_eq!(finish("length").unwrap(), FinishReason::Length);
    assert_eq!(finish("model_length").unwrap(), FinishReason::Length);
    assert_eq!(finish("brand_new").unwrap(), FinishReason::Other("brand_new".into()));
    assert_eq!(finish("error").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn errors_and_cuts() {
    let half = delta(json!({"content": "half"}));
    let kind = |events: &[Value]| run(events).unwrap_err().kind();
    assert_eq!(kind(&[]), ErrorKind::Unavailable);
    assert_eq!(kind(std::slice::from_ref(&half)), ErrorKind::Unavailable);
    assert_eq!(kind(&[json!("[DONE]")]), ErrorKind::Unavailable);
    assert_eq!(kind(&[json!("{")]), ErrorKind::InvalidOutput);
    let error = json!({"object": "error", "message": "busy", "type": "server_error", "code": "3000"});
    assert_eq!(run(&[half.clone(), error]).unwrap_err().message(), "busy");
    assert_eq!(run(&[json!({"error": {"message": "busy"}})]).unwrap_err().message(), "busy");
    assert!(run(&[half, json!({"error": null}), end("stop")]).is_ok());
}

#[test]
fn whole_replies() {
    let raw = json!({"id": "r", "choices": [
        {"index": 1, "message": {"content": "second"}, "finish_reason": "stop"},
        {"index": 0, "message": {"role": "assistant", "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": true},
            {"type": "text", "text": "144"},
        ], "tool_calls": null}, "finish_reason": "stop",
         "logprobs": {"content": [{"token": "1", "logprob": -0.5, "top_logprobs": []}]}},
    ], "usage": {"prompt_tokens": 5, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 1}}});
    let response = decode_response(raw.clone(), "mistral").unwrap();
    assert_eq!(response.message.parts.len(), 2);
    assert_eq!((response.text().as_str(), response.raw), ("144", Some(raw)));
    assert_eq!(response.usage, Usage::new(5, 6).with_cached_tokens(1));
    assert_eq!(response.logprobs, Some(vec![TokenLogprob::new("1", -0.5, vec![])]));
    let silent = decode_response(json!({"choices": [{"message": {"content": ""}}]}), "mistral").unwrap();
    assert_eq!((silent.finish, silent.finish_raw), (FinishReason::Stop, None));
    for raw in [json!({"choices": []}), json!([])] {
        assert_eq!(decode_response(raw, "mistral").unwrap_err().kind(), ErrorKind::InvalidOutput);
    }
    let error = decode_response(json!({"object": "error", "message": "no"}), "mistral").unwrap_err();
    assert_eq!(error.message(), "no");
}
