//! Where and how, and what may go over the wire unencrypted.

use std::fmt;
use std::time::Duration;

use katena_core::{Error, Metric, Result};
use qdrant_client::Qdrant;

use super::error::error;

const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The server allows 255; the names of namespaces add 37.
const MAX_NAME: usize = 200;

/// How a [`QdrantStore`](crate::QdrantStore) searches by vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QdrantSearch {
    /// Compares with every vector, as the other stores do.
    #[default]
    Exact,
    /// By the server's HNSW index where it has built one: faster in large collections, and may miss some.
    Approximate,
}

/// Where and how a [`QdrantStore`](crate::QdrantStore) keeps its records.
#[derive(Clone)]
#[non_exhaustive]
pub struct QdrantOptions {
    pub(super) url: String,
    pub(super) collection: Option<String>,
    pub(super) metric: Metric,
    pub(super) search: QdrantSearch,
    api_key: Option<String>,
}

impl fmt::Debug for QdrantOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QdrantOptions")
            .field("collection", &self.collection)
            .field("metric", &self.metric)
            .field("search", &self.search)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

impl QdrantOptions {
    /// The server's gRPC port at `url`, collection `katena`, cosine, exact search.
    ///
    /// `http://host:6334`, `https://host:6334`, or `qdrant://host:6334`, which is `http` on this machine and `https`
    /// elsewhere. A path is the collection's name.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            collection: None,
            metric: Metric::Cosine,
            search: QdrantSearch::Exact,
            api_key: None,
        }
    }

    /// Sets the collection, 1 to 200 bytes of letters, digits, `_`, `-` and `.`; namespaces get one each, whose name
    /// begins with it.
    pub fn with_collection(mut self, collection: impl Into<String>) -> Self {
        self.collection = Some(collection.into());
        self
    }

    /// Sets how vectors are compared.
    pub fn with_metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Sets how vectors are searched.
    pub fn with_search(mut self, search: QdrantSearch) -> Self {
        self.search = search;
        self
    }

    /// Sets the API key. It is never shown, and sent unencrypted only to this machine.
    pub fn with_api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// The client, its address for people, and the collection.
    pub(super) fn open(&self) -> Result<(Qdrant, String, String)> {
        let (scheme, rest) =
            self.url.split_once("://").ok_or_else(|| Error::config("the Qdrant URL has no scheme"))?;
        let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
        if server.is_empty() || server.contains('@') || rest.contains(['?', '#']) {
            let message = "the Qdrant URL must be scheme://host:port/collection; a key goes into the options";
            return Err(Error::config(message));
        }
        let host = server
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(server, |(h, _)| h);
        let local = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let scheme = match scheme {
            "http" if !local && self.api_key.is_some() => {
                return Err(Error::config("an API key would be sent unencrypted; use https"));
            }
            "http" | "https" => scheme,
            "qdrant" if local => "http",
            "qdrant" => "https",
            _ => return Err(Error::config("a Qdrant URL begins with http, https or qdrant")),
        };
        // The client's error would quote it.
        if self.api_key.as_ref().is_some_and(|k| k.is_empty() || !k.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::config("the API key has characters that no key has"));
        }
        let in_path = Some(path.trim_matches('/')).filter(|p| !p.is_empty());
        let collection = self.collection.as_deref().or(in_path).unwrap_or("katena");
        let harmless = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if collection.is_empty() || collection.len() > MAX_NAME || !collection.chars().all(harmless) {
            let message = format!("a collection's name has 1 to {MAX_NAME} letters, digits, '_', '-' or '.'");
            return Err(Error::config(message));
        }
        let address = format!("{scheme}://{server}");
        let mut config = Qdrant::from_url(&address)
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .skip_compatibility_check();
        config.api_key.clone_from(&self.api_key);
        let client = config.build().map_err(error)?;
        Ok((client, address, collection.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::ErrorKind;

    fn open(url: &str) -> Result<(String, String)> {
        QdrantOptions::new(url).open().map(|(_, address, collection)| (address, collection))
    }

    #[tokio::test]
    async fn urls_name_server_and_collection() {
        for (url, address, collection) in [
            ("http://localhost:6334", "http://localhost:6334", "katena"),
            ("qdrant://127.0.0.1:6334/docs", "http://127.0.0.1:6334", "docs"),
            ("qdrant://[::1]:6334/docs/", "http://[::1]:6334", "docs"),
            ("qdrant://db.example.com:6334", "https://db.example.com:6334", "katena"),
        ] {
            assert_eq!(open(url).unwrap(), (address.to_owned(), collection.to_owned()));
        }
        for url in
            ["localhost:6334", "ftp://x", "http://u:p@x", "http://x/a/b", "http://x?api_key=1", "http://"]
        {
            assert_eq!(open(url).unwrap_err().kind(), ErrorKind::Config, "{url}");
        }
    }

    #[tokio::test]
    async fn the_key_is_kept_secret() {
        let key = "sk-very-secret";
        let options = QdrantOptions::new("http://localhost:6334").with_api_key(key);
        assert!(options.open().is_ok() && !format!("{options:?}").contains(key));
        let far = QdrantOptions::new("http://db.example.com").with_api_key(key).open().err().unwrap();
        let odd =
            QdrantOptions::new("http://localhost").with_api_key(format!("{key}\n")).open().err().unwrap();
        for error in [far, odd] {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{error:?}").contains(key));
        }
    }
}
