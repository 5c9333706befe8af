//! Answers in the shared SQLite file.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use katena_core::Result;
use katena_sqlite::{Database, Schema};
use rusqlite::{OptionalExtension as _, params};

use super::semantic::{SemanticStore, cosine};
use super::store::{CacheEntry, CacheStore};
use crate::wall::{from_millis, to_millis};

const CACHE: Schema = Schema::new(
    "cache",
    &["CREATE TABLE katena_cache (
           key TEXT PRIMARY KEY,
           value BLOB NOT NULL,
           stored INTEGER NOT NULL,
           expires INTEGER,
           used INTEGER NOT NULL
       ) WITHOUT ROWID;
       CREATE INDEX katena_cache_by_use ON katena_cache (used);"],
);

const SEMANTIC: Schema = Schema::new(
    "semantic cache",
    &["CREATE TABLE katena_semantic_cache (
           id INTEGER PRIMARY KEY,
           bucket TEXT NOT NULL,
           vector BLOB NOT NULL,
           value BLOB NOT NULL,
           stored INTEGER NOT NULL,
           expires INTEGER
       );
       CREATE INDEX katena_semantic_cache_by_bucket ON katena_semantic_cache (bucket);"],
);

/// How long ago a use must be before the next is written down: a write costs more than a read.
const USE_PRECISION_MS: i64 = 60_000;

/// Keeps answers in a SQLite file, which other Katena components and other processes may use as well. Requests are
/// stored as hashes only, answers as they are: protect the file as you do the answers.
///
/// ```
/// use katena_layers::{Cache, SqliteCache};
/// use katena_sqlite::Database;
/// # let dir = tempfile::tempdir().unwrap();
/// let database = Database::open(dir.path().join("app.katena"))?;
/// let cache = Cache::with_store(SqliteCache::new(database, 10_000)?);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct SqliteCache {
    database: Database,
    max_entries: usize,
}

impl fmt::Debug for SqliteCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCache").field("database", &self.database).finish_non_exhaustive()
    }
}

impl SqliteCache {
    /// Up to `max_entries` answers in this file; what was not used for the longest time (to a minute) goes first.
    ///
    /// # Errors
    /// Those of the file; kind `Unsupported` if a newer version wrote it.
    pub fn new(database: Database, max_entries: usize) -> Result<Self> {
        database.migrate(&CACHE)?;
        Ok(Self { database, max_entries })
    }
}

fn entry(value: Vec<u8>, stored: i64, expires: Option<i64>) -> CacheEntry {
    let mut entry = CacheEntry::new(value, from_millis(stored));
    entry.expires = expires.map(from_millis);
    entry
}

#[async_trait]
impl CacheStore for SqliteCache {
    async fn get(&self, key: &str) -> Result<Option<CacheEntry>> {
        let wanted = key.to_owned();
        let row = self
            .database
            .read(move |db| {
                let sql = "SELECT value, stored, expires, used FROM katena_cache WHERE key = ?1";
                let mut statement = db.prepare_cached(sql)?;
                let row = statement.query_row([wanted], |r| {
                    Ok((entry(r.get(0)?, r.get(1)?, r.get(2)?), r.get::<_, i64>(3)?))
                });
                Ok(row.optional()?)
            })
            .await?;
        let Some((entry, used)) = row else { return Ok(None) };
        let (now, key) = (to_millis(SystemTime::now()), key.to_owned());
        if now - used > USE_PRECISION_MS {
            let sql = "UPDATE katena_cache SET used = ?2 WHERE key = ?1";
            self.database.write(move |tx| Ok(tx.execute(sql, params![key, now])?)).await?;
        }
        Ok(Some(entry))
    }

    async fn put(&self, key: &str, entry: CacheEntry) -> Result<()> {
        let (key, limit) = (key.to_owned(), i64::try_from(self.max_entries).unwrap_or(i64::MAX));
        let (stored, expires) = (to_millis(entry.stored), entry.expires.map(to_millis));
        self.database
            .write(move |tx| {
                let sql = "INSERT OR REPLACE INTO katena_cache (key, value, stored, expires, used)
                           VALUES (?1, ?2, ?3, ?4, ?3)";
                tx.prepare_cached(sql)?.execute(params![key, &*entry.value, stored, expires])?;
                tx.prepare_cached("DELETE FROM katena_cache WHERE expires <= ?1")?.execute([stored])?;
                let count: i64 = tx.query_row("SELECT count(*) FROM katena_cache", [], |r| r.get(0))?;
                if count > limit {
                    let sql = "DELETE FROM katena_cache WHERE key IN
                               (SELECT key FROM katena_cache ORDER BY used LIMIT ?1)";
                    tx.prepare_cached(sql)?.execute([count - limit])?;
                }
                Ok(())
            })
            .await
    }

