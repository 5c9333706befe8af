//! Another vendor answers when the first is down: `cargo run -p katena-examples --example fallback`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::time::Duration;

use katena::fake::{EchoChat, FlakyChat, ScriptedChat};
use katena::prelude::*;

#[tokio::main]
async fn main() -> Result<()> {
    // Fakes in place of two vendors: the first is down for its next ten calls.
    let first = FlakyChat::new(EchoChat::new(), 10);
    let second = ScriptedChat::texts(["Yes, the second one."]);

    // Each vendor has its own retries and limits; the fallback stands outside of them.
    let retry = Retry::new(2).with_base(Duration::from_millis(1));
    let model = first
        .layer(Timeout::total(Duration::from_secs(60)))
        .layer(retry.clone())
        .layer(CircuitBreaker::new(0.5))
        .layer(Fallback::chat(second.layer(retry)));

    let answer = model.generate(&ChatRequest::new([Message::user("Are you there?")])).await?;
    println!("{} ({:?} of {:?}, {:?} attempts)", answer.text(), answer.model, answer.vendor, answer.attempts);
    assert_eq!(answer.text(), "Yes, the second one.");
    Ok(())
}
