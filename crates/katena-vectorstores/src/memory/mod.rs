//! The store that lives as long as the process.

mod lexical;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use katena_core::fake::InMemoryRecords;
use katena_core::{
    CountRequest, DeleteRequest, Document, Error, Filter, GetRequest, Metric, Record, RecordStore, Result,
    Scored, Selector, StoreCapabilities, StoreInfo, UpsertRequest, VectorQuery, VectorStore,
};

use self::lexical::Lexical;
use crate::check::{self, Wanted};
use crate::matrix::Matrix;

/// Keeps records in memory; exact search by vector, BM25 by words. Needs no runtime; a search runs on the caller's
/// thread (100,000 vectors of 384 dimensions take about 10 ms) on a snapshot that lets writers go on.
///
/// Memory: 4 bytes per dimension and vector, the documents, and about as much as their text for the words. Words are
/// compared in lower case without English endings; accents count.
///
/// Clones share the records.
#[derive(Clone)]
pub struct MemoryStore {
    info: Arc<StoreInfo>,
    spaces: Arc<RwLock<HashMap<String, Space>>>,
    records: Arc<InMemoryRecords>,
}

struct Space {
    keys: HashMap<String, i64>,
    matrix: Matrix<Arc<Document>>,
    lexical: Lexical,
    next_key: i64,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("namespaces", &self.read().len()).finish()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store that compares by cosine.
    pub fn new() -> Self {
        Self::with_metric(Metric::Cosine)
    }

    /// An empty store that compares by `metric`.
    pub fn with_metric(metric: Metric) -> Self {
        let capabilities = StoreCapabilities::none().with_lexical();
        let info = StoreInfo::new("memory", metric).with_capabilities(capabilities);
        Self { info: Arc::new(info), spaces: Arc::default(), records: Arc::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Space>> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Space>> {
        self.spaces.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn nearest(&self, query: &VectorQuery, vector: &[f32]) -> Result<Vec<Scored<Document>>> {
        let snapshot = match self.read().get(&query.namespace) {
            Some(space) => space.matrix.clone(),
            None => return Ok(Vec::new()),
        };
        check::same_length(snapshot.dimensions(), vector.len())?;
        let mut hits = snapshot.scores(self.info.metric, vector, query.min_score);
        let best = std::iter::from_fn(|| hits.pop());
        let found = best.filter_map(|hit| Some((snapshot.get(hit.key)?.0, hit.score)));
        Ok(take(query, found))
    }

    fn words(&self, query: &VectorQuery, text: &str) -> Vec<Scored<Document>> {
        let spaces = self.read();
        let Some(space) = spaces.get(&query.namespace) else { return Vec::new() };
        let mut hits = space.lexical.search(text);
        let best =
            std::iter::from_fn(|| hits.pop()).take_while(|h| query.min_score.is_none_or(|m| h.score >= m));
        let found = best.filter_map(|hit| Some((space.matrix.get(hit.key)?.0, hit.score)));
        take(query, found)
    }
}

fn take<'d>(
    query: &VectorQuery,
    found: impl Iterator<Item = (&'d Arc<Document>, f32)>,
) -> Vec<Scored<Document>> {
    let fits = |d: &Document| query.filter.as_ref().is_none_or(|f| f.matches(&d.metadata));
    let fitting = found.filter(|(document, _)| fits(document)).take(query.top_k);
    fitting.map(|(document, score)| Scored::new((**document).clone(), score)).collect()
}

impl Space {
    fn new(dimensions: usize) -> Self {
        Self {
            keys: HashMap::new(),
            matrix: Matrix::new(dimensions),
            lexical: Lexical::default(),
            next_key: 0,
        }
    }

    fn insert(&mut self, record: Record) {
        self.remove(&record.document.id);
        let key = self.next_key;
        self.next_key += 1;
        self.keys.insert(record.document.id.clone(), key);
        self.lexical.insert(key, &record.document.text);
        self.matrix.push(key, Arc::new(record.document), &record.vector);
    }

    fn remove(&mut self, id: &str) -> bool {
        let Some(key) = self.keys.remove(id) else { return false };
        if let Some(document) = self.matrix.remove(key) {
            self.lexical.remove(key, &document.text);
        }
        true
    }

    fn remove_many(&mut self, ids: &[String]) {
        let keys: HashSet<i64> = ids.iter().filter_map(|id| self.keys.remove(id)).collect();
        for key in &keys {
            if let Some((document, _)) = self.matrix.get(*key) {
                self.lexical.remove(*key, &document.text);
            }
        }
        self.matrix.retain(|key| !keys.contains(&key));
    }

    fn fitting<'s>(&'s self, filter: &'s Filter) -> impl Iterator<Item = &'s String> {
        let fits = |key: i64| self.matrix.get(key).is_some_and(|(d, _)| filter.matches(&d.metadata));
        self.keys.iter().filter(move |(_, key)| fits(**key)).map(|(id, _)| id)
    }
}

#[async_trait]
impl VectorStore for MemoryStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        Some(self.records.clone())
    }

    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        request.context.check()?;
        let Some(dimensions) = check::records(&request.records)? else { return Ok(()) };
        let mut spaces = self.write();
        let space = spaces.entry(request.namespace).or_insert_with(|| Space::new(dimensions));
        check::same_length(space.matrix.dimensions(), dimensions)?;
        request.records.into_iter().for_each(|record| space.insert(record));
        Ok(())
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        match check::query(query)? {
            Wanted::Nearest(vector) => self.nearest(query, vector),
            Wanted::Words(text) => Ok(self.words(query, text)),
        }
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        request.context.check()?;
        let spaces = self.read();
        let Some(space) = spaces.get(&request.namespace) else { return Ok(Vec::new()) };
        let found = request.ids.iter().filter_map(|id| space.matrix.get(*space.keys.get(id)?));
        Ok(found.map(|(document, vector)| Record::new((**document).clone(), vector.to_vec())).collect())
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        request.context.check()?;
        let mut spaces = self.write();
        let Some(space) = spaces.get_mut(&request.namespace) else { return Ok(0) };
        let before = space.matrix.len();
        match &request.selector {
            Selector::Ids(ids) => {
                for id in ids {
                    space.remove(id);
                }
            }
            Selector::Filter(filter) => {
                let ids: Vec<String> = space.fitting(filter).cloned().collect();
                space.remove_many(&ids);
            }
            Selector::All => {
                spaces.remove(&request.namespace);
                return Ok(before as u64);
            }
            _ => return Err(Error::unsupported("this way to select records")),
        }
        let after = space.matrix.len();
        // An empty namespace takes vectors of any length.
        if after == 0 {
            spaces.remove(&request.namespace);
        }
        Ok((before - after) as u64)
    }

    async fn count(&self, request: &CountRequest) -> Result<u64> {
        request.context.check()?;
        let spaces = self.read();
        let Some(space) = spaces.get(&request.namespace) else { return Ok(0) };
        Ok(match &request.filter {
            None => space.matrix.len() as u64,
            Some(filter) => space.fitting(filter).count() as u64,
        })
    }
}
