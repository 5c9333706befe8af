//! How a BERT embedder is loaded and run.

use std::fmt;

use katena_gguf::{Overlong, Pooling};

/// How a [`BertEmbedder`](super::BertEmbedder) is loaded and run.
///
/// ```
/// use katena_embeddings::bert::{BertOptions, Overlong};
/// let options = BertOptions::new().with_overlong(Overlong::Truncate).with_threads(1);
/// assert_eq!(options.overlong, Overlong::Truncate);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct BertOptions {
    /// Threads that compute, 1 to 256: each takes batches of its own. Default: the processors that this process may use, at
    /// most 8.
    pub threads: usize,
    /// Most tokens that a thread computes together, 32 to 65,536; raised to the longest text that is allowed. Default: 512.
    pub batch_tokens: usize,
    /// Most tokens of one text, the model's begin and end marks included. Unset: what the file says, then what the
    /// model was trained for.
    pub max_tokens: Option<usize>,
    /// What happens to longer texts.
    pub overlong: Overlong,
    /// How token vectors become one. Unset: what the file says.
    pub pooling: Option<Pooling>,
    /// Put before each text that is searched for.
    pub query_prefix: String,
    /// Put before each text that is found.
    pub document_prefix: String,
    /// Requests that may wait, at least 1; the next one is refused. Default: 64.
    pub queue: usize,
    /// Most bytes of weights and buffers; a model that needs more is refused.
    pub memory_limit: Option<u64>,
}

impl fmt::Debug for BertOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BertOptions")
            .field("threads", &self.threads)
            .field("batch_tokens", &self.batch_tokens)
            .field("max_tokens", &self.max_tokens)
            .field("overlong", &self.overlong)
            .field("pooling", &self.pooling)
            .finish_non_exhaustive()
    }
}

impl Default for BertOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, |n| n.get().min(8)),
            batch_tokens: 512,
            max_tokens: None,
            overlong: Overlong::default(),
            pooling: None,
            query_prefix: String::new(),
            document_prefix: String::new(),
            queue: 64,
            memory_limit: None,
        }
    }
}

impl BertOptions {
    /// Longer texts are refused; pooling as the file says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the threads.
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets the most tokens that are computed together.
    pub fn with_batch_tokens(mut self, tokens: usize) -> Self {
        self.batch_tokens = tokens;
        self
    }

    /// Sets the most tokens of one text, marks included.
    pub fn with_max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets what happens to longer texts.
    pub fn with_overlong(mut self, overlong: Overlong) -> Self {
        self.overlong = overlong;
        self
    }

    /// Sets how token vectors become one.
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = Some(pooling);
        self
    }

    /// Sets what is put before queries and before documents.
    pub fn with_prefixes(mut self, query: impl Into<String>, document: impl Into<String>) -> Self {
        self.query_prefix = query.into();
        self.document_prefix = document.into();
        self
    }

    /// Sets how many requests may wait.
    pub fn with_queue(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// Sets the most bytes of weights and buffers.
    pub fn with_memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }
}
