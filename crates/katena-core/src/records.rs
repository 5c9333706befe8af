//! The record store: what is in an index, so that ingesting again does only what is new.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// What is in the index of one source (a file, a page's address): its content's hash and its chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceRecord {
    /// The scope that a mirror call names; deletions stay inside one.
    pub scope: String,
    /// The source's address.
    pub uri: String,
    /// Hash of the source's documents and of the splitter that cut them.
    pub hash: String,
    /// Ids of its chunks in the store, in order. Of a source that is not complete: every id that may be there.
    pub chunks: Vec<String>,
    /// True once the store has confirmed every chunk; false from before the first write.
    pub complete: bool,
}

impl SourceRecord {
    /// A record that is not complete yet.
    pub fn new(
        scope: impl Into<String>,
        uri: impl Into<String>,
        hash: impl Into<String>,
        chunks: Vec<String>,
    ) -> Self {
        Self { scope: scope.into(), uri: uri.into(), hash: hash.into(), chunks, complete: false }
    }

    /// The same, complete.
    pub fn with_complete(mut self) -> Self {
        self.complete = true;
        self
    }
}

/// Keeps [`SourceRecord`]s by namespace and address, and a few named facts about each namespace (which embedder made it).
///
/// # Contract
/// - `put_then_get`: a record comes back as it went in; one of the same namespace and uri replaces it.
/// - `remove_is_final`: removed is gone; removing what is not there is no error.
/// - `uris_by_scope`: lists exactly the scope's addresses, sorted.
/// - `namespaces_are_apart`: records and facts of one are not seen in another.
/// - `facts_are_kept`: a set fact comes back; unset is `None`.
/// - `clear_forgets_all`: records and facts of that namespace only.
#[async_trait]
pub trait RecordStore: fmt::Debug + Send + Sync {
    /// The record of one source.
    async fn get(&self, namespace: &str, uri: &str) -> Result<Option<SourceRecord>>;

    /// Writes a record; returns once it is kept.
    async fn put(&self, namespace: &str, record: SourceRecord) -> Result<()>;

    /// Removes the record of one source.
    async fn remove(&self, namespace: &str, uri: &str) -> Result<()>;

    /// The addresses of a scope, sorted; of all scopes with `None`.
    async fn uris(&self, namespace: &str, scope: Option<&str>) -> Result<Vec<String>>;

    /// A named fact.
    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>>;

    /// Sets a named fact.
    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()>;

    /// Forgets everything of a namespace.
    async fn clear(&self, namespace: &str) -> Result<()>;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: RecordStore + ?Sized> RecordStore for Arc<R> {
    async fn get(&self, namespace: &str, uri: &str) -> Result<Option<SourceRecord>> {
        (**self).get(namespace, uri).await
    }
    async fn put(&self, namespace: &str, record: SourceRecord) -> Result<()> {
        (**self).put(namespace, record).await
    }
    async fn remove(&self, namespace: &str, uri: &str) -> Result<()> {
        (**self).remove(namespace, uri).await
    }
    async fn uris(&self, namespace: &str, scope: Option<&str>) -> Result<Vec<String>> {
        (**self).uris(namespace, scope).await
    }
    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        (**self).fact(namespace, name).await
    }
    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        (**self).set_fact(namespace, name, value).await
    }
    async fn clear(&self, namespace: &str) -> Result<()> {
        (**self).clear(namespace).await
    }
}