    async fn clear(&self) -> Result<()> {
        self.database.write(|tx| Ok(tx.execute("DELETE FROM katena_cache", []).map(|_| ())?)).await
    }
}

/// Keeps the answers of a [`SemanticCache`](super::SemanticCache) in a SQLite file. A question's bucket is searched
/// from end to end: good for some thousands of answers a bucket.
///
/// ```
/// use katena_core::fake::HashEmbedder;
/// use katena_layers::{SemanticCache, SqliteSemanticStore};
/// use katena_sqlite::Database;
/// # let dir = tempfile::tempdir().unwrap();
/// let database = Database::open(dir.path().join("app.katena"))?;
/// let store = SqliteSemanticStore::new(database, 10_000)?;
/// let cache = SemanticCache::new(HashEmbedder::new(64)).with_store(store);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct SqliteSemanticStore {
    database: Database,
    max_entries: usize,
}

impl fmt::Debug for SqliteSemanticStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSemanticStore").field("database", &self.database).finish_non_exhaustive()
    }
}

impl SqliteSemanticStore {
    /// Up to `max_entries` answers in this file; the oldest goes first.
    ///
    /// # Errors
    /// Those of the file; kind `Unsupported` if a newer version wrote it.
    pub fn new(database: Database, max_entries: usize) -> Result<Self> {
        database.migrate(&SEMANTIC)?;
        Ok(Self { database, max_entries })
    }
}

fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    let (fours, _) = bytes.as_chunks::<4>();
    fours.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[async_trait]
impl SemanticStore for SqliteSemanticStore {
    async fn nearest(
        &self,
        bucket: &str,
        vector: &[f32],
        now: SystemTime,
    ) -> Result<Option<(f32, CacheEntry)>> {
        let (bucket, vector, now) = (bucket.to_owned(), Arc::<[f32]>::from(vector), to_millis(now));
        self.database
            .read(move |db| {
                let sql = "SELECT id, vector FROM katena_semantic_cache
                           WHERE bucket = ?1 AND (expires IS NULL OR expires > ?2)";
                let mut statement = db.prepare_cached(sql)?;
                let mut rows = statement.query(params![bucket, now])?;
                let mut best: Option<(f32, i64)> = None;
                while let Some(row) = rows.next()? {
                    let score = cosine(&from_bytes(row.get_ref(1)?.as_blob().unwrap_or_default()), &vector);
                    if best.is_none_or(|(s, _)| score > s) {
                        best = Some((score, row.get(0)?));
                    }
                }
                let Some((score, id)) = best else { return Ok(None) };
                let sql = "SELECT value, stored, expires FROM katena_semantic_cache WHERE id = ?1";
                let found = db
                    .prepare_cached(sql)?
                    .query_row([id], |r| Ok(entry(r.get(0)?, r.get(1)?, r.get(2)?)))?;
                Ok(Some((score, found)))
            })
            .await
    }

    async fn put(&self, bucket: &str, vector: Vec<f32>, entry: CacheEntry) -> Result<()> {
        let (bucket, limit) = (bucket.to_owned(), i64::try_from(self.max_entries).unwrap_or(i64::MAX));
        let (stored, expires) = (to_millis(entry.stored), entry.expires.map(to_millis));
        self.database
            .write(move |tx| {
                let sql = "INSERT INTO katena_semantic_cache (bucket, vector, value, stored, expires)
                           VALUES (?1, ?2, ?3, ?4, ?5)";
                let vector = to_bytes(&vector);
                tx.prepare_cached(sql)?.execute(params![bucket, vector, &*entry.value, stored, expires])?;
                let count: i64 =
                    tx.query_row("SELECT count(*) FROM katena_semantic_cache", [], |r| r.get(0))?;
                if count > limit {
                    let sql = "DELETE FROM katena_semantic_cache WHERE id IN
                               (SELECT id FROM katena_semantic_cache ORDER BY id LIMIT ?1)";
                    tx.prepare_cached(sql)?.execute([count - limit])?;
                }
                Ok(())
            })
            .await
    }

    async fn clear(&self) -> Result<()> {
        self.database.write(|tx| Ok(tx.execute("DELETE FROM katena_semantic_cache", []).map(|_| ())?)).await
    }
}
