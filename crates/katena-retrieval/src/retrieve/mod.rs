//! Retrievers over an index.

mod dense;
mod fused;
mod lexical;

pub use dense::DenseRetriever;
pub use fused::{Found, FusedHit, FusedRetriever};
pub use lexical::LexicalRetriever;

use katena_core::{Error, Query, Result};

/// Passages that a retriever gives unless told otherwise.
pub(crate) const DEFAULT_TOP_K: usize = 4;

/// What every retriever refuses before it works.
pub(crate) fn check(query: &Query) -> Result<()> {
    query.context.check()?;
    if query.text.trim().is_empty() {
        return Err(Error::invalid_input("the query has no words"));
    }
    Ok(())
}
