//! Components that the tests share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses some")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use katena_core::{
    Chunk, CountRequest, DeleteRequest, Document, DocumentLoader, DocumentStream, EmbedRequest,
    EmbedResponse, Embedder, EmbedderInfo, Error, ErrorKind, GetRequest, Record, RecordStore, Result, Scored,
    Source, SourceRecord, StoreInfo, TextSplitter, Tokenizer, UpsertRequest, VectorQuery, VectorStore,
};

/// Loads prepared items.
#[derive(Debug, Clone)]
pub struct Items(pub Vec<Result<Document>>);

impl Items {
    /// One document per address.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = (&'static str, T)>) -> Self {
        Self(texts.into_iter().map(|(uri, text)| Ok(Document::new(text, Source::new(uri)))).collect())
    }
    pub fn with(mut self, item: Result<Document>) -> Self {
        self.0.push(item);
        self
    }
}

impl DocumentLoader for Items {
    fn load(&self) -> DocumentStream {
        stream::iter(self.0.clone()).boxed()
    }
}

pub fn bad(uri: &str) -> Error {
    Error::invalid_input("broken").with_context("uri", uri)
}

/// A chunk per line.
#[derive(Debug, Clone)]
pub struct Lines(pub &'static str);

impl TextSplitter for Lines {
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        if text.contains("UNSPLITTABLE") {
            return Err(Error::invalid_input("cannot be split"));
        }
        let at = |line: &str| line.as_ptr() as usize - text.as_ptr() as usize;
        let lines = text.lines().filter(|l| !l.trim().is_empty());
        Ok(lines.map(|l| Chunk::of(text, at(l)..at(l) + l.len())).collect())
    }
    fn fingerprint(&self) -> String {
        format!("lines {}", self.0)
    }
}

/// Counts what it embeds; refuses texts with a word; may be away.
#[derive(Debug, Clone)]
pub struct Picky {
    pub inner: katena_core::fake::HashEmbedder,
    pub info: EmbedderInfo,
    pub refuses: &'static str,
    pub kind: ErrorKind,
    pub calls: Arc<AtomicUsize>,
    pub texts: Arc<AtomicUsize>,
}

impl Picky {
    pub fn new() -> Self {
        let inner = katena_core::fake::HashEmbedder::new(64);
        let info = inner.info().clone();
        Self {
            inner,
            info,
            refuses: "\u{0}never",
            kind: ErrorKind::InvalidInput,
            calls: Arc::default(),
            texts: Arc::default(),
        }
    }
}

#[derive(Debug)]
struct Words;
impl Tokenizer for Words {
    fn name(&self) -> &'static str {
        "words"
    }
    fn count(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }
    fn encode(&self, text: &str) -> Vec<katena_core::Span> {
        let at = |w: &str| w.as_ptr() as usize - text.as_ptr() as usize;
        text.split_whitespace().map(|w| (at(w)..at(w) + w.len()).into()).collect()
    }
}

#[async_trait]
impl Embedder for Picky {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.info.max_tokens.map(|_| Arc::new(Words) as _)
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if request.texts.iter().any(|t| t.contains(self.refuses)) {
            return Err(Error::new(self.kind, "refused"));
        }
        self.texts.fetch_add(request.texts.len(), Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.inner.embed(request).await
    }
}

/// How a crash looks to the ingestion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crash {
    /// The step is not done; everything after it fails.
    Before,
    /// The step is done, but nobody hears of it; everything after it fails.
    After,
    /// Half of the step is done; everything after it fails.
    Half,
    /// The step is done and the process is gone: nothing ever answers again.
    Killed,
}

/// Counts writing steps of a store and of records together and crashes at one of them.
#[derive(Debug)]
pub struct Fuse {
    pub at: usize,
    pub how: Crash,
    pub steps: AtomicUsize,
    pub blown: tokio::sync::Notify,
}

impl Fuse {
    pub fn new(at: usize, how: Crash) -> Arc<Self> {
        Arc::new(Self { at, how, steps: AtomicUsize::new(0), blown: tokio::sync::Notify::new() })
    }
    /// `None`: go on; else the crash happens now (`true`) or has happened.
    fn step(&self) -> Option<bool> {
        let n = self.steps.fetch_add(1, Ordering::SeqCst);
        (n >= self.at).then_some(n == self.at)
    }
    fn is_blown(&self) -> bool {
        self.steps.load(Ordering::SeqCst) > self.at
    }
    async fn end<T>(&self) -> Result<T> {
        self.blown.notify_one();
        if self.how == Crash::Killed {
            std::future::pending::<()>().await;
        }
        Err(Error::unexpected("the crash"))
    }
}

