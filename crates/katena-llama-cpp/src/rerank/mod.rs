//! Rerankers on llama.cpp.

mod options;
mod pair;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Document, Error, RerankRequest, Reranker, Result, Scored};
use katena_gguf::{Header, Keep};

use crate::embed::BATCH_TEXTS;
use crate::embed::worker::{self, BatchStats, Handle};
use crate::engine::{MAX_BATCH, Purpose, Shape, load_model, model_name};
use crate::memory;
use pair::PairEncoder;

pub use options::{RerankScore, RerankerOptions};

/// llama.cpp's number of rank pooling.
const RANK: u64 = 4;
/// Tokens of a pair, unless more are asked for.
const USUAL_TOKENS: u64 = 1024;

/// A cross-encoder in this process: it reads a query and a document together and says how well they fit.
///
/// Takes GGUF files with a classification head (`pooling_type` 4 and the tensor `cls.output.weight`): BERT and XLM-RoBERTa
/// cross-encoders, and Qwen 3 rerankers with their `rerank` template. One thread owns the model; clones and concurrent
/// calls share it, and pairs of all requests that wait are computed together. When
/// [`queue`](RerankerOptions::queue) requests wait, the next is refused with `Unavailable` and a time to wait.
///
/// Scores are what [`RerankScore`] says; equal ones keep the order of the documents. llama.cpp gives every token segment 0:
/// BERT cross-encoders that were trained with segment 1 for the document score a little differently than in their own
/// library, XLM-RoBERTa and Qwen 3 have no segments.
///
/// ```no_run
/// # async fn f(documents: Vec<katena_core::Document>) -> katena_core::Result<()> {
/// use katena_core::{RerankRequest, Reranker};
/// use katena_llama_cpp::{LlamaReranker, RerankerOptions};
/// let reranker = LlamaReranker::load("bge-reranker-v2-m3.gguf", RerankerOptions::new())?;
/// let best = reranker.rerank(RerankRequest::new("When does the ferry leave?", documents).with_top_k(3)).await?;
/// assert!(best.len() <= 3);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LlamaReranker {
    name: Arc<str>,
    max_tokens: usize,
    score: RerankScore,
    encoder: Arc<PairEncoder>,
    thread: Arc<Handle>,
}

impl fmt::Debug for LlamaReranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlamaReranker")
            .field("model", &self.name)
            .field("max_tokens", &self.max_tokens)
            .field("score", &self.score)
            .finish_non_exhaustive()
    }
}

impl LlamaReranker {
    /// Loads a GGUF file and starts its thread. Blocks until the model is ready.
    ///
    /// # Errors
    /// `NotFound` or `InvalidInput` for a missing or broken file, naming it; `Unsupported` for models that are no
    /// rerankers, GPU layers in a build without GPU, or a processor that can't run llama.cpp; `Config` for settings that
    /// are out of range or need more memory than there is.
    pub fn load(path: impl AsRef<Path>, options: RerankerOptions) -> Result<Self> {
        crate::cpu::check_cpu()?;
        let path = path.as_ref();
        let header = Header::read(path, Keep::Vocabulary)?;
        let named = |e: Error| e.with_context("file", path.display().to_string());
        check_head(&header, options.score).map_err(named)?;
        let window = window(&header, options.max_tokens).map_err(named)?;
        let batch = options.batch_tokens.max(window);
        if options.batch_tokens < 32 || batch > MAX_BATCH {
            return Err(named(
                Error::config("the reranker's batch is out of range")
                    .with_context("batch_tokens", batch.to_string())
                    .with_context("most", MAX_BATCH.to_string()),
            ));
        }
        let estimate = memory::estimate(&header, u64::from(batch), u64::from(batch));
        memory::check(estimate, options.memory_limit, u64::from(batch)).map_err(named)?;
        let name = header.text("general.name").map_or_else(|| model_name(path), str::to_owned);
        let model = Arc::new(load_model(path, &header, options.gpu_layers, options.progress.clone())?);
        let encoder = PairEncoder::new(&header, &model, &name, window, options.overlong).map_err(named)?;
        let shape = Shape {
            context_tokens: batch,
            sequences: BATCH_TEXTS,
            batch_tokens: batch,
            threads: options.threads,
            purpose: Purpose::Rank,
        };
        let full = options.batch_tokens as usize;
        let thread = worker::start(model, shape, full, head, options.queue).map_err(named)?;
        Ok(Self {
            name: name.into(),
            max_tokens: window as usize,
            score: options.score,
            encoder: Arc::new(encoder),
            thread: Arc::new(thread),
        })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.name
    }

