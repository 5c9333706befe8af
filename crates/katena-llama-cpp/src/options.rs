//! How models are loaded.

use std::fmt;
use std::sync::Arc;

use katena_gguf::{Overlong, Pooling};
use serde::{Deserialize, Serialize};

use crate::settings::{CachePlace, CacheType, FlashAttention, Lora, RopeScaling, SplitMode, Weights};

/// Told how much of a model is loaded, from 0 to 1.
pub type Progress = Arc<dyn Fn(f32) + Send + Sync>;

/// How a chat model is loaded and run.
///
/// ```
/// use katena_llama_cpp::LlamaOptions;
/// let options = LlamaOptions::new().with_context_tokens(4096).with_threads(2).with_slots(2);
/// assert_eq!(options.context_tokens, Some(4096));
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LlamaOptions {
    /// Layers computed on the GPU; more than the model has means all. Needs one of the features `cuda`, `vulkan`,
    /// `metal`, `rocm`.
    pub gpu_layers: u32,
    /// Tokens of prompt and answer together, for each slot. Unset: what the model was trained for, at most 8192.
    pub context_tokens: Option<u32>,
    /// Threads that compute. OpenMP's threads spin while they wait: on a shared machine set the environment variable
    /// `OMP_WAIT_POLICY=PASSIVE` before the process starts.
    pub threads: u32,
    /// Most tokens of one step, 32 to 8192: larger is a little faster with long prompts, smaller lets a dropped
    /// stream stop sooner.
    pub batch_tokens: u32,
    /// Requests that are answered at the same time, 1 to 64. Others wait.
    pub slots: u32,
    /// Requests that may wait for a slot; the next one is refused at once with `Unavailable` and a time to try again.
    pub queue: usize,
    /// Tokens that the cache holds for all requests together. With room for the context of every slot each has its own,
    /// which is fastest; with less they share it, what they begin with in common counted once, and if it is full the youngest
    /// request waits and goes on later. Unset: room for all contexts, but no more than 32,768 tokens or one context.
    pub cache_tokens: Option<u32>,
    /// Most prompt tokens of a step while answers are being generated: smaller keeps streams smoother, larger lets new
    /// requests begin sooner. Unset: 64, with layers on a GPU 512.
    pub prefill_tokens: Option<u32>,
    /// Most tokens of finished requests whose state is kept in main memory, for requests that begin alike; least recently used
    /// ones go first. 0: nothing is kept or shared. Unset: 4096 or one context, whichever is more, less where memory is short.
    pub kept_tokens: Option<u32>,
    /// Most bytes of main memory that weights, context and buffers may take. Unset: what is free.
    pub memory_limit: Option<u64>,
    /// How the layers on GPUs are spread over them.
    pub split_mode: SplitMode,
    /// The GPU that takes all layers with [`SplitMode::None`], by its place among the devices.
    pub main_gpu: u32,
    /// The GPUs that are used, by name. Empty: all.
    pub devices: Vec<String>,
    /// Whether attention is computed in one pass.
    pub flash_attention: FlashAttention,
    /// How keys are stored in the cache; the head's length must be a multiple of the type's block.
    pub key_type: CacheType,
    /// How values are stored in the cache; quantised ones need flash attention.
    pub value_type: CacheType,
    /// Where the cache lies.
    pub cache_place: CachePlace,
    /// How the weights get into main memory.
    pub weights: Weights,
    /// Tokens of a step that are computed at once, 1 to 8192; a larger step is computed in parts. Unset: 512.
    pub ubatch_tokens: Option<u32>,
    /// Threads for steps of more than one token, 1 to 512. Unset: `threads`.
    pub batch_threads: Option<u32>,
    /// A longer context than the model was trained for; `context_tokens` says how long.
    pub rope_scaling: Option<RopeScaling>,
    /// Adapters; one at most can be used.
    pub lora: Vec<Lora>,
    /// A chat template (Jinja) in place of the file's own.
    pub chat_template: Option<String>,
    /// Told how much is loaded.
    #[serde(skip)]
    pub progress: Option<Progress>,
}

impl fmt::Debug for LlamaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlamaOptions")
            .field("gpu_layers", &self.gpu_layers)
            .field("context_tokens", &self.context_tokens)
            .field("threads", &self.threads)
            .field("batch_tokens", &self.batch_tokens)
            .field("slots", &self.slots)
            .field("memory_limit", &self.memory_limit)
            .finish_non_exhaustive()
    }
}

impl Default for LlamaOptions {
    fn default() -> Self {
        Self {
            gpu_layers: 0,
            context_tokens: None,
            threads: default_threads(),
            batch_tokens: 256,
            slots: 1,
            queue: 64,
            cache_tokens: None,
            prefill_tokens: None,
            kept_tokens: None,
            memory_limit: None,
            split_mode: SplitMode::default(),
            main_gpu: 0,
            devices: Vec::new(),
            flash_attention: FlashAttention::default(),
            key_type: CacheType::default(),
            value_type: CacheType::default(),
            cache_place: CachePlace::default(),
            weights: Weights::default(),
            ubatch_tokens: None,
            batch_threads: None,
            rope_scaling: None,
            lora: Vec::new(),
            chat_template: None,
            progress: None,
        }
    }
}

