//! GGUF files: a reader that trusts nothing, and a writer.
//!
//! The reader runs before llama.cpp sees a file, so that a hostile or broken file is a typed error here.
//! The format is described in ggml's `docs/gguf.md`: little endian, magic, version, counts, key-values, tensor infos, padding, data.

#[cfg(test)]
mod tests;

mod read;
mod value;
mod write;

pub(crate) use read::{Header, Keep};
pub(crate) use value::{TensorType, Value};
pub(crate) use write::{TensorPlan, Writer};

/// The first four bytes of a GGUF file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensor data is aligned if the file does not say otherwise.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
/// A tensor's largest number of dimensions.
pub(crate) const MAX_DIMS: usize = 4;
