//! Prints load time, prompt and generation speed of a chat model: `speed MODEL.gguf [THREADS] [SLOTS]`.
#![allow(clippy::print_stdout, reason = "an example that prints a table")]

use std::time::Instant;

use futures_util::StreamExt;
use futures_util::future::join_all;
use katena_core::{ChatEvent, ChatModel, ChatRequest, Error, Message, Result};
use katena_llama_cpp::{LlamaChat, LlamaOptions};

/// Seconds to the first event, seconds in all, prompt tokens, generated tokens.
async fn ask(model: &LlamaChat, request: ChatRequest) -> Result<(f64, f64, u64, u64)> {
    let start = Instant::now();
    let mut events = model.stream(&request).await?;
    let mut first = None;
    while let Some(event) = events.next().await {
        first.get_or_insert_with(|| start.elapsed().as_secs_f64());
        if let ChatEvent::Finished(response) = event? {
            let usage = response.usage;
            let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
            return Ok((first.unwrap_or(0.0), start.elapsed().as_secs_f64(), input, output));
        }
    }
    Err(Error::unexpected("no answer"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or_else(|| Error::config("usage: speed MODEL.gguf [THREADS] [SLOTS]"))?;
    let threads: u32 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let slots: u32 = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let start = Instant::now();
    let options = LlamaOptions::new().with_threads(threads).with_slots(slots).with_context_tokens(2048);
    let model = LlamaChat::load(&path, options)?;
    println!("load              {:8.2} s", start.elapsed().as_secs_f64());
    let passage = "The quick brown fox jumps over the lazy dog near the river. ".repeat(40);
    let request = |n: u32| {
        let text = format!("{n}. {passage}\nWrite a long story about the fox.");
        ChatRequest::new([Message::user(text)]).with_temperature(0.0).with_max_tokens(64)
    };
    let (first, all, input, output) = ask(&model, request(0)).await?;
    println!(
        "prompt            {:8.1} tok/s ({input} tokens, first token after {first:.2} s)",
        input as f64 / first
    );
    println!("generation        {:8.1} tok/s ({output} tokens)", (output - 1) as f64 / (all - first));
    if slots > 1 {
        let start = Instant::now();
        let answers = join_all((0..slots).map(|n| {
            let short = ChatRequest::new([Message::user(format!("{n}. Tell a long story."))]);
            ask(&model, short.with_temperature(0.0).with_max_tokens(64))
        }))
        .await;
        let tokens: u64 = answers.into_iter().map(|a| a.map(|a| a.3)).sum::<Result<u64>>()?;
        println!("{slots} side by side    {:8.1} tok/s", tokens as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
