//! Rerankers: a query and documents to better scores.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::document::{Document, Scored};
use crate::error::Result;
use crate::layer::Layer;

/// One call of a reranker.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RerankRequest {
    /// What is searched for.
    pub query: String,
    /// The candidates.
    pub documents: Vec<Document>,
    /// Only the best k; all if unset.
    pub top_k: Option<usize>,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl RerankRequest {
    /// Ranks all documents.
    pub fn new(query: impl Into<String>, documents: Vec<Document>) -> Self {
        Self { query: query.into(), documents, ..Self::default() }
    }

    /// Only the best k.
    pub fn with_top_k(mut self, top_k: usize) -> Self {
        self.top_k = Some(top_k);
        self
    }

    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// Orders documents by how well they answer a query.
///
/// # Contract
/// - `best_first`: scores fall, and each document is one of the request's, at most once.
/// - `top_k_is_kept`: never more than asked for.
/// - `no_documents_no_result`: an empty request gives an empty result.
#[async_trait]
pub trait Reranker: fmt::Debug + Send + Sync {
    /// The documents with new scores, best first.
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>>;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Reranker + ?Sized> Reranker for Arc<R> {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        (**self).rerank(request).await
    }
}

/// Conveniences of every [`Reranker`].
pub trait RerankerExt: Reranker {
    /// Wraps the reranker in a layer.
    fn layer<L: Layer<dyn Reranker>>(self, layer: L) -> Arc<dyn Reranker>
    where
        Self: Sized + 'static,
    {
        layer.layer(Arc::new(self))
    }
}

impl<R: Reranker + ?Sized> RerankerExt for R {}
