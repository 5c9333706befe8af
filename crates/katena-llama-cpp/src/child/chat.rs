//! A chat model in a process of its own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use katena_core::{ChatModel, ChatRequest, ChatResponse, ChatStream, Context, Error, ModelInfo, Result};

use super::link::{Heard, Link};
use super::wire::{Call, Engine, Info, Reply};
use super::{ChildOptions, absolute, keeper, unexpected};
use crate::{EngineStats, LlamaOptions};

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

/// A chat model in a process of its own; otherwise as [`LlamaChat`](crate::LlamaChat).
///
/// Options that have no finite value are `InvalidInput`. See [the module](self) for what happens when the process dies.
#[derive(Clone)]
pub struct ChildChat(pub(super) Arc<Link>, ModelInfo);

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
        let engine = Engine::Chat { path: absolute(path.as_ref())?, options };
        let link = keeper::start(engine, progress, child)?;
        match link.info.clone() {
            Info::Chat(info) => Ok(Self(Arc::new(link), info)),
            _ => Err(unexpected()),
        }
    }

    lifecycle!(EngineStats, Engine);

    /// How many tokens the request's prompt has, template and marks included.
    ///
    /// # Errors
    /// As [`ChatModel::generate`] before the call: `InvalidInput`, `Unsupported`, `ContextTooLong`; `Unavailable`.
    pub async fn prompt_tokens(&self, request: &ChatRequest) -> Result<usize> {
        check_numbers(request)?;
        self.tokens(Call::PromptTokens(Box::new(request.clone())), &request.context).await
    }

    /// As [`LlamaChat::save_session`](crate::LlamaChat::save_session); the process writes the file.
    ///
    /// # Errors
    /// As there, and `Unavailable`.
    pub async fn save_session(&self, path: impl AsRef<Path>, request: &ChatRequest) -> Result<usize> {
        check_numbers(request)?;
        let call = Call::SaveSession { path: absolute(path.as_ref())?, request: Box::new(request.clone()) };
        self.tokens(call, &request.context).await
    }

    /// As [`LlamaChat::load_session`](crate::LlamaChat::load_session); the process reads the file. What it has read ends
    /// with it: load again after a new start ([`starts`](Self::starts)).
    ///
    /// # Errors
    /// As there, and `Unavailable`.
    pub async fn load_session(&self, path: impl AsRef<Path>) -> Result<usize> {
        self.tokens(Call::LoadSession(absolute(path.as_ref())?), &Context::new()).await
    }

    async fn tokens(&self, call: Call, context: &Context) -> Result<usize> {
        match self.0.ask(call, context).await? {
            Reply::Tokens(tokens) => Ok(tokens),
            _ => Err(unexpected()),
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
        match self.0.ask(Call::Generate(Box::new(request.clone())), &request.context).await? {
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
