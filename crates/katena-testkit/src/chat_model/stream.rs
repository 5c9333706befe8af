//! The laws of streaming.

use futures_util::StreamExt as _;
use katena_core::{Accumulator, ChatEvent, ChatModel, ChatRequest, Message, PartKind};

use super::{ask, events, fold, generate};
use crate::harness::Law;

fn requests() -> Vec<ChatRequest> {
    let turns = ChatRequest::new([
        Message::system("You are brief."),
        Message::user("What is the capital of Denmark?"),
        Message::assistant("Copenhagen."),
        Message::user("And of Norway?"),
    ]);
    vec![
        ask("Say hello."),
        ask("List the numbers from one to twenty in words."),
        ask("Write these again: Zürich ☕ 👩‍👩‍👧‍👦 日本語 e\u{301}"),
        turns.with_temperature(0.0).with_max_tokens(16),
        ask("Count to three.").with_max_tokens(1),
    ]
}

/// The folded events of a stream equal its `Finished` response.
pub async fn stream_folds_to_finished(model: &dyn ChatModel) {
    let law = Law("ChatModel: stream_folds_to_finished");
    for request in requests() {
        let mut accumulator = Accumulator::new();
        for event in law.ok("stream", events(model, &request).await) {
            law.ok("folding the events", accumulator.push(&event));
        }
        let deltas = accumulator.text();
        let response = law.ok("folding the events", accumulator.finish());
        law.same("text of the deltas", &deltas, &response.text());
    }
}

/// `Finished` comes exactly once and last; an end without it is an error.
pub async fn stream_ends_once(model: &dyn ChatModel) {
    let law = Law("ChatModel: stream_ends_once");
    for request in requests() {
        let events = law.ok("stream", events(model, &request).await);
        let finished: Vec<usize> = events
            .iter()
            .enumerate()
            .filter_map(|(n, e)| matches!(e, ChatEvent::Finished(_)).then_some(n))
            .collect();
        law.check(
            finished == [events.len() - 1],
            format!("`Finished` stands at {finished:?} of {} events", events.len()),
        );
    }
}

/// Each part starts, grows and ends, in that order.
pub async fn parts_start_before_they_grow(model: &dyn ChatModel) {
    #[derive(PartialEq)]
    enum Part {
        Open(PartKind),
        Ended,
    }
    let law = Law("ChatModel: parts_start_before_they_grow");
    for request in requests() {
        let mut parts = Vec::new();
        let mut deltas = 0;
        for (n, event) in law.ok("stream", events(model, &request).await).iter().enumerate() {
            match event {
                ChatEvent::Start { part, kind, .. } => {
                    law.check(*part == parts.len(), format!("event {n} starts part {part} out of turn"));
                    parts.push(Part::Open(*kind));
                }
                ChatEvent::Delta { part, .. } => {
                    let open = matches!(parts.get(*part), Some(Part::Open(_)));
                    law.check(open, format!("event {n} grows part {part}, which is not open"));
                    deltas += 1;
                }
                ChatEvent::End { part, value } => {
                    let open = parts.get(*part) == Some(&Part::Open(value.kind()));
                    law.check(open, format!("event {n} ends part {part}, which is not open as that kind"));
                    parts[*part] = Part::Ended;
                }
                ChatEvent::Finished(response) => {
                    let ended = parts.iter().all(|p| *p == Part::Ended);
                    law.check(ended, "the answer is finished with an open part");
                    law.same("number of parts", &parts.len(), &response.message.parts.len());
                    law.check(deltas > 0 || response.text().is_empty(), "a text came without a delta");
                }
                _ => {}
            }
        }
    }
}

/// Dropping a stream ends the call; the model still answers the next.
pub async fn dropped_stream_stops(model: &dyn ChatModel) {
    let law = Law("ChatModel: dropped_stream_stops");
    let long = ask("Tell a long story about a lighthouse, a ferry and a dog.").with_max_tokens(400);
    // More often than any model has slots, so that one that is not given back shows.
    for round in 0..12 {
        let mut stream = law.ok("stream", model.stream(&long).await);
        match stream.next().await {
            Some(event) => drop(law.ok(&format!("the first event of round {round}"), event)),
            None => law.broken(format!("round {round}: the stream is empty")),
        }
        drop(stream);
    }
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(law.ok("stream", model.stream(&ask("Say hello.")).await));
    }
    drop(held);
    fold(law, model, &ask("Say hello.")).await;
    generate(law, model, &ask("Say hello.")).await;
}
