//! In-process llama.cpp for Katena: chat models and embedders over one loaded model.
//!
//! [`LlamaChat`] is a `ChatModel`, [`LlamaEmbedder`] an `Embedder`, [`LlamaReranker`] a `Reranker`; each loads a GGUF file and
//! gives it a thread of its own.
//! [`convert`](katena_gguf::convert) makes a GGUF file of a BERT embedder in safetensors.
//!
//! GPU: the features `cuda`, `vulkan`, `metal` and `rocm` build llama.cpp for it; `gpu_layers` says how much goes there.
//! On x86-64 the bundled build needs AVX2, FMA, F16C and BMI2; [`check_cpu`] says so before anything is loaded.
//! llama.cpp computes with OpenMP, whose threads spin while they wait: on a busy machine set `OMP_WAIT_POLICY=PASSIVE`.
//!
//! A file from outside is checked before llama.cpp sees it: its head, that its tensors lie inside it, and that weights and
//! context fit into memory. llama.cpp's log goes to `tracing`.

#![allow(
    clippy::cast_possible_wrap,
    reason = "llama.cpp counts in i32; every number is bounded before it goes there"
)]

mod backend;
mod chat;
pub mod child;
mod cpu;
#[cfg(test)]
mod crash_tests;
mod embed;
mod engine;
mod handover;
#[cfg(test)]
mod handover_tests;
#[cfg(feature = "hub")]
pub mod hub;
mod lora;
mod memory;
mod metadata;
mod options;
mod rerank;
mod sample;
mod sched;
mod settings;
mod tokens;

/// What [`handover`] is built from; its test puts other types here.
mod sync {
    pub(crate) use std::sync::{Arc, Condvar, Mutex};
}

#[cfg(feature = "mtmd")]
pub use chat::LlamaVision;
pub use chat::{EngineStats, LlamaChat};
pub use cpu::check_cpu;
pub use embed::LlamaEmbedder;
pub use embed::worker::BatchStats;
pub use katena_gguf::convert;
pub use katena_gguf::{Overlong, Pooling};
pub use memory::MemoryEstimate;
pub use metadata::ModelMetadata;
pub use options::{EmbedderOptions, LlamaOptions, Progress};
pub use rerank::{LlamaReranker, RerankScore, RerankerOptions};
pub use settings::{
    CachePlace, CacheType, Device, DeviceKind, FlashAttention, Lora, RopeMethod, RopeScaling, SplitMode,
    Weights, devices,
};
