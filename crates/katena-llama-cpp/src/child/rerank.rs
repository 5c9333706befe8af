//! A reranker in a process of its own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Document, RerankRequest, Reranker, Result, Scored};

use super::link::Link;
use super::wire::{Call, Engine, Info, Reply};
use super::{ChildOptions, absolute, keeper, unexpected};
use crate::{BatchStats, RerankerOptions};

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
        let engine = Engine::Reranker { path: absolute(path.as_ref())?, options };
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

    lifecycle!(BatchStats, Batches);
}

#[async_trait]
impl Reranker for ChildReranker {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let texts = request.documents.iter().map(|d| d.text.clone()).collect();
        let call = Call::Rerank { query: request.query, texts, top_k: request.top_k };
        let Reply::Ranked(ranked) = self.0.ask(call, &request.context).await? else {
            return Err(unexpected());
        };
        let mut documents: Vec<Option<Document>> = request.documents.into_iter().map(Some).collect();
        let mut take = |n: usize| documents.get_mut(n).and_then(Option::take).ok_or_else(unexpected);
        ranked.into_iter().map(|(n, score)| Ok(Scored::new(take(n)?, score))).collect()
    }
}
