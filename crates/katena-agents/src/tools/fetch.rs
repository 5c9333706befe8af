//! What is at an address.

use std::fmt::Write as _;

use async_trait::async_trait;
use katena_core::{Context, Error, ErrorKind, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use katena_http::guard::{Fetched, OutboundGuard};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::quote;

/// What a model can read besides texts.
const KINDS: [&str; 8] = [
    "application/json",
    "application/ld+json",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/javascript",
    "application/yaml",
];

/// Fetches a public address by `GET` and gives its text as it is.
///
/// Every address goes through an [`OutboundGuard`]: no private networks (by name, by number, after DNS, after each redirect), at
/// most 2 MiB and 20 s unless set otherwise. Only texts and data are given, at most 32 KiB of them, quoted. What a page says is
/// data: it may try to talk to the model. Name the hosts that may be fetched from
/// ([`with_host`](Self::with_host)) where you can: an address is also a way to send something out.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// use katena_agents::tools::HttpFetch;
/// use katena_core::{ErrorKind, Run, Tool, ToolCall};
/// let tool = HttpFetch::new().with_host("docs.example.com");
/// for address in ["http://169.254.169.254/latest/meta-data/", "https://elsewhere.example.com/"] {
///     let call = ToolCall::new("1", "http_fetch", format!(r#"{{"url":"{address}"}}"#));
///     assert_eq!(tool.call(call, &Run::new()).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
/// }
/// # });
/// ```
#[derive(Debug)]
pub struct HttpFetch {
    spec: ToolSpec,
    pub(super) guard: OutboundGuard,
    max_text: usize,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Args {
    /// The whole address, with `https://` or `http://`.
    pub(super) url: String,
}

pub(super) fn default_guard() -> OutboundGuard {
    OutboundGuard::new().with_max_bytes(2 << 20).with_timeout(std::time::Duration::from_secs(20))
}

impl Default for HttpFetch {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpFetch {
    /// A tool named `http_fetch` for the public net.
    pub fn new() -> Self {
        let what = "Fetches a public web address and gives its text as it is. For reading an article use a page reader.";
        Self { spec: ToolSpec::of::<Args>("http_fetch", what), guard: default_guard(), max_text: 32 << 10 }
    }

    /// Fetches from this host, by its exact name, and others named so, and from none besides; redirects too.
    pub fn with_host(mut self, host: impl AsRef<str>) -> Self {
        self.guard = self.guard.with_only_host(host);
        self
    }

    /// Sets the guard, with its sizes, times and hosts.
    pub fn with_guard(mut self, guard: OutboundGuard) -> Self {
        self.guard = guard;
        self
    }

    /// Sets the most bytes of text that one call gives.
    pub fn with_max_text(mut self, bytes: usize) -> Self {
        self.max_text = bytes;
        self
    }
}

/// Fetches a text; its content type is among those that can be read.
pub(super) async fn text(guard: &OutboundGuard, url: &str, context: &Context) -> Result<(Fetched, String)> {
    let fetched = guard.fetch(url.trim(), context).await?;
    let kind = fetched.content_type.as_deref().unwrap_or("text/plain").to_ascii_lowercase();
    let bare = kind.split(';').next().unwrap_or_default().trim();
    if !bare.starts_with("text/") && !KINDS.contains(&bare) {
        return Err(Error::new(ErrorKind::Tool, "what is at the address is no text")
            .with_context("content type", quote::line(bare, 100)));
    }
    let latin =
        ["iso-8859-1", "windows-1252", "latin1"].iter().any(|c| kind.contains(&format!("charset={c}")));
    let text = if latin {
        fetched.body.iter().map(|b| char::from(*b)).collect()
    } else {
        let bytes = fetched.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&fetched.body);
        String::from_utf8_lossy(bytes).into_owned()
    };
    if text.contains('\0') {
        return Err(Error::new(ErrorKind::Tool, "what is at the address is no text"));
    }
    Ok((fetched, text))
}

/// The text under its address, quoted, at most `most` bytes.
pub(super) fn shown(fetched: &Fetched, title: Option<&str>, text: &str, most: usize) -> String {
    let mut out = quote::line(fetched.url.as_str(), 2000);
    if let Some(title) = title.filter(|t| !t.is_empty()) {
        let _ = write!(out, " ({})", quote::line(title, 300));
    }
    out.push('\n');
    let cut = quote::cut(text, most);
    quote::block(&mut out, cut);
    if cut.len() < text.len() {
        let _ = writeln!(out, "(cut: {} of {} bytes)", cut.len(), text.len());
    }
    out
}

#[async_trait]
impl Tool for HttpFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        let (fetched, text) = text(&self.guard, &args.url, run.context()).await?;
        Ok(shown(&fetched, None, &text, self.max_text).into())
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
