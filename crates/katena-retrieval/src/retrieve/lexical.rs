//! Search by words.

use async_trait::async_trait;
use katena_core::{Document, Query, Result, Retriever, Scored, VectorQuery};

use super::{DEFAULT_TOP_K, check};
use crate::index::VectorIndex;

/// Finds the chunks that share the question's words, rare ones first. Scores are the store's (usually BM25, above 0).
#[derive(Debug, Clone)]
pub struct LexicalRetriever {
    index: VectorIndex,
    top_k: usize,
}

impl LexicalRetriever {
    /// A retriever over `index` that gives 4 passages.
    pub fn new(index: VectorIndex) -> Self {
        Self { index, top_k: DEFAULT_TOP_K }
    }

    /// Gives at most so many passages, 1 and up.
    pub fn top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k;
        self
    }

    /// The same as [`top_k`](LexicalRetriever::top_k).
    pub fn with_top_k(self, top_k: usize) -> Self {
        self.top_k(top_k)
    }
}

#[async_trait]
impl Retriever for LexicalRetriever {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        check(query)?;
        let mut search = VectorQuery::lexical(&query.text, query.top_k.unwrap_or(self.top_k))
            .with_namespace(&self.index.namespace)
            .with_context(query.context.clone());
        search.filter.clone_from(&query.filter);
        self.index.store.search(&search).await
    }
}
