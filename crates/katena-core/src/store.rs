//! Vector stores: records in, scored documents out.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::document::{Document, Scored};
use crate::error::Result;
use crate::filter::Filter;
use crate::layer::Layer;
use crate::records::RecordStore;

/// How two vectors are compared. Scores are "higher is better".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Metric {
    /// Cosine of the angle, −1 to 1.
    #[default]
    Cosine,
    /// Inner product, unbounded.
    Dot,
    /// Negative Euclidean distance, −∞ to 0.
    Euclidean,
}

/// A document with its vector, as a store keeps it. The document's id is the record's.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The document; its id must not be empty.
    pub document: Document,
    /// Its vector.
    pub vector: Vec<f32>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("document", &self.document)
            .field("dimensions", &self.vector.len())
            .finish()
    }
}

impl Record {
    /// A record.
    pub fn new(document: Document, vector: Vec<f32>) -> Self {
        Self { document, vector }
    }
}

/// Writes records; one with a known id replaces the old one.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct UpsertRequest {
    /// The records. If an id stands twice, the last one counts.
    pub records: Vec<Record>,
    /// Namespace; the empty one is the default.
    pub namespace: String,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

/// Which records.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Selector {
    /// Those with these ids; unknown ids are no error.
    Ids(Vec<String>),
    /// Those that the filter fits.
    Filter(Filter),
    /// All of the namespace.
    All,
}

/// Searches by vector, by text, or both where the store can.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct VectorQuery {
    /// Nearest to this vector.
    pub vector: Option<Vec<f32>>,
    /// Best match of these words (needs [`StoreCapabilities::lexical`]).
    pub text: Option<String>,
    /// At most so many, 1 and up.
    pub top_k: usize,
    /// Only documents that it fits; applied inside the search, so that `top_k` results come if there are so many.
    pub filter: Option<Filter>,
    /// Only scores of at least this.
    pub min_score: Option<f32>,
    /// Namespace; the empty one is the default.
    pub namespace: String,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl fmt::Debug for VectorQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorQuery")
            .field("dimensions", &self.vector.as_ref().map(Vec::len))
            .field("text", &self.text.is_some())
            .field("top_k", &self.top_k)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl VectorQuery {
    /// The `top_k` nearest to a vector.
    pub fn nearest(vector: Vec<f32>, top_k: usize) -> Self {
        Self { vector: Some(vector), top_k, ..Self::default() }
    }
    /// The `top_k` best matches of words.
    pub fn lexical(text: impl Into<String>, top_k: usize) -> Self {
        Self { text: Some(text.into()), top_k, ..Self::default() }
    }
    /// Only documents that the filter fits.
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }
    /// Only scores of at least this.
    pub fn with_min_score(mut self, score: f32) -> Self {
        self.min_score = Some(score);
        self
    }
    /// Sets the namespace.
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }
    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// Reads records by id.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct GetRequest {
    /// The ids.
    pub ids: Vec<String>,
    /// Namespace; the empty one is the default.
    pub namespace: String,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

/// Deletes records.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeleteRequest {
    /// Which.
    pub selector: Selector,
    /// Namespace; the empty one is the default.
    pub namespace: String,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

/// Counts records.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CountRequest {
    /// Only those that it fits; all if unset.
    pub filter: Option<Filter>,
    /// Namespace; the empty one is the default.
    pub namespace: String,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

macro_rules! request {
    ($($name:ident),*) => {$(
        impl $name {
            /// Sets the namespace.
            pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
                self.namespace = namespace.into();
                self
            }
            /// Sets labels, deadline and cancel signal.
            pub fn with_context(mut self, context: Context) -> Self {
                self.context = context;
                self
            }
        }
    )*};
}
request!(UpsertRequest, GetRequest, DeleteRequest, CountRequest);

impl UpsertRequest {
    /// Writes these records.
    pub fn new(records: Vec<Record>) -> Self {
        Self { records, ..Self::default() }
    }
}
impl GetRequest {
    /// Reads these ids.
    pub fn new<S: Into<String>>(ids: impl IntoIterator<Item = S>) -> Self {
        Self { ids: ids.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}
impl DeleteRequest {
    /// Deletes what the selector names.
    pub fn new(selector: Selector) -> Self {
        Self { selector, namespace: String::new(), context: Context::default() }
    }
    /// Deletes by id.
    pub fn ids<S: Into<String>>(ids: impl IntoIterator<Item = S>) -> Self {
        Self::new(Selector::Ids(ids.into_iter().map(Into::into).collect()))
    }
}
impl CountRequest {
    /// Counts all.
    pub fn new() -> Self {
        Self::default()
    }
    /// Counts those that the filter fits.
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }
}

/// What a store can do beyond the contract's core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCapabilities {
    /// Search by words ([`VectorQuery::text`] alone), best match first.
    pub lexical: bool,
    /// What is written survives the process.
    pub durable: bool,
}

