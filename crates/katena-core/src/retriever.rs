//! Retrievers: a question to passages.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::document::{Document, Scored};
use crate::error::Result;
use crate::filter::Filter;
use crate::layer::Layer;

/// What is looked for.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Query {
    /// The question or words.
    pub text: String,
    /// At most so many passages; the retriever's own setting if unset.
    pub top_k: Option<usize>,
    /// Only documents that it fits.
    pub filter: Option<Filter>,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("bytes", &self.text.len())
            .field("top_k", &self.top_k)
            .finish_non_exhaustive()
    }
}

impl Query {
    /// A query with the retriever's own settings.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
    /// Sets the most passages.
    pub fn with_top_k(mut self, top_k: usize) -> Self {
        self.top_k = Some(top_k);
        self
    }
    /// Sets the filter.
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }
    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

impl<S: Into<String>> From<S> for Query {
    fn from(text: S) -> Self {
        Self::new(text)
    }
}

/// Finds passages for a query.
///
/// # Contract
/// - `best_first`: scores fall.
/// - `top_k_is_kept`: of the retriever and of the call, which wins.
/// - `filter_holds`: nothing that the filter does not fit.
/// - `sources_are_named`: each passage has an id and a source.
/// - `same_query_same_result`: asking twice gives the same.
/// - `empty_query_is_invalid`: no words at all are `InvalidInput`.
/// - `cancelled_before_the_call`: a cancelled context is `Cancelled`.
#[async_trait]
pub trait Retriever: fmt::Debug + Send + Sync {
    /// The passages, best first.
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>>;
}

macro_rules! forward {
    ($($ptr:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<R: Retriever + ?Sized> Retriever for $ptr {
            async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
                (**self).retrieve(query).await
            }
        }
    )*};
}
forward!(Arc<R>, Box<R>);

/// Conveniences of every [`Retriever`].
pub trait RetrieverExt: Retriever {
    /// Wraps the retriever in a layer.
    fn layer<L: Layer<dyn Retriever>>(self, layer: L) -> Arc<dyn Retriever>
    where
        Self: Sized + 'static,
    {
        layer.layer(Arc::new(self))
    }
}

impl<R: Retriever + ?Sized> RetrieverExt for R {}
