use katena_core::{Accumulator, ErrorKind};
use serde_json::json;

use super::*;

fn run(mut decoder: OllamaStreamDecoder, lines: &[&str]) -> Result<ChatResponse> {
    let mut answer = Accumulator::new();
    for line in lines {
        decoder.push(line)?;
    }
    let ended = decoder.finish();
    while let Some(event) = decoder.next_event() {
        answer.push(&event)?;
    }
    ended?;
    answer.finish()
}

#[test]
fn thinking_text_and_calls_in_order() {
    let response = run(
        OllamaStreamDecoder::new(),
        &[
            r#"{"model":"m","created_at":"2026-01-02T03:04:05Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
            r#"{"message":{"thinking":" so","content":null},"done":false,"new":{"field":1}}"#,
            r#"{"message":{"content":"Let me see."},"done":false}"#,
            r#"{"created_at":"2026-01-02T03:04:06Z","message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":[1]}}}]},"done":false}"#,
            r#"{"created_at":"2026-01-02T03:04:07Z","message":{"tool_calls":[{"id":"x","function":{"index":1,"name":"g","arguments":{}}}]}}"#,
            r#"{"message":{"content":""},"done":true,"done_reason":"stop","prompt_eval_count":7,"eval_count":9}"#,
            "rubbish after the end",
        ],
    )
    .unwrap();
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "hm so".into(), signature: None },
            Part::text("Let me see."),
            Part::ToolCall(ToolCall::new("call_20260102030406_0", "f", r#"{"a":[1]}"#)),
            Part::ToolCall(ToolCall::new("x", "g", "{}")),
        ]
    );
    assert_eq!((&response.finish, response.finish_raw.as_deref()), (&FinishReason::ToolCalls, Some("stop")));
    assert_eq!(response.usage, Usage::new(7, 9));
    assert_eq!(response.model.as_deref(), Some("m"));
}

#[test]
fn log_probabilities() {
    let line = r#"{"message":{"content":"a"},"logprobs":[{"token":"a","logprob":-0.5,"top_logprobs":[{"token":"a","logprob":-0.5},{"token":"b","logprob":-1.5}]}],"done":true,"done_reason":"length"}"#;
    let response = run(OllamaStreamDecoder::new().with_max_alternatives(1), &[line]).unwrap();
    assert_eq!(response.logprobs, Some(vec![TokenLogprob::new("a", -0.5, vec![("a".into(), -0.5)])]));
    assert_eq!(response.finish, FinishReason::Length);
    assert_eq!(response.usage, Usage::default(), "unknown is not 0");
}

#[test]
fn an_answer_that_must_be_a_call() {
    let end = r#"{"message":{"content":""},"done":true,"done_reason":"stop"}"#;
    let forced = || OllamaStreamDecoder::new().with_forced_call();
    let said = [
        r#"{"message":{"content":"{\"name\":\"f\",\"argu"}}"#,
        r#"{"message":{"content":"ments\":{\"a\":1}}"}}"#,
        end,
    ];
    let response = run(forced(), &said).unwrap();
    assert_eq!(response.message.parts, [Part::ToolCall(ToolCall::new("call_0_0", "f", r#"{"a":1}"#))]);
    assert_eq!(response.finish, FinishReason::ToolCalls);
    let native = [
        r#"{"message":{"content":"","tool_calls":[{"id":"1","function":{"name":"f","arguments":{}}}]}}"#,
        end,
    ];
    assert_eq!(run(forced(), &native).unwrap().message.parts.len(), 1);
    let talking = [r#"{"message":{"content":" Sure. "}}"#, native[0], end];
    let parts = run(forced(), &talking).unwrap().message.parts;
    assert_eq!((parts.len(), &parts[1]), (2, &Part::text("Sure.")), "nothing that was said is lost");
    let words = [r#"{"message":{"content":"I would rather not."}}"#, end];
    assert_eq!(run(forced(), &words).unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[test]
fn a_cut_stream_and_errors() {
    let half = r#"{"message":{"content":"half"},"done":false}"#;
    assert_eq!(run(OllamaStreamDecoder::new(), &[half]).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(run(OllamaStreamDecoder::new(), &[]).unwrap_err().kind(), ErrorKind::Unavailable);
    let error =
        run(OllamaStreamDecoder::new(), &[half, r#"{"error":"model runner has stopped"}"#]).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "model runner has stopped"));
    assert_eq!(run(OllamaStreamDecoder::new(), &["{"]).unwrap_err().kind(), ErrorKind::InvalidOutput);
    let nameless = r#"{"message":{"tool_calls":[{"function":{"arguments":{}}}]},"done":true}"#;
    assert_eq!(run(OllamaStreamDecoder::new(), &[nameless]).unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[test]
fn whole_replies() {
    let raw = json!({"message": {"role": "assistant", "content": "Hi"}, "done": true, "done_reason": "load"});
    let response = decode_response(raw.clone(), "ollama").unwrap();
    assert_eq!((response.text().as_str(), &response.raw), ("Hi", &Some(raw)));
    assert_eq!(response.finish, FinishReason::Other("load".into()));
    for (raw, kind) in [
        (json!({"models": []}), ErrorKind::InvalidOutput),
        (json!([]), ErrorKind::InvalidOutput),
        (json!({"error": "no"}), ErrorKind::Unavailable),
        (json!({"message": {"content": "half"}, "done": false}), ErrorKind::Unavailable),
    ] {
        assert_eq!(decode_response(raw, "ollama").unwrap_err().kind(), kind);
    }
}