impl StoreCapabilities {
    /// Nothing beyond the core.
    pub fn none() -> Self {
        Self::default()
    }
    /// Sets search by words.
    pub fn with_lexical(mut self) -> Self {
        self.lexical = true;
        self
    }
    /// Sets durability.
    pub fn with_durable(mut self) -> Self {
        self.durable = true;
        self
    }
}

/// A store's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreInfo {
    /// The engine, such as `memory` or `pgvector`.
    pub engine: String,
    /// How vectors are compared.
    pub metric: Metric,
    /// What it can do.
    pub capabilities: StoreCapabilities,
}

impl StoreInfo {
    /// A store without extra abilities.
    pub fn new(engine: impl Into<String>, metric: Metric) -> Self {
        Self { engine: engine.into(), metric, capabilities: StoreCapabilities::default() }
    }
    /// Sets the abilities.
    pub fn with_capabilities(mut self, capabilities: StoreCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }
}

/// Keeps records and finds the nearest. Clones of a handle and several tasks may use it at once.
///
/// # Contract
/// - `starts_empty`: count 0, search and get give nothing, before any write.
/// - `upsert_then_get`: text, metadata, source and vector come back as they went in, in the order of the ids asked for.
/// - `get_skips_missing`: unknown ids are left out, no error.
/// - `upsert_is_idempotent`: the same records twice count once.
/// - `upsert_overwrites`: a known id gets the new text, metadata and vector; the old ones are not found any more.
/// - `last_of_equal_ids_wins`: within one request.
/// - `search_finds_the_nearest`: best first, scores as the metric defines them, within 1e-3 of exact search.
/// - `top_k_is_kept`: never more than asked for; fewer only if there are fewer.
/// - `min_score_cuts`: nothing below it.
/// - `filters_mean_the_same`: every filter gives exactly what [`Filter::matches`] says, inside the search.
/// - `hostile_filter_values_are_data`: quotes and wildcards in keys and values match literally.
/// - `delete_by_id`, `delete_by_filter`, `delete_all`: gone from get, search and count; unknown ids are no error.
/// - `namespaces_are_apart`: the same id in two namespaces is two records; searches and deletes stay inside.
/// - `wrong_dimensions_are_invalid`: another length than the namespace has is `InvalidInput`, and nothing is written.
/// - `delete_all_frees_the_dimension`: an emptied namespace takes vectors of another length.
/// - `not_finite_is_invalid`: NaN and infinities are `InvalidInput`, in records and queries.
/// - `empty_id_is_invalid`: `InvalidInput`.
/// - `query_needs_vector_or_text`: neither is `InvalidInput`; text without that capability is `Unsupported`.
/// - `large_batches_work`: 1,000 records in one request.
/// - `concurrent_writers_lose_nothing`: parallel upserts all arrive.
/// - `unicode_survives`: any id, text and metadata, emoji, quotes and newlines included.
/// - `lexical_finds_words`: with that capability, the document with the rare word comes first, filters hold, scores fall.
/// - `lexical_query_is_data`: with that capability, quotes, operators and emptiness in the text are no error.
/// - `cancelled_before_the_call`: a cancelled context is `Cancelled`.
#[async_trait]
pub trait VectorStore: fmt::Debug + Send + Sync {
    /// Engine, metric, abilities.
    fn info(&self) -> &StoreInfo;

    /// Writes records; returns once they are kept.
    async fn upsert(&self, request: UpsertRequest) -> Result<()>;

    /// The best matches, best first.
    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>>;

    /// Records by id, in the order asked for; unknown ids are left out.
    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>>;

    /// Deletes; returns how many there were.
    async fn delete(&self, request: &DeleteRequest) -> Result<u64>;

    /// Counts.
    async fn count(&self, request: &CountRequest) -> Result<u64>;

    /// The record store that lives beside the vectors and lasts as long as they do, where there is one.
    fn records(&self) -> Option<Arc<dyn RecordStore>>;
}

macro_rules! forward {
    ($($ptr:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<S: VectorStore + ?Sized> VectorStore for $ptr {
            fn info(&self) -> &StoreInfo {
                (**self).info()
            }
            async fn upsert(&self, request: UpsertRequest) -> Result<()> {
                (**self).upsert(request).await
            }
            async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
                (**self).search(query).await
            }
            async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
                (**self).get(request).await
            }
            async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
                (**self).delete(request).await
            }
            async fn count(&self, request: &CountRequest) -> Result<u64> {
                (**self).count(request).await
            }
            fn records(&self) -> Option<Arc<dyn RecordStore>> {
                (**self).records()
            }
        }
    )*};
}
forward!(Arc<S>, Box<S>);

/// Conveniences of every [`VectorStore`].
pub trait VectorStoreExt: VectorStore {
    /// Wraps the store in a layer.
    fn layer<L: Layer<dyn VectorStore>>(self, layer: L) -> Arc<dyn VectorStore>
    where
        Self: Sized + 'static,
    {
        layer.layer(Arc::new(self))
    }
}

impl<S: VectorStore + ?Sized> VectorStoreExt for S {}
