//! The contract of [`Memory`]. Each law wants an empty memory.

use katena_core::{Memory, Message, Part, RecallRequest, RecordRequest, Role, ToolCall, ToolResult};

use crate::harness::Law;

async fn record(law: Law, memory: &dyn Memory, messages: Vec<Message>) {
    law.ok("recording", memory.record(RecordRequest::new("s", messages)).await);
}

async fn recall(law: Law, memory: &dyn Memory, session: &str) -> Vec<Message> {
    let request = RecallRequest::new(session).with_input(vec![Message::user("And question 5?")]);
    law.ok("recalling", memory.recall(&request).await)
}

/// In order, as far as the policy keeps it.
pub async fn recalls_what_was_recorded(memory: &dyn Memory) {
    let law = Law("Memory: recalls_what_was_recorded");
    law.check(recall(law, memory, "s").await.is_empty(), "an unknown session is remembered");
    let mut said = Vec::new();
    for n in 0..30 {
        let turn = vec![Message::user(format!("Question {n}?")), Message::assistant(format!("Answer {n}."))];
        record(law, memory, turn.clone()).await;
        said.extend(turn);
        let recalled = recall(law, memory, "s").await;
        // Summaries and the like may stand among them; what was said itself stands in its order.
        let places: Vec<usize> = recalled.iter().filter_map(|m| said.iter().position(|s| s == m)).collect();
        law.check(places.is_sorted_by(|a, b| a < b), format!("recalled out of order: {places:?}"));
        law.check(places.last() == Some(&(said.len() - 1)), format!("turn {n} is forgotten at once"));
    }
    law.check(recall(law, memory, "other").await.is_empty(), "another session's turns are recalled");
}

/// A tool result is recalled only with its call.
pub async fn tool_calls_are_never_orphaned(memory: &dyn Memory) {
    let law = Law("Memory: tool_calls_are_never_orphaned");
    for n in 0..25 {
        let calls: Vec<ToolCall> =
            (0..=n % 3).map(|c| ToolCall::new(format!("call_{n}_{c}"), "get_weather", "{}")).collect();
        let mut turn = vec![Message::user(format!("Question {n}?"))];
        turn.push(Message::new(Role::Assistant, calls.iter().cloned().map(Part::ToolCall).collect()));
        turn.extend(calls.iter().map(|call| Message::tool(ToolResult::text(call, "Rain."))));
        turn.push(Message::assistant(format!("Answer {n}.")));
        record(law, memory, turn).await;
        let (mut called, mut answered) = (Vec::new(), Vec::new());
        for message in recall(law, memory, "s").await {
            for part in &message.parts {
                match part {
                    Part::ToolCall(call) => called.push(call.id.clone()),
                    Part::ToolResult(result) => {
                        let id = &result.call_id;
                        law.check(
                            called.contains(id),
                            format!("the result of {id} is recalled without its call"),
                        );
                        answered.push(id.clone());
                    }
                    _ => {}
                }
            }
        }
        law.same("answered calls", &answered, &called);
    }
}

/// Afterwards nothing of the session is recalled, and other sessions are as they were.
pub async fn clear_forgets(memory: &dyn Memory) {
    let law = Law("Memory: clear_forgets");
    law.ok("clearing what is not there", memory.clear("s").await);
    let turn =
        |n: usize| vec![Message::user(format!("Question {n}?")), Message::assistant(format!("Answer {n}."))];
    for n in 0..6 {
        record(law, memory, turn(n)).await;
        law.ok("recording", memory.record(RecordRequest::new("other", turn(n))).await);
    }
    let before = recall(law, memory, "other").await;
    law.ok("clearing", memory.clear("s").await);
    law.check(recall(law, memory, "s").await.is_empty(), "a cleared session is remembered");
    law.check(recall(law, memory, "other").await == before, "clearing one session changed another");
    record(law, memory, turn(9)).await;
    law.check(recall(law, memory, "s").await == turn(9), "the first turn afterwards is not recalled alone");
}
