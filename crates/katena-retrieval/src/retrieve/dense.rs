//! Search by vector.

use async_trait::async_trait;
use katena_core::{Document, EmbedderExt as _, Query, Result, Retriever, Scored, VectorQuery};

use super::{DEFAULT_TOP_K, check};
use crate::index::VectorIndex;

/// Finds the chunks whose vectors are nearest to the question's. Scores are the store's metric (cosine: −1 to 1).
#[derive(Debug, Clone)]
pub struct DenseRetriever {
    index: VectorIndex,
    top_k: usize,
    min_score: Option<f32>,
}

impl DenseRetriever {
    /// A retriever over `index` that gives 4 passages.
    pub fn new(index: VectorIndex) -> Self {
        Self { index, top_k: DEFAULT_TOP_K, min_score: None }
    }

    /// Gives at most so many passages, 1 and up.
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// The same as [`top_k`](DenseRetriever::top_k).
    pub fn with_top_k(self, top_k: usize) -> Self {
        self.top_k(top_k)
    }

    /// Gives only passages of at least this score.
    pub fn with_min_score(mut self, score: f32) -> Self {
        self.min_score = Some(score);
        self
    }
}

#[async_trait]
impl Retriever for DenseRetriever {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        check(query)?;
        let ((), vector) = futures_util::future::try_join(
            self.index.check_embedder(),
            self.index.embedder.embed_query(&query.text, &query.context),
        )
        .await?;
        let mut search = VectorQuery::nearest(vector, query.top_k.unwrap_or(self.top_k))
            .with_namespace(&self.index.namespace)
            .with_context(query.context.clone());
        search.filter.clone_from(&query.filter);
        search.min_score = self.min_score;
        self.index.store.search(&search).await
    }
}
