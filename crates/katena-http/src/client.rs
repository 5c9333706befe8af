//! The client that every component shares.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use katena_core::{Context, Error, ErrorKind, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::time::Instant;

use crate::body::{Head, Headers, HttpReply, HttpStream, after};
use crate::options::{HttpOptions, Proxy};
use crate::request::{HttpRequest, Method};
use crate::secret::{Redaction, Secret};
use crate::status::{ErrorDetails, parse_retry_after};

/// How long an unused connection is kept. A request on one that the server is just closing fails, and a POST is not sent
/// again; cpp-httplib (llama.cpp's server) closes after 5 s (`CPPHTTPLIB_KEEPALIVE_TIMEOUT_SECOND`), as Node's `http.Server`
/// long did (`keepAliveTimeout`).
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// An HTTP client. Clones share connections and settings; make one and hand it to every component.
///
/// Making it costs nothing: certificates are read at the first call.
///
/// ```no_run
/// use katena_http::{Endpoint, HttpClient, HttpRequest};
/// # async fn f() -> katena_core::Result<()> {
/// let client = HttpClient::new();
/// let endpoint = Endpoint::new("http://localhost:8080/v1")?;
/// let models: serde_json::Value = client.send(HttpRequest::get(&endpoint, "models")?).await?.json()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    options: HttpOptions,
    client: OnceLock<Result<reqwest::Client>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpClient {
    /// A client with the default times and sizes.
    pub fn new() -> Self {
        Self::with_options(HttpOptions::new())
    }

    /// A client with these times and sizes.
    pub fn with_options(options: HttpOptions) -> Self {
        Self(Arc::new(Inner { options, client: OnceLock::new() }))
    }

    /// A client over one that is set up already.
    pub(crate) fn over(options: HttpOptions, client: reqwest::Client) -> Self {
        Self(Arc::new(Inner { options, client: OnceLock::from(Ok(client)) }))
    }

    /// Its times and sizes.
    pub fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    /// Calls and reads the whole reply.
    ///
    /// # Errors
    /// By status as [`ErrorDetails::kind`] says; `Timeout` after the total timeout or at the deadline; `Cancelled`;
    /// `Unavailable` if there is no connection or it breaks; `InvalidOutput` if the reply is larger than the limit;
    /// `Config` outside of a tokio runtime.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpReply> {
        let context = request.context.clone();
        let limit = self.0.options.max_body;
        let call = async move {
            let (head, response) = self.begin(request).await?;
            HttpStream::new(head, response, limit, self.0.options.timeout, &Context::new()).read(limit).await
        };
        self.bounded(&context, call).await
    }

    /// Calls and gives the reply as soon as its head is there.
    ///
    /// # Errors
    /// As [`send`](Self::send), for the time until then. What happens later comes out of the stream.
    pub async fn open(&self, request: HttpRequest) -> Result<HttpStream> {
        let context = request.context.clone();
        self.bounded(&context, async {
            let (head, response) = self.begin(request).await?;
            let options = &self.0.options;
            Ok(HttpStream::new(head, response, options.max_body, options.idle_timeout, &context))
        })
        .await
    }

    fn client(&self) -> Result<&reqwest::Client> {
        let build = || {
            let options = &self.0.options;
            let mut builder = reqwest::Client::builder()
                .tls_backend_preconfigured(crate::tls::config()?)
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(options.connect_timeout)
                .pool_idle_timeout(POOL_IDLE_TIMEOUT)
                .tcp_nodelay(true)
                .referer(false)
                .user_agent(concat!("katena/", env!("CARGO_PKG_VERSION")));
            match &options.proxy {
                Proxy::None => builder = builder.no_proxy(),
                Proxy::FromEnv => {}
                Proxy::Url(address) => {
                    // Without its cause, which may name the address.
                    let proxy = reqwest::Proxy::all(address.expose())
                        .map_err(|_| Error::config("the proxy's address is none"))?;
                    builder = builder.proxy(proxy);
                }
            }
            builder.build().map_err(|e| Error::config("the HTTP client can't be set up").with_source(e))
        };
        self.0.client.get_or_init(build).as_ref().map_err(Clone::clone)
    }

    async fn bounded<T>(&self, context: &Context, call: impl Future<Output = Result<T>>) -> Result<T> {
        context.check()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config("HTTP calls need a tokio runtime; this code runs outside of one"));
        }
        let limit = after(self.0.options.timeout);
        let deadline = context.deadline.map(Instant::from_std);
        let until = deadline.map_or(limit, |d| d.min(limit));
        let timed = async {
            tokio::time::timeout_at(until, call).await.unwrap_or_else(|_| {
                Err(if deadline.is_some_and(|d| d <= limit) {
                    Error::new(ErrorKind::Timeout, "the deadline has passed")
                } else {
                    Error::new(ErrorKind::Timeout, "the server did not answer in time")
                        .with_context("timeout", format!("{:?}", self.0.options.timeout))
                })
            })
        };
        context.cancel.guard(timed).await
    }

    /// Sends the request and checks the status.
    async fn begin(&self, request: HttpRequest) -> Result<(Head, reqwest::Response)> {
        let HttpRequest { method, url, headers, body, vendor, hidden, redirects, .. } = request;
        let sent = headers.iter().map(|(name, value)| (&**name, value));
        let sent = Redaction::of(sent, &url, hidden.into_iter().chain(self.0.options.proxy.password()));
        let mut head = Head { vendor, sent, ..Head::default() };
        let method = match method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let place = crate::endpoint::shown(&url);
        let mut call = self.client()?.request(method, url).headers(header_map(&headers)?);
        if !body.is_empty() {
            call = call.body(body);
        }
        let mut response = call
            .send()
            .await
            .map_err(|e| head.mark(connection_error(e)).with_context("url", place.clone()))?;
        let sent = head.sent.clone();
        let text = |name: &str| {
            let value = response.headers().get(name).and_then(|v| v.to_str().ok())?;
            Some(sent.or_same(value.to_owned()))
        };
        head.status = response.status().as_u16();
        head.content_type = text("content-type");
        head.request_id = [
            "x-request-id",
            "request-id",
            "x-amzn-requestid",
            "x-correlation-id",
            "apim-request-id",
            "cf-ray",
        ]
        .into_iter()
        .find_map(text)
        .map(|id| id.chars().take(200).collect());
        head.rate_limits = crate::rate_limits::read(&text, SystemTime::now());
        if response.status().is_success() || redirects && response.status().is_redirection() {
            head.headers = Headers(Arc::new(std::mem::take(response.headers_mut())));
            return Ok((head, response));
        }
        let retry_after = parse_retry_after(
            text("retry-after-ms").as_deref(),
            text("retry-after").as_deref(),
            SystemTime::now(),
        );
        let should_retry = text("x-should-retry");
        let location = text("location");
        // The name may be followed by the address of its schema.
        let error_type = text("x-amzn-errortype").and_then(|t| t.split(':').next().map(str::to_owned));
        let body = self.error_body(response).await;
        let mut error = head.mark(status_error(head.status, &body, error_type));
        if let Some(wait) = retry_after {
            error = error.with_retry_after(wait);
        }
        match should_retry.as_deref() {
            Some("true") => error = error.with_temporary(true),
            Some("false") => error = error.with_temporary(false),
            _ => {}
        }
        if let Some(location) = location.filter(|_| (300..400).contains(&head.status)) {
            let to: String =
                location.split(['?', '#']).next().unwrap_or_default().chars().take(500).collect();
            error = error.with_context("location", to);
        }
        Err(if head.status == 404 || (300..400).contains(&head.status) {
            error.with_context("url", place)
        } else {
            error
        })
    }

    /// The start of an error's body. That it can't be read is no reason to lose the status.
    async fn error_body(&self, mut response: reqwest::Response) -> Vec<u8> {
        let limit = self.0.options.max_error_body;
        let mut body = BytesMut::new();
        while body.len() < limit {
            match response.chunk().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) | Err(_) => break,
            }
        }
        body.truncate(limit);
        body.to_vec()
    }
}

