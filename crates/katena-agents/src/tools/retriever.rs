//! A retriever as a tool.

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    Document, Event, Query, Result, Retriever, Run, Scored, Tool, ToolCall, ToolOutput, ToolSpec,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::quote;

/// Passages from a retriever, numbered, each with its source and quoted.
///
/// The passages also go to the run's listener as [`Event::Sources`], so that an answer's marks can be led back to them.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// # use katena_core::{Document, Query, Result, Retriever, Scored, Source};
/// # #[derive(Debug)] struct Shelf;
/// # #[async_trait::async_trait] impl Retriever for Shelf {
/// #     async fn retrieve(&self, _query: &Query) -> Result<Vec<Scored<Document>>> {
/// #         Ok(vec![Scored::new(Document::new("Tea is brewed at 80 degrees.", Source::new("tea.md")), 1.0)])
/// #     }
/// # }
/// use katena_agents::tools::RetrieverTool;
/// use katena_core::{Run, Tool, ToolCall};
/// let tool = RetrieverTool::new("search_docs", "Searches the handbook.", Shelf);
/// let output = tool.call(ToolCall::new("1", "search_docs", r#"{"query":"tea"}"#), &Run::new()).await?;
/// assert_eq!(output.text(), "[1] tea.md\n> Tea is brewed at 80 degrees.\n");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug)]
pub struct RetrieverTool {
    spec: ToolSpec,
    retriever: Arc<dyn Retriever>,
    top_k: usize,
    max_bytes: usize,
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// What to look for: a question or words.
    query: String,
    /// How many passages at most.
    #[serde(default)]
    #[schemars(range(min = 1))]
    top_k: Option<usize>,
}

impl RetrieverTool {
    /// Searches with `retriever`: at most 5 passages and 16 KiB of text, unless set otherwise.
    pub fn new(name: &str, description: &str, retriever: impl Retriever + 'static) -> Self {
        Self {
            spec: ToolSpec::of::<Args>(name, description),
            retriever: Arc::new(retriever),
            top_k: 5,
            max_bytes: 16 << 10,
        }
    }

    /// Sets the most passages; the model may ask for fewer.
    pub fn with_top_k(mut self, top_k: usize) -> Self {
        self.top_k = top_k.max(1);
        self
    }

    /// Sets the most bytes of all passages together; what goes beyond is cut and said to be.
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// The passages, numbered from 1, at most `max_bytes` of text.
fn listing(found: &[Scored<Document>], max_bytes: usize) -> String {
    if found.is_empty() {
        return "No passages found.".to_owned();
    }
    let mut text = String::new();
    let mut left = max_bytes;
    for (n, passage) in found.iter().enumerate() {
        let source = quote::line(&passage.item.source.to_string(), 300);
        let title = passage.item.source.title.as_deref().map(|t| quote::line(t, 200));
        let _ = match title {
            Some(title) if !title.is_empty() => writeln!(text, "[{}] {source} ({title})", n + 1),
            _ => writeln!(text, "[{}] {source}", n + 1),
        };
        let cut = quote::cut(&passage.item.text, left);
        left -= cut.len();
        quote::block(&mut text, cut);
        if cut.len() < passage.item.text.len() {
            let _ =
                writeln!(text, "(cut at the limit of {max_bytes} bytes; {} passages in all)", found.len());
            break;
        }
    }
    text
}

#[async_trait]
impl Tool for RetrieverTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        super::checked(&args.query, super::MAX_QUERY, &self.spec.name)?;
        let top_k = args.top_k.unwrap_or(self.top_k).clamp(1, self.top_k);
        let query = Query::new(args.query).with_top_k(top_k).with_context(run.context().clone());
        let mut found = self.retriever.retrieve(&query).await?;
        found.truncate(top_k);
        let found: Arc<[Scored<Document>]> = found.into();
        run.emit(Event::Sources(found.clone())).await;
        Ok(listing(&found, self.max_bytes).into())
    }
}

#[cfg(test)]
#[path = "retriever_tests.rs"]
mod tests;