#[derive(Debug)]
pub struct Crashing<T> {
    pub inner: Arc<T>,
    pub fuse: Arc<Fuse>,
}

#[async_trait]
impl<S: VectorStore> VectorStore for Crashing<S> {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }
    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        None
    }
    async fn upsert(&self, mut request: UpsertRequest) -> Result<()> {
        match self.fuse.step() {
            None => self.inner.upsert(request).await,
            Some(now) => {
                match self.fuse.how {
                    Crash::After | Crash::Killed if now => self.inner.upsert(request).await?,
                    Crash::Half if now => {
                        request.records.truncate(request.records.len().div_ceil(2));
                        self.inner.upsert(request).await?;
                    }
                    _ => {}
                }
                self.fuse.end().await
            }
        }
    }
    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        self.inner.search(query).await
    }
    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        if self.fuse.is_blown() {
            return self.fuse.end().await;
        }
        self.inner.get(request).await
    }
    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        match self.fuse.step() {
            None => self.inner.delete(request).await,
            Some(now) => {
                match self.fuse.how {
                    Crash::After | Crash::Killed if now => drop(self.inner.delete(request).await?),
                    Crash::Half if now => {
                        if let katena_core::Selector::Ids(ids) = &request.selector {
                            let some = DeleteRequest::ids(ids[..ids.len().div_ceil(2)].to_vec())
                                .with_namespace(&request.namespace);
                            self.inner.delete(&some).await?;
                        }
                    }
                    _ => {}
                }
                self.fuse.end().await
            }
        }
    }
    async fn count(&self, request: &CountRequest) -> Result<u64> {
        if self.fuse.is_blown() {
            return self.fuse.end().await;
        }
        self.inner.count(request).await
    }
}

macro_rules! crashing_write {
    ($self:ident, $done:expr) => {
        match $self.fuse.step() {
            None => $done.await,
            Some(now) => {
                if now && matches!($self.fuse.how, Crash::After | Crash::Killed) {
                    $done.await?;
                }
                $self.fuse.end().await
            }
        }
    };
}

#[async_trait]
impl<R: RecordStore> RecordStore for Crashing<R> {
    async fn get(&self, namespace: &str, uri: &str) -> Result<Option<SourceRecord>> {
        if self.fuse.is_blown() {
            return self.fuse.end().await;
        }
        self.inner.get(namespace, uri).await
    }
    async fn put(&self, namespace: &str, record: SourceRecord) -> Result<()> {
        crashing_write!(self, self.inner.put(namespace, record.clone()))
    }
    async fn remove(&self, namespace: &str, uri: &str) -> Result<()> {
        crashing_write!(self, self.inner.remove(namespace, uri))
    }
    async fn uris(&self, namespace: &str, scope: Option<&str>) -> Result<Vec<String>> {
        if self.fuse.is_blown() {
            return self.fuse.end().await;
        }
        self.inner.uris(namespace, scope).await
    }
    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        self.inner.fact(namespace, name).await
    }
    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        crashing_write!(self, self.inner.set_fact(namespace, name, value))
    }
    async fn clear(&self, namespace: &str) -> Result<()> {
        crashing_write!(self, self.inner.clear(namespace))
    }
}

/// Everything that a store holds, in a comparable form.
pub async fn contents(store: &dyn VectorStore, ids: &[String]) -> Vec<(String, String, String, usize)> {
    let mut all = Vec::new();
    for r in store.get(&GetRequest::new(ids.to_vec())).await.unwrap() {
        let at = r.document.source.span.map_or(0, |s| s.start);
        all.push((r.document.id.clone(), r.document.text.clone(), r.document.source.to_string(), at));
    }
    all.sort();
    all
}

/// All ids that the records name.
pub async fn recorded(records: &dyn RecordStore) -> Vec<String> {
    let mut ids = Vec::new();
    for uri in records.uris("", None).await.unwrap() {
        let record = records.get("", &uri).await.unwrap().unwrap();
        assert!(record.complete, "{uri} is not complete");
        ids.extend(record.chunks);
    }
    ids
}

/// A place to note things from closures.
pub type Notes<T> = Arc<Mutex<Vec<T>>>;
