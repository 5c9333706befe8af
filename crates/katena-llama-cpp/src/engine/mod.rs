//! llama.cpp behind types that can't be misused: what would abort the process there is an `Err` or can't be written here.
//!
//! | trap in llama.cpp | why it can't happen |
//! |---|---|
//! | batch longer than `n_batch`, empty batch | [`Engine::push`] and [`Engine::decode`] refuse |
//! | more than one sequence id per token (heap corruption) | `push` takes exactly one |
//! | token or sequence id out of range | `push` refuses |
//! | position gap | the engine counts positions itself |
//! | sampling at an index without logits, or before a decode | [`Output`] is given only for tokens that have them, and dies with its batch |
//! | sampler chain without a choice at its end | samplers never see the context; [`Chooser`](crate::sample::Chooser) always ends in a choice |
//! | `encode` on a decoder | never called; `decode` does both |
//! | copying part of a sequence in a split cache, or one out of range | [`Engine::share`] checks, and copies rows there instead |
//! | a state that is not of this context | [`Engine::restore`] writes all but the cache's own numbers itself |
//! | `n_ctx` that takes all memory | estimated and refused before the context is made |

mod guard;
#[cfg(feature = "mtmd")]
mod media;
mod model;
mod rows;
mod shared;
mod state;
mod tuning;

#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;

use katena_core::{Error, ErrorKind, Result};
use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::backend::backend;
use crate::lora::Adapter;
use katena_gguf::Pooling;

pub(crate) use model::{load_chat_model, load_model, model_name};
pub(crate) use rows::{Form, Rows};
pub(crate) use tuning::Tuning;

/// Largest batch that may be asked for.
pub(crate) const MAX_BATCH: u32 = 8192;
/// Most sequences of a context, llama.cpp's own bound.
pub(crate) const MAX_SEQUENCES: u32 = 256;
/// Tokens that llama.cpp computes at once; a longer batch is cut.
const MAX_UBATCH: u32 = 512;

/// What the context is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Logits of next tokens; all sequences share a cache of so many tokens, or each has its own context.
    Generate { cache_tokens: u32, unified: bool },
    /// One vector a sequence; all sequences share the context. `None`: pooling as the file says.
    Embed(Option<Pooling>),
    /// The numbers of a classification head for each sequence, in place of a vector; else as `Embed`. The caller has
    /// checked that the file has `cls.output.weight`: without it llama.cpp reads the wrong numbers.
    Rank,
}

impl Purpose {
    /// True if sequences share one cache.
    fn unified(self) -> bool {
        !matches!(self, Self::Generate { unified: false, .. })
    }
}

/// Size and shape of a context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Tokens of one sequence.
    pub(crate) context_tokens: u32,
    /// Sequences side by side.
    pub(crate) sequences: u32,
    /// Most tokens of a batch.
    pub(crate) batch_tokens: u32,
    /// Threads that compute.
    pub(crate) threads: u32,
    /// What for.
    pub(crate) purpose: Purpose,
}

/// A place of the last decoded batch where logits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    index: i32,
    batch: u64,
}

/// Whether logits are wanted after a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Yes.
    Logits,
    /// No.
    Nothing,
}

/// How a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// Computed.
    Done,
    /// The cache has no room for it.
    NoRoom,
}

/// A context with its batch.
pub(crate) struct Engine<'m> {
    context: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
    shape: Shape,
    /// Tokens of all sequences together.
    cache: u32,
    vocabulary: i32,
    /// The next position of each sequence.
    positions: Vec<u32>,
    /// Tokens of each sequence in the current batch.
    pushed: Vec<u32>,
    serial: u64,
    /// The batch whose outputs are there.
    decoded: Option<u64>,
    /// What states look like, once it is known.
    form: Option<Arc<Form>>,
    /// For states on their way, kept for its memory.
    scratch: Vec<u8>,
}

impl<'m> Engine<'m> {
    /// Makes a context. The caller has checked that it fits into memory, and no other context of the model is being made.
    ///
    /// # Errors
    /// `Config` for impossible shapes or if llama.cpp can't make it.
    pub(crate) fn new(model: &'m LlamaModel, shape: Shape) -> Result<Self> {
        Self::tuned(model, shape, Tuning::default(), None)
    }

