//! Answers that are there already: asked once, given again.

mod chat;
mod flight;
mod others;
mod semantic;
mod shared_stream;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use katena_core::{ChatRequest, Clock, Context, Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::bounded::bounded;
use crate::clock::Time;
use crate::stored::hash_json;
use crate::wall::{SystemWallClock, WallClock};
use flight::Flights;
use shared_stream::Hubs;

pub use semantic::{MemorySemanticStore, SemanticCache, SemanticStore};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteCache, SqliteSemanticStore};
pub use store::{CacheEntry, CacheStore, MemoryCache};

/// Which chat requests a [`Cache`] answers from what it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CachePolicy {
    /// All: equal requests get the same answer, also where the sampler would have given another one.
    #[default]
    All,
    /// Only requests without tools: what a tool call leads to may have changed meanwhile.
    WithoutTools,
    /// Only requests that ask for a repeatable answer: without tools, and with temperature 0 or a seed.
    Repeatable,
}

impl CachePolicy {
    fn allows(self, request: &ChatRequest) -> bool {
        let repeatable = request.temperature == Some(0.0) || request.seed.is_some();
        match self {
            Self::All => true,
            Self::WithoutTools => request.tools.is_empty(),
            Self::Repeatable => request.tools.is_empty() && repeatable,
        }
    }
}

/// What a cache has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Answered from the store.
    pub hits: u64,
    /// Asked.
    pub misses: u64,
    /// Waited for an equal call that was under way.
    pub joined: u64,
    /// Passed through, because the policy says so.
    pub bypassed: u64,
    /// Reads and writes of the store that failed; the call went on without it.
    pub store_failures: u64,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
    bypassed: AtomicU64,
    store_failures: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

type Bypass = dyn Fn(&ChatRequest) -> bool + Send + Sync;

#[derive(Clone)]
struct Settings {
    name: Option<String>,
    ttl: Option<Duration>,
    scope: Vec<String>,
    policy: CachePolicy,
    bypass: Option<Arc<Bypass>>,
    time: Time,
    wall: Arc<dyn WallClock>,
}

struct Shared {
    store: Arc<dyn CacheStore>,
    flights: Arc<Flights<Arc<dyn Any + Send + Sync>>>,
    hubs: Arc<Hubs>,
    counters: Counters,
    components: AtomicU64,
    /// Tells the unnamed components of this process from those of another one that uses the same store.
    nonce: u64,
}

/// Gives the stored answer to a request that was asked before, word for word; asks once where equal requests come at
/// the same time. For chat models, embedders, rerankers, retrievers and tools.
///
/// - **Key**: SHA-256 over the kind of component, its vendor and model, and every field of the request, options and
///   extras included; the context is no part of it, but for the labels of [`with_scope`](Cache::with_scope). Only the
///   hash is stored, never the request.
/// - **What is kept**: chat answers that finished with `Stop` or `ToolCalls`; no errors, nothing that was cut off,
///   filtered or refused. A stream's events are kept as they came and given again as they came. `generate` and
///   `stream` use the same answers.
/// - **One call at a time** for each key: the others wait for it, stream with it, and take over where its caller goes
///   away. If it fails, one of them asks again; a second failure is theirs too. The call carries the first caller's labels.
/// - **A failing store** costs a warning in the log and a call, nothing else.
/// - Embedders are looked up text by text. Rerankers, retrievers and tools have no name of their own: name the layer
///   ([`named`](Cache::named)) if they are to share answers with another process or with each other. Wrap only tools
///   without side effects.
///
/// Place it outside of meter, retry and limits, so that an answer from the store is not counted.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::ScriptedChat};
/// use katena_layers::Cache;
/// let model = ScriptedChat::texts(["the only answer"]).layer(Cache::new());
/// let request = ChatRequest::new([Message::user("Well?")]);
/// let first = model.generate(&request).await.unwrap();
/// assert_eq!(model.generate(&request).await.unwrap(), first);
/// # });
/// ```
#[derive(Clone)]
pub struct Cache {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("store", &self.shared.store)
            .field("ttl", &self.settings.ttl)
            .field("policy", &self.settings.policy)
            .finish_non_exhaustive()
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    /// Keeps up to 1,000 answers and 64 MiB in memory, without an end of their life.
    pub fn new() -> Self {
        Self::with_store(MemoryCache::new(1_000))
    }

    /// Keeps answers in this store.
    pub fn with_store(store: impl CacheStore + 'static) -> Self {
        let settings = Settings {
            name: None,
            ttl: None,
            scope: Vec::new(),
            policy: CachePolicy::default(),
            bypass: None,
            time: Time::default(),
            wall: Arc::new(SystemWallClock),
        };
        let shared = Shared {
            store: Arc::new(store),
            flights: Arc::default(),
            hubs: Arc::default(),
            counters: Counters::default(),
            components: AtomicU64::new(0),
            nonce: fastrand::u64(..),
        };
        Self { settings: Arc::new(settings), shared: Arc::new(shared) }
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// Forgets an answer after this time.
    pub fn with_ttl(self, ttl: Duration) -> Self {
        self.set(|s| s.ttl = Some(ttl))
    }

    /// Requests share answers only if these labels are equal, such as `tenant`.
    pub fn with_scope<S: Into<String>>(self, labels: impl IntoIterator<Item = S>) -> Self {
        self.set(|s| s.scope = labels.into_iter().map(Into::into).collect())
    }

    /// Sets which chat requests are answered from the cache; the others pass through and are not kept.
    pub fn with_policy(self, policy: CachePolicy) -> Self {
        self.set(|s| s.policy = policy)
    }

    /// Chat requests for which `bypass` is true pass through too.
    pub fn with_bypass(self, bypass: impl Fn(&ChatRequest) -> bool + Send + Sync + 'static) -> Self {
        self.set(|s| s.bypass = Some(Arc::new(bypass)))
    }

    /// The same cache for a component that has no name of its own (reranker, retriever, tool): components under the
    /// same name share answers.
    pub fn named(&self, name: impl Into<String>) -> Self {
        self.clone().set(|s| s.name = Some(name.into()))
    }

    /// Sets the clock that ends waiting at a deadline.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.set(|s| s.time = clock.into())
    }

