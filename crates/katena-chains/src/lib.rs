//! Chains for Katena: retrieval question answering with checked citations.

mod qa;

pub use qa::{Answer, AnswerKind, Citation, CitationOrigin, Passage, Question, RetrievalQa};
