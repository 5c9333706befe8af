//! Answers to questions that mean the same.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use katena_core::{
    ChatModel, ChatRequest, ChatResponse, ChatStream, Embedder, EmbedderExt as _, Error, Layer, ModelInfo,
    Part, Result, Role,
};
use serde_json::json;

use super::chat::{Answer, collect, is_kept, parts_of_key};
use super::store::CacheEntry;
use super::{CachePolicy, scope_of};
use crate::stored::{hash_json, replay, to_value};
use crate::wall::{SystemWallClock, WallClock};

/// Keeps answers with the vector of their question, in buckets that never mix. Bounded: the oldest goes first.
#[async_trait]
pub trait SemanticStore: fmt::Debug + Send + Sync {
    /// The answer nearest to `vector` (of length 1) in the bucket that has not expired at `now`, and its cosine.
    async fn nearest(
        &self,
        bucket: &str,
        vector: &[f32],
        now: SystemTime,
    ) -> Result<Option<(f32, CacheEntry)>>;
    /// Keeps an answer.
    async fn put(&self, bucket: &str, vector: Vec<f32>, entry: CacheEntry) -> Result<()>;
    /// Forgets all.
    async fn clear(&self) -> Result<()>;
}

/// Keeps vectors and answers in memory. Clones share them.
///
/// ```
/// use katena_layers::MemorySemanticStore;
/// assert!(MemorySemanticStore::new(500).is_empty());
/// ```
#[derive(Clone)]
pub struct MemorySemanticStore {
    max_entries: usize,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    buckets: HashMap<String, VecDeque<(Vec<f32>, CacheEntry)>>,
    /// The buckets in the order of their entries' arrival.
    arrivals: VecDeque<String>,
}

impl fmt::Debug for MemorySemanticStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySemanticStore").field("entries", &self.len()).finish()
    }
}

impl MemorySemanticStore {
    /// Up to `max_entries` answers over all buckets.
    pub fn new(max_entries: usize) -> Self {
        Self { max_entries, table: Arc::default() }
    }

    /// How many answers it has.
    pub fn len(&self) -> usize {
        self.table().arrivals.len()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Inner product; of vectors of length 1 it is the cosine. Vectors of another length are not near at all.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() == b.len() { a.iter().zip(b).map(|(x, y)| x * y).sum() } else { f32::NEG_INFINITY }
}

#[async_trait]
impl SemanticStore for MemorySemanticStore {
    async fn nearest(
        &self,
        bucket: &str,
        vector: &[f32],
        now: SystemTime,
    ) -> Result<Option<(f32, CacheEntry)>> {
        let table = self.table();
        let entries = table.buckets.get(bucket).into_iter().flatten();
        let alive = entries.filter(|(_, e)| e.expires.is_none_or(|end| end > now));
        let scored = alive.map(|(v, e)| (cosine(v, vector), e));
        Ok(scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(score, entry)| (score, entry.clone())))
    }

    async fn put(&self, bucket: &str, vector: Vec<f32>, entry: CacheEntry) -> Result<()> {
        let mut table = self.table();
        table.buckets.entry(bucket.to_owned()).or_default().push_back((vector, entry));
        table.arrivals.push_back(bucket.to_owned());
        while table.arrivals.len() > self.max_entries {
            let Some(oldest) = table.arrivals.pop_front() else { break };
            if let Some(entries) = table.buckets.get_mut(&oldest) {
                entries.pop_front();
                if entries.is_empty() {
                    table.buckets.remove(&oldest);
                }
            }
        }
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        *self.table() = Table::default();
        Ok(())
    }
}

/// Gives the stored answer to a chat request whose last user message means the same as an earlier one's.
///
/// Two requests may share an answer only if everything else in them is equal (the messages before, tools, options,
/// extras, vendor, model), and so are the scope's labels: by default `tenant`, so that no tenant sees another's answer.
/// Then the cosine of the two messages' vectors must reach the threshold, and both must name the same numbers: "what
/// costs 3 apples?" is near "what costs 4 apples?", but its answer is another.
///
/// Requests that don't end with a user message of text alone pass through. What is kept is the same as in
/// [`Cache`](super::Cache): answers that ended well. If the embedder or the store fails, the model is asked and a warning
/// logged. Place an exact cache outside of this one; equal calls at the same time are its business.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::{HashEmbedder, ScriptedChat}};
/// use katena_layers::SemanticCache;
/// let cache = SemanticCache::new(HashEmbedder::new(256)).with_threshold(0.9);
/// let model = ScriptedChat::texts(["Paris."]).layer(cache);
/// for question in ["What is the capital of France?", "what is the capital of france"] {
///     let answer = model.generate(&ChatRequest::new([Message::user(question)])).await.unwrap();
///     assert_eq!(answer.text(), "Paris.");
/// }
/// # });
/// ```
#[derive(Clone)]
pub struct SemanticCache {
    embedder: Arc<dyn Embedder>,
    store: Arc<dyn SemanticStore>,
    threshold: f32,
    ttl: Option<Duration>,
    scope: Arc<[String]>,
    policy: CachePolicy,
    wall: Arc<dyn WallClock>,
}

