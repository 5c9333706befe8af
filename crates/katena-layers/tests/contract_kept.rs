//! The contracts of katena-testkit around the layers that keep, count, watch and check: cache, meter, trace, record, replay,
//! guard. Those of the others are in `contract.rs`.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::fake::{EchoChat, HashEmbedder};
use katena_core::{
    ChatModel, ChatModelExt as _, Document, Embedder, Error, FnTool, Layer, Query, RerankRequest, Reranker,
    Result, Retriever, Run, Scored, Tool,
};
use katena_layers::{
    Budget, Cache, Cost, DenyWords, Guard, MaxLength, MemoryLedger, Meter, Pii, PriceTable, Record, Replay,
    SemanticCache, Trace,
};
use tempfile::TempDir;

/// Scores by the number of common words.
#[derive(Debug)]
struct Words;

fn rank(query: &str, documents: Vec<Document>, top_k: usize) -> Vec<Scored<Document>> {
    let words = |text: &str| -> HashSet<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let query = words(query);
    let score = |d: Document| Scored::new(d.clone(), words(&d.text).intersection(&query).count() as f32);
    let mut scored: Vec<_> = documents.into_iter().map(score).collect();
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    scored.truncate(top_k);
    scored
}

#[async_trait]
impl Reranker for Words {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        Ok(rank(&request.query, request.documents, request.top_k.unwrap_or(usize::MAX)))
    }
}

#[async_trait]
impl Retriever for Words {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        query.context.check()?;
        if !query.text.contains(char::is_alphanumeric) {
            return Err(Error::invalid_input("no words"));
        }
        let fits = |d: &Document| query.filter.as_ref().is_none_or(|f| f.matches(&d.metadata));
        let documents = katena_testkit::corpus().into_iter().filter(fits).collect();
        Ok(rank(&query.text, documents, query.top_k.unwrap_or(4)))
    }
}

fn chat() -> Arc<dyn ChatModel> {
    Arc::new(EchoChat::new())
}
fn embedder() -> Arc<dyn Embedder> {
    Arc::new(HashEmbedder::new(64))
}
fn reranker() -> Arc<dyn Reranker> {
    Arc::new(Words)
}
fn retriever() -> Arc<dyn Retriever> {
    Arc::new(Words)
}
fn tool() -> Arc<dyn Tool> {
    let sum = async |numbers: BTreeMap<String, i64>, _run: Run| Ok(numbers.values().sum::<i64>().to_string());
    Arc::new(FnTool::new("add", "Adds.", sum))
}

fn meter() -> Meter {
    let budget = Budget::daily("day", Cost::dollars(1e6)).with_hard_stop();
    Meter::new(MemoryLedger::new()).with_prices(PriceTable::builtin()).with_budget(budget)
}

fn guard() -> Guard {
    Guard::new()
        .with_input(MaxLength::new(10_000_000))
        .with_output(DenyWords::new(["never said"]))
        .with_output(Pii::new())
}

fn record() -> (Record, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Record::new(dir.path().join("calls.jsonl")), dir)
}

fn recording() -> (Replay, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Replay::open_or_record(dir.path().join("calls.jsonl")).unwrap(), dir)
}

mod cached {
    use super::*;
    katena_testkit::chat_model_contract!(chat_model, async { Cache::new().layer(chat()) });
    katena_testkit::embedder_contract!(an_embedder, async { Cache::new().layer(embedder()) });
    katena_testkit::reranker_contract!(a_reranker, async { Cache::new().layer(reranker()) });
    katena_testkit::retriever_contract!(a_retriever, async { Cache::new().layer(retriever()) });
    katena_testkit::tool_contract!(a_tool, async { Cache::new().layer(tool()) });
    katena_testkit::chat_model_contract!(by_meaning, async {
        SemanticCache::new(HashEmbedder::new(64)).with_threshold(0.999).layer(chat())
    });
}

mod metered {
    use super::*;
    katena_testkit::chat_model_contract!(chat_model, async { meter().layer(chat()) });
    katena_testkit::embedder_contract!(an_embedder, async { meter().layer(embedder()) });
    katena_testkit::reranker_contract!(a_reranker, async { meter().layer(reranker()) });
}

mod traced {
    use super::*;
    katena_testkit::chat_model_contract!(chat_model, async { Trace::new().with_contents().layer(chat()) });
    katena_testkit::embedder_contract!(an_embedder, async { Trace::new().layer(embedder()) });
    katena_testkit::reranker_contract!(a_reranker, async { Trace::new().layer(reranker()) });
    katena_testkit::retriever_contract!(a_retriever, async { Trace::new().layer(retriever()) });
    katena_testkit::tool_contract!(a_tool, async { Trace::new().layer(tool()) });
}

mod guarded {
    use super::*;
    katena_testkit::chat_model_contract!(chat_model, async { guard().layer(chat()) });
    katena_testkit::embedder_contract!(an_embedder, async { guard().layer(embedder()) });
    katena_testkit::retriever_contract!(a_retriever, async { guard().layer(retriever()) });
    katena_testkit::tool_contract!(a_tool, async { guard().layer(tool()) });
}

mod recorded {
    use super::*;
    katena_testkit::chat_model_contract!(chat_model, async {
        let (record, dir) = record();
        (record.layer(chat()), dir)
    });
    katena_testkit::embedder_contract!(an_embedder, async {
        let (record, dir) = record();
        (record.layer(embedder()), dir)
    });
    katena_testkit::reranker_contract!(a_reranker, async {
        let (record, dir) = record();
        (record.layer(reranker()), dir)
    });
    katena_testkit::retriever_contract!(a_retriever, async {
        let (record, dir) = record();
        (record.layer(retriever()), dir)
    });
    katena_testkit::tool_contract!(a_tool, async {
        let (record, dir) = record();
        (record.layer(tool()), dir)
    });
    katena_testkit::chat_model_contract!(a_growing_replay, async {
        let (replay, dir) = recording();
        (replay.layer(chat()), dir)
    });
}

mod stack {
    use super::*;
    katena_testkit::chat_model_contract!(chat_model, async {
        let (record, dir) = record();
        let model =
            chat().layer(record).layer(meter()).layer(Cache::new()).layer(guard()).layer(Trace::new());
        (model, dir)
    });
}
