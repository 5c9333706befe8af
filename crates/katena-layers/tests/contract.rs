//! A component under a layer keeps its contract: the suites of katena-testkit for each layer around fakes.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use katena_core::fake::{EchoChat, HashEmbedder, InMemoryHistory, InMemoryRecords};
use katena_core::{
    ChatHistory, ChatModel, CountRequest, DeleteRequest, Document, Embedder, Error, Filter, FnTool,
    GetRequest, Layer, Metric, Query, Record, RecordStore, RerankRequest, Reranker, Result, Retriever, Run,
    Scored, Selector, StoreInfo, Tool, UpsertRequest, VectorQuery, VectorStore,
};
use katena_layers::{CircuitBreaker, Concurrency, Fallback, PerMinute, RateLimit, Retry, Timeout};

fn words(text: &str) -> HashSet<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

fn best(mut scored: Vec<Scored<Document>>, top_k: usize) -> Vec<Scored<Document>> {
    scored.sort_by(|a, b| b.score.total_cmp(&a.score));
    scored.truncate(top_k);
    scored
}

/// Scores by the share of the query's words.
#[derive(Debug)]
struct Words;

impl Words {
    fn score(query: &HashSet<String>, document: Document) -> Scored<Document> {
        let common = words(&document.text).intersection(query).count();
        Scored::new(document, common as f32 / query.len().max(1) as f32)
    }
}

#[async_trait]
impl Reranker for Words {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let query = words(&request.query);
        let top_k = request.top_k.unwrap_or(usize::MAX);
        Ok(best(request.documents.into_iter().map(|d| Words::score(&query, d)).collect(), top_k))
    }
}

#[async_trait]
impl Retriever for Words {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        query.context.check()?;
        let asked = words(&query.text);
        if asked.is_empty() {
            return Err(Error::invalid_input("no words"));
        }
        let fits = |d: &Document| query.filter.as_ref().is_none_or(|f| f.matches(&d.metadata));
        let found = katena_testkit::corpus().into_iter().filter(fits).map(|d| Words::score(&asked, d));
        Ok(best(found.collect(), query.top_k.unwrap_or(4)))
    }
}

type Records = BTreeMap<String, Record>;

/// All records in a map, compared one by one.
#[derive(Debug)]
struct MapStore(StoreInfo, Mutex<BTreeMap<String, Records>>);

impl MapStore {
    fn new() -> Self {
        Self(StoreInfo::new("map", Metric::Cosine), Mutex::default())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Records>> {
        self.1.lock().unwrap()
    }
}

fn fits(filter: Option<&Filter>, record: &Record) -> bool {
    filter.is_none_or(|f| f.matches(&record.document.metadata))
}

fn check(vector: &[f32], records: &Records) -> Result<()> {
    let known = records.values().next().map_or(vector.len(), |r| r.vector.len());
    if vector.is_empty() || vector.len() != known || vector.iter().any(|x| !x.is_finite()) {
        return Err(Error::invalid_input("a vector that does not fit"));
    }
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let length = (dot(a, a) * dot(b, b)).sqrt();
    if length == 0.0 { 0.0 } else { dot(a, b) / length }
}

#[async_trait]
impl VectorStore for MapStore {
    fn info(&self) -> &StoreInfo {
        &self.0
    }
    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        request.context.check()?;
        let mut all = self.all();
        let records = all.entry(request.namespace).or_default();
        let mut next = records.clone();
        for record in request.records {
            check(&record.vector, &next)?;
            if record.document.id.is_empty() {
                return Err(Error::invalid_input("no id"));
            }
            next.insert(record.document.id.clone(), record);
        }
        *records = next;
        Ok(())
    }
    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        query.context.check()?;
        if query.text.is_some() {
            return Err(Error::unsupported("no search by words"));
        }
        let Some(vector) = &query.vector else { return Err(Error::invalid_input("no vector")) };
        let mut all = self.all();
        let records = all.entry(query.namespace.clone()).or_default();
        check(vector, records)?;
        let fitting = records.values().filter(|r| fits(query.filter.as_ref(), r));
        let scored = fitting.map(|r| Scored::new(r.document.clone(), cosine(vector, &r.vector)));
        let scored = scored.filter(|s| query.min_score.is_none_or(|m| s.score >= m)).collect();
        Ok(best(scored, query.top_k))
    }
    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        request.context.check()?;
        let all = self.all();
        let records = all.get(&request.namespace);
        Ok(request.ids.iter().filter_map(|id| records?.get(id).cloned()).collect())
    }
    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        request.context.check()?;
        let mut all = self.all();
        let records = all.entry(request.namespace.clone()).or_default();
        let before = records.len();
        records.retain(|id, record| match &request.selector {
            Selector::Ids(ids) => !ids.contains(id),
            Selector::Filter(filter) => !fits(Some(filter), record),
            _ => false,
        });
        Ok((before - records.len()) as u64)
    }
    async fn count(&self, request: &CountRequest) -> Result<u64> {
        request.context.check()?;
        let all = self.all();
        let records = all.get(&request.namespace).into_iter().flat_map(BTreeMap::values);
        Ok(records.filter(|r| fits(request.filter.as_ref(), r)).count() as u64)
    }
    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        None
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
fn store() -> Arc<dyn VectorStore> {
    Arc::new(MapStore::new())
}
fn retriever() -> Arc<dyn Retriever> {
    Arc::new(Words)
}
fn tool() -> Arc<dyn Tool> {
    let sum = async |numbers: BTreeMap<String, i64>, _run: Run| Ok(numbers.values().sum::<i64>().to_string());
    Arc::new(FnTool::new("add", "Adds.", sum))
}