impl fmt::Debug for SemanticCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemanticCache")
            .field("embedder", &self.embedder)
            .field("threshold", &self.threshold)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl SemanticCache {
    /// Up to 1,000 answers in memory, threshold 0.95, apart by the label `tenant`.
    pub fn new(embedder: impl Embedder + 'static) -> Self {
        Self {
            embedder: Arc::new(embedder),
            store: Arc::new(MemorySemanticStore::new(1_000)),
            threshold: 0.95,
            ttl: None,
            scope: Arc::from(["tenant".to_owned()]),
            policy: CachePolicy::default(),
            wall: Arc::new(SystemWallClock),
        }
    }

    /// Keeps answers in this store.
    pub fn with_store(mut self, store: impl SemanticStore + 'static) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// Sets the least cosine, −1 to 1. What is near enough depends on the embedder: try it with your own questions.
    pub fn with_threshold(mut self, cosine: f32) -> Self {
        self.threshold = cosine;
        self
    }

    /// Forgets an answer after this time.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the labels that keep answers apart, in place of `tenant`.
    pub fn with_scope<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.scope = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Sets which requests are answered from the cache; the others pass through and are not kept.
    pub fn with_policy(mut self, policy: CachePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the clock that ends an answer's life.
    pub fn with_wall_clock(mut self, clock: Arc<dyn WallClock>) -> Self {
        self.wall = clock;
        self
    }

    /// The question and everything that must be equal; `None` for requests that pass through.
    fn question(&self, info: &ModelInfo, request: &ChatRequest) -> Result<Option<(String, String)>> {
        let Some(last) = request.messages.last().filter(|m| m.role == Role::User) else { return Ok(None) };
        let text = last.text();
        let only_text = last.parts.iter().all(|p| matches!(p, Part::Text { .. }));
        if !only_text || text.trim().is_empty() || !self.policy.allows(request) {
            return Ok(None);
        }
        let (identity, mut rest) = parts_of_key(info, request)?;
        let before = &request.messages[..request.messages.len() - 1];
        rest["messages"] = to_value(&before)?;
        let embedder = &self.embedder.info().model;
        let scope = scope_of(&self.scope, &request.context);
        let bucket = hash_json(&json!([1, "semantic", embedder, identity, rest, scope, numbers(&text)]));
        Ok(Some((bucket, text)))
    }

    /// The question's bucket and vector, and the answer if there is one.
    async fn look(&self, info: &ModelInfo, request: &ChatRequest) -> Result<Option<Found>> {
        request.context.check()?;
        let Some((bucket, text)) = self.question(info, request)? else { return Ok(None) };
        let mut vector = match self.embedder.embed_query(&text, &request.context).await {
            Ok(vector) => vector,
            Err(error) => {
                request.context.check()?;
                tracing::warn!(%error, "the semantic cache's embedder failed; the model is asked");
                return Ok(None);
            }
        };
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if !length.is_finite() || length == 0.0 {
            return Ok(None);
        }
        for x in &mut vector {
            *x /= length;
        }
        let near = match self.store.nearest(&bucket, &vector, self.wall.now()).await {
            Ok(near) => near.filter(|(score, _)| *score >= self.threshold),
            Err(error) => {
                store_failed(&error);
                None
            }
        };
        let answer = near.and_then(|(_, entry)| match serde_json::from_slice(&entry.value) {
            Ok(answer) => Some(answer),
            Err(_) => {
                store_failed(&Error::unexpected("a stored answer is damaged"));
                None
            }
        });
        Ok(Some(Found { bucket, vector, answer }))
    }

    async fn keep(&self, bucket: String, vector: Vec<f32>, answer: Answer) {
        let now = self.wall.now();
        let result = match serde_json::to_vec(&answer) {
            Ok(bytes) => {
                let mut entry = CacheEntry::new(bytes, now);
                entry.expires = self.ttl.and_then(|ttl| now.checked_add(ttl));
                self.store.put(&bucket, vector, entry).await
            }
            Err(e) => Err(Error::unexpected("an answer can't be stored").with_source(e)),
        };
        if let Err(error) = result {
            store_failed(&error);
        }
    }
}

struct Found {
    bucket: String,
    vector: Vec<f32>,
    answer: Option<Answer>,
}

fn store_failed(error: &Error) {
    tracing::warn!(%error, "the semantic cache's store failed; the call goes on without it");
}

/// The numbers in a text, in order.
fn numbers(text: &str) -> Vec<&str> {
    let number = |c: char| c.is_numeric() || c == '.' || c == ',';
    text.split(|c| !number(c))
        .map(|n| n.trim_matches(['.', ',']))
        .filter(|n| n.contains(char::is_numeric))
        .collect()
}

struct SemanticChat {
    inner: Arc<dyn ChatModel>,
    cache: SemanticCache,
}

impl fmt::Debug for SemanticChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemanticChat").field("inner", &self.inner).field("cache", &self.cache).finish()
    }
}

impl Layer<dyn ChatModel> for SemanticCache {
    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(SemanticChat { inner, cache: self.clone() })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for SemanticChat {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let Some(found) = self.cache.look(self.inner.info(), request).await? else {
            return self.inner.generate(request).await;
        };
        if let Some(answer) = found.answer {
            return answer.into_response();
        }
        let response = self.inner.generate(request).await?;
        if is_kept(&response) {
            let answer = Answer::Response(Box::new(response.clone()));
            self.cache.keep(found.bucket, found.vector, answer).await;
        }
        Ok(response)
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let Some(found) = self.cache.look(self.inner.info(), request).await? else {
            return self.inner.stream(request).await;
        };
        if let Some(answer) = found.answer {
            return Ok(replay(answer.into_events()?, &request.context));
        }
        let stream = self.inner.stream(request).await?;
        let cache = self.cache.clone();
        let keep = async move |answer: Answer| cache.keep(found.bucket, found.vector, answer).await;
        Ok(collect(stream, keep))
    }
}

#[cfg(test)]
#[path = "semantic_tests.rs"]
mod tests;
