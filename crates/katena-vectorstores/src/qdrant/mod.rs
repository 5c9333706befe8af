//! A Qdrant server over gRPC.

mod collection;
mod error;
mod facts;
mod options;
mod point;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use katena_core::{
    CountRequest, DeleteRequest, Document, Error, GetRequest, Metric, Record, RecordStore, Result, Scored,
    Selector, StoreCapabilities, StoreInfo, UpsertRequest, VectorQuery, VectorStore,
};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    CountPointsBuilder, GetPointsBuilder, PointStruct, QueryPointsBuilder, SearchParamsBuilder,
    UpsertPointsBuilder, VectorInput,
};

use self::collection::found;
use self::error::error;
use self::facts::Narrowed;
pub use self::options::{QdrantOptions, QdrantSearch};
use self::point::{DENSE, WORDS, point, point_id};
use crate::bounded::{bounded, runtime};
use crate::check::{self, Wanted};

/// Points per request, and about how many bytes; the server takes 32 MiB.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 8 << 20;

/// Keeps records in a Qdrant server (1.10 or newer), over gRPC: search by vector, BM25 by words (sparse vectors, so that
/// the average length of texts is a constant), filters on the server as far as it can tell what ours mean and on this
/// side for the rest.
///
/// Each namespace is a collection of its own, made by the first upsert and removed by `Selector::All`. An empty one that
/// gets vectors of another length is made anew; a writer of the old length at the same moment loses.
///
/// ```no_run
/// use katena_core::{VectorQuery, VectorStore};
/// use katena_vectorstores::{QdrantOptions, QdrantStore};
///
/// # async fn example(key: String) -> katena_core::Result<()> {
/// let local = QdrantStore::connect("http://localhost:6334").await?;
/// let cloud = QdrantOptions::new("https://xyz.example.com:6334").with_collection("docs").with_api_key(key);
/// let cloud = QdrantStore::connect_with(cloud).await?;
/// for hit in cloud.search(&VectorQuery::lexical("honey", 3)).await? {
///     assert!(hit.score > 0.0);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct QdrantStore {
    info: Arc<StoreInfo>,
    client: Qdrant,
    address: String,
    collection: String,
    search: QdrantSearch,
    /// Length of the vectors by collection, as last seen.
    dimensions: Arc<Mutex<HashMap<String, usize>>>,
}

impl fmt::Debug for QdrantStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QdrantStore")
            .field("server", &self.address)
            .field("collection", &self.collection)
            .finish_non_exhaustive()
    }
}

impl QdrantStore {
    /// Connects to the server's gRPC port; see [`QdrantOptions::new`] for the URL.
    ///
    /// # Errors
    /// `Config` for a URL that can't be used, `Unavailable` if nobody answers.
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::connect_with(QdrantOptions::new(url)).await
    }

    /// As [`connect`](QdrantStore::connect), with a key, another collection, metric or way to search.
    ///
    /// # Errors
    /// As [`connect`](QdrantStore::connect); `Unauthenticated`.
    pub async fn connect_with(options: QdrantOptions) -> Result<Self> {
        runtime()?;
        let (client, address, collection) = options.open()?;
        // Also tells a wrong key, which a health check does not.
        client.collection_exists(collection.as_str()).await.map_err(error)?;
        let capabilities = StoreCapabilities::none().with_lexical().with_durable();
        let info = StoreInfo::new("qdrant", options.metric).with_capabilities(capabilities);
        Ok(Self {
            info: Arc::new(info),
            client,
            address,
            collection,
            search: options.search,
            dimensions: Arc::default(),
        })
    }

    async fn write(&self, collection: &str, dimensions: usize, points: Vec<PointStruct>) -> Result<()> {
        // Somebody may remove the collection in between.
        for _ in 0..3 {
            self.claim(collection, dimensions).await?;
            let request = UpsertPointsBuilder::new(collection, points.clone()).wait(true);
            match self.client.upsert_points(request).await {
                Ok(_) => return Ok(()),
                Err(e) if error::code(&e) == Some(error::NOT_FOUND) => self.forget(collection),
                Err(e) => return Err(error(e)),
            }
        }
        Err(Error::unexpected("the collection is removed again and again").with_vendor("qdrant"))
    }

    async fn find(&self, query: &VectorQuery, wanted: Wanted<'_>) -> Result<Vec<Scored<Document>>> {
        let collection = self.name_of(&query.namespace);
        let (input, using) = match wanted {
            Wanted::Nearest(vector) => {
                let Some(dimensions) = self.dimensions_of(&collection).await? else { return Ok(Vec::new()) };
                check::same_length(dimensions, vector.len())?;
                (VectorInput::from(vector.to_vec()), DENSE)
            }
            Wanted::Words(text) => (VectorInput::from(&point::query(text)[..]), WORDS),
        };
        if using == WORDS && point::query(query.text.as_deref().unwrap_or_default()).is_empty() {
            return Ok(Vec::new());
        }
        let narrowed = Narrowed::new(query.filter.as_ref());
        // What the server can't tell is told here, so more is asked for until enough of it fits.
        let mut limit = if narrowed.exact { query.top_k } else { query.top_k.saturating_mul(4).max(64) };
        loop {
            let mut request = QueryPointsBuilder::new(&collection)
                .query(qdrant_client::qdrant::Query::new_nearest(input.clone()))
                .using(using)
                .limit(limit as u64)
                .params(SearchParamsBuilder::default().exact(self.search == QdrantSearch::Exact))
                .with_payload(point::only_document());
            if let Some(filter) = narrowed.filter() {
                request = request.filter(filter);
            }
            let Some(answer) = found(self.client.query(request).await)? else {
                self.forget(&collection);
                return Ok(Vec::new());
            };
            let all = answer.result.len() < limit;
            let mut fitting = Vec::new();
            for hit in answer.result {
                let flip = using == DENSE && self.info.metric == Metric::Euclidean;
                let score = if flip { -hit.score } else { hit.score };
                // A vector of length 0 has no angle; 0 is the score that it has in every store.
                let score = if score.is_nan() { 0.0 } else { score };
                let document = point::document(&hit.payload)?;
                let fits =
                    narrowed.exact || query.filter.as_ref().is_none_or(|f| f.matches(&document.metadata));
                if fits && query.min_score.is_none_or(|m| score >= m) {
                    fitting.push(Scored::new(document, score));
                }
            }
            if all || narrowed.exact || fitting.len() >= query.top_k {
                fitting.truncate(query.top_k);
                return Ok(fitting);
            }
            query.context.check()?;
            limit = limit.saturating_mul(4);
        }
    }
}

