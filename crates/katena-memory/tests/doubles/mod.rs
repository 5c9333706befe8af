//! Doubles: a model that waits at a gate, a memory whose background is done, a store that searches exactly.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, CountRequest, DeleteRequest,
    Document, Error, ErrorKind, FinishReason, GetRequest, Memory, Message, Metric, ModelInfo, RecallRequest,
    Record, RecordRequest, RecordStore, Result, Scored, Selector, StoreInfo, UpsertRequest, VectorQuery,
    VectorStore,
};
use katena_memory::SummaryMemory;
use tokio::sync::watch;

/// Repeats what it was asked, once the gate is open and so many calls have come.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    info: Arc<ModelInfo>,
    least: usize,
    calls: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) fn new(least: usize) -> Self {
        let info = ModelInfo::new("fake", "gate").with_capabilities(ChatCapabilities::none());
        Self { info: Arc::new(info), least, calls: watch::Sender::new(0), open: watch::Sender::new(false) }
    }
    pub(crate) async fn wait_for(&self, calls: usize) {
        self.calls.subscribe().wait_for(|n| *n >= calls).await.unwrap();
    }
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

#[async_trait]
impl ChatModel for Gate {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.calls.send_modify(|n| *n += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        self.wait_for(self.least).await;
        let asked = request.messages.last().map(Message::text).unwrap_or_default();
        Ok(ChatResponse::new(Message::assistant(asked), FinishReason::Stop))
    }
    async fn stream(&self, _: &ChatRequest) -> Result<ChatStream> {
        Err(Error::unsupported("the gate streams nothing"))
    }
}

/// Waits for the background after each record: a law that compares two recalls wants no summary between them.
#[derive(Debug)]
pub(crate) struct Settled(pub(crate) SummaryMemory);

#[async_trait]
impl Memory for Settled {
    async fn recall(&self, request: &RecallRequest) -> Result<Vec<Message>> {
        self.0.recall(request).await
    }
    async fn record(&self, request: RecordRequest) -> Result<()> {
        self.0.record(request).await?;
        self.0.settle().await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.0.clear(session).await
    }
}

type Spaces = BTreeMap<String, BTreeMap<String, Record>>;

/// A vector store in memory: dot products, nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    info: Arc<StoreInfo>,
    spaces: Arc<Mutex<Spaces>>,
    fails: Arc<AtomicBool>,
}

impl Default for Store {
    fn default() -> Self {
        let info = Arc::new(StoreInfo::new("double", Metric::Dot));
        Self { info, spaces: Arc::default(), fails: Arc::default() }
    }
}

impl Store {
    /// Lets the next write fail.
    pub(crate) fn fail(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl VectorStore for Store {
    fn info(&self) -> &StoreInfo {
        &self.info
    }
    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        if self.fails.swap(false, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the double fails"));
        }
        let mut spaces = self.spaces.lock().unwrap();
        let space = spaces.entry(request.namespace).or_default();
        space.extend(request.records.into_iter().map(|r| (r.document.id.clone(), r)));
        Ok(())
    }
    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        let spaces = self.spaces.lock().unwrap();
        let vector = query.vector.as_deref().unwrap_or_default();
        let score = |r: &Record| r.vector.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>();
        let mut hits: Vec<Scored<Document>> = spaces
            .get(&query.namespace)
            .into_iter()
            .flat_map(|s| s.values())
            .map(|r| Scored::new(r.document.clone(), score(r)))
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(query.top_k);
        Ok(hits)
    }
    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        let spaces = self.spaces.lock().unwrap();
        let Some(space) = spaces.get(&request.namespace) else { return Ok(Vec::new()) };
        Ok(request.ids.iter().filter_map(|id| space.get(id).cloned()).collect())
    }
    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        assert_eq!(request.selector, Selector::All);
        Ok(self.spaces.lock().unwrap().remove(&request.namespace).map_or(0, |s| s.len() as u64))
    }
    async fn count(&self, request: &CountRequest) -> Result<u64> {
        Ok(self.spaces.lock().unwrap().get(&request.namespace).map_or(0, |s| s.len() as u64))
    }
    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        None
    }
}