    /// Sets the clock that ends an answer's life.
    pub fn with_wall_clock(self, clock: Arc<dyn WallClock>) -> Self {
        self.set(|s| s.wall = clock)
    }

    /// What it has done so far, over all components.
    pub fn stats(&self) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.shared.counters;
        CacheStats {
            hits: read(&c.hits),
            misses: read(&c.misses),
            joined: read(&c.joined),
            bypassed: read(&c.bypassed),
            store_failures: read(&c.store_failures),
        }
    }

    /// Forgets all answers.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn clear(&self) -> Result<()> {
        self.shared.store.clear().await
    }

    /// The identity of a component that has none.
    fn identity(&self) -> Value {
        match &self.settings.name {
            Some(name) => json!({ "name": name }),
            None => json!([self.shared.nonce, self.shared.components.fetch_add(1, Ordering::Relaxed)]),
        }
    }

    fn key(&self, kind: &str, identity: &Value, request: &Value, context: &Context) -> String {
        let scope = scope_of(&self.settings.scope, context);
        hash_json(&json!([1, kind, identity, request, scope]))
    }

    fn skips(&self, request: &ChatRequest) -> bool {
        let s = &self.settings;
        let skips = !s.policy.allows(request) || s.bypass.as_ref().is_some_and(|b| b(request));
        if skips {
            count(&self.shared.counters.bypassed);
        }
        skips
    }

    async fn load<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let now = self.settings.wall.now();
        let found = self.shared.store.get(key).await;
        let entry = found.unwrap_or_else(|error| {
            self.store_failed(&error);
            None
        })?;
        if entry.expires.is_some_and(|end| end <= now) {
            return None;
        }
        match serde_json::from_slice(&entry.value) {
            Ok(value) => {
                count(&self.shared.counters.hits);
                Some(value)
            }
            Err(_) => {
                self.store_failed(&Error::unexpected("a stored answer is damaged"));
                None
            }
        }
    }

    async fn save<T: Serialize>(&self, key: &str, value: &T) {
        let now = self.settings.wall.now();
        let result = match serde_json::to_vec(value) {
            Ok(bytes) => {
                let mut entry = CacheEntry::new(bytes, now);
                entry.expires = self.settings.ttl.and_then(|ttl| now.checked_add(ttl));
                self.shared.store.put(key, entry).await
            }
            Err(e) => Err(Error::unexpected("an answer can't be stored").with_source(e)),
        };
        if let Err(error) = result {
            self.store_failed(&error);
        }
    }

    fn store_failed(&self, error: &Error) {
        count(&self.shared.counters.store_failures);
        tracing::warn!(%error, "the cache's store failed; the call goes on without it");
    }

    /// The stored value, or that of an equal call under way, or what `ask` gives. `ask` says whether to keep it.
    async fn through<T, F>(&self, key: &str, context: &Context, ask: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
        F: Fn() -> BoxFuture<'static, Result<(T, Keep)>> + Send + Sync,
    {
        context.check()?;
        if let Some(value) = self.load(key).await {
            return Ok(value);
        }
        let mut failed_before = false;
        loop {
            let start = || {
                let (this, key, work) = (self.clone(), key.to_owned(), ask());
                async move {
                    // The flight before this one may have landed since the first look.
                    if let Some(value) = this.load::<T>(&key).await {
                        return Ok(Arc::new(value) as Arc<dyn Any + Send + Sync>);
                    }
                    count(&this.shared.counters.misses);
                    let (value, keep) = work.await?;
                    if keep == Keep::Yes {
                        this.save(&key, &value).await;
                    }
                    Ok(Arc::new(value) as _)
                }
                .boxed()
            };
            let (flight, led) = self.shared.flights.join(key, start);
            if !led {
                count(&self.shared.counters.joined);
            }
            match bounded(context, &self.settings.time, flight).await {
                Ok(value) => {
                    let value = value.downcast_ref::<T>().cloned();
                    return value.ok_or_else(|| Error::unexpected("two kinds of answers have one key"));
                }
                Err(error) => self.give_up(error, led, &mut failed_before, context)?,
            }
        }
    }

    /// Whether a failure is the caller's own; `Ok` lets it ask again.
    fn give_up(&self, error: Error, led: bool, failed_before: &mut bool, context: &Context) -> Result<()> {
        if context.cancel.is_cancelled() || self.settings.time.left(context) == Some(Duration::ZERO) {
            return Err(error);
        }
        // What ended the other caller's patience or money says nothing about ours.
        let theirs = matches!(error.kind(), ErrorKind::Cancelled | ErrorKind::Timeout | ErrorKind::Budget);
        if led || (*failed_before && !theirs) {
            return Err(error);
        }
        *failed_before |= !theirs;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

/// The values of the labels that keep answers apart; a missing label is not an empty one.
fn scope_of(scope: &[String], context: &Context) -> Value {
    Value::Array(scope.iter().map(|name| json!([name, context.labels.get(name)])).collect())
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
