#![doc = include_str!("../README.md")]

mod corpus;
mod harness;
mod macros;

pub mod chat_history;
pub mod chat_model;
pub mod checkpoint_store;
pub mod document_loader;
pub mod embedder;
pub mod fixtures;
pub mod memory;
pub mod record_store;
pub mod reranker;
pub mod retriever;
pub mod text_splitter;
#[cfg(feature = "gguf")]
pub mod tiny;
pub mod tokenizer;
pub mod tool;
pub mod vector_store;

pub use corpus::corpus;

/// A key for components that need one. `debug_hides_content` looks for it.
pub const FAKE_KEY: &str = "sk-katena-fake-key-0123456789";

/// Used by the macros; not for others.
#[doc(hidden)]
pub mod __private {
    pub use crate::harness::{Made, Plain, run, skip};
}
