//! GGUF model files: a reader that trusts nothing, a writer, a converter of BERT embedders, a quantiser, and BERT's
//! tokenizer. Pure Rust.
//!
//! The reader runs before llama.cpp sees a file, so that a hostile or broken file is a typed error.
//! The format is described in ggml's `docs/gguf.md`: little endian, magic, version, counts, key-values, tensor infos, padding, data.

#![allow(clippy::cast_possible_wrap, reason = "file formats count in 32 bits; every number is bounded")]

pub mod convert;
mod embedder;
mod quantize;
mod read;
mod tensor;
#[cfg(test)]
mod tests;
mod value;
mod wordpiece;
mod write;

pub use convert::safetensors::{SafeTensors, SafeType};
pub use embedder::{EmbedText, Overlong, Pooling};
pub use quantize::{Quantized, quantize};
pub use read::{Header, Keep, TensorInfo};
pub use tensor::tensor_numbers;
pub use value::{TensorType, Value};
pub use wordpiece::{Casing, WordPiece};
pub use write::{TensorPlan, Writer};

/// The key under which [`convert`] stores the most tokens of one text, marks included.
pub const MAX_TOKENS_KEY: &str = "katena.embedding.max_tokens";
/// The first four bytes of a GGUF file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensor data is aligned if the file does not say otherwise.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
/// A tensor's largest number of dimensions.
pub(crate) const MAX_DIMS: usize = 4;