#[async_trait]
impl VectorStore for QdrantStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    /// None: a collection of vectors is no place for them.
    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        None
    }

    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        request.context.check()?;
        let Some(dimensions) = check::records(&request.records)? else { return Ok(()) };
        runtime()?;
        let collection = self.name_of(&request.namespace);
        // The last of equal ids wins.
        let records: BTreeMap<&str, &Record> =
            request.records.iter().map(|r| (r.document.id.as_str(), r)).collect();
        bounded(&request.context, async {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            for record in records.values() {
                bytes += 2 * record.document.text.len() + 4 * record.vector.len();
                batch.push(point(record)?);
                if batch.len() == BATCH || bytes > BATCH_BYTES {
                    self.write(&collection, dimensions, std::mem::take(&mut batch)).await?;
                    bytes = 0;
                }
            }
            if batch.is_empty() { Ok(()) } else { self.write(&collection, dimensions, batch).await }
        })
        .await
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        let wanted = check::query(query)?;
        if query.top_k == 0 {
            return Ok(Vec::new());
        }
        bounded(&query.context, self.find(query, wanted)).await
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        bounded(&request.context, async {
            let collection = self.name_of(&request.namespace);
            let mut records: HashMap<String, Record> = HashMap::new();
            for ids in request.ids.chunks(BATCH) {
                let ids: Vec<_> = ids.iter().map(|id| point_id(id)).collect();
                let request = GetPointsBuilder::new(&collection, ids).with_payload(true).with_vectors(true);
                let Some(answer) = found(self.client.get_points(request).await)? else {
                    return Ok(Vec::new());
                };
                for point in &answer.result {
                    let record = point::record(point, self.info.metric)?;
                    records.insert(record.document.id.clone(), record);
                }
            }
            Ok(request.ids.iter().filter_map(|id| records.get(id).cloned()).collect())
        })
        .await
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        bounded(&request.context, async {
            let collection = self.name_of(&request.namespace);
            match &request.selector {
                Selector::All => self.remove_all(&collection).await,
                Selector::Ids(ids) => {
                    let mut there = Vec::new();
                    for ids in ids.chunks(BATCH) {
                        let ids: Vec<_> = ids.iter().map(|id| point_id(id)).collect();
                        let request = GetPointsBuilder::new(&collection, ids).with_payload(false);
                        let Some(answer) = found(self.client.get_points(request).await)? else {
                            return Ok(0);
                        };
                        there.extend(answer.result.into_iter().filter_map(|p| p.id));
                    }
                    self.remove(&collection, there).await
                }
                Selector::Filter(filter) => {
                    let there = self.fitting(&collection, Some(filter)).await?;
                    self.remove(&collection, there).await
                }
                _ => Err(Error::unsupported("this way to select records")),
            }
        })
        .await
    }

    async fn count(&self, request: &CountRequest) -> Result<u64> {
        bounded(&request.context, async {
            let collection = self.name_of(&request.namespace);
            let narrowed = Narrowed::new(request.filter.as_ref());
            if !narrowed.exact {
                return Ok(self.fitting(&collection, request.filter.as_ref()).await?.len() as u64);
            }
            let mut count = CountPointsBuilder::new(&collection).exact(true);
            if let Some(filter) = narrowed.filter() {
                count = count.filter(filter);
            }
            let answer = found(self.client.count(count).await)?;
            Ok(answer.and_then(|a| a.result).map_or(0, |r| r.count))
        })
        .await
    }
}
