//! A corpus that is made while it is loaded, and a store that counts what it gets.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use katena_core::fake::{HashEmbedder, InMemoryRecords};
use katena_core::{
    Chunk, CountRequest, DeleteRequest, Document, DocumentLoader, DocumentStream, GetRequest, Metric, Record,
    RecordStore, Result, Scored, Source, SourceRecord, StoreInfo, TextSplitter, UpsertRequest, VectorQuery,
    VectorStore,
};
use katena_retrieval::{IngestReport, VectorIndex};

const DOCUMENT: usize = 20_000;
const CHUNK: usize = 800;

#[derive(Debug)]
struct Lazy(usize);

impl DocumentLoader for Lazy {
    fn load(&self) -> DocumentStream {
        stream::iter(0..self.0)
            .map(|n| {
                let mut text = String::with_capacity(DOCUMENT + 64);
                let mut word = 0;
                while text.len() < DOCUMENT {
                    let _ = write!(text, "document {n} word {word} ");
                    word += 1;
                }
                text.truncate(DOCUMENT);
                Ok(Document::new(text, Source::new(format!("made/up/{n}.txt"))))
            })
            .boxed()
    }
}

#[derive(Debug)]
struct Pieces;

impl TextSplitter for Pieces {
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        Ok((0..text.len()).step_by(CHUNK).map(|at| Chunk::of(text, at..text.len().min(at + CHUNK))).collect())
    }
    fn fingerprint(&self) -> String {
        "pieces".to_owned()
    }
}

/// Keeps nothing but the number of records.
#[derive(Debug)]
struct Counting(StoreInfo, AtomicU64);

#[async_trait]
impl VectorStore for Counting {
    fn info(&self) -> &StoreInfo {
        &self.0
    }
    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        None
    }
    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        self.1.fetch_add(request.records.len() as u64, Ordering::Relaxed);
        Ok(())
    }
    async fn search(&self, _query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        Ok(Vec::new())
    }
    async fn get(&self, _request: &GetRequest) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }
    async fn delete(&self, _request: &DeleteRequest) -> Result<u64> {
        Ok(0)
    }
    async fn count(&self, _request: &CountRequest) -> Result<u64> {
        Ok(self.1.load(Ordering::Relaxed))
    }
}

/// Remembers the last few records, as the ingestion looks at them again; a durable record store keeps the others on disk.
#[derive(Debug, Default)]
struct Recent(InMemoryRecords, Mutex<VecDeque<SourceRecord>>);

#[async_trait]
impl RecordStore for Recent {
    async fn get(&self, _namespace: &str, uri: &str) -> Result<Option<SourceRecord>> {
        Ok(self.1.lock().unwrap().iter().rev().find(|r| r.uri == uri).cloned())
    }
    async fn put(&self, _namespace: &str, record: SourceRecord) -> Result<()> {
        let mut recent = self.1.lock().unwrap();
        recent.push_back(record);
        if recent.len() > 64 {
            recent.pop_front();
        }
        Ok(())
    }
    async fn remove(&self, _namespace: &str, _uri: &str) -> Result<()> {
        Ok(())
    }
    async fn uris(&self, _namespace: &str, _scope: Option<&str>) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        self.0.fact(namespace, name).await
    }
    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        self.0.set_fact(namespace, name, value).await
    }
    async fn clear(&self, namespace: &str) -> Result<()> {
        self.0.clear(namespace).await
    }
}

/// Ingests so many megabytes (of 1,000,000 bytes).
pub(crate) async fn ingest(megabytes: usize) -> Result<Arc<IngestReport>> {
    let store = Counting(StoreInfo::new("counting", Metric::Cosine), AtomicU64::new(0));
    let index = VectorIndex::new(store, HashEmbedder::new(384)).with_records(Recent::default());
    index.ingest(Lazy(megabytes * 1_000_000 / DOCUMENT), Pieces).mirror("made up").await?.complete()
}

/// Most memory that the process has had resident, in kB; none where the system does not tell.
pub(crate) fn peak_kilobytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?.trim().parse().ok()
}
