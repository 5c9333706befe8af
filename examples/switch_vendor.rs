//! The vendor is one line; the rest of the program stays: `cargo run -p katena-examples --example switch_vendor -- openai`.
//!
//! Without a name a fake answers, so that it runs without a key.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::Arc;

use katena::fake::EchoChat;
use katena::prelude::*;

/// Each reads its vendor's own variables, such as `OPENAI_API_KEY` or `ANTHROPIC_API_KEY`.
fn model(vendor: &str) -> Result<Arc<dyn ChatModel>> {
    Ok(match vendor {
        "openai" => Arc::new(OpenAiChat::from_env("gpt-5-mini")?),
        "anthropic" => Arc::new(AnthropicChat::from_env("claude-sonnet-4-5")?),
        "gemini" => Arc::new(GeminiChat::from_env("gemini-2.5-flash")?),
        "ollama" => Arc::new(OllamaChat::from_env("llama3.2")?),
        "fake" => Arc::new(EchoChat::new()),
        other => return Err(Error::invalid_input("no such vendor").with_context("vendor", other)),
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let vendor = std::env::args().nth(1).unwrap_or_else(|| "fake".to_owned());
    let model = model(&vendor)?.layer(Retry::default());

    let answer = model.generate(&ChatRequest::new([Message::user("What is a catena?")])).await?;
    println!("{}: {}", model.info().model, answer.text());
    println!("tokens in {:?}, out {:?}", answer.usage.input_tokens, answer.usage.output_tokens);
    Ok(())
}
