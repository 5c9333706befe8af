use super::*;
use crate::chat::calls::Format;
use crate::chat::thoughts::Marks;
use katena_core::Accumulator;

fn reading(calls: bool) -> Reading {
    let format = Format::of_template("tools <tool_call>").unwrap();
    Reading {
        thoughts: Marks::of_template("<think>").map(|marks| Thoughts::new(marks, false)),
        calls: calls.then(|| CallParser::new(format, Vec::new())),
        ..Reading::default()
    }
}

fn events(text: &str, stop: &[&str], calls: bool, finish: FinishReason) -> Vec<ChatEvent> {
    let stop = stop.iter().map(|s| (*s).to_owned()).collect();
    let mut emitter = Emitter::new(stop, reading(calls), 3, false);
    let mut events = Vec::new();
    for byte in text.as_bytes() {
        if emitter.stopped() {
            break;
        }
        emitter.push(&[*byte], &mut events);
    }
    emitter.finish(finish, Usage::new(1, 2), "m", &mut events);
    events
}

fn fold(events: &[ChatEvent]) -> ChatResponse {
    let mut accumulator = Accumulator::new();
    for event in events {
        accumulator.push(event).unwrap();
    }
    accumulator.finish().unwrap()
}

fn run(text: &str, stop: &[&str], calls: bool) -> ChatResponse {
    fold(&events(text, stop, calls, FinishReason::Stop))
}

#[test]
fn events_fold_to_the_answer() {
    let response = run("Grüße 🦙!", &[], false);
    assert_eq!(response.text(), "Grüße 🦙!");
    assert_eq!(response.finish, FinishReason::Stop);
    assert_eq!(run("one two three", &["two"], false).text(), "one ");
    assert!(run("", &[], false).message.parts.is_empty());
}

#[test]
fn calls_become_parts_with_ids_of_their_own() {
    let text = "So: <tool_call>{\"name\":\"a\",\"arguments\":{\"x\":1}}</tool_call><tool_call>{\"name\":\"b\"}</tool_call>";
    let response = run(text, &[], true);
    assert_eq!(response.finish, FinishReason::ToolCalls);
    let calls: Vec<_> = response.tool_calls().collect();
    assert_eq!((calls[0].id.as_str(), calls[0].arguments.as_str()), ("call_3", "{\"x\":1}"));
    assert_eq!((calls[1].id.as_str(), calls[1].name.as_str()), ("call_4", "b"));
    assert_eq!(response.text(), "So:");
    assert_eq!(run(text, &[], false).text(), text, "without tools it is text");
}

#[test]
fn arguments_are_streamed_while_they_come() {
    let all = events(
        "<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":\"long\"}}</tool_call>",
        &[],
        true,
        FinishReason::Stop,
    );
    let deltas = all.iter().filter(|e| matches!(e, ChatEvent::Delta { .. })).count();
    assert!(deltas >= "{\"x\":\"long\"}".len(), "{deltas} deltas");
    assert!(
        matches!(&all[0], ChatEvent::Start { tool: Some((id, name)), .. } if id == "call_3" && name == "a")
    );
}

#[test]
fn a_call_that_is_cut_off_ends_with_what_there_is() {
    let cut =
        fold(&events("<tool_call>{\"name\":\"a\",\"arguments\":{\"x\":", &[], true, FinishReason::Length));
    assert_eq!(cut.finish, FinishReason::Length);
    assert_eq!(cut.tool_calls().next().unwrap().arguments, "{\"x\":");
    let early = fold(&events("<tool_call>{\"name\":\"a\",\"argu", &[], true, FinishReason::Length));
    assert_eq!(early.text(), "<tool_call>{\"name\":\"a\",\"argu");
    let broken = run("<tool_call>{\"name\":\"a\",\"arguments\":{\"x\": ]}}\n</tool_call> Done", &[], true);
    assert_eq!(broken.tool_calls().next().unwrap().arguments, "{\"x\": ]}}");
    assert_eq!((broken.text().as_str(), broken.finish), ("Done", FinishReason::ToolCalls));
}

#[test]
fn reasoning_is_a_part_of_its_own() {
    let text = "<think>\nHm <tool_call>.\n</think>\n\nSo: <tool_call>{\"name\":\"a\"}</tool_call>";
    let response = run(text, &[], true);
    let kinds: Vec<PartKind> = response.message.parts.iter().map(Part::kind).collect();
    assert_eq!(kinds, [PartKind::Reasoning, PartKind::Text, PartKind::ToolCall]);
    assert!(matches!(&response.message.parts[0], Part::Reasoning { text, .. } if text == "Hm <tool_call>."));
    assert_eq!(response.text(), "So:");
}