    /// The same with settings of its own, and an adapter of this model.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub(crate) fn tuned(
        model: &'m LlamaModel,
        shape: Shape,
        tuning: Tuning,
        adapter: Option<Adapter>,
    ) -> Result<Self> {
        let range = |name: &'static str, value: u32, most: u32| {
            if value == 0 || value > most {
                return Err(Error::config("a setting of the local model is out of range")
                    .with_context("setting", name)
                    .with_context("value", value.to_string())
                    .with_context("most", most.to_string()));
            }
            Ok(value)
        };
        let batch = range("batch_tokens", shape.batch_tokens, MAX_BATCH)?;
        let sequences = range("slots", shape.sequences, MAX_SEQUENCES)?;
        let threads = range("threads", shape.threads, 512)?;
        range("context_tokens", shape.context_tokens, 1 << 28)?;
        let (total, ubatch, embed) = match shape.purpose {
            Purpose::Generate { cache_tokens, .. } => {
                (range("cache_tokens", cache_tokens, 1 << 30)?, tuning.ubatch(MAX_UBATCH, batch), false)
            }
            Purpose::Embed(_) | Purpose::Rank => (shape.context_tokens, batch, true),
        };
        let mut params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(total))
            .with_n_batch(batch)
            .with_n_ubatch(ubatch)
            .with_n_seq_max(sequences)
            .with_n_threads(threads as i32)
            .with_n_threads_batch(threads as i32)
            .with_kv_unified(shape.purpose.unified())
            .with_embeddings(embed)
            .with_no_perf(true);
        let pooling = match shape.purpose {
            Purpose::Generate { .. } => None,
            Purpose::Embed(None) => Some(LlamaPoolingType::Unspecified),
            Purpose::Embed(Some(Pooling::Mean)) => Some(LlamaPoolingType::Mean),
            Purpose::Embed(Some(Pooling::Cls)) => Some(LlamaPoolingType::Cls),
            Purpose::Embed(Some(Pooling::Last)) => Some(LlamaPoolingType::Last),
            Purpose::Rank => Some(LlamaPoolingType::Rank),
        };
        if let Some(pooling) = pooling {
            params = params.with_pooling_type(pooling);
        }
        params = tuning.apply(params);
        let mut context = model.new_context(backend()?, params).map_err(|e| {
            Error::config("llama.cpp could not make a context for the model")
                .with_context("context_tokens", total.to_string())
                .with_source(e)
        })?;
        if let Some(mut adapter) = adapter {
            context
                .lora_adapter_set(&mut adapter.raw, adapter.scale)
                .map_err(|e| Error::unexpected("llama.cpp did not take the adapter").with_source(e))?;
        }
        // llama.cpp may have made them smaller.
        let batch = batch.min(context.n_batch());
        let batch = if embed { batch.min(context.n_ubatch()) } else { batch };
        let cache = total.min(context.n_ctx());
        Ok(Self {
            context,
            batch: LlamaBatch::new(batch as usize, 1),
            shape: Shape { batch_tokens: batch, ..shape },
            cache,
            vocabulary: model.n_vocab(),
            positions: vec![0; sequences as usize],
            pushed: vec![0; sequences as usize],
            serial: 0,
            decoded: None,
            form: None,
            scratch: Vec::new(),
        })
    }

    /// Tokens that one batch takes.
    pub(crate) fn batch_tokens(&self) -> usize {
        self.shape.batch_tokens as usize
    }

    /// Tokens that can still be added to the batch.
    pub(crate) fn room(&self) -> usize {
        let used = if self.decoded == Some(self.serial) { 0 } else { self.batch.n_tokens() as usize };
        self.batch_tokens().saturating_sub(used)
    }

    /// Tokens that one sequence holds.
    pub(crate) fn context_tokens(&self) -> usize {
        self.shape.context_tokens as usize
    }

    /// Adds a token at the sequence's next position. The first one after [`Engine::decode`] begins a new batch.
    ///
    /// # Errors
    /// `InvalidInput` for a token or sequence that does not exist, `ContextTooLong` if the sequence is full,
    /// `Unexpected` if the batch is.
    pub(crate) fn push(&mut self, token: LlamaToken, sequence: usize, want: Want) -> Result<Option<Output>> {
        if self.decoded == Some(self.serial) {
            self.begin();
        }
        if token.0 < 0 || token.0 >= self.vocabulary {
            return Err(Error::invalid_input("a token is not in the model's vocabulary")
                .with_context("token", token.0.to_string()));
        }
        let Some(position) = self.positions.get(sequence).copied() else {
            return Err(Error::invalid_input("there is no such sequence")
                .with_context("sequence", sequence.to_string()));
        };
        if position >= self.shape.context_tokens {
            return Err(Error::new(ErrorKind::ContextTooLong, "the sequence is full")
                .with_context("context_tokens", self.shape.context_tokens.to_string()));
        }
        if self.room() == 0 {
            return Err(Error::unexpected("the batch is full"));
        }
        let index = self.batch.n_tokens();
        self.batch
            .add(token, position as i32, &[sequence as i32], want == Want::Logits)
            .map_err(|e| Error::unexpected("the batch is full").with_source(e))?;
        self.positions[sequence] = position + 1;
        self.pushed[sequence] += 1;
        Ok((want == Want::Logits).then_some(Output { index, batch: self.serial }))
    }

    /// Drops what was added since the last decode.
    fn begin(&mut self) {
        self.batch.clear();
        self.pushed.fill(0);
        self.serial += 1;
    }

    /// Computes the batch. After an error the sequences in it are empty.
    ///
    /// # Errors
    /// `InvalidInput` for an empty batch, `Unexpected` if llama.cpp fails or the cache is full.
    pub(crate) fn decode(&mut self) -> Result<()> {
        match self.try_decode()? {
            Decoded::Done => Ok(()),
            Decoded::NoRoom => Err(Error::unexpected("the cache is full")),
        }
    }

    /// Computes the batch. If the cache has no room for it, all is as before its first [`Engine::push`]. After an error the
    /// sequences in it are empty.
    ///
    /// # Errors
    /// `InvalidInput` for an empty batch, `Unexpected` if llama.cpp fails.
    pub(crate) fn try_decode(&mut self) -> Result<Decoded> {
        if self.batch.n_tokens() == 0 || self.decoded == Some(self.serial) {
            return Err(Error::invalid_input("there is nothing to compute"));
        }
        self.decoded = None;
        match self.context.decode(&mut self.batch) {
            Ok(()) => {
                self.decoded = Some(self.serial);
                Ok(Decoded::Done)
            }
            // llama.cpp looks for room for the whole batch before it computes any of it.
            Err(DecodeError::NoKvCacheSlot) => {
                for (position, pushed) in self.positions.iter_mut().zip(&self.pushed) {
                    *position -= pushed;
                }
                self.begin();
                Ok(Decoded::NoRoom)
            }
            Err(e) => {
                for sequence in 0..self.positions.len() {
                    if self.pushed[sequence] > 0 {
                        self.clear(sequence);
                    }
                }
                self.begin();
                Err(Error::unexpected("llama.cpp could not compute the batch").with_source(e))
            }
        }
    }

    fn check(&self, output: Output) -> Result<i32> {
        if self.decoded == Some(output.batch) {
            Ok(output.index)
        } else {
            Err(Error::unexpected("the logits of this place are gone"))
        }
    }

    /// The logits at `output`, one for each word of the vocabulary.
    ///
    /// # Errors
    /// `Unexpected` if `output` is not of the last decoded batch.
    pub(crate) fn logits(&self, output: Output) -> Result<&[f32]> {
        let index = self.check(output)?;
        Ok(self.context.get_logits_ith(index))
    }

    /// The vector of a sequence of the last decoded batch.
    ///
    /// # Errors
    /// `Unexpected` if the sequence is not in it, or the context does not pool.
    pub(crate) fn embedding(&self, sequence: usize) -> Result<&[f32]> {
        let there = self.decoded == Some(self.serial) && self.pushed.get(sequence).is_some_and(|n| *n > 0);
        if !there || matches!(self.shape.purpose, Purpose::Generate { .. }) {
            return Err(Error::unexpected("there is no vector for this sequence"));
        }
        self.context
            .embeddings_seq_ith(sequence as i32)
            .map_err(|e| Error::unexpected("llama.cpp gave no vector for a text").with_source(e))
    }

    /// Empties a sequence.
    pub(crate) fn clear(&mut self, sequence: usize) {
        if let Some(position) = self.positions.get_mut(sequence) {
            *position = 0;
            // Removing a whole sequence never fails; an id out of range was excluded above.
            let _ = self.context.clear_kv_cache_seq(Some(sequence as u32), None, None);
        }
    }

    /// Empties all sequences.
    pub(crate) fn clear_all(&mut self) {
        self.positions.fill(0);
        self.context.clear_kv_cache();
    }
}
