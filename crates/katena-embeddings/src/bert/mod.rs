//! Embedders of the BERT family, computed here in Rust: no server, no C++.
//!
//! Texts of any lengths are computed together without padding. Everything is in 32-bit floating point on the processor, with
//! AVX2 and FMA or NEON where they are found at run time. ADR 0018 has the measurements.

#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor that was found"
)]

mod attention;
mod encode;
mod forward;
mod linear;
mod load;
mod math;
mod options;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Error, ErrorKind, Result, Tokenizer, Usage,
};
use katena_gguf::{Header, Keep, WordPiece};
use tokio::sync::oneshot;

use encode::Encoder;
use load::Shape;
use worker::{Handle, Job};

pub use katena_gguf::{Overlong, Pooling};
pub use options::BertOptions;

/// A BERT embedding model in this process.
///
/// Its own threads compute; clones and concurrent calls share them. Long requests take turns with short ones, and texts of
/// several requests share a batch. Vectors are of length 1. A request waits in a bounded queue; when that is full the call fails
/// with a temporary `Unavailable` that says when to try again. Dropping the future, a cancel signal and a passed deadline end
/// a request before its next batch. The threads end, a batch later at most, when the last clone is dropped.
///
/// A text has at most [`EmbedderInfo::max_tokens`] tokens as [`tokenizer`](Embedder::tokenizer) counts them; what happens
/// to longer ones says [`Overlong`]. [`EmbedderInfo::model`] includes a hash of the file, the pooling, the limit and the prefixes.
/// It is the one that `katena-llama-cpp`'s embedder has for the same file, since both agree with the reference (ADR 0018).
///
/// ```no_run
/// # async fn f() -> katena_core::Result<()> {
/// use katena_core::{EmbedRequest, Embedder};
/// use katena_embeddings::{BertEmbedder, BertOptions};
/// let embedder = BertEmbedder::load("all-minilm-l6-v2-f16.gguf", BertOptions::new())?;
/// let response = embedder.embed(&EmbedRequest::documents(["A chain.", "A commentary."])).await?;
/// assert_eq!(response.vectors.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct BertEmbedder {
    info: Arc<EmbedderInfo>,
    threads: Arc<Handle>,
}

impl fmt::Debug for BertEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BertEmbedder").field("info", &self.info).finish_non_exhaustive()
    }
}

impl BertEmbedder {
    /// Loads a GGUF file of F32, F16, BF16 or `Q8_0` weights and starts the threads. Blocks until the model is ready (some 100
    /// ms for small models). Weights take four bytes each in memory.
    ///
    /// `katena_gguf::convert::bert_to_gguf` makes such a file of a sentence-transformers folder.
    ///
    /// # Errors
    /// `NotFound` or `InvalidInput` for a missing or broken file, naming it; `Unsupported` for models that are no BERT
    /// embedders, or of other types of numbers; `Config` for settings that are out of range or need more memory than
    /// allowed.
    pub fn load(path: impl AsRef<Path>, options: BertOptions) -> Result<Self> {
        let path = path.as_ref();
        let header = Header::read(path, Keep::Vocabulary)?;
        Self::start(path, &header, &options).map_err(|e| e.with_context("file", path.display().to_string()))
    }

    fn start(path: &Path, header: &Header, options: &BertOptions) -> Result<Self> {
        let out_of_range =
            |what: &'static str| Error::config("a setting is out of range").with_context("setting", what);
        if !(1..=256).contains(&options.threads) {
            return Err(out_of_range("threads"));
        }
        if !(32..=65_536).contains(&options.batch_tokens) {
            return Err(out_of_range("batch_tokens"));
        }
        if options.queue == 0 {
            return Err(out_of_range("queue"));
        }
        let shape = Shape::new(header, options)?;
        let batch = options.batch_tokens.max(shape.window);
        shape.check_memory(header, options, batch)?;

        let stem = || path.file_stem().map_or_else(|| "model".into(), |n| n.to_string_lossy().into_owned());
        let name = header.text("general.name").map_or_else(stem, str::to_owned);
        if header.text("tokenizer.ggml.model") != Some("bert") {
            return Err(Error::unsupported("the model's vocabulary is not WordPiece"));
        }
        let words = WordPiece::new(header, name.clone())?;
        let network = load::network(path, header, shape)?;
        if words.words() > network.vocabulary() || shape.window > network.longest() {
            return Err(Error::invalid_input("the vocabulary has more words than the model"));
        }
        let encoder = Encoder::new(words, shape.window, options)?;
        let identity = encoder.text().identity(&name, path, shape.pooling())?;
        let info = EmbedderInfo::new(identity, shape.width()).with_max_tokens(encoder.text().max_tokens());
        let threads = Handle::start(network, encoder, options.threads, batch, options.queue)?;
        Ok(Self { info: Arc::new(info), threads: Arc::new(threads) })
    }
}

#[async_trait]
impl Embedder for BertEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        Some(self.threads.encoder().tokenizer())
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        request.context.check()?;
        if request.texts.is_empty() {
            return Ok(EmbedResponse::new(Vec::new()));
        }
        let (reply, answer) = oneshot::channel();
        let (texts, context) = (request.texts.clone(), request.context.clone());
        self.threads.push(Job { texts, role: request.role, context, reply })?;
        let ended = |_| Error::new(ErrorKind::Unavailable, "the embedder's threads have ended");
        let answer = async { answer.await.map_err(ended)? };
        let (vectors, tokens) = request.context.cancel.guard(answer).await?;
        let mut usage = Usage::default();
        usage.input_tokens = Some(tokens);
        Ok(EmbedResponse::new(vectors).with_usage(usage))
    }
}