fn header_map(headers: &[(Cow<'static, str>, Secret)]) -> Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let bad = || {
            Error::config("a header's name or value has characters that can't be sent")
                .with_context("header", name.to_string())
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}

/// `error_type` is AWS's, which stands in a header.
fn status_error(status: u16, body: &[u8], error_type: Option<String>) -> Error {
    let details = serde_json::from_slice::<Value>(body).ok().as_ref().and_then(ErrorDetails::from_value);
    let mut details = details.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let mut details = ErrorDetails::default();
        // An HTML page tells a reader of logs nothing that the status doesn't.
        if !text.trim_start().starts_with('<') {
            text.trim().chars().take(500).collect::<String>().clone_into(&mut details.message);
        }
        details
    });
    details.error_type = details.error_type.or(error_type);
    if (300..400).contains(&status) {
        "the server redirects elsewhere; redirects are not followed".clone_into(&mut details.message);
    }
    details.into_error(Some(status))
}

pub(crate) fn connection_error(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let (kind, message) = if error.is_builder() {
        (ErrorKind::Config, "the request can't be built")
    } else if error.is_timeout() && error.is_connect() {
        (ErrorKind::Timeout, "no connection to the server in time")
    } else if error.is_timeout() {
        (ErrorKind::Timeout, "the server did not answer in time")
    } else if error.is_connect() {
        (ErrorKind::Unavailable, "no connection to the server")
    } else {
        (ErrorKind::Unavailable, "the connection to the server broke")
    };
    Error::new(kind, message).with_source(error)
}

/// An error while a body is read.
pub(crate) fn body_error(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut corrupt = false;
    while let Some(e) = cause {
        if let Some(io) = e.downcast_ref::<std::io::Error>() {
            corrupt |=
                matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput);
        }
        cause = e.source();
    }
    if corrupt {
        Error::invalid_output("the server's reply is not compressed as it says").with_source(error)
    } else {
        Error::new(ErrorKind::Unavailable, "the connection broke in the midst of the reply")
            .with_source(error)
    }
}
