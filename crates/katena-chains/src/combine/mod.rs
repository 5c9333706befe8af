//! Many documents, one answer: all at once, by map and reduce, one after another, or the best of many.

mod common;
mod input;
mod map_reduce;
mod prompts;
mod quote;
mod refine;
mod rerank;
mod stuff;

pub use common::{Combined, FailedDocument, OnFailure, Overflow};
pub(crate) use common::{bounded, is_about_one};
pub use input::{DocumentInput, DocumentQuestion};
pub use map_reduce::MapReduceDocuments;
pub use refine::RefineDocuments;
pub use rerank::{Candidate, MapRerankDocuments, Ranked};
pub use stuff::StuffDocuments;
