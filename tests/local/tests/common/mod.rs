//! The local models, and what a small model's answer must look like whatever it says.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::{
    Chain, ChainExt, ChatEvent, ChatRequest, Document, Event, Query, Report, Result, Retriever, Scored,
    Source, Streamed,
};
use katena_llama_cpp::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions};

fn model(variable: &str, name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("KATENA_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/katena")))
        .unwrap_or_default();
    let path = std::env::var_os(variable).map_or_else(|| base.join("models").join(name), PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("KATENA_REQUIRE_MODELS").is_none_or(|v| v != "1"),
        "the test model is missing: set {variable}"
    );
    eprintln!("skipped: no test model; set {variable}");
    None
}

pub(crate) fn chat() -> Option<LlamaChat> {
    let path = model("KATENA_TEST_CHAT_MODEL", "smollm2-135m-instruct-q4_1.gguf")?;
    Some(
        LlamaChat::load(path, LlamaOptions::new().with_threads(1).with_context_tokens(2048))
            .expect("it loads"),
    )
}

pub(crate) fn embed_path() -> Option<PathBuf> {
    model("KATENA_TEST_EMBED_MODEL", "all-minilm-l6-v2-f16.gguf")
}

pub(crate) fn embedder() -> Option<LlamaEmbedder> {
    let path = embed_path()?;
    Some(LlamaEmbedder::load(path, EmbedderOptions::new().with_threads(1)).expect("it loads"))
}

/// Greedy and short: the same words each time, soon.
pub(crate) fn brief(tokens: u32) -> ChatRequest {
    ChatRequest::default().with_temperature(0.0).with_max_tokens(tokens)
}

/// Streams the chain with a report: events must come before the output, and the model's tokens must be counted.
pub(crate) async fn told<C>(chain: C, input: C::Input) -> Result<Report<C::Output>>
where
    C: Chain + 'static,
    C::Output: Unpin,
{
    let (mut pieces, mut report) = (0, None);
    let mut stream = Arc::new(chain.reported()).into_stream(input, katena_core::Run::new());
    while let Some(item) = stream.next().await {
        match item? {
            Streamed::Event(event) => {
                assert!(report.is_none(), "an event after the output");
                let piece = matches!(event.event, Event::Text(_) | Event::Model(ChatEvent::Delta { .. }));
                pieces += usize::from(piece);
            }
            Streamed::Output(output) => report = Some(output),
        }
    }
    let report = report.expect("an output");
    assert!(report.usage.output_tokens.is_some_and(|n| n > 0), "no tokens were counted: {:?}", report.usage);
    eprintln!("{pieces} pieces, {:?}", report.usage);
    Ok(report)
}

/// A small handbook.
pub(crate) fn documents() -> Vec<Document> {
    [
        "Everybody who works full time has 25 days of paid leave in each year.",
        "The canteen is open from 11:30 to 14:00 on working days.",
        "Parcels are handed out at the gate until 18:00.",
    ]
    .iter()
    .zip(1..)
    .map(|(text, line)| Document::new(*text, Source::new("handbook.md").with_lines(line, line)))
    .collect()
}

/// Finds all of them.
#[derive(Debug)]
pub(crate) struct Shelf;

#[async_trait]
impl Retriever for Shelf {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        query.context.check()?;
        Ok(documents().into_iter().map(|d| Scored::new(d, 0.9)).collect())
    }
}
