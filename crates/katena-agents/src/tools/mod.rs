//! Tools that come with Katena. None is on unless it is added; each has limits; what they give back is data, with a mark of
//! where it comes from, never an instruction.

mod chain;
mod quote;
mod retriever;

pub use chain::ChainTool;
pub use retriever::RetrieverTool;

/// The longest query or question, in bytes.
const MAX_QUERY: usize = 4096;
