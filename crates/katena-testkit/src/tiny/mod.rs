//! Tiny models with made-up weights, so that tests of engines need no download.
//!
//! | model | what it is for |
//! |---|---|
//! | [`TinyLlama`] | a chat model in GGUF: Llama, Qwen 2 or Qwen 3; with labels a reranker |
//! | [`TinyBert`] | an embedder or a cross-encoder in GGUF |
//! | [`bert_folder`] | an embedder as sentence-transformers stores it |
//! | [`TinyClip`] | a projector for images, for [`TinyLlama`] |
//! | [`TinyLora`] | an adapter for [`TinyLlama`] |
//! | [`TinyStatic`] | a static embedding model as model2vec stores it |
//!
//! The same settings give the same bytes. Each has some KiB; larger ones are asked for by width, layers and words. The keys
//! and tensors are those that llama.cpp's loaders read (`llama-arch.cpp`, `models/*.cpp`).
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "helpers of tests, which stop at once")]

use std::path::{Path, PathBuf};

use katena_gguf::Writer;
use serde_json::json;

mod bert;
mod clip;
mod fixed;
mod llama;
mod lora;

pub use bert::{BERT_WORDS, TinyBert, TinyPooling, bert_folder, bert_tensors};
pub use clip::TinyClip;
pub use fixed::{STATIC_WORDS, TinyNumbers, TinyStatic};
pub use llama::{RERANK_TEMPLATE, TinyArchitecture, TinyLlama};
pub use lora::TinyLora;

/// Words of [`TinyLlama`]: 256 bytes and three marks.
pub const WORDS: usize = 259;
/// What [`TinyLlama`] was "trained" for.
pub const CONTEXT: u64 = 512;

/// `ChatML`, as many models have it, with the call format of Qwen and Hermes.
pub const TEMPLATE: &str = "{% if tools %}<tool_call>{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Repeatable numbers around 0, from -`scale`/2 to `scale`/2.
pub fn numbers(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u32 << 24) as f32 - 0.5) * scale
        })
        .collect()
}

/// What [`tiny_llama`]'s file says; may be spoiled before it is written.
pub fn tiny_llama_writer() -> Writer {
    TinyLlama::new().writer()
}

/// The bytes of a file with numbers of seed 0.
pub fn bytes(writer: &Writer) -> Vec<u8> {
    bytes_seeded(writer, 0)
}

/// The bytes of a file: norms are 1, all else is made up, each tensor from `seed` and its place.
pub fn bytes_seeded(writer: &Writer, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    writer
        .write::<std::io::Error>(&mut out, |n, plan| {
            let count = plan.dims.iter().product::<u64>() as usize;
            let norm = plan.name.ends_with("norm.weight");
            let place = (seed << 20).wrapping_add(n as u64 + 1);
            let values = if norm { vec![1.0; count] } else { numbers(place, count, 1.0) };
            Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect())
        })
        .unwrap();
    out
}

fn save(path: &Path, bytes: &[u8]) -> PathBuf {
    std::fs::write(path, bytes).unwrap();
    path.to_owned()
}

/// The default [`TinyLlama`] in `folder`.
pub fn tiny_llama(folder: &Path) -> PathBuf {
    TinyLlama::new().write(folder.join("tiny-llama.gguf"))
}

/// A safetensors file of these tensors: name, shape, numbers.
pub fn safetensors(tensors: &[(String, Vec<u64>, Vec<f32>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    for (name, shape, values) in tensors {
        let start = data.len();
        for x in values {
            data.extend(x.to_le_bytes());
        }
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// The real embedder, if it is there; panics without it if `KATENA_REQUIRE_MODELS=1`.
pub fn embed_model() -> Option<PathBuf> {
    let cache = std::env::var_os("KATENA_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/katena")))?;
    let path = std::env::var_os("KATENA_TEST_EMBED_MODEL")
        .map_or_else(|| cache.join("models/all-minilm-l6-v2-f16.gguf"), PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("KATENA_REQUIRE_MODELS").is_none_or(|v| v != "1"), "no test embedder");
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: no test embedder; set KATENA_TEST_EMBED_MODEL, or put it at {}", path.display());
    }
    None
}
