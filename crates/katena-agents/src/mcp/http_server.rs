//! Serving over streamable HTTP, within the user's own HTTP server.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use katena_core::{Labels, Result, Run};
use katena_http::Secret;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::handler::{Handler, RequestLabels};
use super::server::McpServer;

type Check = dyn Fn(&str) -> Option<Labels> + Send + Sync;

/// Who may call over HTTP.
///
/// By default: programs on this machine, under the names `localhost`, `127.0.0.1` and `::1`, without a key, and no page in a
/// browser. A page of somebody else's that a browser shows could otherwise call a server on its reader's machine (DNS rebinding).
///
/// ```
/// use katena_agents::mcp::McpHttpOptions;
/// use katena_core::Labels;
/// let options = McpHttpOptions::new()
///     .with_allowed_hosts(["mcp.example.com"])
///     .with_bearer_check(|token| (token == "s3cret").then(|| Labels::new().with("tenant", "acme")));
/// # let _ = options;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct McpHttpOptions {
    allowed_hosts: Vec<String>,
    allowed_origins: Vec<String>,
    max_requests: usize,
    check: Option<Arc<Check>>,
}

impl fmt::Debug for McpHttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpHttpOptions")
            .field("allowed_hosts", &self.allowed_hosts)
            .field("allowed_origins", &self.allowed_origins)
            .field("max_requests", &self.max_requests)
            .field("checked", &self.check.is_some())
            .finish()
    }
}

impl Default for McpHttpOptions {
    fn default() -> Self {
        Self {
            allowed_hosts: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            allowed_origins: Vec::new(),
            max_requests: 256,
            check: None,
        }
    }
}

impl McpHttpOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the names under which the server may be called, with or without a port, in place of those of this machine. An
    /// empty list allows none.
    pub fn with_allowed_hosts<S: Into<String>>(mut self, hosts: impl IntoIterator<Item = S>) -> Self {
        self.allowed_hosts = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the web pages' origins that may call, such as `https://app.example.com:443`; none by default.
    pub fn with_allowed_origins<S: Into<String>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        self.allowed_origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the most requests at once; others get status 503.
    pub fn with_max_requests(mut self, requests: usize) -> Self {
        self.max_requests = requests.max(1);
        self
    }

    /// Asks for this key in each request.
    pub fn with_bearer(self, key: Secret) -> Self {
        self.with_bearer_check(move |token| same(token, key.expose()).then(Labels::new))
    }

    /// Asks for a bearer token in each request. The function gives the labels of the calls that a token may make, or `None`
    /// for one that may make none. Compare in constant time.
    pub fn with_bearer_check(
        mut self,
        check: impl Fn(&str) -> Option<Labels> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }
}

/// Compares without telling by its time how much is right.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

impl McpServer {
    /// A service that an HTTP server calls for each request at the address of the server. Nothing is kept between requests:
    /// any number of processes may answer them.
    ///
    /// # Errors
    /// Kind `Config` if two tools have one name.
    pub fn into_http(self, options: McpHttpOptions, run: Run) -> Result<McpHttpService> {
        let handler = self.handler(run)?;
        let mut hosts = options.allowed_hosts;
        if hosts.is_empty() {
            // An empty list would allow all.
            hosts.push("nobody.invalid".to_owned());
        }
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(handler.limits().max_message_bytes)
            .with_allowed_hosts(hosts)
            .with_allowed_origins(options.allowed_origins)
            .enforce_origin_validation();
        let made = handler.clone();
        let sessions = Arc::new(NeverSessionManager::default());
        Ok(McpHttpService {
            inner: StreamableHttpService::new(move || Ok(made.clone()), sessions, config),
            handler,
            requests: Arc::new(Semaphore::new(options.max_requests)),
            check: options.check,
        })
    }
}

/// A server for HTTP; clones share it.
///
/// Give it each request that your HTTP server gets at the address of the MCP server, `POST`, `GET` and `DELETE` alike, and send
/// what it answers. Requests, responses and bodies are those of the crates `http` 1 and `http-body` 1, which hyper, axum and
/// others speak. With axum: `Router::new().route("/mcp", any(move |r: Request| async move { service.handle(r).await }))`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use http_body_util::{BodyExt, Full};
/// use katena_agents::mcp::{McpHttpOptions, McpServer};
/// let service = McpServer::new("demo", "1.0").into_http(McpHttpOptions::new(), katena_core::Run::new())?;
/// let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
/// let request = http::Request::post("http://localhost:8080/mcp")
///     .header("host", "localhost:8080")
///     .header("content-type", "application/json")
///     .header("accept", "application/json, text/event-stream")
///     .body(Full::new(bytes::Bytes::from(ping)))
///     .unwrap();
/// let response = service.handle(request).await;
/// assert_eq!(response.status(), 200);
/// # Ok::<(), katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct McpHttpService {
    inner: StreamableHttpService<Handler, NeverSessionManager>,
    handler: Handler,
    requests: Arc<Semaphore>,
    check: Option<Arc<Check>>,
}

impl fmt::Debug for McpHttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpHttpService")
            .field("free", &self.requests.available_permits())
            .field("checked", &self.check.is_some())
            .finish_non_exhaustive()
    }
}

impl McpHttpService {
    /// Answers one request. Dropping the future or the response's body cancels the call.
    pub async fn handle<B>(&self, mut request: Request<B>) -> Response<McpBody>
    where
        B: Body + Send + 'static,
        B::Data: Send + 'static,
        B::Error: fmt::Display,
    {
        if self.handler.run().context().check().is_err() {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the server is going down");
        }
        let Ok(permit) = self.requests.clone().try_acquire_owned() else {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the server is busy");
        };
        if let Some(check) = &self.check {
            let token = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
            let token =
                token.and_then(|t| t.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
            let Some(labels) = token.and_then(|(_, token)| check(token.trim())) else {
                let mut response = refused(StatusCode::UNAUTHORIZED, "a bearer token is needed");
                let value = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
                return response;
            };
            request.extensions_mut().insert(RequestLabels(labels));
            // Tools see the request's labels, and nobody sees its key.
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        let limit = self.handler.limits().call_timeout.saturating_add(std::time::Duration::from_secs(30));
        match tokio::time::timeout(limit, self.inner.handle(request)).await {
            Ok(response) => response.map(|body| McpBody { body, _permit: Some(permit) }),
            Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
        }
    }
}

fn refused(status: StatusCode, why: &'static str) -> Response<McpBody> {
    let mut response = Response::new(McpBody { body: Full::new(Bytes::from(why)).boxed(), _permit: None });
    *response.status_mut() = status;
    response
}

/// The body of a response; it never fails.
pub struct McpBody {
    body: BoxBody<Bytes, Infallible>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for McpBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpBody").finish_non_exhaustive()
    }
}

impl Body for McpBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
