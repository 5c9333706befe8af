//! The engines: a row each over one shell.

use std::fmt;

use async_trait::async_trait;
use katena_core::{Error, ErrorKind, Result};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, Proxy, Secret};

use super::wire::{KeyIn, Wire};
use super::{SearchEngine, SearchHit, SearchQuery};

/// Sends what the wire says.
#[derive(Clone)]
struct Shell {
    wire: Wire,
    endpoint: Endpoint,
    key: Option<Secret>,
    client: HttpClient,
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("vendor", &self.wire.name())
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Search replies are small and quick.
fn options() -> HttpOptions {
    HttpOptions::new().with_timeout(std::time::Duration::from_secs(30)).with_max_body(4 << 20)
}

fn variable(name: &'static str, vendor: &'static str) -> Result<Secret> {
    let value = std::env::var(name).ok().map(Secret::new).filter(|v| !v.is_empty());
    value.ok_or_else(|| {
        Error::new(ErrorKind::Unauthenticated, format!("the variable {name} is not set")).with_vendor(vendor)
    })
}

impl Shell {
    fn new(wire: Wire, base: &str, key: Option<Secret>) -> Result<Self> {
        let endpoint = Endpoint::new(base)?.with_vendor(wire.name());
        Ok(Self { wire, endpoint, key, client: HttpClient::with_options(options()) })
    }

    /// With the usual proxy variables heeded.
    fn from_env(wire: Wire, base: &str, name: &'static str) -> Result<Self> {
        let shell = Self::new(wire, base, Some(variable(name, wire.name())?))?;
        Ok(Self { client: HttpClient::with_options(options().with_proxy(Proxy::FromEnv)), ..shell })
    }

