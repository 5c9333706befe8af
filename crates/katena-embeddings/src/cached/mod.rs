//! Vectors kept on disk, so that no text is embedded twice.

mod segment;
mod store;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use katena_core::{
    Context, EmbedRequest, EmbedResponse, EmbedRole, Embedder, EmbedderInfo, Error, ErrorKind, Layer, Result,
    Tokenizer, Usage,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use segment::Key;
use store::Store;

/// What a cache has done since it was opened.
///
/// ```no_run
/// # fn f() -> katena_core::Result<()> {
/// let cache = katena_embeddings::EmbedCache::open("vectors")?;
/// println!("{} texts were not sent", cache.stats().hits);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Texts whose vector was found.
    pub hits: u64,
    /// Texts that were sent.
    pub misses: u64,
    /// Times that vectors could not be written; they were given all the same.
    pub failed_writes: u64,
    /// Vectors that can be found now.
    pub vectors: usize,
    /// Bytes of the files.
    pub bytes: u64,
}

/// A folder of vectors, and the layer that uses it.
///
/// A vector is found by the SHA-256 of the model's identity ([`EmbedderInfo::model`]), the role and the text; texts are
/// not kept. One folder serves any number of models, and several processes may share it: each writes its own file and
/// reads all. Every record has a checksum, so a record that was cut off by a crash, or damaged, is not found, and its text
/// is embedded again. Beyond the bound the oldest files go.
///
/// Clones share the folder and what is known of it. Texts that are being embedded by one call are not sent by another of
/// the same process, which waits instead.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use katena_core::{EmbedRequest, Embedder, EmbedderExt, fake::HashEmbedder};
/// use katena_embeddings::EmbedCache;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path();
/// let cache = EmbedCache::open(path)?;
/// let embedder = HashEmbedder::new(16).layer(cache.clone());
/// embedder.embed(&EmbedRequest::documents(["once", "twice"])).await?;
/// embedder.embed(&EmbedRequest::documents(["twice", "thrice"])).await?;
/// assert_eq!((cache.stats().hits, cache.stats().misses), (1, 3));
/// # Ok::<(), katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct EmbedCache(Arc<Shared>);

struct Shared {
    store: Mutex<Store>,
    /// Texts on their way: whoever waits for one holds a receiver, which closes when it has arrived or failed.
    flights: Mutex<HashMap<Key, watch::Receiver<()>>>,
    counts: Mutex<CacheStats>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for EmbedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedCache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl EmbedCache {
    /// The cache in this folder, which is made if it is missing; at most 1 GiB.
    ///
    /// # Errors
    /// If the folder can't be made or read.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_bounded(folder, 1 << 30)
    }

    /// The cache in this folder, of at most so many bytes (at least 64 KiB).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_bounded(folder: impl AsRef<Path>, max_bytes: u64) -> Result<Self> {
        let store = Store::open(folder.as_ref(), max_bytes.max(64 << 10))?;
        Ok(Self(Arc::new(Shared {
            store: Mutex::new(store),
            flights: Mutex::default(),
            counts: Mutex::default(),
        })))
    }

    /// What it has done so far.
    pub fn stats(&self) -> CacheStats {
        let mut stats = *lock(&self.0.counts);
        (stats.vectors, stats.bytes) = lock(&self.0.store).size();
        stats
    }

    /// Looks for vectors of `dimensions`, on a thread that may wait for the disk.
    async fn find(&self, keys: Vec<Key>, dimensions: usize) -> Result<Vec<Option<Vec<f32>>>> {
        self.blocking(move |store| store.find(&keys, dimensions)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T> {
        let shared = self.0.clone();
        tokio::runtime::Handle::try_current()
            .map_err(|e| Error::config("a cache of vectors needs a tokio runtime").with_source(e))?
            .spawn_blocking(move || work(&mut lock(&shared.store)))
            .await
            .map_err(|e| Error::unexpected("the cache's work was stopped").with_source(e))
    }
}

impl Layer<dyn Embedder> for EmbedCache {
    fn layer(&self, inner: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        Arc::new(CachedEmbedder { inner, cache: self.clone() })
    }
}

/// An embedder that asks the one below only for texts that are not in an [`EmbedCache`].
///
/// The order of the vectors is kept. `usage` counts what was sent: 0 if nothing was. A failure of the embedder fails the
/// call; a cache that can't be written does not, but is counted and told to the log.
///
/// ```
/// use std::sync::Arc;
/// use katena_core::{Embedder, fake::HashEmbedder};
/// use katena_embeddings::{CachedEmbedder, EmbedCache};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path();
/// let embedder = CachedEmbedder::new(Arc::new(HashEmbedder::new(16)), EmbedCache::open(path)?);
/// assert_eq!(embedder.info().dimensions, 16);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CachedEmbedder {
    inner: Arc<dyn Embedder>,
    cache: EmbedCache,
}

impl CachedEmbedder {
    /// `inner` behind `cache`.
    pub fn new(inner: Arc<dyn Embedder>, cache: EmbedCache) -> Self {
        Self { inner, cache }
    }

    /// The cache.
    pub fn cache(&self) -> &EmbedCache {
        &self.cache
    }

    fn key(&self, role: EmbedRole, text: &str) -> Key {
        let model = &self.inner.info().model;
        let mut hash = Sha256::new();
        // Lengths, so that no two triples run together.
        hash.update((model.len() as u64).to_le_bytes());
        hash.update(model);
        hash.update(match role {
            EmbedRole::Query => b"q",
            _ => b"d",
        });
        hash.update(text);
        hash.finalize().into()
    }

