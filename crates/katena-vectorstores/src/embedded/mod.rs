//! The store in one SQLite file.

mod cache;
mod rows;
mod search;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use katena_core::{
    CountRequest, DeleteRequest, Document, Error, Filter, GetRequest, Metric, Record, RecordStore, Result,
    Scored, Selector, StoreCapabilities, StoreInfo, UpsertRequest, VectorQuery, VectorStore,
};
use katena_sqlite::rusqlite::{Connection, Transaction};
use katena_sqlite::{Database, DbResult, SqliteRecords};

use self::cache::Cache;
use self::rows::{Namespace, SCHEMA};
use crate::check::{self, Wanted};

/// Keeps records in one file, with no server: exact search by vector, BM25 by words (SQLite's FTS5, English endings
/// removed, accents ignored).
///
/// Once a call has returned, its records survive a killed process and a power cut; an upsert is written whole or not at
/// all. Several handles and several processes may use the file at once: readers go on, writers wait for each other.
///
/// The first search by vector in a namespace reads its vectors into memory: 4 bytes per dimension and 16 per vector
/// (1.5 KB each at 384 dimensions, 155 MB for 100,000). Only what has changed is read afterwards. Texts, metadata and
/// the index of words stay in the file.
///
/// Damage in the file is an error, never wrong data: each record carries a checksum. [`Database::check`] looks for damage
/// everywhere.
///
/// ```
/// use katena_core::{Document, Record, Source, UpsertRequest, VectorQuery, VectorStore};
/// use katena_vectorstores::EmbeddedStore;
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("docs.katena");
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = EmbeddedStore::open(&path)?;
/// let document = Document::new("Bees make honey.", Source::new("bees.md")).with_id("b1");
/// store.upsert(UpsertRequest::new(vec![Record::new(document, vec![0.1, 0.9])])).await?;
///
/// let again = EmbeddedStore::open(&path)?;
/// let hits = again.search(&VectorQuery::lexical("who makes honey?", 3)).await?;
/// assert_eq!(hits[0].item.source.uri, "bees.md");
/// # Ok::<_, katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct EmbeddedStore {
    info: Arc<StoreInfo>,
    database: Database,
    records: SqliteRecords,
    caches: Arc<Mutex<HashMap<String, Cache>>>,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.database.path()).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the file, or creates it; its folder must exist. Compares by cosine.
    ///
    /// # Errors
    /// Those of [`Database::open`]; `Unsupported` if a newer Katena wrote the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(Database::open(path)?)
    }

    /// The store in an open file, which it may share with other components.
    ///
    /// # Errors
    /// `Unsupported` if a newer Katena wrote the file.
    pub fn new(database: Database) -> Result<Self> {
        database.migrate(&SCHEMA)?;
        let records = SqliteRecords::new(database.clone())?;
        Ok(Self { info: Arc::new(describe(Metric::Cosine)), database, records, caches: Arc::default() })
    }

    /// Compares by `metric` from now on; the file keeps no metric.
    pub fn with_metric(mut self, metric: Metric) -> Self {
        self.info = Arc::new(describe(metric));
        self
    }

    /// The file, for components that live beside the vectors.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

fn describe(metric: Metric) -> StoreInfo {
    StoreInfo::new("embedded", metric)
        .with_capabilities(StoreCapabilities::none().with_lexical().with_durable())
}

#[async_trait]
impl VectorStore for EmbeddedStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        Some(Arc::new(self.records.clone()))
    }

    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        request.context.check()?;
        let Some(dimensions) = check::records(&request.records)? else { return Ok(()) };
        self.database
            .write(move |tx| {
                let namespace = Namespace::for_writing(tx, &request.namespace, dimensions)?;
                for record in &request.records {
                    namespace.replace(tx, record)?;
                }
                // The last moment at which nothing has happened yet.
                Ok(request.context.check()?)
            })
            .await
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        check::query(query)?;
        let (query, caches, metric) = (query.clone(), self.caches.clone(), self.info.metric);
        let cancel = query.context.cancel.clone();
        let found = self.database.read(move |db| match check::query(&query)? {
            Wanted::Nearest(vector) => search::nearest(db, &caches, metric, &query, vector),
            Wanted::Words(text) => search::words(db, &query, text),
        });
        cancel.guard(found).await
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        request.context.check()?;
        let (ids, name) = (request.ids.clone(), request.namespace.clone());
        let found = self.database.read(move |db| {
            let Some(namespace) = Namespace::find(db, &name)? else { return Ok(Vec::new()) };
            let mut records = Vec::new();
            for id in &ids {
                if let Some(key) = namespace.key_of(db, id)? {
                    records.push(Record::new(rows::document(db, key)?, rows::vector(db, key)?));
                }
            }
            Ok(records)
        });
        request.context.cancel.guard(found).await
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        request.context.check()?;
        let (selector, name) = (request.selector.clone(), request.namespace.clone());
        self.database
            .write(move |tx| {
                let Some(namespace) = Namespace::find(tx, &name)? else { return Ok(0) };
                delete(tx, &namespace, &selector)
            })
            .await
    }

    async fn count(&self, request: &CountRequest) -> Result<u64> {
        request.context.check()?;
        let (filter, name) = (request.filter.clone(), request.namespace.clone());
        let counted = self.database.read(move |db| {
            let Some(namespace) = Namespace::find(db, &name)? else { return Ok(0) };
            match filter {
                None => namespace.count(db),
                Some(filter) => Ok(fitting(db, &namespace, &filter)?.len() as u64),
            }
        });
        request.context.cancel.guard(counted).await
    }
}

fn delete(tx: &Transaction<'_>, namespace: &Namespace, selector: &Selector) -> DbResult<u64> {
    let keys = match selector {
        Selector::Ids(ids) => {
            let mut keys = Vec::new();
            for id in ids {
                keys.extend(namespace.key_of(tx, id)?);
            }
            keys.sort_unstable();
            keys.dedup();
            keys
        }
        Selector::Filter(filter) => fitting(tx, namespace, filter)?,
        Selector::All => return namespace.clear(tx),
        _ => return Err(Error::unsupported("this way to select records").into()),
    };
    for key in &keys {
        namespace.remove(tx, *key)?;
    }
    Ok(keys.len() as u64)
}

fn fitting(db: &Connection, namespace: &Namespace, filter: &Filter) -> DbResult<Vec<i64>> {
    let mut keys = Vec::new();
    let mut statement = db.prepare_cached("SELECT key, metadata FROM vector_records WHERE namespace = ?1")?;
    let mut rows = statement.query([namespace.id])?;
    while let Some(row) = rows.next()? {
        if filter.matches(&rows::metadata(row.get_ref(1)?)?) {
            keys.push(row.get(0)?);
        }
    }
    Ok(keys)
}
