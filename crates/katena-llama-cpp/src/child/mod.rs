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

mod keeper;
mod link;
mod process;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use katena_core::{
    ChatModel, ChatRequest, ChatResponse, ChatStream, Document, EmbedRequest, EmbedResponse, Embedder,
    EmbedderInfo, Error, ModelInfo, RerankRequest, Reranker, Result, Scored, Tokenizer,
};

use crate::RerankerOptions;
use crate::options::{EmbedderOptions, LlamaOptions};
use keeper::Message;
use link::{Heard, Link};
pub use process::{ChildCommand, ChildLog};
pub use serve::{run_if_child, serve};
use wire::{Call, Engine, Info, Reply};

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

/// The path as the other process gets it.
fn path(path: &Path) -> Result<PathBuf> {
    if path.to_str().is_none() {
        return Err(Error::invalid_input("the model's path is not valid UTF-8")
            .with_context("file", path.display().to_string()));
    }
    Ok(path.to_owned())
}

fn unexpected() -> Error {
    Error::invalid_output("the engine's process gave another kind of answer")
}

/// JSON has no NaN and no infinity, and what can't be sent must not vanish.
fn check_numbers(request: &ChatRequest) -> Result<()> {
    for (name, value) in [
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
    ] {
        if value.is_some_and(|v| !v.is_finite()) {
            return Err(Error::invalid_input("an option is not a finite number").with_context("option", name));
        }
    }
    Ok(())
}

macro_rules! lifecycle {
    () => {
        /// The number of the engine's process; none while it is down. It is started again by the next call.
        pub fn process_id(&self) -> Option<u32> {
            Some(self.0.shared.process.load(Ordering::Acquire)).filter(|id| *id != 0)
        }

        /// How many processes were started so far.
        pub fn starts(&self) -> u64 {
            self.0.shared.starts.load(Ordering::Acquire)
        }

        /// Allows starts again after too many processes ended without an answer.
        pub fn restart(&self) {
            let _ = self.0.keeper.try_send(Message::Restart);
        }
    };
}

/// A chat model in a process of its own; otherwise as [`LlamaChat`](crate::LlamaChat).
///
/// Options that have no finite value are `InvalidInput`. See [the module](self) for what happens when the process dies.
#[derive(Clone)]
pub struct ChildChat(Arc<Link>, ModelInfo);

impl fmt::Debug for ChildChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildChat").field("info", &self.1).finish_non_exhaustive()
    }
}

impl ChildChat {
    /// Starts a process that loads a GGUF file, and blocks until that is done.
    ///
    /// # Errors
    /// As [`LlamaChat::load`](crate::LlamaChat::load); `NotFound` or what else the system says if the program can't be
    /// started; `Unavailable` if it ends at once or takes too long; `Unsupported` where there is no Unix.
    pub fn spawn(path: impl AsRef<Path>, options: LlamaOptions, child: ChildOptions) -> Result<Self> {
        let progress = options.progress.clone();
        let engine = Engine::Chat { path: self::path(path.as_ref())?, options };
        let link = keeper::start(engine, progress, child)?;
        match link.info.clone() {
            Info::Chat(info) => Ok(Self(Arc::new(link), info)),
            _ => Err(unexpected()),
        }
    }

    lifecycle!();

    /// How many tokens the request's prompt has, template and marks included.
    ///
    /// # Errors
    /// As [`ChatModel::generate`] before the call: `InvalidInput`, `Unsupported`, `ContextTooLong`; `Unavailable`.
    pub async fn prompt_tokens(&self, request: &ChatRequest) -> Result<usize> {
        check_numbers(request)?;
        match self.ask(Call::PromptTokens(Box::new(request.clone())), request).await? {
            Reply::Tokens(tokens) => Ok(tokens),
            _ => Err(unexpected()),
        }
    }

    async fn ask(&self, call: Call, request: &ChatRequest) -> Result<Reply> {
        let mut incoming = self.0.call(call, &request.context)?;
        match incoming.next().await {
            Some(Ok(Heard::Reply(reply))) => Ok(reply),
            Some(Err(e)) => Err(e),
            Some(Ok(Heard::Event(_))) | None => Err(unexpected()),
        }
    }
}

