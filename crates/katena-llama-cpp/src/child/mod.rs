//! Engines in a process of their own, for servers that must survive.
//!
//! llama.cpp can abort a process: by a failed assertion, by a driver, or because memory ran out. [`ChildChat`],
//! [`ChildEmbedder`] and [`ChildReranker`] have the same traits as the engines in this process and keep the model in another one, which they
//! start, talk to over a socket pair (no path, no port, nobody else can connect), and start again when it dies:
//!
//! - Calls under way fail with `Unavailable`, which is temporary and says when to try again.
//! - The next calls start the process again, one start at a time, and wait for it, at most [`ChildOptions::wait`].
//! - Processes in a row that end without an answer are started after growing pauses, and after
//!   [`ChildOptions::starts`] of them not any more: calls then fail for good, until [`ChildChat::restart`].
//! - The process ends with the last clone of the model and with this program, however that ends.
//!
//! A program is its own engine if its `main` calls [`run_if_child`] first; or name another one that calls [`serve`].
//!
//! ```no_run
//! use katena_core::{ChatModel, ChatRequest, Message, Result};
//! use katena_llama_cpp::LlamaOptions;
//! use katena_llama_cpp::child::{ChildChat, ChildCommand, ChildOptions, run_if_child};
//!
//! # async fn answer() -> Result<()> {
//! if run_if_child()? {
//!     return Ok(());
//! }
//! let child = ChildOptions::new(ChildCommand::this_program());
//! let model = ChildChat::spawn("smollm2-135m-instruct.gguf", LlamaOptions::new(), child)?;
//! let response = model.generate(&ChatRequest::new([Message::user("Hello!")])).await?;
//! # Ok(()) }
//! ```
//!
//! Requests and events are JSON, some microseconds each. Labels stay here. A stream that is not read holds nobody up: it may
//! have 32 events on their way, then its answer pauses.

#[macro_use]
mod lifecycle;

mod chat;
mod embed;
mod keeper;
mod link;
mod process;
mod rerank;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use katena_core::{Error, Result};

pub use chat::ChildChat;
pub use embed::ChildEmbedder;
pub use process::{ChildCommand, ChildLog};
pub use rerank::ChildReranker;
pub use serve::{run_if_child, serve};

/// How an engine's process is kept.
///
/// ```
/// use katena_llama_cpp::child::{ChildCommand, ChildOptions};
/// let options = ChildOptions::new(ChildCommand::new("/usr/lib/my-engine")).with_starts(3);
/// assert_eq!(options.starts, 3);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ChildOptions {
    /// What is started.
    pub command: ChildCommand,
    /// Processes in a row that may end without having answered a call, at least 1; then calls fail for good.
    pub starts: u32,
    /// How long loading may take.
    pub start_timeout: Duration,
    /// How long a call waits while the process is started again.
    pub wait: Duration,
    /// Calls that may be under way, at least 1; more are refused with `Unavailable`.
    pub calls: usize,
}

impl ChildOptions {
    /// At most 5 processes in a row without an answer, 2 minutes to load, calls wait half a minute for a start; 1024 calls.
    pub fn new(command: ChildCommand) -> Self {
        Self {
            command,
            starts: 5,
            start_timeout: Duration::from_secs(120),
            wait: Duration::from_secs(30),
            calls: 1024,
        }
    }

    /// Sets how many processes in a row may end without an answer.
    pub fn with_starts(mut self, processes: u32) -> Self {
        self.starts = processes.max(1);
        self
    }

    /// Sets how long loading may take.
    pub fn with_start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = limit;
        self
    }

    /// Sets how long a call waits for a start.
    pub fn with_wait(mut self, limit: Duration) -> Self {
        self.wait = limit;
        self
    }

    /// Sets how many calls may be under way.
    pub fn with_calls(mut self, calls: usize) -> Self {
        self.calls = calls.max(1);
        self
    }
}

/// The path as the other process gets it, which may be started when this one is in another folder.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.to_str().is_none() {
        return Err(Error::invalid_input("the file's path is not valid UTF-8")
            .with_context("file", path.display().to_string()));
    }
    Ok(std::path::absolute(path)?)
}

fn unexpected() -> Error {
    Error::invalid_output("the engine's process gave another kind of answer")
}