fn history() -> Arc<dyn ChatHistory> {
    Arc::new(InMemoryHistory::new())
}
fn records() -> Arc<dyn RecordStore> {
    Arc::new(InMemoryRecords::new())
}

/// The suites of what is only stored.
macro_rules! storage_suites {
    ($($name:ident: $layer:expr;)+) => {$(
        mod $name {
            use super::*;
            katena_testkit::chat_history_contract!(a_history, async { $layer.layer(history()) });
            katena_testkit::record_store_contract!(a_record_store, async { $layer.layer(records()) });
        }
    )+};
}

storage_suites! {
    retry_of_storage: Retry::default();
    timeout_of_storage: Timeout::default();
    concurrency_of_storage: Concurrency::new(2);
    circuit_breaker_of_storage: CircuitBreaker::default();
}

/// All suites that make sense under a layer, which is made anew for each test.
macro_rules! suites {
    ($($name:ident: $layer:expr;)+) => {$(
        mod $name {
            use super::*;
            katena_testkit::chat_model_contract!(chat_model, async { $layer.layer(chat()) });
            katena_testkit::embedder_contract!(an_embedder, async { $layer.layer(embedder()) });
            katena_testkit::reranker_contract!(a_reranker, async { $layer.layer(reranker()) });
            katena_testkit::vector_store_contract!(a_store, async { $layer.layer(store()) });
            katena_testkit::retriever_contract!(a_retriever, async { $layer.layer(retriever()) });
            katena_testkit::tool_contract!(a_tool, async { $layer.layer(tool()) });
        }
    )+};
}

suites! {
    retry: Retry::default().with_tools();
    timeout: Timeout::default();
    rate_limit: RateLimit::new(PerMinute::requests(100_000).with_tokens(10_000_000)).with_key_label("tenant");
    concurrency: Concurrency::new(2);
    circuit_breaker: CircuitBreaker::default();
    trace: katena_layers::Trace::new();
}

mod fallback {
    use super::*;
    katena_testkit::chat_model_contract!(chat_model, async { Fallback::chat(chat()).layer(chat()) });
    katena_testkit::embedder_contract!(an_embedder, async {
        Fallback::embedder(embedder()).layer(embedder())
    });
    katena_testkit::reranker_contract!(a_reranker, async {
        Fallback::reranker(reranker()).layer(reranker())
    });
    katena_testkit::vector_store_contract!(a_store, async { Fallback::store(store()).layer(store()) });
    katena_testkit::retriever_contract!(a_retriever, async {
        Fallback::retriever(retriever()).layer(retriever())
    });
}

/// All of them, in the recommended order.
mod stack {
    use super::*;
    use katena_core::ChatModelExt as _;
    katena_testkit::chat_model_contract!(chat_model, async {
        chat()
            .layer(Timeout::default())
            .layer(Concurrency::new(8))
            .layer(RateLimit::new(PerMinute::requests(100_000)))
            .layer(Retry::default())
            .layer(CircuitBreaker::default())
            .layer(Fallback::chat(EchoChat::new()))
    });
}
