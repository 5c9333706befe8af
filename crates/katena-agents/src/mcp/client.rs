//! The client.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use katena_core::{Context, Error, Result, Tool};
use katena_http::Endpoint;
use rmcp::model::{ClientCapabilities, ClientConfig, Implementation, PaginatedRequestParams};
use rmcp::service::{NotificationContext, Peer, RunningService, ServiceError};
use rmcp::transport::IntoTransport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{ClientHandler, RoleClient, ServiceExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::child::ChildTransport;
use super::command::McpCommand;
use super::error;
use super::http_client;
use super::options::{McpLimits, McpOptions, RefusedTool};
use super::tool::{self, Offer};
use super::watched::{Fault, Watched};

/// Listens to what the server says by itself. Questions of the server (sampling, elicitation, roots) are declined.
#[derive(Debug, Clone)]
struct Handler {
    /// How often the server has said that its tools changed, and 1 for the start.
    changes: Arc<AtomicU64>,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let this = Implementation::new("katena", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), this)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

/// What tools and the client have in common. The server is left when the last of them is dropped.
pub(crate) struct Connection {
    options: McpOptions,
    service: RunningService<RoleClient, Handler>,
    fault: Fault,
    changes: Arc<AtomicU64>,
    listed: Mutex<Listed>,
    listing: tokio::sync::Mutex<()>,
}

/// The last listing. It holds no tools: these hold the connection.
#[derive(Default)]
struct Listed {
    /// The count of changes that it follows.
    at: u64,
    offers: Vec<Offer>,
    refused: Vec<RefusedTool>,
}

impl Connection {
    pub(crate) fn limits(&self) -> &McpLimits {
        &self.options.limits
    }

    pub(crate) fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    /// Waits for a call, within the limits and the context. Dropping it cancels the call at the server.
    pub(crate) async fn bounded<T>(
        &self,
        context: &Context,
        call: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T> {
        context.check()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config("MCP calls need a tokio runtime; this code runs outside of one"));
        }
        let limit = Instant::now() + self.limits().call_timeout;
        let until = context.deadline.map(Instant::from_std).map_or(limit, |d| d.min(limit));
        let timed = async {
            match tokio::time::timeout_at(until, call).await {
                Ok(result) => result.map_err(|e| error::from_service(e, &self.fault)),
                Err(_) => Err(error::timeout()),
            }
        };
        let result = context.cancel.guard(timed).await;
        result.map_err(|e| e.with_context("server", self.options.name.clone()))
    }

    /// All pages of a listing, at most the limit of items.
    pub(crate) async fn pages<'a, T, P>(
        &'a self,
        page: impl Fn(Option<PaginatedRequestParams>) -> BoxFuture<'a, Result<P, ServiceError>>,
        split: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>> {
        let limit = self.limits().max_tools;
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        // A server whose pages are empty has no end otherwise.
        for _ in 0..=limit {
            let params = Some(PaginatedRequestParams::default().with_cursor(cursor.take()));
            let (items, next) = split(self.bounded(&Context::new(), page(params)).await?);
            all.extend(items);
            if all.len() > limit {
                break;
            }
            cursor = next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
        Err(Error::invalid_output("the MCP server's listing is longer than the limit")
            .with_context("server", self.options.name.clone())
            .with_context("limit", limit.to_string()))
    }

    fn listed(&self) -> std::sync::MutexGuard<'_, Listed> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a server of the Model Context Protocol. Clones share it.
///
/// Its tools are called `name__tool`. What a server offers is its author's word: take only the tools that you need
/// ([`McpOptions::with_tools`]), and let a person approve those that change something. A server that ends is
/// [`Unavailable`](katena_core::ErrorKind::Unavailable); no call waits longer than
/// [`call_timeout`](McpLimits::call_timeout) or the run's deadline.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use katena_agents::mcp::{McpClient, McpOptions, McpServer};
/// use katena_core::{FnTool, Run, ToolCall};
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Add { a: i64, b: i64 }
/// let add = FnTool::new("add", "Adds two numbers.", async |args: Add, _run: Run| Ok((args.a + args.b).to_string()));
///
/// let (ours, theirs) = tokio::io::duplex(64 << 10);
/// let server = McpServer::new("sums", "1.0").with_tool(add);
/// let _serving = tokio::spawn(async move { server.serve_io(theirs, Run::new()).await });
///
/// let client = McpClient::io(ours, McpOptions::new("sums")).await?;
/// let tools = client.tools().await?;
/// assert_eq!(tools[0].spec().name, "sums__add");
/// let output = tools[0].call(ToolCall::new("1", "sums__add", r#"{"a":2,"b":3}"#), &Run::new()).await?;
/// assert_eq!(output.text(), "5");
/// # Ok::<(), katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct McpClient(pub(crate) Arc<Connection>);

impl fmt::Debug for McpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpClient")
            .field("name", &self.0.options.name)
            .field("open", &!self.is_closed())
            .finish_non_exhaustive()
    }
}

