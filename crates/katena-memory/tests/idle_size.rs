//! What an idle conversation costs.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests; prints what was measured")]
#![cfg(target_os = "linux")]

use katena_core::{ChatHistory, Message};
use katena_memory::MemoryHistory;

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// In a program of its own, so that no other test's memory is counted.
#[tokio::test]
async fn ten_messages_cost_at_most_two_kilobytes_over_their_text() {
    const CONVERSATIONS: usize = 20_000;
    let history = MemoryHistory::new();
    history.append("warm", vec![Message::user("x")]).await.unwrap();
    let before = resident();
    let mut text = 0;
    for n in 0..CONVERSATIONS {
        let session = format!("session {n}");
        for turn in 0..5 {
            let question = format!("Question {turn} of conversation {n}: how long may I keep the projector?");
            let answer =
                format!("Answer {turn}: two weeks, unless somebody else has booked it meanwhile [1].");
            text += question.len() + answer.len();
            let turn = vec![Message::user(question), Message::assistant(answer)];
            history.append(&session, turn).await.unwrap();
        }
    }
    let each = (resident() - before).saturating_sub(text) / CONVERSATIONS;
    println!("an idle conversation of 10 messages: {each} bytes over its text");
    assert!(each <= 2_048, "{each} bytes over its text");
    assert_eq!(history.count("session 7").await.unwrap(), 10);
}
