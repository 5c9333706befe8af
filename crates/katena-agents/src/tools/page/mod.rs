//! A web page as a reader sees it.

mod extract;

use async_trait::async_trait;
use katena_core::{Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use katena_http::guard::OutboundGuard;

use super::fetch::{self, Args};
pub(super) use extract::readable;

/// Fetches a public page and gives its readable text: headings, paragraphs, list items, without scripts, styles and navigation.
///
/// It goes through the same guard as [`HttpFetch`](super::HttpFetch), with the same sizes and times, and gives at most 32 KiB of text,
/// quoted. Pages that only a browser's scripts fill stay empty.
///
/// ```
/// use katena_agents::tools::PageReader;
/// use katena_core::Tool;
/// let tool = PageReader::new().with_host("docs.example.com").with_max_text(8 << 10);
/// assert_eq!(tool.spec().name, "read_page");
/// ```
#[derive(Debug)]
pub struct PageReader {
    spec: ToolSpec,
    guard: OutboundGuard,
    max_text: usize,
}

impl Default for PageReader {
    fn default() -> Self {
        Self::new()
    }
}

impl PageReader {
    /// A tool named `read_page` for the public net.
    pub fn new() -> Self {
        let what = "Fetches a public web page and gives its readable text.";
        let guard = fetch::default_guard();
        Self { spec: ToolSpec::of::<Args>("read_page", what), guard, max_text: 32 << 10 }
    }

    /// Reads from this host, by its exact name, and others named so, and from none besides; redirects too.
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

#[async_trait]
impl Tool for PageReader {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        let (fetched, text) = fetch::text(&self.guard, &args.url, run.context()).await?;
        let kind = fetched.content_type.as_deref().unwrap_or_default();
        let html = kind.contains("html") || (kind.is_empty() && text.trim_start().starts_with('<'));
        let page = if html { readable(&text) } else { extract::Page { title: None, text } };
        Ok(fetch::shown(&fetched, page.title.as_deref(), &page.text, self.max_text).into())
    }
}
