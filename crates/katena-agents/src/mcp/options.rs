//! What a client may be sent, and how long it waits.

use std::collections::BTreeSet;
use std::time::Duration;

use katena_core::{Error, Result};
use katena_http::HttpClient;

/// Sizes and times that bound what a server can do to its client.
///
/// ```
/// use katena_agents::mcp::McpLimits;
/// let limits = McpLimits::new().with_max_tools(20);
/// assert_eq!((limits.max_tools, limits.max_schema_bytes), (20, 64 << 10));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct McpLimits {
    /// The most tools, prompts or resources that one listing may have: 256.
    pub max_tools: usize,
    /// The most bytes of one tool's schema as JSON: 64 KiB.
    pub max_schema_bytes: usize,
    /// The most values within each other in one tool's schema: 32.
    pub max_schema_depth: usize,
    /// The most bytes of a description: 8 KiB.
    pub max_description_bytes: usize,
    /// The most bytes of one message of the server: 16 MiB.
    pub max_message_bytes: usize,
    /// The most bytes of text and media in one tool's result: 4 MiB.
    pub max_result_bytes: usize,
    /// The most bytes of a call's arguments: 1 MiB.
    pub max_argument_bytes: usize,
    /// The longest time until the server is ready: 30 s.
    pub connect_timeout: Duration,
    /// The longest time of one call, besides the run's own deadline: 120 s.
    pub call_timeout: Duration,
}

impl Default for McpLimits {
    fn default() -> Self {
        Self {
            max_tools: 256,
            max_schema_bytes: 64 << 10,
            max_schema_depth: 32,
            max_description_bytes: 8 << 10,
            max_message_bytes: 16 << 20,
            max_result_bytes: 4 << 20,
            max_argument_bytes: 1 << 20,
            connect_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(120),
        }
    }
}

impl McpLimits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most tools of a listing.
    pub fn with_max_tools(mut self, tools: usize) -> Self {
        self.max_tools = tools;
        self
    }

    /// Sets the most bytes of one tool's schema.
    pub fn with_max_schema_bytes(mut self, bytes: usize) -> Self {
        self.max_schema_bytes = bytes;
        self
    }

    /// Sets the most bytes of a description.
    pub fn with_max_description_bytes(mut self, bytes: usize) -> Self {
        self.max_description_bytes = bytes;
        self
    }

    /// Sets the most bytes of one message of the server.
    pub fn with_max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets the most bytes of one tool's result.
    pub fn with_max_result_bytes(mut self, bytes: usize) -> Self {
        self.max_result_bytes = bytes;
        self
    }

    /// Sets the longest time until the server is ready.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the longest time of one call.
    pub fn with_call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }
}

/// How a client names and picks a server's tools.
///
/// ```
/// use katena_agents::mcp::McpOptions;
/// let options = McpOptions::new("files").with_tools(["read", "list"]);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct McpOptions {
    /// The server's name here; tools are called `name__tool`.
    pub name: String,
    /// Whether tools have the name before theirs.
    pub(crate) prefixed: bool,
    /// The tools that are taken, by the server's names for them; all if unset.
    pub tools: Option<BTreeSet<String>>,
    /// Sizes and times.
    pub limits: McpLimits,
    /// The client that speaks HTTP.
    pub http: HttpClient,
}

impl McpOptions {
    /// Options for a server that is called `name` here: at most 32 letters, digits, `-` and `_`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            prefixed: true,
            tools: None,
            limits: McpLimits::new(),
            http: HttpClient::new(),
        }
    }

    /// Gives the tools without the server's name before theirs. Two servers may then have tools of the same name.
    pub fn without_prefix(mut self) -> Self {
        self.prefixed = false;
        self
    }

    /// Takes only these tools, by the server's own names. A server that adds tools later gets no further.
    pub fn with_tools<S: Into<String>>(mut self, tools: impl IntoIterator<Item = S>) -> Self {
        self.tools = Some(tools.into_iter().map(Into::into).collect());
        self
    }

    /// Sets sizes and times.
    pub fn with_limits(mut self, limits: McpLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the client that speaks HTTP, for its proxy and connection settings.
    pub fn with_http(mut self, http: HttpClient) -> Self {
        self.http = http;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || self.name.len() > 32 || !self.name.chars().all(plain) {
            return Err(Error::config("an MCP server's name is 1 to 32 letters, digits, `-` and `_`"));
        }
        Ok(())
    }
}

/// A tool of a server that was not taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedTool {
    /// The start of the name that the server gave.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl RefusedTool {
    pub(crate) fn new(name: &str, reason: impl Into<String>) -> Self {
        Self { name: name.chars().take(64).collect(), reason: reason.into() }
    }
}
