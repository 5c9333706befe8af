//! PostgreSQL with the pgvector extension.

mod filter;
mod records;
mod schema;
mod search;
mod text;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    CountRequest, DeleteRequest, Document, Error, GetRequest, Metric, Record, RecordStore, Result, Scored,
    StoreCapabilities, StoreInfo, UpsertRequest, VectorQuery, VectorStore,
};
use tokio_postgres::types::Type;

use self::filter::Values;
pub use self::records::PgRecords;
use self::schema::Tables;
use self::text::encode;
use crate::bounded::bounded;
use crate::check::{self, Wanted};
use katena_postgres::{Pool, error};

/// Where and how a [`PgVectorStore`] keeps its records.
#[derive(Clone)]
#[non_exhaustive]
pub struct PgOptions {
    url: String,
    collection: String,
    metric: Metric,
}

impl fmt::Debug for PgOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("collection", &self.collection)
            .field("metric", &self.metric)
            .finish_non_exhaustive()
    }
}

impl PgOptions {
    /// The database at `url` (`postgres://user:password@host:port/database`), collection `katena`, cosine.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), collection: "katena".into(), metric: Metric::Cosine }
    }

    /// Sets the collection, 1 to 48 bytes: its tables' names begin with it.
    pub fn with_collection(mut self, collection: impl Into<String>) -> Self {
        self.collection = collection.into();
        self
    }

    /// Sets how vectors are compared.
    pub fn with_metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }
}

/// Keeps records in PostgreSQL with the pgvector extension: exact search by vector, BM25 by words (lower case, English
/// endings removed), filters in SQL.
///
/// Each collection has tables of its own in the connection's current schema. Up to eight connections are made when they
/// are needed; after a server's restart calls that were under way fail as `Unavailable`, later ones connect again.
///
/// Connections are not encrypted: a URL that leaves the machine is refused unless it says `sslmode=disable`.
///
/// ```no_run
/// use katena_core::{VectorQuery, VectorStore};
/// use katena_vectorstores::PgVectorStore;
///
/// # async fn example() -> katena_core::Result<()> {
/// let store = PgVectorStore::connect("postgres://me@localhost/docs").await?;
/// for hit in store.search(&VectorQuery::lexical("honey", 3)).await? {
///     assert!(hit.score > 0.0);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PgVectorStore {
    info: Arc<StoreInfo>,
    pool: Pool,
    tables: Tables,
}

impl fmt::Debug for PgVectorStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgVectorStore")
            .field("server", &self.pool)
            .field("collection", &self.tables.collection())
            .finish_non_exhaustive()
    }
}

impl PgVectorStore {
    /// Connects, and makes the tables of the collection `katena` if they are missing.
    ///
    /// # Errors
    /// `Config` for a URL that can't be read, `Unsupported` for one that needs TLS or a newer Katena's tables,
    /// `Unauthenticated`, `PermissionDenied`, `NotFound` (no such database), `Unavailable`.
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        Self::connect_with(PgOptions::new(url)).await
    }

    /// As [`connect`](PgVectorStore::connect), with another collection or metric.
    ///
    /// # Errors
    /// As [`connect`](PgVectorStore::connect).
    pub async fn connect_with(options: PgOptions) -> Result<Self> {
        let tables = Tables::new(&options.collection)?;
        let pool = Pool::new(&options.url)?;
        tables.create(&mut pool.get().await?).await?;
        let capabilities = StoreCapabilities::none().with_lexical().with_durable();
        let info = StoreInfo::new("pgvector", options.metric).with_capabilities(capabilities);
        Ok(Self { info: Arc::new(info), pool, tables })
    }

    /// The ingestion's records, in the same database.
    pub fn records(&self) -> PgRecords {
        PgRecords::new(self.pool.clone(), self.tables.clone())
    }
}

fn document(json: &str) -> Result<Document> {
    serde_json::from_str(json)
        .map_err(|e| Error::invalid_output("a stored document can't be read").with_source(e))
}

#[async_trait]
impl VectorStore for PgVectorStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        Some(Arc::new(PgVectorStore::records(self)))
    }

    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        request.context.check()?;
        let Some(dimensions) = check::records(&request.records)? else { return Ok(()) };
        let UpsertRequest { records, namespace, context, .. } = request;
        bounded(&context, write::upsert(&self.pool, &self.tables, &namespace, dimensions, records)).await
    }

    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        match check::query(query)? {
            Wanted::Nearest(vector) => bounded(&query.context, self.nearest(query, vector)).await,
            Wanted::Words(text) => bounded(&query.context, self.words(query, text)).await,
        }
    }

    async fn get(&self, request: &GetRequest) -> Result<Vec<Record>> {
        let sql = format!(
            "SELECT id, document, vector::real[] FROM {} WHERE namespace = $1 AND id = ANY($2)",
            self.tables.records
        );
        let ids: Vec<String> = request.ids.iter().map(|id| encode(id).into_owned()).collect();
        bounded(&request.context, async {
            let client = self.pool.get().await?;
            let namespace = encode(&request.namespace);
            let rows = client
                .query_typed(&sql, &[(&namespace, Type::TEXT), (&ids, Type::TEXT_ARRAY)])
                .await
                .map_err(|e| error(&e))?;
            let found: HashMap<&str, _> = rows.iter().map(|r| (r.get(0), r)).collect();
            let rows = ids.iter().filter_map(|id| found.get(id.as_str()));
            rows.map(|r| Ok(Record::new(document(r.get(1))?, r.get(2)))).collect()
        })
        .await
    }

    async fn delete(&self, request: &DeleteRequest) -> Result<u64> {
        let mut values = Values::default();
        let condition = write::selected(&request.selector, &request.namespace, &mut values)?;
        let sql = format!("DELETE FROM {} WHERE {condition}", self.tables.records);
        bounded(&request.context, async {
            let client = self.pool.get().await?;
            client.execute_typed(&sql, &search::bound(&values)).await.map_err(|e| error(&e))
        })
        .await
    }

    async fn count(&self, request: &CountRequest) -> Result<u64> {
        let mut values = Values::default();
        let mut sql = format!("SELECT count(*) FROM {} WHERE namespace = ", self.tables.records);
        sql += &values.bind(encode(&request.namespace));
        if let Some(filter) = &request.filter {
            sql = format!("{sql} AND {}", filter::condition(filter, &mut values)?);
        }
        bounded(&request.context, async {
            let client = self.pool.get().await?;
            let rows = client.query_typed(&sql, &search::bound(&values)).await.map_err(|e| error(&e))?;
            Ok(rows.first().map_or(0, |r| r.get::<_, i64>(0)).unsigned_abs())
        })
        .await
    }
}
