//! One call.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use katena_core::{Context, Error, Result};
use serde::Serialize;
use url::Url;

use crate::endpoint::{Endpoint, shown};
use crate::secret::Secret;

/// What is done with the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// Read.
    Get,
    /// Send.
    Post,
    /// Put in place.
    Put,
    /// Change.
    Patch,
    /// Remove.
    Delete,
}

/// One call: address, headers, body, and the context that bounds it.
///
/// ```
/// use katena_http::{Endpoint, HttpRequest};
/// let endpoint = Endpoint::new("http://localhost:8080/v1")?;
/// let request = HttpRequest::post(&endpoint, "embeddings")?.with_json(&["a", "b"])?;
/// assert_eq!(request.body(), br#"["a","b"]"#);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(Cow<'static, str>, Secret)>,
    pub(crate) body: Bytes,
    pub(crate) context: Context,
    pub(crate) vendor: Option<Cow<'static, str>>,
    /// Secrets in the body.
    pub(crate) hidden: Vec<Secret>,
    /// A redirect is a reply.
    pub(crate) redirects: bool,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &shown(&self.url))
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl HttpRequest {
    /// A call of `path` below the endpoint's base, with the endpoint's headers.
    ///
    /// # Errors
    /// Kind `Config` if `path` does not lie below the base.
    pub fn new(method: Method, endpoint: &Endpoint, path: &str) -> Result<Self> {
        Ok(Self {
            method,
            url: endpoint.join(path)?,
            headers: endpoint.headers().to_vec(),
            body: Bytes::new(),
            context: Context::new(),
            vendor: endpoint.vendor_name(),
            hidden: Vec::new(),
            redirects: false,
        })
    }

    /// The same call where a redirect points. To another host (or scheme, or port) only `range`, `accept` and
    /// `accept-encoding` go along: no key, no cookie, no body.
    ///
    /// ```
    /// use katena_http::{Endpoint, HttpRequest};
    /// let hub = Endpoint::new("https://hub.example")?.with_bearer("key".into());
    /// let call = HttpRequest::get(&hub, "file")?.with_header("range", "bytes=5-");
    /// let there = call.redirected("https://store.example/file?signature=1")?;
    /// assert!(there.header("authorization").is_none() && there.header("range").is_some());
    /// assert!(call.redirected("/moved")?.header("authorization").is_some());
    /// assert!(call.redirected("http://hub.example/file").is_err());
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidOutput` for a place that is none, holds a user name, is not of `http` or `https`, or leaves `https`.
    pub fn redirected(&self, location: &str) -> Result<Self> {
        let bad = || Error::invalid_output("the server redirects to a place that can't be followed");
        let url = self.url.join(location).map_err(|e| bad().with_source(e))?;
        let kept = url.scheme() == "https" || (url.scheme() == "http" && self.url.scheme() == "http");
        if !kept || !url.has_host() || !url.username().is_empty() || url.password().is_some() {
            return Err(bad().with_context("url", shown(&url)));
        }
        let mut call = self.clone();
        if url.origin() != self.url.origin() {
            call.headers.retain(|(name, _)| {
                ["range", "accept", "accept-encoding"].iter().any(|kept| name.eq_ignore_ascii_case(kept))
            });
            call.body = Bytes::new();
            call.vendor = None;
        }
        call.url = url;
        Ok(call)
    }

    /// A redirect is given as a reply with its status and headers; without this it is an error. It is not followed.
    pub fn with_redirects_shown(mut self) -> Self {
        self.redirects = true;
        self
    }

    /// The whole address that is called; its query can hold a key.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// A `GET`.
    ///
    /// # Errors
    /// As [`HttpRequest::new`].
    pub fn get(endpoint: &Endpoint, path: &str) -> Result<Self> {
        Self::new(Method::Get, endpoint, path)
    }

    /// A `POST`.
    ///
    /// # Errors
    /// As [`HttpRequest::new`].
    pub fn post(endpoint: &Endpoint, path: &str) -> Result<Self> {
        Self::new(Method::Post, endpoint, path)
    }

    /// Sets the body to `value` as JSON.
    ///
    /// # Errors
    /// Kind `InvalidInput` if `value` has no JSON form.
    pub fn with_json(self, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let body = serde_json::to_vec(value)
            .map_err(|e| Error::invalid_input("the request can't be written as JSON").with_source(e))?;
        Ok(self.with_body("application/json", body))
    }

    /// Sets the body and its type.
    pub fn with_body(mut self, content_type: impl Into<Secret>, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.with_header("content-type", content_type)
    }

    /// Sends a header, in place of the endpoint's of that name. Its value is treated as a secret.
    pub fn with_header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Secret>) -> Self {
        let name = name.into();
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(&name));
        self.headers.push((name, value.into()));
        self
    }

    /// The value of a header that was set here or at the endpoint.
    pub fn header(&self, name: &str) -> Option<&Secret> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names a secret that the body holds, so that errors do not show it where the server repeats it. What headers hold
    /// needs no naming.
    pub fn with_hidden(mut self, secret: Secret) -> Self {
        self.hidden.push(secret);
        self
    }

    /// Adds a name and value to the address's query.
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sets the deadline and the cancel signal (labels are not sent).
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}
