//! The server.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use katena_core::{Chain, Error, Result, Retriever, Run, Tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::handler::Handler;
use crate::tools::{ChainTool, RetrieverTool};

/// Sizes and times that bound what clients can do to a server.
///
/// ```
/// use katena_agents::mcp::McpServerLimits;
/// assert_eq!(McpServerLimits::new().with_max_concurrent_calls(4).max_concurrent_calls, 4);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct McpServerLimits {
    /// The most bytes of one message of a client: 4 MiB.
    pub max_message_bytes: usize,
    /// The most bytes of a tool's output: 4 MiB.
    pub max_result_bytes: usize,
    /// The most calls at work at once, of all clients: 16. Others wait.
    pub max_concurrent_calls: usize,
    /// The most calls that wait or are at work: 256. Others are refused.
    pub max_pending_calls: usize,
    /// The longest time of one call with its wait: 300 s.
    pub call_timeout: Duration,
}

impl Default for McpServerLimits {
    fn default() -> Self {
        Self {
            max_message_bytes: 4 << 20,
            max_result_bytes: 4 << 20,
            max_concurrent_calls: 16,
            max_pending_calls: 256,
            call_timeout: Duration::from_secs(300),
        }
    }
}

impl McpServerLimits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most bytes of one message of a client.
    pub fn with_max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets the most bytes of a tool's output.
    pub fn with_max_result_bytes(mut self, bytes: usize) -> Self {
        self.max_result_bytes = bytes;
        self
    }

    /// Sets the most calls at work at once, at least 1.
    pub fn with_max_concurrent_calls(mut self, calls: usize) -> Self {
        self.max_concurrent_calls = calls.max(1);
        self
    }

    /// Sets the most calls that wait or are at work, at least 1.
    pub fn with_max_pending_calls(mut self, calls: usize) -> Self {
        self.max_pending_calls = calls.max(1);
        self
    }

    /// Sets the longest time of one call.
    pub fn with_call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }
}

/// Offers tools, retrievers and chains to other programs by the Model Context Protocol.
///
/// Serve it on standard input and output ([`serve_stdio`](Self::serve_stdio)), on any stream ([`serve_io`](Self::serve_io)), or
/// over HTTP within your own server ([`into_http`](Self::into_http)). Labels, deadline and cancel signal of the run that it is
/// given hold for every call. A client sees the words of errors that concern its own request; of all others it learns the
/// kind alone, and the rest goes to `tracing`.
///
/// ```
/// use katena_agents::mcp::McpServer;
/// use katena_core::{Run, func};
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Greet { name: String }
/// let greet = func(async |input: Greet, _run: Run| Ok(format!("Hello, {}!", input.name)));
/// let server = McpServer::new("demo", "1.0").with_chain("greet", "Greets somebody.", greet);
/// assert_eq!(format!("{server:?}"), r#"McpServer { name: "demo", tools: ["greet"], .. }"#);
/// ```
#[must_use]
pub struct McpServer {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) instructions: Option<String>,
    pub(super) tools: Vec<Arc<dyn Tool>>,
    pub(super) limits: McpServerLimits,
}

impl fmt::Debug for McpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tools: Vec<&str> = self.tools.iter().map(|t| t.spec().name.as_str()).collect();
        f.debug_struct("McpServer").field("name", &self.name).field("tools", &tools).finish_non_exhaustive()
    }
}

impl McpServer {
    /// A server without tools.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            instructions: None,
            tools: Vec::new(),
            limits: McpServerLimits::new(),
        }
    }

    /// Says to clients what the server is for.
    pub fn with_instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = Some(instructions.into());
        self
    }

    /// Offers a tool.
    pub fn with_tool(mut self, tool: impl Tool + 'static) -> Self {
        self.tools.push(Arc::new(tool));
        self
    }

    /// Offers a retriever as a tool: a query in, numbered passages with their sources out.
    pub fn with_retriever(self, name: &str, description: &str, retriever: impl Retriever + 'static) -> Self {
        self.with_tool(RetrieverTool::new(name, description, retriever))
    }

    /// Offers a chain as a tool: its input by that type's schema, its output as text or JSON.
    pub fn with_chain<C>(self, name: &str, description: &str, chain: C) -> Self
    where
        C: Chain + 'static,
        C::Input: DeserializeOwned + JsonSchema,
        C::Output: Serialize,
    {
        self.with_tool(ChainTool::new(name, description, chain))
    }

    /// Sets sizes and times.
    pub fn with_limits(mut self, limits: McpServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What answers the requests. Fails if two tools have one name or a name is none of the protocol's.
    pub(super) fn handler(self, run: Run) -> Result<Handler> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        let mut names = BTreeSet::new();
        for tool in &self.tools {
            let spec = tool.spec();
            let bad = |what| Err(Error::config(what).with_context("tool", spec.name.clone()));
            if spec.name.is_empty() || spec.name.len() > 128 || !spec.name.chars().all(plain) {
                return bad("a tool's name for MCP is 1 to 128 letters, digits, `_`, `-`, `.` and `/`");
            }
            if !spec.parameters.is_object() {
                return bad("a tool's schema is no object");
            }
            if !names.insert(&spec.name) {
                return bad("two tools of an MCP server have one name");
            }
        }
        drop(names);
        Ok(Handler::new(self, run))
    }
}
