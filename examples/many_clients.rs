//! Many clients on one local model, and what the engine did for them:
//! `cargo run --release -p katena-examples --example many_clients -- CHAT.gguf [CLIENTS]`.
//! Without arguments it says so and ends.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use katena::prelude::*;
use katena::{ChatEvent, ChatRequest, Message};

/// What all clients have in common is computed once.
const RULES: &str = "You answer questions about a small library. It opens at nine and closes at six, on Saturdays at noon; it \
    is closed on Sundays. Books may be kept for four weeks, films for one. Whoever brings something back late pays twenty cents \
    a day. A card costs nothing. Answer in one sentence.";

const QUESTIONS: [&str; 6] = [
    "When do you open?",
    "How long may I keep a film?",
    "What does a card cost?",
    "Are you open on Sundays?",
    "I am three days late. What do I pay?",
    "When do you close on Saturdays?",
];

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = args.first() else {
        println!("usage: many_clients CHAT.gguf [CLIENTS]");
        return Ok(());
    };
    let clients = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(32);
    let options = LlamaOptions::new().with_slots(8).with_context_tokens(1024).with_queue(clients);
    let model = LlamaChat::load(path, options)?;

    let start = Instant::now();
    let mut running: FuturesUnordered<_> = (0..clients).map(|n| client(&model, n, start)).collect();
    let mut firsts = Vec::new();
    while let Some(answer) = running.next().await {
        let (n, first, text) = answer?;
        println!("{n:>3}  {:>7.2?}  {text}", first);
        firsts.push(first);
    }
    firsts.sort();
    println!("first token: median {:.2?}, slowest {:.2?}", firsts[clients / 2], firsts[clients - 1]);
    println!("all {clients} answered after {:.2?}", start.elapsed());
    println!("{:#?}", model.stats());
    Ok(())
}

/// One client: its number, the time to its first token, its answer.
async fn client(model: &LlamaChat, n: usize, start: Instant) -> Result<(usize, Duration, String)> {
    let request = ChatRequest::new([Message::system(RULES), Message::user(QUESTIONS[n % QUESTIONS.len()])])
        .with_temperature(0.0)
        .with_max_tokens(40);
    let mut events = model.stream(&request).await?;
    let (mut first, mut text) = (None, String::new());
    while let Some(event) = events.next().await {
        if let ChatEvent::Delta { text: piece, .. } = event? {
            first.get_or_insert_with(|| start.elapsed());
            text.push_str(&piece);
        }
    }
    Ok((n, first.unwrap_or_else(|| start.elapsed()), text))
}