    async fn search(&self, query: &SearchQuery) -> Result<Vec<SearchHit>> {
        query.context.check()?;
        if query.text.trim().is_empty() {
            return Err(Error::invalid_input("the search has no words"));
        }
        let call = self.wire.encode(query.text.trim(), query.max_results);
        let mut request = HttpRequest::new(call.method, &self.endpoint, call.path)?
            .with_header("accept", "application/json")
            .with_context(query.context.clone());
        for (name, value) in &call.query {
            request = request.with_query(name, value);
        }
        if let Some(body) = &call.body {
            request = request.with_json(body)?;
        }
        if let Some(key) = &self.key {
            request = match self.wire.key_in() {
                KeyIn::Header(name) => request.with_header(name, key.clone()),
                KeyIn::Bearer => request.with_header("authorization", format!("Bearer {}", key.expose())),
                KeyIn::Query(name) => request.with_query(name, key.expose()),
            };
        }
        let reply = self.client.send(request).await?;
        let value = reply.json()?;
        let base = self.endpoint.base().as_str();
        let mut hits = self.wire.decode(&value, base).ok_or_else(|| {
            reply.mark(Error::invalid_output("the search engine's reply is none of its protocol"))
        })?;
        hits.truncate(query.max_results);
        Ok(hits)
    }
}

macro_rules! engine {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(Shell);

        impl $name {
            /// Sets another address of the API, for a proxy or a test.
            ///
            /// # Errors
            /// Kind `Config` if it is no `http` or `https` address.
            pub fn with_base(mut self, base: impl AsRef<str>) -> Result<Self> {
                self.0.endpoint = self.0.endpoint.with_base(base)?;
                Ok(self)
            }

            /// Sets the HTTP client, with its times, sizes and proxy.
            pub fn with_client(mut self, client: HttpClient) -> Self {
                self.0.client = client;
                self
            }
        }

        #[async_trait]
        impl SearchEngine for $name {
            async fn search(&self, query: &SearchQuery) -> Result<Vec<SearchHit>> {
                self.0.search(query).await
            }
        }
    };
    ($(#[$doc:meta])* $name:ident, $wire:ident, $base:literal, $variable:literal) => {
        engine!($(#[$doc])* $name);

        impl $name {
            /// Searches with this key.
            ///
            /// # Errors
            /// None today.
            pub fn new(key: impl Into<Secret>) -> Result<Self> {
                Ok(Self(Shell::new(Wire::$wire, $base, Some(key.into()))?))
            }

            #[doc = concat!("Searches with the key in `", $variable, "`, through the proxy that the usual variables name.")]
            ///
            /// # Errors
            /// Kind `Unauthenticated` if the variable is not set.
            pub fn from_env() -> Result<Self> {
                Ok(Self(Shell::from_env(Wire::$wire, $base, $variable)?))
            }
        }
    };
}

engine!(
    /// [Brave's web search](https://api-dashboard.search.brave.com/app/documentation/web-search/get-started); at most 20 hits.
    ///
    /// ```
    /// use katena_agents::tools::{BraveSearch, WebSearch};
    /// let tool = WebSearch::new(BraveSearch::new("key")?);
    /// assert!(!format!("{tool:?}").contains("key\""));
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    BraveSearch, Brave, "https://api.search.brave.com", "BRAVE_SEARCH_API_KEY"
);
engine!(
    /// [Tavily's search](https://docs.tavily.com/documentation/api-reference/endpoint/search); at most 20 hits.
    ///
    /// ```
    /// use katena_agents::tools::{TavilySearch, WebSearch};
    /// let tool = WebSearch::new(TavilySearch::new("key")?);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    TavilySearch, Tavily, "https://api.tavily.com", "TAVILY_API_KEY"
);
engine!(
    /// Google's results by [SerpApi](https://serpapi.com/search-api).
    ///
    /// ```
    /// use katena_agents::tools::{SerpApiSearch, WebSearch};
    /// let tool = WebSearch::new(SerpApiSearch::new("key")?);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    SerpApiSearch, SerpApi, "https://serpapi.com", "SERPAPI_API_KEY"
);
engine!(
    /// [Exa's search](https://docs.exa.ai/reference/search) (formerly Metaphor).
    ///
    /// ```
    /// use katena_agents::tools::{ExaSearch, WebSearch};
    /// let tool = WebSearch::new(ExaSearch::new("key")?);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    ExaSearch, Exa, "https://api.exa.ai", "EXA_API_KEY"
);
engine!(
    /// [Perplexity's search](https://docs.perplexity.ai/api-reference/search-post); at most 20 hits.
    ///
    /// ```
    /// use katena_agents::tools::{PerplexitySearch, WebSearch};
    /// let tool = WebSearch::new(PerplexitySearch::new("key")?);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    PerplexitySearch, Perplexity, "https://api.perplexity.ai", "PERPLEXITY_API_KEY"
);
engine!(
    /// A [SearXNG](https://docs.searxng.org/dev/search_api.html) of your own, without a key. Its settings must allow the format
    /// `json`; otherwise it answers with status 403.
    ///
    /// ```
    /// use katena_agents::tools::{SearxngSearch, WebSearch};
    /// let tool = WebSearch::new(SearxngSearch::new("http://localhost:8888")?);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    SearxngSearch
);
engine!(
    /// DuckDuckGo's instant answers, without a key. These are short facts and related topics, mostly from encyclopedias, not a
    /// search of the whole web: many questions find nothing.
    ///
    /// ```
    /// use katena_agents::tools::{DuckDuckGoSearch, WebSearch};
    /// let tool = WebSearch::new(DuckDuckGoSearch::new()?);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    DuckDuckGoSearch
);
engine!(
    /// [Wikipedia's search](https://www.mediawiki.org/wiki/API:Search), without a key; at most 50 hits.
    ///
    /// ```
    /// use katena_agents::tools::{WebSearch, WikipediaSearch};
    /// let tool = WebSearch::new(WikipediaSearch::new("de")?);
    /// assert!(WikipediaSearch::new("evil.example.com/").is_err());
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    WikipediaSearch
);

impl SearxngSearch {
    /// Searches by the server at this address.
    ///
    /// # Errors
    /// Kind `Config` if it is no `http` or `https` address.
    pub fn new(base: impl AsRef<str>) -> Result<Self> {
        Ok(Self(Shell::new(Wire::Searxng, base.as_ref(), None)?))
    }
}

impl DuckDuckGoSearch {
    /// Searches the instant answers.
    ///
    /// # Errors
    /// None today.
    pub fn new() -> Result<Self> {
        Ok(Self(Shell::new(Wire::DuckDuckGo, "https://api.duckduckgo.com", None)?))
    }
}

impl WikipediaSearch {
    /// Searches the Wikipedia of a language, such as `en`.
    ///
    /// # Errors
    /// Kind `Config` if that is no language's code.
    pub fn new(language: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'-';
        if !(2..=20).contains(&language.len()) || !language.bytes().all(plain) || language.starts_with('-') {
            return Err(Error::config("a Wikipedia's language is a code such as `en`"));
        }
        Ok(Self(Shell::new(Wire::Wikipedia, &format!("https://{language}.wikipedia.org"), None)?))
    }
}