    /// Most tokens of a query and a document together, marks included.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// What was done so far, and what waits.
    pub fn stats(&self) -> BatchStats {
        self.thread.stats()
    }
}

/// Refuses files without a head that llama.cpp computes.
fn check_head(header: &Header, score: RerankScore) -> Result<()> {
    let arch = header.architecture()?.to_owned();
    if header.arch_number("pooling_type") != Some(RANK) {
        return Err(Error::unsupported("the model is no reranker: its file does not ask for rank pooling")
            .with_context("architecture", arch));
    }
    // Without it llama.cpp would take numbers of the wrong texts for scores.
    if !header.tensors.contains("cls.output.weight") {
        return Err(Error::unsupported("the reranker's file has no classification head (cls.output.weight)")
            .with_context("architecture", arch));
    }
    let labels = header.length(&format!("{arch}.classifier.output_labels")).unwrap_or(0);
    let probabilities = matches!(arch.as_str(), "qwen3" | "qwen3vl");
    if labels > 1 && !probabilities {
        return Err(Error::unsupported("the model is a classifier with several labels, not a reranker")
            .with_context("labels", labels.to_string()));
    }
    if probabilities && score == RerankScore::Sigmoid {
        return Err(Error::config("this reranker's scores are probabilities already"));
    }
    Ok(())
}

/// Most tokens of a pair, marks included.
fn window(header: &Header, asked: Option<u32>) -> Result<u32> {
    let most =
        header.arch_number("context_length").filter(|n| *n > 0).unwrap_or(512).min(u64::from(MAX_BATCH));
    let chosen = asked.map_or(most.min(USUAL_TOKENS), u64::from);
    u32::try_from(chosen).ok().filter(|n| *n >= 8 && u64::from(*n) <= most).ok_or_else(|| {
        Error::config("the reranker's token limit is out of range")
            .with_context("max_tokens", chosen.to_string())
            .with_context("most", most.to_string())
    })
}

/// The head's numbers.
fn head(numbers: &[f32]) -> Result<Vec<f32>> {
    if numbers.is_empty() || numbers.iter().any(|x| !x.is_finite()) {
        return Err(Error::invalid_output("the reranker gave no score, or one that is not a number"));
    }
    Ok(numbers.to_vec())
}

#[async_trait]
impl Reranker for LlamaReranker {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let RerankRequest { query, documents, top_k, context, .. } = request;
        context.check()?;
        let top = top_k.unwrap_or(usize::MAX).min(documents.len());
        if top == 0 {
            return Ok(Vec::new());
        }
        let query = self.encoder.query(&query)?;
        let texts: Vec<String> = documents.iter().map(|d| d.text.clone()).collect();
        let encoder = self.encoder.clone();
        let encode = Box::new(move |n: usize| encoder.encode(&query, n, &texts[n]));
        let (heads, _) = self.thread.compute(documents.len(), &context, encode).await?;
        let score = |numbers: &[f32]| {
            let x = numbers.first().copied().unwrap_or_default();
            match self.score {
                RerankScore::Head => x,
                RerankScore::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            }
        };
        let mut ranked: Vec<(f32, Document)> =
            heads.iter().map(|numbers| score(numbers)).zip(documents).collect();
        // Stable: equal scores keep the documents' order.
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.truncate(top);
        Ok(ranked.into_iter().map(|(score, document)| Scored::new(document, score)).collect())
    }
}
