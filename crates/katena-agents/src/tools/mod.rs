//! Tools that come with Katena. None is on unless it is added; each has limits; what they give back is data, with a mark of
//! where it comes from, never an instruction.
//!
//! | tool | what it does | feature |
//! | --- | --- | --- |
//! | [`RetrieverTool`] | passages from a retriever | |
//! | [`ChainTool`] | any chain | |
//! | [`Calculator`] | expressions of an own grammar | |
//! | [`CurrentTime`] | date and time in a zone | |
//! | [`FileReader`] | texts and listings below one folder | |
//! | [`AskHuman`] | a question to a person | |
//! | [`Think`] | room for a note | |
//! | `HttpFetch`, `PageReader` | public web pages, raw or as text | `http` |
//! | `WebSearch` | search by Brave, Tavily, SearXNG, DuckDuckGo, Wikipedia and others | `http` |
//! | `SqlTool` | tables, columns, and statements that only read | `sql` |

mod ask;
mod calculator;
mod chain;
#[cfg(feature = "http")]
mod fetch;
mod file;
#[cfg(feature = "http")]
mod page;
mod retriever;
#[cfg(feature = "http")]
mod search;
#[cfg(feature = "sql")]
mod sql;
#[cfg(all(test, feature = "http"))]
mod test_server;
mod think;
mod time;

pub use ask::AskHuman;
pub use calculator::Calculator;
pub use chain::ChainTool;
#[cfg(feature = "http")]
pub use fetch::HttpFetch;
pub use file::FileReader;
#[cfg(feature = "http")]
pub use katena_http::guard::OutboundGuard;
#[cfg(feature = "http")]
pub use page::PageReader;
pub use retriever::RetrieverTool;
#[cfg(feature = "http")]
pub use search::{
    BraveSearch, DuckDuckGoSearch, ExaSearch, PerplexitySearch, SearchEngine, SearchHit, SearchQuery,
    SearxngSearch, SerpApiSearch, TavilySearch, WebSearch, WikipediaSearch,
};
#[cfg(feature = "sql")]
pub use sql::SqlTool;
pub use think::Think;
pub use time::CurrentTime;

/// The longest query or question, in bytes.
const MAX_QUERY: usize = 4096;

/// A text argument that is neither blank nor longer than `most` bytes.
fn checked<'t>(text: &'t str, most: usize, tool: &str) -> katena_core::Result<&'t str> {
    let trimmed = text.trim();
    if trimmed.is_empty() || text.len() > most {
        return Err(katena_core::Error::invalid_output("an argument is empty or longer than the limit")
            .with_context("tool", tool)
            .with_context("limit", format!("{most} bytes")));
    }
    Ok(trimmed)
}
