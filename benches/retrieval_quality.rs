//! Retrieval quality with the default embedder on XQuAD (240 passages, 1,190 questions): recall@1, recall@5, mean reciprocal rank
//! of the passage that holds the answer, by vector alone, by words alone, and fused.
//!
//! `cargo run --release -p katena-benches --bin retrieval-quality -- EMBEDDER.gguf XQUAD.jsonl.gz`
#![expect(clippy::print_stdout, reason = "prints a table")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::sync::Arc;

use flate2::read::GzDecoder;
use futures_util::{StreamExt as _, stream};
use katena::llama_cpp::Overlong;
use katena::prelude::*;
use katena::retrieval::LongChunks;
use katena::{DocumentStream, Scored};
use serde_json::Value;

/// The reference implementation's figures with the same model and exact search: recall@1, recall@5, reciprocal rank.
const REFERENCE: [f64; 3] = [0.885, 0.982, 0.928];

#[derive(Debug, Clone)]
struct Passages(Vec<Document>);

impl DocumentLoader for Passages {
    fn load(&self) -> DocumentStream {
        stream::iter(self.0.clone().into_iter().map(Ok)).boxed()
    }
}

#[derive(Default)]
struct Scores {
    first: usize,
    fifth: usize,
    reciprocal: f64,
}

impl Scores {
    fn count(&mut self, found: &[Scored<Document>], wanted: &str) {
        if let Some(rank) = found.iter().position(|s| s.item.source.uri == wanted) {
            self.first += usize::from(rank == 0);
            self.fifth += usize::from(rank < 5);
            self.reciprocal += 1.0 / (rank + 1) as f64;
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [embedder, corpus] = args.as_slice() else {
        println!("usage: retrieval-quality EMBEDDER.gguf XQUAD.jsonl.gz");
        return Ok(());
    };
    let (passages, questions) = read(corpus)?;
    let options = EmbedderOptions::default().with_overlong(Overlong::Truncate);
    let index = VectorIndex::new(MemoryStore::new(), LlamaEmbedder::load(embedder, options)?);
    // One chunk a passage, as the reference figures count it.
    let ingest = index.ingest(Passages(passages), RecursiveSplitter::chars(100_000));
    let report = ingest.with_long_chunks(LongChunks::LeaveToEmbedder).await?.complete()?;
    println!("{} passages, {} questions\n", report.added, questions.len());

    let ways: [(&str, Arc<dyn Retriever>); 3] = [
        ("dense", Arc::new(index.dense())),
        ("lexical", Arc::new(index.lexical())),
        ("fused", Arc::new(index.retriever())),
    ];
    println!("{:<22} recall@1  recall@5  MRR@10", "");
    println!(
        "{:<22} {:>8.3}  {:>8.3}  {:>6.3}",
        "dense, reference", REFERENCE[0], REFERENCE[1], REFERENCE[2]
    );
    for (name, retriever) in ways {
        let mut scores = Scores::default();
        for (question, wanted) in &questions {
            let found = retriever.retrieve(&Query::new(question).with_top_k(10)).await?;
            scores.count(&found, wanted);
        }
        let share = |n: usize| n as f64 / questions.len() as f64;
        let reciprocal = scores.reciprocal / questions.len() as f64;
        println!("{name:<22} {:>8.3}  {:>8.3}  {reciprocal:>6.3}", share(scores.first), share(scores.fifth));
    }
    Ok(())
}

type Questions = Vec<(String, String)>;

fn read(path: &str) -> Result<(Vec<Document>, Questions)> {
    let (mut passages, mut questions) = (Vec::new(), Vec::new());
    for line in BufReader::new(GzDecoder::new(File::open(path)?)).lines() {
        let row: HashMap<String, Value> = serde_json::from_str(&line?)
            .map_err(|e| Error::invalid_input("the corpus is not JSON lines").with_source(e))?;
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match text("type").as_str() {
            "passage" => passages.push(Document::new(text("text"), Source::new(text("id")))),
            _ => questions.push((text("question"), text("passage"))),
        }
    }
    Ok((passages, questions))
}
