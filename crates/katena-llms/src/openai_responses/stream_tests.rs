use katena_core::{Accumulator, ChatResponse, FinishReason, ToolCall, Usage};
use serde_json::json;

use super::*;

/// Runs the events through decoder and accumulator: the law of streaming is checked on the way.
fn run(events: &[Value]) -> Result<ChatResponse> {
    let mut decoder = ResponsesStreamDecoder::new("openai");
    let mut answer = Accumulator::new();
    for event in events {
        decoder.push(text_of(event, "type"), &event.to_string())?;
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

fn event(kind: &str, more: Value) -> Value {
    let mut event = json!({ "type": format!("response.{kind}") });
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

fn added(index: u64, item: Value) -> Value {
    event("output_item.added", json!({"output_index": index, "item": item}))
}

fn done(index: u64, item: Value) -> Value {
    event("output_item.done", json!({"output_index": index, "item": item}))
}

fn delta(kind: &str, index: u64, delta: &str) -> Value {
    event(&format!("{kind}.delta"), json!({"output_index": index, "content_index": 0, "delta": delta}))
}

fn completed(output: Value) -> Value {
    event(
        "completed",
        json!({"response": {"id": "resp_1", "model": "m1", "status": "completed", "output": output,
        "usage": {"input_tokens": 3, "output_tokens": 9}}}),
    )
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": name, "arguments": arguments})
}

#[test]
fn reasoning_text_and_calls_by_their_numbers() {
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "e",
        "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}]});
    let summary = |n: u64, text: &str| {
        event("reasoning_summary_text.delta", json!({"output_index": 0, "summary_index": n, "delta": text}))
    };
    let response = run(&[
        event("created", json!({"response": {"id": "resp_1"}})),
        added(0, json!({"type": "reasoning", "id": "rs_1", "summary": []})),
        summary(0, "on"),
        summary(0, "e"),
        summary(1, "two"),
        done(0, reasoning.clone()),
        added(1, json!({"type": "message", "id": "msg_1", "content": []})),
        delta("output_text", 1, "Hel"),
        // Calls grow at the same time.
        added(2, call("a", "f", "")),
        added(3, call("b", "g", "")),
        delta("function_call_arguments", 3, "{\"y\":"),
        delta("function_call_arguments", 2, "{\"x\":1}"),
        delta("function_call_arguments", 3, "2}"),
        event("brand.new", json!({"x": 1})),
        done(3, call("b", "g", "{\"y\":2}")),
        done(2, call("a", "f", "{\"x\":1}")),
        // The end of the text was not told by deltas.
        done(1, message("Hello")),
        completed(json!([])),
    ])
    .unwrap();
    let signature = Some(items::signature(&reasoning, "openai"));
    assert_eq!(
        response.message.parts,
        [
            Part::Reasoning { text: "one\n\ntwo".into(), signature },
            Part::text("Hello"),
            Part::ToolCall(ToolCall::new("a", "f", "{\"x\":1}")),
            Part::ToolCall(ToolCall::new("b", "g", "{\"y\":2}")),
        ]
    );
    assert_eq!(
        (response.finish, response.finish_raw.as_deref()),
        (FinishReason::ToolCalls, Some("completed"))
    );
    assert_eq!((response.id.as_deref(), response.usage), (Some("resp_1"), Usage::new(3, 9)));
}

#[test]
fn what_was_not_told_is_taken_from_the_end() {
    // Nothing but the end.
    assert_eq!(run(&[completed(json!([message("Hi")]))]).unwrap().text(), "Hi");
    // A call whose arguments came only there, and an item that never ended.
    let response = run(&[
        added(0, call("a", "f", "")),
        added(1, json!({"type": "web_search_call", "id": "ws_1", "status": "in_progress"})),
        completed(
            json!([call("a", "f", "{}"), {"type": "web_search_call", "id": "ws_1", "status": "completed"}]),
        ),
    ])
    .unwrap();
    assert_eq!(response.message.parts[0], Part::ToolCall(ToolCall::new("a", "f", "{}")));
    let Part::Opaque { value, .. } = &response.message.parts[1] else { panic!("{response:?}") };
    assert_eq!(value["status"], "completed");
    // What was told whole is not told twice, whatever its id is now and wherever it stands.
    let mut again = message("Hi");
    again["id"] = json!("msg_other");
    let response = run(&[done(3, message("Hi")), completed(json!([again]))]).unwrap();
    assert_eq!(response.message.parts, [Part::text("Hi")]);
}

#[test]
fn servers_that_leave_things_out() {
    let bare = |kind: &str, delta: &str| event(kind, json!({ "delta": delta }));
    let end = completed(json!([]));
    assert_eq!(
        run(&[bare("output_text.delta", "a"), bare("output_text.delta", "b"), end.clone()]).unwrap().text(),
        "ab"
    );
    // A name that comes late.
    let response = run(&[
        delta("function_call_arguments", 0, "{\"x\":"),
        delta("function_call_arguments", 0, "1}"),
        done(0, call("a", "f", "{\"x\":1}")),
        end.clone(),
    ]);
    assert_eq!(response.unwrap().message.parts, [Part::ToolCall(ToolCall::new("a", "f", "{\"x\":1}"))]);
    // A call that never gets one.
    let nameless = run(&[delta("function_call_arguments", 0, "{}"), end]);
    assert_eq!(nameless.unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[test]
fn arguments_must_be_what_their_pieces_said() {
    let response = run(&[
        added(0, call("a", "f", "")),
        delta("function_call_arguments", 0, "{\"x\":1}"),
        done(0, call("a", "f", "{\"x\":2}")),
        completed(json!([])),
    ]);
    assert_eq!(response.unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[test]
fn every_end_and_its_lack() {
    let text = delta("output_text", 0, "Hel");
    let cut = run(std::slice::from_ref(&text)).unwrap_err();
    assert_eq!(cut.kind(), ErrorKind::Unavailable);
    assert_eq!(run(&[]).unwrap_err().kind(), ErrorKind::Unavailable);
    let short = event(
        "incomplete",
        json!({"response": {"status": "incomplete", "output": [],
        "incomplete_details": {"reason": "max_output_tokens"}}}),
    );
    let response = run(&[text.clone(), short]).unwrap();
    assert_eq!((response.text().as_str(), response.finish), ("Hel", FinishReason::Length));
    let failed = event(
        "failed",
        json!({"response": {"status": "failed",
        "error": {"code": "rate_limit_exceeded", "message": "slow down"}}}),
    );
    let error = run(&[text.clone(), failed]).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::RateLimited, "slow down"));
    for error in [
        json!({"type": "error", "code": "server_error", "message": "oh", "param": null}),
        json!({"type": "error", "error": {"type": "server_error", "message": "oh"}}),
        json!({"error": {"message": "oh"}}),
    ] {
        let error = run(&[text.clone(), error]).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "oh"));
    }
}

#[test]
fn nothing_after_the_end_counts() {
    let mut decoder = ResponsesStreamDecoder::new("openai");
    decoder.push("message", &completed(json!([message("Hi")])).to_string()).unwrap();
    assert!(decoder.is_done());
    decoder.push("error", "rubbish").unwrap();
    decoder.finish().unwrap();
    decoder.finish().unwrap();
    assert!(ResponsesStreamDecoder::new("v").push("message", "{").is_err());
}

#[test]
fn hostile_lengths_are_refused() {
    let mut decoder = ResponsesStreamDecoder::new("openai");
    let mut push =
        |n: u64| decoder.push("m", &added(n, json!({"type": "odd", "id": n.to_string()})).to_string());
    let error = (0..5000).find_map(|n| push(n).err()).expect("a limit");
    assert_eq!(error.kind(), ErrorKind::InvalidOutput);
}

#[test]
fn logprobs_come_from_the_whole_or_from_the_pieces() {
    let token = json!([{"token": "Hi", "logprob": -0.1, "top_logprobs": [{"token": "Hi", "logprob": -0.1}]}]);
    let piece = event(
        "output_text.delta",
        json!({"output_index": 0, "content_index": 0, "delta": "Hi", "logprobs": token}),
    );
    let mut whole = message("Hi");
    whole["content"][0]["logprobs"] = token;
    for item in [message("Hi"), whole] {
        let response = run(&[piece.clone(), done(0, item), completed(json!([]))]).unwrap();
        let tokens = response.logprobs.unwrap();
        assert_eq!((tokens.len(), tokens[0].token.as_str(), tokens[0].top.len()), (1, "Hi", 1));
    }
}
