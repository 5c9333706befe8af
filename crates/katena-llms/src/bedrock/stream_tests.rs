use katena_core::{Accumulator, FinishReason, ToolCall};

use super::*;

fn run(events: &[(&str, Value)]) -> Result<ChatResponse> {
    let mut decoder = ConverseStreamDecoder::new("bedrock");
    let mut answer = Accumulator::new();
    for (name, value) in events {
        decoder.push(name, &value.to_string())?;
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

fn start(index: u64, start: Value) -> (&'static str, Value) {
    ("contentBlockStart", json!({"contentBlockIndex": index, "start": start, "p": "abc"}))
}

fn delta(index: u64, delta: Value) -> (&'static str, Value) {
    ("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta, "p": "abc"}))
}

fn stop(index: u64) -> (&'static str, Value) {
    ("contentBlockStop", json!({"contentBlockIndex": index}))
}

fn end(reason: &str) -> (&'static str, Value) {
    ("messageStop", json!({"stopReason": reason}))
}

#[test]
fn a_stream_gives_what_the_whole_reply_gives() {
    let citation = json!({"title": "T", "location": {"web": {"url": "https://e"}}});
    let streamed = run(&[
        ("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"text": "m"}})),
        delta(0, json!({"reasoningContent": {"signature": "si"}})),
        delta(0, json!({"reasoningContent": {"signature": "g"}})),
        stop(0),
        delta(1, json!({"reasoningContent": {"redactedContent": "AQ=="}})),
        delta(1, json!({"reasoningContent": {"redactedContent": "AgM="}})),
        stop(1),
        delta(2, json!({"citation": citation})),
        delta(2, json!({"text": "Hé"})),
        delta(2, json!({"text": ""})),
        delta(2, json!({"text": "llo"})),
        stop(2),
        start(3, json!({"toolUse": {"toolUseId": "s", "name": "web", "type": "server_tool_use"}})),
        delta(3, json!({"toolUse": {"input": "{\"q\":"}})),
        delta(3, json!({"toolUse": {"input": "1}"}})),
        stop(3),
        start(4, json!({"toolResult": {"toolUseId": "s", "status": "success", "type": "web_result"}})),
        delta(4, json!({"toolResult": [{"text": "found"}]})),
        stop(4),
        start(5, json!({"toolUse": {"toolUseId": "1", "name": "f"}})),
        delta(5, json!({"toolUse": {"input": "{\"a\":"}})),
        start(6, json!({"toolUse": {"toolUseId": "2", "name": "g"}})),
        delta(5, json!({"toolUse": {"input": "1}"}})),
        stop(5),
        stop(6),
        ("unknownEvent", json!({"x": 1})),
        end("tool_use"),
        ("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3}})),
    ])
    .unwrap();
    let whole = wire::decode_response(
        json!({"output": {"message": {"content": [
            {"reasoningContent": {"reasoningText": {"text": "hmm", "signature": "sig"}}},
            {"reasoningContent": {"redactedContent": "AQID"}},
            {"citationsContent": {"content": [{"text": "Héllo"}], "citations": [citation]}},
            {"toolUse": {"toolUseId": "s", "name": "web", "type": "server_tool_use", "input": {"q": 1}}},
            {"toolResult": {"toolUseId": "s", "status": "success", "type": "web_result", "content": [{"text": "found"}]}},
            {"toolUse": {"toolUseId": "1", "name": "f", "input": {"a": 1}}},
        ]}}, "stopReason": "tool_use", "usage": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3}}),
        "bedrock",
    )
    .unwrap();
    let mut want = whole.message.parts.clone();
    want.push(Part::ToolCall(ToolCall::new("2", "g", "")));
    assert_eq!(streamed.message.parts, want);
    assert_eq!((streamed.usage, streamed.finish_raw), (whole.usage, whole.finish_raw));
}

#[test]
fn a_cut_stream_is_an_error() {
    let kind = |events: &[(&str, Value)]| run(events).unwrap_err().kind();
    assert_eq!(kind(&[]), ErrorKind::Unavailable);
    assert_eq!(kind(&[delta(0, json!({"text": "Hal"}))]), ErrorKind::Unavailable);
    // Counts that never come are no reason to lose the answer.
    let answer = run(&[delta(0, json!({"text": "Hi"})), end("max_tokens")]).unwrap();
    assert_eq!((answer.text().as_str(), answer.finish), ("Hi", FinishReason::Length));
}

#[test]
fn bad_events_and_exceptions() {
    let kind = |events: &[(&str, Value)]| run(events).unwrap_err().kind();
    let exception = ("throttlingException", json!({"message": "slow down"}));
    assert_eq!(kind(&[exception]), ErrorKind::RateLimited);
    assert_eq!(kind(&[delta(0, json!({"toolUse": {"input": "{}"}}))]), ErrorKind::InvalidOutput);
    assert_eq!(kind(&[start(0, json!({"toolUse": {"toolUseId": "1"}}))]), ErrorKind::InvalidOutput);
    let redacted = json!({"reasoningContent": {"redactedContent": "!"}});
    assert_eq!(kind(&[delta(0, redacted)]), ErrorKind::InvalidOutput);
    let changed = [delta(0, json!({"text": "a"})), delta(0, json!({"reasoningContent": {"text": "b"}}))];
    assert_eq!(kind(&changed), ErrorKind::InvalidOutput);
    let mut decoder = ConverseStreamDecoder::new("bedrock");
    assert_eq!(decoder.push("metadata", "{").unwrap_err().kind(), ErrorKind::InvalidOutput);
    for n in 0..=MAX_BLOCKS as u64 {
        let (name, value) = start(n, json!({"toolResult": {"toolUseId": "s"}}));
        let result = decoder.push(name, &value.to_string());
        assert_eq!(result.is_err(), n == MAX_BLOCKS as u64, "{n}");
    }
}

#[test]
fn nothing_counts_after_the_end() {
    let answer = run(&[
        delta(0, json!({"text": "Hi"})),
        stop(0),
        end("end_turn"),
        ("metadata", json!({"usage": {"inputTokens": 1, "outputTokens": 1}})),
        delta(0, json!({"text": "more"})),
    ]);
    assert_eq!(answer.unwrap().text(), "Hi");
}
