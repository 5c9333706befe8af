//! Indexes and retrievers for Katena: ingestion with a record of what is in, dense, lexical and fused search.
//!
//! A [`VectorIndex`] joins a store, an embedder and a record store. [`VectorIndex::ingest`] brings documents in and
//! does only what is new; [`VectorIndex::retriever`] finds passages.

mod answerable;
mod index;
mod ingest;
pub mod quality;
mod retrieve;

pub use answerable::{Answerability, Verdict};
pub use index::VectorIndex;
pub use ingest::{Ingest, IngestProgress, IngestReport, LongChunks, ProgressFn};
pub use retrieve::{DenseRetriever, Found, FusedHit, FusedRetriever, LexicalRetriever};
