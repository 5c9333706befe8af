//! Where answers are kept.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use katena_core::Result;

/// A stored answer.
#[derive(Clone)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The answer, as the layer wrote it.
    pub value: Arc<[u8]>,
    /// When it was stored.
    pub stored: SystemTime,
    /// From when on it is no longer given; the layer looks at this, a store may delete by it.
    pub expires: Option<SystemTime>,
}

impl fmt::Debug for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheEntry").field("bytes", &self.value.len()).finish_non_exhaustive()
    }
}

impl CacheEntry {
    /// An answer without an end.
    pub fn new(value: impl Into<Arc<[u8]>>, stored: SystemTime) -> Self {
        Self { value: value.into(), stored, expires: None }
    }
}

/// Keeps answers by the hash of their request. Bounded: what was not used for the longest time goes first.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_layers::{CacheEntry, CacheStore, MemoryCache};
/// let store = MemoryCache::new(2);
/// let entry = CacheEntry::new(*b"answer", std::time::SystemTime::now());
/// for key in ["a", "b", "c"] {
///     store.put(key, entry.clone()).await.unwrap();
/// }
/// assert!(store.get("a").await.unwrap().is_none());
/// assert!(store.get("c").await.unwrap().is_some());
/// # }).unwrap();
/// ```
#[async_trait]
pub trait CacheStore: fmt::Debug + Send + Sync {
    /// The answer with this key.
    async fn get(&self, key: &str) -> Result<Option<CacheEntry>>;
    /// Keeps an answer, in place of an older one.
    async fn put(&self, key: &str, entry: CacheEntry) -> Result<()>;
    /// Forgets all.
    async fn clear(&self) -> Result<()>;
}

/// Keeps answers in memory. Clones share them.
#[derive(Clone)]
pub struct MemoryCache(Arc<Mutex<Lru>>);

struct Lru {
    max_entries: usize,
    max_bytes: usize,
    bytes: usize,
    tick: u64,
    entries: HashMap<String, (u64, CacheEntry)>,
    by_use: BTreeMap<u64, String>,
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lru = self.lru();
        f.debug_struct("MemoryCache").field("entries", &lru.entries.len()).field("bytes", &lru.bytes).finish()
    }
}

impl MemoryCache {
    /// Up to `max_entries` answers and 64 MiB.
    pub fn new(max_entries: usize) -> Self {
        Self(Arc::new(Mutex::new(Lru {
            max_entries,
            max_bytes: 64 << 20,
            bytes: 0,
            tick: 0,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
        })))
    }

    /// Sets the most bytes; a larger answer is not kept.
    pub fn with_max_bytes(self, bytes: usize) -> Self {
        self.lru().max_bytes = bytes;
        self
    }

    /// How many answers it has.
    pub fn len(&self) -> usize {
        self.lru().entries.len()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lru(&self) -> MutexGuard<'_, Lru> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lru {
    fn remove(&mut self, key: &str) {
        if let Some((tick, entry)) = self.entries.remove(key) {
            self.by_use.remove(&tick);
            self.bytes -= entry.value.len() + key.len();
        }
    }

    fn use_now(&mut self, key: &str) -> Option<CacheEntry> {
        let (tick, entry) = self.entries.get_mut(key)?;
        self.tick += 1;
        if let Some(name) = self.by_use.remove(tick) {
            self.by_use.insert(self.tick, name);
        }
        *tick = self.tick;
        Some(entry.clone())
    }
}

#[async_trait]
impl CacheStore for MemoryCache {
    async fn get(&self, key: &str) -> Result<Option<CacheEntry>> {
        Ok(self.lru().use_now(key))
    }

    async fn put(&self, key: &str, entry: CacheEntry) -> Result<()> {
        let mut lru = self.lru();
        lru.remove(key);
        let size = entry.value.len() + key.len();
        if size > lru.max_bytes || lru.max_entries == 0 {
            return Ok(());
        }
        while lru.entries.len() >= lru.max_entries || lru.bytes + size > lru.max_bytes {
            let Some((_, oldest)) = lru.by_use.pop_first() else { break };
            lru.remove(&oldest);
        }
        lru.tick += 1;
        let tick = lru.tick;
        lru.bytes += size;
        lru.by_use.insert(tick, key.to_owned());
        lru.entries.insert(key.to_owned(), (tick, entry));
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        let mut lru = self.lru();
        lru.entries.clear();
        lru.by_use.clear();
        lru.bytes = 0;
        Ok(())
    }
}