impl McpClient {
    /// Starts a program and speaks with it over its standard input and output. The program ends with the last clone of the
    /// client and the last of its tools.
    ///
    /// # Errors
    /// Kind `NotFound` or `PermissionDenied` if the program can't be started; `Unavailable` if it ends at once; `Timeout`
    /// if it is not ready in time; `InvalidOutput` if it speaks another protocol; `Config` for a bad name or outside of a
    /// tokio runtime.
    pub async fn stdio(command: McpCommand, options: McpOptions) -> Result<Self> {
        options.check()?;
        let fault = Fault::default();
        let limit = options.limits.max_message_bytes;
        let child = ChildTransport::start(&command, &options.name, limit, fault.clone())?;
        Self::start(child, options, fault).await
    }

    /// Speaks with a server over streamable HTTP. The endpoint's base is the server's whole address, such as
    /// `https://example.com/mcp`; its headers (a bearer key) go with every call. Redirects are not followed.
    ///
    /// # Errors
    /// Those of the HTTP client, `Timeout` if the server is not ready in time, `InvalidOutput` if it speaks another
    /// protocol, `Config` for a bad name or outside of a tokio runtime.
    pub async fn http(endpoint: Endpoint, options: McpOptions) -> Result<Self> {
        options.check()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config("HTTP calls need a tokio runtime; this code runs outside of one"));
        }
        Self::start(http_client::transport(endpoint, &options)?, options, Fault::default()).await
    }

    /// Speaks with a server over any two-way stream, such as a socket or `tokio::io::duplex`.
    ///
    /// # Errors
    /// As [`stdio`](Self::stdio).
    pub async fn io(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        options: McpOptions,
    ) -> Result<Self> {
        options.check()?;
        let fault = Fault::default();
        let (read, write) = tokio::io::split(stream);
        let limit = options.limits.max_message_bytes;
        let transport = AsyncRwTransport::new_client(Watched::new(read, limit, fault.clone()), write);
        Self::start(transport.with_max_line_length(limit), options, fault).await
    }

    async fn start<T, E, A>(transport: T, options: McpOptions, fault: Fault) -> Result<Self>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let changes = Arc::new(AtomicU64::new(1));
        let handler = Handler { changes: changes.clone() };
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config("MCP needs a tokio runtime; this code runs outside of one"));
        }
        let named = |e: Error| e.with_context("server", options.name.clone());
        let service = tokio::time::timeout(options.limits.connect_timeout, handler.serve(transport))
            .await
            .map_err(|_| {
                named(error::timeout().with_context("while", "the MCP server was being connected to"))
            })?
            .map_err(|e| named(error::from_start(e, &fault)))?;
        let (listed, listing) = Default::default();
        Ok(Self(Arc::new(Connection { options, service, fault, changes, listed, listing })))
    }

    /// The server's tools as they are now: listed at the first call, and again after the server has said that they changed.
    /// Tools from an earlier call stay usable as long as the server knows them.
    ///
    /// # Errors
    /// Those of a call; `InvalidOutput` if there are more tools than the limit. A single tool that breaks a limit is left
    /// out and named by [`refused`](Self::refused).
    pub async fn tools(&self) -> Result<Vec<Arc<dyn Tool>>> {
        // One listing at a time; those who wait take what it found.
        let _listing = self.0.listing.lock().await;
        let at = self.0.changes.load(Ordering::SeqCst);
        if self.0.listed().at != at {
            let peer = self.0.peer();
            let page = |params| peer.list_tools(params).boxed();
            let all = self.0.pages(page, |page| (page.tools, page.next_cursor)).await?;
            let (offers, refused) = tool::take(all, &self.0.options);
            *self.0.listed() = Listed { at, offers, refused };
        }
        Ok(self.0.listed().offers.iter().map(|o| o.tool(&self.0)).collect())
    }

    /// The tools of the last listing that were not taken, and why.
    pub fn refused(&self) -> Vec<RefusedTool> {
        self.0.listed().refused.clone()
    }

    /// What the server says about its use, with at most the limit of a description; data from outside.
    pub fn instructions(&self) -> Option<String> {
        let info = self.0.peer().peer_info()?;
        let text = info.instructions.as_deref()?;
        let mut end = text.len().min(self.0.limits().max_description_bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Some(text[..end].to_owned())
    }

    /// True once the server is gone or the client was closed.
    pub fn is_closed(&self) -> bool {
        self.0.service.is_closed() || self.0.peer().is_transport_closed()
    }

    /// Leaves the server now, whoever still has a clone or a tool; calls under way fail.
    pub fn close(&self) {
        self.0.service.cancellation_token().cancel();
    }
}
