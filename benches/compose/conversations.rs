//! An idle conversation of ten messages in memory: bytes over its text, and beside a plain list of messages.
//!
//! `cargo run --release -p katena-compose-benches --bin conversations`. Growth of the resident memory over 20,000 sessions.
#![allow(clippy::print_stdout, reason = "prints a table")]

use katena_core::fake::InMemoryHistory;
use katena_core::{ChatHistory, Message, Result};
use katena_memory::MemoryHistory;

const SESSIONS: usize = 20_000;
const TEXT: usize = 5 * (100 + 200);

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or_default() * 1024
}

/// Bytes of one conversation over its text.
async fn measure(history: &dyn ChatHistory) -> Result<isize> {
    let before = resident();
    for session in 0..SESSIONS {
        let session = format!("session-{session}");
        for _ in 0..5 {
            let turn = vec![Message::user("u".repeat(100)), Message::assistant("a".repeat(200))];
            history.append(&session, turn).await?;
        }
    }
    let each = resident().saturating_sub(before) / SESSIONS;
    Ok(each.cast_signed() - TEXT.cast_signed())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (plain, kept) = (InMemoryHistory::new(), MemoryHistory::new());
    println!("an idle conversation: ten messages, {TEXT} bytes of text; bytes over the text");
    println!("MemoryHistory: {}", measure(&kept).await?);
    println!("a list of messages (katena_core::fake): {}", measure(&plain).await?);
    Ok(())
}