    /// Sends the texts of these keys, keeps their vectors, and gives them.
    async fn send(&self, keys: &[Key], texts: Vec<String>, request: &EmbedRequest) -> Result<EmbedResponse> {
        let count = texts.len();
        let inner =
            EmbedRequest::documents(texts).with_role(request.role).with_context(request.context.clone());
        let response = self.inner.embed(&inner).await?;
        if response.vectors.len() != count {
            return Err(Error::invalid_output("the embedder did not give one vector for each text"));
        }
        lock(&self.cache.0.counts).misses += count as u64;
        let records: Vec<(Key, Vec<f32>)> =
            keys.iter().copied().zip(response.vectors.iter().cloned()).collect();
        if let Err(error) = self.cache.blocking(move |store| store.put(&records)).await.and_then(|done| done)
        {
            lock(&self.cache.0.counts).failed_writes += 1;
            tracing::warn!(error = %error, "vectors could not be written to the cache");
        }
        Ok(response)
    }
}

/// Texts that this call has taken on. However it ends, others may take them on then.
struct Claim<'c> {
    flights: &'c Mutex<HashMap<Key, watch::Receiver<()>>>,
    keys: Vec<Key>,
    /// Dropped last; the receivers wake by it.
    _done: watch::Sender<()>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut flights = lock(self.flights);
        for key in &self.keys {
            flights.remove(key);
        }
    }
}

/// Takes on what nobody else has; the rest is waited for.
fn claim<'c>(cache: &'c EmbedCache, wanted: &[Key]) -> (Claim<'c>, Vec<watch::Receiver<()>>) {
    let (done, receiver) = watch::channel(());
    let mut keys = Vec::new();
    let mut others = Vec::new();
    let mut flights = lock(&cache.0.flights);
    for key in wanted {
        match flights.get(key) {
            Some(other) => others.push(other.clone()),
            None => {
                flights.insert(*key, receiver.clone());
                keys.push(*key);
            }
        }
    }
    drop(flights);
    (Claim { flights: &cache.0.flights, keys, _done: done }, others)
}

async fn wait(mut other: watch::Receiver<()>, context: &Context) -> Result<()> {
    let over = context.cancel.guard(async {
        // Nothing is ever sent: the end of the sender is the news.
        let _closed = other.changed().await;
        Ok(())
    });
    match context.deadline {
        None => over.await,
        Some(at) => tokio::time::timeout_at(at.into(), over)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "the deadline has passed"))),
    }
}

#[async_trait]
impl Embedder for CachedEmbedder {
    fn info(&self) -> &EmbedderInfo {
        self.inner.info()
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        self.inner.tokenizer()
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        request.context.check()?;
        let dimensions = self.info().dimensions;
        let keys: Vec<Key> = request.texts.iter().map(|text| self.key(request.role, text)).collect();
        let mut places: HashMap<Key, usize> = HashMap::new();
        for (n, key) in keys.iter().enumerate() {
            places.entry(*key).or_insert(n);
        }
        let mut wanted: Vec<Key> = Vec::with_capacity(places.len());
        wanted.extend(keys.iter().enumerate().filter(|(n, key)| places[*key] == *n).map(|(_, key)| *key));
        let mut found: HashMap<Key, Vec<f32>> = HashMap::new();
        let mut usage = Usage::default();
        usage.input_tokens = Some(0);
        let mut sent = 0;
        while !wanted.is_empty() {
            request.context.check()?;
            let (mut mine, others) = claim(&self.cache, &wanted);
            // Looked up after claiming: what another call has just written is found.
            let vectors = self.cache.find(mine.keys.clone(), dimensions).await?;
            let mut missing = Vec::new();
            for (key, vector) in mine.keys.iter().zip(vectors) {
                match vector {
                    Some(vector) => drop(found.insert(*key, vector)),
                    None => missing.push(*key),
                }
            }
            if !missing.is_empty() {
                release(&mut mine, &missing);
                let texts = missing.iter().map(|key| request.texts[places[key]].clone()).collect();
                let response = self.send(&missing, texts, request).await?;
                sent += missing.len();
                usage = add(usage, response.usage);
                found.extend(missing.into_iter().zip(response.vectors));
            }
            drop(mine);
            for other in others {
                wait(other, &request.context).await?;
            }
            wanted.retain(|key| !found.contains_key(key));
        }
        lock(&self.cache.0.counts).hits += (keys.len() - sent) as u64;
        let vectors = keys.iter().filter_map(|key| found.get(key).cloned()).collect();
        Ok(EmbedResponse::new(vectors).with_usage(usage))
    }
}

/// Lets go of what was found, so that nobody waits for it.
fn release(claim: &mut Claim<'_>, keep: &[Key]) {
    let keep: HashSet<&Key> = keep.iter().collect();
    let mut flights = lock(claim.flights);
    claim.keys.retain(|key| {
        let kept = keep.contains(key);
        if !kept {
            flights.remove(key);
        }
        kept
    });
}

/// Sums, as long as every part is known.
fn add(mut sum: Usage, part: Usage) -> Usage {
    let known = sum.input_tokens.is_some() && part.input_tokens.is_some();
    sum += part;
    if !known {
        sum.input_tokens = None;
    }
    sum
}
