//! The contract of [`ChatModel`]. The prompts are harmless and short, so that a tiny model on a CPU is quick.

mod abilities;
mod calls;
mod stream;

pub use abilities::*;
pub use calls::*;
pub use stream::*;

use futures_util::StreamExt as _;
use katena_core::{Accumulator, ChatEvent, ChatModel, ChatRequest, ChatResponse, Error, Message, Result};

use crate::harness::Law;

/// A greedy, short question.
fn ask(text: &str) -> ChatRequest {
    ChatRequest::new([Message::user(text)]).with_temperature(0.0).with_max_tokens(24)
}

/// The same with the sampler pinned, where the model can.
fn repeatable(model: &dyn ChatModel, text: &str) -> ChatRequest {
    let request = ask(text);
    if model.info().capabilities.seed { request.with_seed(7) } else { request }
}

async fn events(model: &dyn ChatModel, request: &ChatRequest) -> Result<Vec<ChatEvent>> {
    let mut stream = model.stream(request).await?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(events)
}

async fn generate(law: Law, model: &dyn ChatModel, request: &ChatRequest) -> ChatResponse {
    law.ok("generate", model.generate(request).await)
}

/// Streams and folds, with all that the accumulator checks.
async fn fold(law: Law, model: &dyn ChatModel, request: &ChatRequest) -> ChatResponse {
    let mut accumulator = Accumulator::new();
    for event in law.ok("stream", events(model, request).await) {
        law.ok("folding the events", accumulator.push(&event));
    }
    law.ok("folding the events", accumulator.finish())
}

/// Both ways of asking: the whole answer, and the folded stream.
async fn both(law: Law, model: &dyn ChatModel, request: &ChatRequest) -> [(&'static str, ChatResponse); 2] {
    [("generate", generate(law, model, request).await), ("stream", fold(law, model, request).await)]
}

/// The error that a request ends in, both ways.
async fn both_fail(
    law: Law,
    what: &str,
    kind: katena_core::ErrorKind,
    model: &dyn ChatModel,
    request: &ChatRequest,
) -> [Error; 2] {
    [
        law.fails(&format!("generate with {what}"), kind, model.generate(request).await),
        law.fails(&format!("stream with {what}"), kind, events(model, request).await),
    ]
}
