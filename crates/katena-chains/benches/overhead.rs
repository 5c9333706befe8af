//! What a chain costs beside its model and its retriever, both fakes that answer at once: µs per call.
//!
//! `cargo bench -p katena-chains --bench overhead`. The peer's figures are those of langchain-core 1.7.2 under Python,
//! its `prompt | fake model | parser`, measured on other, similar hardware; its own chain has no retriever.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "prints a table")]

use std::time::Instant;

use async_trait::async_trait;
use katena_chains::RetrievalQa;
use katena_core::fake::EchoChat;
use katena_core::{ChainExt, Document, Query, Result, Retriever, Scored, Source, func};

#[derive(Debug)]
struct Shelf(Vec<Scored<Document>>);

#[async_trait]
impl Retriever for Shelf {
    async fn retrieve(&self, _query: &Query) -> Result<Vec<Scored<Document>>> {
        Ok(self.0.clone())
    }
}

/// Best of five rounds.
async fn measure(name: &str, peer: &str, calls: u32, mut call: impl AsyncFnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..calls {
            call().await;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e6 / f64::from(calls));
    }
    println!("| {name} | {best:.2} | {peer} |");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let passage = "Everybody who works full time has 25 days of paid leave in each leave year. ".repeat(6);
    let shelf = |n: u32| {
        let one = |k| Scored::new(Document::new(&passage, Source::new("leave.md").with_lines(k, k)), 0.9);
        Shelf((1..=n).map(one).collect())
    };
    println!("| chain over fakes | µs per call | Python peer, µs |\n|---|---|---|");
    let plain = func(async |q: String, _| Ok(format!("You are a helper. {q}"))).chat(EchoChat::new()).text();
    measure("prompt, model, text: run", "622", 20_000, async || drop(plain.run("hi there").await.unwrap()))
        .await;
    measure("the same, streamed", "910", 20_000, async || {
        drop(plain.stream("hi there").output().await.unwrap());
    })
    .await;
    // The echo answers with the whole prompt: the longest answer that four passages can give.
    for n in [1, 4] {
        let qa = RetrievalQa::new(EchoChat::new(), shelf(n));
        let name = format!("RetrievalQa, {n} passages of 114 tokens, answer as long as the prompt: run");
        measure(&name, "–", 2_000, async || drop(qa.run("How much leave do I get?").await.unwrap())).await;
        let name = format!("RetrievalQa, {n} passages, the same, streamed word by word");
        measure(&name, "–", 2_000, async || {
            drop(qa.stream("How much leave do I get?").output().await.unwrap());
        })
        .await;
    }
    let qa = RetrievalQa::new(katena_core::fake::EchoChat::new(), Shelf(Vec::new()));
    measure("RetrievalQa, nothing found", "–", 20_000, async || drop(qa.run("Why?").await.unwrap())).await;
}