/// The processors that this process may use, at most 8.
fn default_threads() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(8) as u32)
}

impl LlamaOptions {
    /// On the processor, one slot, as many threads as there are processors, at most 8.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the layers on the GPU.
    pub fn with_gpu_layers(mut self, layers: u32) -> Self {
        self.gpu_layers = layers;
        self
    }

    /// Sets the context of each slot.
    pub fn with_context_tokens(mut self, tokens: u32) -> Self {
        self.context_tokens = Some(tokens);
        self
    }

    /// Sets the threads.
    pub fn with_threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    /// Sets the most tokens of one step.
    pub fn with_batch_tokens(mut self, tokens: u32) -> Self {
        self.batch_tokens = tokens;
        self
    }

    /// Sets how many requests are answered at the same time.
    pub fn with_slots(mut self, slots: u32) -> Self {
        self.slots = slots;
        self
    }

    /// Sets how many requests may wait.
    pub fn with_queue(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// Sets the tokens that the cache holds.
    pub fn with_cache_tokens(mut self, tokens: u32) -> Self {
        self.cache_tokens = Some(tokens);
        self
    }

    /// Sets the most prompt tokens of a step while answers are being generated.
    pub fn with_prefill_tokens(mut self, tokens: u32) -> Self {
        self.prefill_tokens = Some(tokens);
        self
    }

    /// Sets the most tokens of finished requests that are kept.
    pub fn with_kept_tokens(mut self, tokens: u32) -> Self {
        self.kept_tokens = Some(tokens);
        self
    }

    /// Sets the most bytes of main memory.
    pub fn with_memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Sets a chat template in place of the file's own.
    pub fn with_chat_template(mut self, template: impl Into<String>) -> Self {
        self.chat_template = Some(template.into());
        self
    }

    /// Sets who is told how much is loaded.
    pub fn with_progress(mut self, progress: impl Fn(f32) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }
}

/// How an embedder is loaded and run.
///
/// ```
/// use katena_llama_cpp::{EmbedderOptions, Overlong};
/// let options = EmbedderOptions::new().with_overlong(Overlong::Truncate).with_threads(1);
/// assert_eq!(options.overlong, Overlong::Truncate);
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct EmbedderOptions {
    /// Layers computed on the GPU, as in [`LlamaOptions::gpu_layers`].
    pub gpu_layers: u32,
    /// Threads that compute, as in [`LlamaOptions::threads`].
    pub threads: u32,
    /// Tokens at which a batch of several texts is full, 32 to 8192; a longer text has a batch of its own. On a processor
    /// 128 is fastest with BERT, since each text's attention also reads over its neighbours; GPUs want more.
    pub batch_tokens: u32,
    /// Most tokens of one text, the model's begin and end marks included. Unset: what the file says, then what the
    /// model was trained for.
    pub max_tokens: Option<u32>,
    /// What happens to longer texts.
    pub overlong: Overlong,
    /// How token vectors become one. Unset: what the file says.
    pub pooling: Option<Pooling>,
    /// Put before each text that is searched for.
    pub query_prefix: String,
    /// Put before each text that is found.
    pub document_prefix: String,
    /// Requests that may wait; the next is refused with `Unavailable` and a time to wait.
    pub queue: usize,
    /// Most bytes of main memory, as in [`LlamaOptions::memory_limit`].
    pub memory_limit: Option<u64>,
    /// Told how much is loaded.
    #[serde(skip)]
    pub progress: Option<Progress>,
}

impl fmt::Debug for EmbedderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedderOptions")
            .field("gpu_layers", &self.gpu_layers)
            .field("threads", &self.threads)
            .field("batch_tokens", &self.batch_tokens)
            .field("max_tokens", &self.max_tokens)
            .field("overlong", &self.overlong)
            .field("pooling", &self.pooling)
            .finish_non_exhaustive()
    }
}

impl Default for EmbedderOptions {
    fn default() -> Self {
        Self {
            gpu_layers: 0,
            threads: default_threads(),
            batch_tokens: 128,
            max_tokens: None,
            overlong: Overlong::default(),
            pooling: None,
            query_prefix: String::new(),
            document_prefix: String::new(),
            queue: 256,
            memory_limit: None,
            progress: None,
        }
    }
}

impl EmbedderOptions {
    /// On the processor; longer texts are refused; pooling as the file says.
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

    /// Sets the most tokens of one text, marks included.
    pub fn with_max_tokens(mut self, tokens: u32) -> Self {
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

    /// Sets the most bytes of main memory.
    pub fn with_memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Sets who is told how much is loaded.
    pub fn with_progress(mut self, progress: impl Fn(f32) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }
}
