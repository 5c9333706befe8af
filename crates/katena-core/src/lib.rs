//! The vocabulary of Katena: traits, messages, documents, errors, layers, chains, and fakes for tests.
//!
//! This crate names no vendor, no runtime and no file system. Everything else in the workspace builds on it; a library
//! that offers a Katena component needs only this crate.
//!
//! ```
//! # futures_util::FutureExt::now_or_never(async {
//! use katena_core::{ChainExt, func, fake::EchoChat};
//! let chain = func(async |word: String, _run| Ok(format!("Say {word}"))).chat(EchoChat::new()).text();
//! assert_eq!(chain.run("hello").await.unwrap(), "Say hello");
//! # }).unwrap();
//! ```

mod batch;
mod chain;
mod chat;
mod clock;
mod compose;
mod context;
mod document;
mod embed;
mod error;
mod event;
pub mod fake;
mod filter;
mod graph;
mod info;
mod layer;
mod loader;
mod media;
mod memory;
mod message;
mod options;
mod records;
mod report;
mod rerank;
mod response;
mod retriever;
mod run;
mod splitter;
mod store;
mod tool;

pub use batch::*;
pub use chain::*;
pub use chat::*;
pub use clock::*;
pub use compose::*;
pub use context::*;
pub use document::*;
pub use embed::*;
pub use error::*;
pub use event::*;
pub use filter::*;
pub use graph::*;
pub use info::*;
pub use layer::*;
pub use loader::*;
pub use media::*;
pub use memory::*;
pub use message::*;
pub use options::*;
pub use records::*;
pub use report::*;
pub use rerank::*;
pub use response::*;
pub use retriever::*;
pub use run::*;
pub use splitter::*;
pub use store::*;
pub use tool::*;

/// Every core trait is usable behind an `Arc`.
const _: () = {
    const fn usable<T: ?Sized>() {}
    usable::<std::sync::Arc<dyn BatchModel>>();
    usable::<std::sync::Arc<dyn ChatModel>>();
    usable::<std::sync::Arc<dyn Embedder>>();
    usable::<std::sync::Arc<dyn Reranker>>();
    usable::<std::sync::Arc<dyn VectorStore>>();
    usable::<std::sync::Arc<dyn RecordStore>>();
    usable::<std::sync::Arc<dyn CheckpointStore>>();
    usable::<std::sync::Arc<dyn Retriever>>();
    usable::<std::sync::Arc<dyn DocumentLoader>>();
    usable::<std::sync::Arc<dyn TextSplitter>>();
    usable::<std::sync::Arc<dyn Tokenizer>>();
    usable::<std::sync::Arc<dyn ChatHistory>>();
    usable::<std::sync::Arc<dyn Memory>>();
    usable::<std::sync::Arc<dyn Tool>>();
    usable::<std::sync::Arc<dyn Clock>>();
    usable::<std::sync::Arc<dyn ImageModel>>();
    usable::<std::sync::Arc<dyn SpeechModel>>();
    usable::<std::sync::Arc<dyn TranscriptionModel>>();
    usable::<std::sync::Arc<dyn ModerationModel>>();
    usable::<std::sync::Arc<dyn Chain<Input = String, Output = String>>>();
    usable::<std::sync::Arc<dyn Layer<dyn ChatModel>>>();
};
