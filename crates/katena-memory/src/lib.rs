//! Memory for Katena: where conversations are kept, and what of them a model sees again.
//!
//! Two kinds of parts, each behind its core trait:
//!
//! - **Histories** ([`ChatHistory`](katena_core::ChatHistory)) keep messages by session: [`MemoryHistory`] in the process,
//!   [`JsonlHistory`] in a folder, `SqliteHistory`, `PgHistory`, `RedisHistory` and `MongoHistory` by feature.
//! - **Memories** ([`Memory`](katena_core::Memory)) decide what is recalled, over any history: [`BufferMemory`],
//!   [`WindowMemory`], [`TokenMemory`], [`SummaryMemory`], [`SummaryBufferMemory`], [`VectorMemory`], [`EntityMemory`], [`CombinedMemory`],
//!   [`NoMemory`].
//!
//! A memory never deletes a turn. What it derives (a summary, facts) is appended to a side session of the same history,
//! `session + "\u{1f}" + kind`, and says which messages it covers; so a crash or a second process loses nothing.
//!
//! ```
//! use katena_core::{Memory, Message, RecallRequest, RecordRequest};
//! use katena_memory::{MemoryHistory, WindowMemory};
//! # futures_util::future::FutureExt::now_or_never(async {
//! let memory = WindowMemory::new(MemoryHistory::new(), 1);
//! for n in 1..=2 {
//!     let turn = vec![Message::user(format!("Question {n}")), Message::assistant(format!("Answer {n}"))];
//!     memory.record(RecordRequest::new("anna", turn)).await?;
//! }
//! let recalled = memory.recall(&RecallRequest::new("anna")).await?;
//! assert_eq!(recalled[0].text(), "Question 2");
//! # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
//! ```

mod history;
mod memory;

pub use history::*;
pub use memory::*;
