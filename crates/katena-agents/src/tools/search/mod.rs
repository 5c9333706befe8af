//! Search of the web.

mod engines;
mod wire;

use std::fmt::{self, Write as _};
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Context, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::quote;
pub use engines::{
    BraveSearch, DuckDuckGoSearch, ExaSearch, PerplexitySearch, SearxngSearch, SerpApiSearch, TavilySearch,
    WikipediaSearch,
};

/// What is searched for.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SearchQuery {
    /// Words or a question.
    pub text: String,
    /// The most hits.
    pub max_results: usize,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl fmt::Debug for SearchQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchQuery")
            .field("bytes", &self.text.len())
            .field("max_results", &self.max_results)
            .finish_non_exhaustive()
    }
}

impl SearchQuery {
    /// A search for at most 5 hits.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), max_results: 5, context: Context::new() }
    }

    /// Sets the most hits.
    pub fn with_max_results(mut self, results: usize) -> Self {
        self.max_results = results;
        self
    }

    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// One hit; all of it is data from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchHit {
    /// Its address, `http` or `https`.
    pub url: String,
    /// Its title.
    pub title: String,
    /// Some of its text, or a summary.
    pub snippet: String,
}

impl SearchHit {
    /// A hit.
    pub fn new(url: impl Into<String>, title: impl Into<String>, snippet: impl Into<String>) -> Self {
        Self { url: url.into(), title: title.into(), snippet: snippet.into() }
    }
}

/// Something that searches.
///
/// # Contract
/// - At most [`max_results`](SearchQuery::max_results) hits, best first; none is an empty list.
/// - A cancelled context is `Cancelled`.
#[async_trait]
pub trait SearchEngine: fmt::Debug + Send + Sync {
    /// The hits.
    async fn search(&self, query: &SearchQuery) -> Result<Vec<SearchHit>>;
}

#[async_trait]
impl<E: SearchEngine + ?Sized> SearchEngine for Arc<E> {
    async fn search(&self, query: &SearchQuery) -> Result<Vec<SearchHit>> {
        (**self).search(query).await
    }
}

/// Lets a model search by any [`SearchEngine`]: numbered hits, each with its title, address and quoted snippet.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::tools::{SearchEngine, SearchHit, SearchQuery, WebSearch};
/// use katena_core::{Result, Run, Tool, ToolCall};
/// #[derive(Debug)]
/// struct Own;
/// #[async_trait::async_trait]
/// impl SearchEngine for Own {
///     async fn search(&self, query: &SearchQuery) -> Result<Vec<SearchHit>> {
///         Ok(vec![SearchHit::new("https://example.com/tea", "Tea", format!("All about {}.", query.text))])
///     }
/// }
/// let call = ToolCall::new("1", "web_search", r#"{"query":"tea"}"#);
/// let output = WebSearch::new(Own).call(call, &Run::new()).await?;
/// assert_eq!(output.text(), "[1] Tea\nhttps://example.com/tea\n> All about tea.\n");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug)]
pub struct WebSearch {
    spec: ToolSpec,
    engine: Arc<dyn SearchEngine>,
    max_results: usize,
    max_snippet: usize,
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// What to search for.
    query: String,
    /// How many hits at most.
    #[serde(default)]
    #[schemars(range(min = 1))]
    max_results: Option<usize>,
}

impl WebSearch {
    /// A tool named `web_search`: at most 5 hits with 1000 bytes of snippet each, unless set otherwise.
    pub fn new(engine: impl SearchEngine + 'static) -> Self {
        Self {
            spec: ToolSpec::of::<Args>("web_search", "Searches the web: titles, addresses and snippets."),
            engine: Arc::new(engine),
            max_results: 5,
            max_snippet: 1000,
        }
    }

    /// Sets name and description, where a model has several.
    pub fn with_name(mut self, name: &str, description: &str) -> Self {
        self.spec = ToolSpec::of::<Args>(name, description);
        self
    }

    /// Sets the most hits; the model may ask for fewer.
    pub fn with_max_results(mut self, results: usize) -> Self {
        self.max_results = results.max(1);
        self
    }

    /// Sets the most bytes of one snippet.
    pub fn with_max_snippet(mut self, bytes: usize) -> Self {
        self.max_snippet = bytes;
        self
    }
}

#[async_trait]
impl Tool for WebSearch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        run.context().check()?;
        let text = super::checked(&args.query, super::MAX_QUERY, &self.spec.name)?;
        let most = args.max_results.unwrap_or(self.max_results).clamp(1, self.max_results);
        let query = SearchQuery::new(text).with_max_results(most).with_context(run.context().clone());
        let hits = self.engine.search(&query).await?;
        if hits.is_empty() {
            return Ok("Nothing was found.".into());
        }
        let mut out = String::new();
        for (n, hit) in hits.iter().take(most).enumerate() {
            let (title, url) = (quote::line(&hit.title, 300), quote::line(&hit.url, 2000));
            let _ = writeln!(out, "[{}] {title}\n{url}", n + 1);
            quote::block(&mut out, quote::cut(&hit.snippet, self.max_snippet));
        }
        Ok(out.into())
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
