//! An embedder in a process of its own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Result, Tokenizer};

use super::link::Link;
use super::wire::{Call, Engine, Info, Reply};
use super::{ChildOptions, absolute, keeper, unexpected};
use crate::{BatchStats, EmbedderOptions};

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
        let engine = Engine::Embedder { path: absolute(path.as_ref())?, options };
        let link = keeper::start(engine, progress, child)?;
        match link.info.clone() {
            Info::Embedder(info) => Ok(Self(Arc::new(link), info)),
            _ => Err(unexpected()),
        }
    }

    lifecycle!(BatchStats, Batches);
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
        match self.0.ask(call, &request.context).await? {
            Reply::Vectors { vectors, usage }
                if vectors.len() == request.texts.len()
                    && vectors.iter().all(|v| v.len() == self.1.dimensions) =>
            {
                Ok(EmbedResponse::new(vectors).with_usage(usage))
            }
            _ => Err(unexpected()),
        }
    }
}
