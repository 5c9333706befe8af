//! Embedders on llama.cpp.

mod batcher;
pub(crate) mod encode;
pub(crate) mod worker;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Error, Result, Tokenizer, Usage};

use crate::engine::{MAX_BATCH, Purpose, Shape, load_model, model_name};
use crate::memory;
use crate::options::EmbedderOptions;
use encode::Encoder;
use katena_gguf::{Header, Keep, MAX_TOKENS_KEY, Pooling};
use worker::{BatchStats, Handle};

/// Most texts that are computed together.
pub(crate) const BATCH_TEXTS: u32 = 32;

/// An embedding model in this process.
///
/// One thread owns the model; clones and concurrent calls share it. Texts of all requests that wait are computed together,
/// several of similar length in a batch; each request gets its share, so a short one passes a long one. When
/// [`queue`](EmbedderOptions::queue) requests wait, the next is refused with `Unavailable` and a time to wait. The thread
/// ends when the last clone is dropped.
///
/// Vectors are of length 1 (L2), whatever the file's model did at its end. They are pooled as the file says, or as asked
/// for with [`EmbedderOptions::with_pooling`].
///
/// A text has at most [`EmbedderInfo::max_tokens`] tokens as [`tokenizer`](Embedder::tokenizer) counts them; what happens
/// to longer ones says [`Overlong`](crate::Overlong). [`EmbedderInfo::model`] includes a hash of the file, the pooling, the
/// limit and the prefixes.
///
/// ```no_run
/// # async fn f() -> katena_core::Result<()> {
/// use katena_core::{EmbedRequest, Embedder};
/// use katena_llama_cpp::{EmbedderOptions, LlamaEmbedder};
/// let embedder = LlamaEmbedder::load("all-minilm-l6-v2-f16.gguf", EmbedderOptions::new())?;
/// let response = embedder.embed(&EmbedRequest::documents(["A chain.", "A commentary."])).await?;
/// assert_eq!(response.vectors.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LlamaEmbedder {
    info: Arc<EmbedderInfo>,
    encoder: Arc<Encoder>,
    thread: Arc<Handle>,
}

impl fmt::Debug for LlamaEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlamaEmbedder").field("info", &self.info).finish_non_exhaustive()
    }
}

impl LlamaEmbedder {
    /// Loads a GGUF file and starts its thread. Blocks until the model is ready (some 100 ms for small models).
    ///
    /// # Errors
    /// `NotFound` or `InvalidInput` for a missing or broken file, naming it; `Unsupported` for models that are no
    /// embedders, GPU layers in a build without GPU, or a processor that can't run llama.cpp; `Config` for settings that
    /// are out of range or need more memory than there is.
    pub fn load(path: impl AsRef<Path>, options: EmbedderOptions) -> Result<Self> {
        crate::cpu::check_cpu()?;
        let path = path.as_ref();
        let header = Header::read(path, Keep::Vocabulary)?;
        let named = |e: Error| e.with_context("file", path.display().to_string());
        let pooling = Pooling::choose(&header, options.pooling).map_err(named)?;
        let window = window(&header, options.max_tokens).map_err(named)?;
        let batch = options.batch_tokens.max(window);
        if options.batch_tokens < 32 || batch > MAX_BATCH {
            return Err(named(
                Error::config("the embedder's batch is out of range")
                    .with_context("batch_tokens", batch.to_string())
                    .with_context("most", MAX_BATCH.to_string()),
            ));
        }
        let estimate = memory::estimate(&header, u64::from(batch), u64::from(batch));
        memory::check(estimate, options.memory_limit, u64::from(batch)).map_err(named)?;

        let name = header.text("general.name").map_or_else(|| model_name(path), str::to_owned);
        let model = Arc::new(load_model(path, &header, options.gpu_layers, options.progress.clone())?);
        let encoder = Arc::new(Encoder::new(&header, &model, &name, window, &options)?);
        let dimensions = usize::try_from(model.n_embd_out())
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| named(Error::invalid_input("the model has no width")))?;
        let identity = encoder.text().identity(&name, path, pooling)?;
        let info = EmbedderInfo::new(identity, dimensions).with_max_tokens(encoder.text().max_tokens());
        let shape = Shape {
            context_tokens: batch,
            sequences: BATCH_TEXTS,
            batch_tokens: batch,
            threads: options.threads,
            purpose: Purpose::Embed(Some(pooling)),
        };
        let full = options.batch_tokens as usize;
        let thread = worker::start(model, shape, full, normalized, options.queue).map_err(named)?;
        Ok(Self { info: Arc::new(info), encoder, thread: Arc::new(thread) })
    }

    /// What was done so far, and what waits.
    pub fn stats(&self) -> BatchStats {
        self.thread.stats()
    }
}

/// The vector at length 1.
fn normalized(vector: &[f32]) -> Result<Vec<f32>> {
    let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return Err(Error::invalid_output("the embedder gave a vector without a direction"));
    }
    Ok(vector.iter().map(|x| (f64::from(*x) / norm) as f32).collect())
}

/// Most tokens of one text, marks included.
fn window(header: &Header, asked: Option<u32>) -> Result<u32> {
    let trained = header.arch_number("context_length").filter(|n| *n > 0);
    let most = trained.unwrap_or(512).min(u64::from(MAX_BATCH));
    let chosen = match asked {
        Some(tokens) => u64::from(tokens),
        None => header.number(MAX_TOKENS_KEY).unwrap_or(most).min(most),
    };
    u32::try_from(chosen).ok().filter(|n| *n >= 4 && u64::from(*n) <= most).ok_or_else(|| {
        Error::config("the embedder's token limit is out of range")
            .with_context("max_tokens", chosen.to_string())
            .with_context("most", most.to_string())
    })
}

#[async_trait]
impl Embedder for LlamaEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        Some(self.encoder.tokenizer())
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        request.context.check()?;
        if request.texts.is_empty() {
            return Ok(EmbedResponse::new(Vec::new()));
        }
        let (encoder, texts, role) = (self.encoder.clone(), request.texts.clone(), request.role);
        let encode = Box::new(move |n: usize| encoder.encode(n, &texts[n], role));
        let (vectors, tokens) = self.thread.compute(request.texts.len(), &request.context, encode).await?;
        let mut usage = Usage::default();
        usage.input_tokens = Some(tokens);
        Ok(EmbedResponse::new(vectors).with_usage(usage))
    }
}