#[async_trait]
impl ChatModel for ChildChat {
    fn info(&self) -> &ModelInfo {
        &self.1
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        check_numbers(request)?;
        match self.ask(Call::Generate(Box::new(request.clone())), request).await? {
            Reply::Response(response) => Ok(*response),
            _ => Err(unexpected()),
        }
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        check_numbers(request)?;
        let incoming = self.0.call(Call::Stream(Box::new(request.clone())), &request.context)?;
        Ok(incoming
            .map(|heard| match heard? {
                Heard::Event(event) => Ok(event.into_event()),
                Heard::Reply(_) => Err(unexpected()),
            })
            .boxed())
    }
}

/// An embedder in a process of its own; otherwise as [`LlamaEmbedder`](crate::LlamaEmbedder).
///
/// It has no [tokenizer](Embedder::tokenizer): counting tokens would go through the process, and could then fail. See
/// [the module](self) for what happens when the process dies.
#[derive(Clone)]
pub struct ChildEmbedder(Arc<Link>, EmbedderInfo);

impl fmt::Debug for ChildEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildEmbedder").field("info", &self.1).finish_non_exhaustive()
    }
}

impl ChildEmbedder {
    /// Starts a process that loads a GGUF file, and blocks until that is done.
    ///
    /// # Errors
    /// As [`LlamaEmbedder::load`](crate::LlamaEmbedder::load), and as [`ChildChat::spawn`].
    pub fn spawn(path: impl AsRef<Path>, options: EmbedderOptions, child: ChildOptions) -> Result<Self> {
        let progress = options.progress.clone();
        let engine = Engine::Embedder { path: self::path(path.as_ref())?, options };
        let link = keeper::start(engine, progress, child)?;
        match link.info.clone() {
            Info::Embedder(info) => Ok(Self(Arc::new(link), info)),
            _ => Err(unexpected()),
        }
    }

    lifecycle!();
}

#[async_trait]
impl Embedder for ChildEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.1
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        None
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let call = Call::Embed { texts: request.texts.clone(), role: request.role };
        let mut incoming = self.0.call(call, &request.context)?;
        match incoming.next().await {
            Some(Ok(Heard::Reply(Reply::Vectors { vectors, usage })))
                if vectors.len() == request.texts.len()
                    && vectors.iter().all(|v| v.len() == self.1.dimensions) =>
            {
                Ok(EmbedResponse::new(vectors).with_usage(usage))
            }
            Some(Err(e)) => Err(e),
            _ => Err(unexpected()),
        }
    }
}

/// A reranker in a process of its own; otherwise as [`LlamaReranker`](crate::LlamaReranker).
///
/// Only the documents' texts go there. See [the module](self) for what happens when the process dies.
#[derive(Clone)]
pub struct ChildReranker(Arc<Link>, Arc<str>, usize);

impl fmt::Debug for ChildReranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildReranker").field("model", &self.1).finish_non_exhaustive()
    }
}

impl ChildReranker {
    /// Starts a process that loads a GGUF file, and blocks until that is done.
    ///
    /// # Errors
    /// As [`LlamaReranker::load`](crate::LlamaReranker::load), and as [`ChildChat::spawn`].
    pub fn spawn(path: impl AsRef<Path>, options: RerankerOptions, child: ChildOptions) -> Result<Self> {
        let progress = options.progress.clone();
        let engine = Engine::Reranker { path: self::path(path.as_ref())?, options };
        let link = keeper::start(engine, progress, child)?;
        match link.info.clone() {
            Info::Reranker { model, max_tokens } => Ok(Self(Arc::new(link), model.into(), max_tokens)),
            _ => Err(unexpected()),
        }
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.1
    }

    /// Most tokens of a query and a document together, the marks included.
    pub fn max_tokens(&self) -> usize {
        self.2
    }

    lifecycle!();
}

#[async_trait]
impl Reranker for ChildReranker {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let texts = request.documents.iter().map(|d| d.text.clone()).collect();
        let call = Call::Rerank { query: request.query, texts, top_k: request.top_k };
        let mut incoming = self.0.call(call, &request.context)?;
        let ranked = match incoming.next().await {
            Some(Ok(Heard::Reply(Reply::Ranked(ranked)))) => ranked,
            Some(Err(e)) => return Err(e),
            _ => return Err(unexpected()),
        };
        let mut documents: Vec<Option<Document>> = request.documents.into_iter().map(Some).collect();
        let mut take = |n: usize| documents.get_mut(n).and_then(Option::take).ok_or_else(unexpected);
        ranked.into_iter().map(|(n, score)| Ok(Scored::new(take(n)?, score))).collect()
    }
}
