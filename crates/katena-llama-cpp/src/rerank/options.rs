//! How rerankers are loaded.

use std::fmt;

use serde::{Deserialize, Serialize};

use katena_gguf::Overlong;

use crate::options::{EmbedderOptions, Progress};

/// What a score is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RerankScore {
    /// The number that the model's head gives: a logit from minus to plus infinity for heads of one number, the first
    /// label's probability from 0 to 1 for Qwen 3.
    #[default]
    Head,
    /// A logit through the logistic function 1 / (1 + e⁻ˣ): from 0 to 1. Only for heads of one number.
    Sigmoid,
}

/// How a reranker is loaded and run.
///
/// ```
/// use katena_llama_cpp::{Overlong, RerankScore, RerankerOptions};
/// let options = RerankerOptions::new().with_score(RerankScore::Sigmoid).with_overlong(Overlong::Truncate);
/// assert_eq!(options.overlong, Overlong::Truncate);
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RerankerOptions {
    /// Layers computed on the GPU, as in [`LlamaOptions::gpu_layers`](crate::LlamaOptions::gpu_layers).
    pub gpu_layers: u32,
    /// Threads that compute, as in [`LlamaOptions::threads`](crate::LlamaOptions::threads).
    pub threads: u32,
    /// Tokens at which a batch of several pairs is full, as in
    /// [`EmbedderOptions::batch_tokens`](crate::EmbedderOptions::batch_tokens).
    pub batch_tokens: u32,
    /// Most tokens of a query and a document together, the marks included. Unset: what the model was trained for, at most
    /// 1024.
    pub max_tokens: Option<u32>,
    /// What happens to longer pairs: refused, or the document is cut. A query that leaves no room is always refused.
    pub overlong: Overlong,
    /// What a score is.
    pub score: RerankScore,
    /// Requests that may wait; the next is refused with `Unavailable`.
    pub queue: usize,
    /// Most bytes of main memory, as in [`LlamaOptions::memory_limit`](crate::LlamaOptions::memory_limit).
    pub memory_limit: Option<u64>,
    /// Told how much is loaded.
    #[serde(skip)]
    pub progress: Option<Progress>,
}

impl fmt::Debug for RerankerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RerankerOptions")
            .field("gpu_layers", &self.gpu_layers)
            .field("threads", &self.threads)
            .field("batch_tokens", &self.batch_tokens)
            .field("max_tokens", &self.max_tokens)
            .field("overlong", &self.overlong)
            .field("score", &self.score)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl Default for RerankerOptions {
    fn default() -> Self {
        let embedder = EmbedderOptions::default();
        Self {
            gpu_layers: 0,
            threads: embedder.threads,
            batch_tokens: embedder.batch_tokens,
            max_tokens: None,
            overlong: Overlong::default(),
            score: RerankScore::default(),
            queue: embedder.queue,
            memory_limit: None,
            progress: None,
        }
    }
}

impl RerankerOptions {
    /// On the processor; longer pairs are refused; scores as the head gives them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the layers on the GPU.
    pub fn with_gpu_layers(mut self, layers: u32) -> Self {
        self.gpu_layers = layers;
        self
    }

    /// Sets the threads.
    pub fn with_threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    /// Sets the tokens at which a batch is full.
    pub fn with_batch_tokens(mut self, tokens: u32) -> Self {
        self.batch_tokens = tokens;
        self
    }

    /// Sets the most tokens of a query and a document together.
    pub fn with_max_tokens(mut self, tokens: u32) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets what happens to longer pairs.
    pub fn with_overlong(mut self, overlong: Overlong) -> Self {
        self.overlong = overlong;
        self
    }

    /// Sets what a score is.
    pub fn with_score(mut self, score: RerankScore) -> Self {
        self.score = score;
        self
    }

    /// Sets how many requests may wait.
    pub fn with_queue(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// Sets the most bytes of main memory.
    pub fn with_memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Sets who is told how much is loaded.
    pub fn with_progress(mut self, progress: impl Fn(f32) + Send + Sync + 'static) -> Self {
        self.progress = Some(std::sync::Arc::new(progress));
        self
    }
}
