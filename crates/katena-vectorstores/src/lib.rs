//! Vector stores for Katena: in memory, embedded in one file, PostgreSQL, Qdrant.
//!
//! | store | feature | where the data live | search by words |
//! |---|---|---|---|
//! | [`MemoryStore`] | always | this process | BM25 |
//! | `EmbeddedStore` | `embedded` (default) | one SQLite file | FTS5, BM25 |
//! | `PgVectorStore` | `pgvector` | PostgreSQL with pgvector | BM25 |
//! | `QdrantStore` | `qdrant` | a Qdrant server | BM25 by sparse vectors |
//!
//! All of them pass the same contract suite, so that one can stand in for another.
//!
//! ```
//! use katena_core::{Document, Record, Source, UpsertRequest, VectorQuery, VectorStore};
//! use katena_vectorstores::MemoryStore;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store = MemoryStore::new();
//! let document = Document::new("Bees make honey.", Source::new("bees.md")).with_id("b1");
//! store.upsert(UpsertRequest::new(vec![Record::new(document, vec![0.1, 0.9])])).await?;
//! let hits = store.search(&VectorQuery::nearest(vec![0.0, 1.0], 3)).await?;
//! assert_eq!(hits[0].item.id, "b1");
//! # Ok::<_, katena_core::Error>(()) }).unwrap();
//! ```

#[cfg(any(feature = "pgvector", feature = "qdrant"))]
mod bounded;
mod check;
#[cfg(feature = "embedded")]
mod embedded;
mod matrix;
mod memory;
#[cfg(feature = "pgvector")]
mod postgres;
#[cfg(feature = "qdrant")]
mod qdrant;
mod words;

#[cfg(feature = "embedded")]
pub use embedded::EmbeddedStore;
pub use memory::MemoryStore;
#[cfg(feature = "pgvector")]
pub use postgres::{PgOptions, PgRecords, PgVectorStore};
#[cfg(feature = "qdrant")]
pub use qdrant::{QdrantOptions, QdrantSearch, QdrantStore};
