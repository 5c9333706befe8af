//! Embedders and rerankers over HTTP, a feature per vendor; BERT models in this process; a cache on disk for any embedder.
//!
//! | feature | embedder | reranker |
//! |---|---|---|
//! | `openai` (default) | `OpenAiEmbedder`: OpenAI, Azure, compatible servers, presets | |
//! | `gemini`, `vertex` | `GeminiEmbedder`, `VertexEmbedder` | |
//! | `bedrock` | `BedrockEmbedder` | `BedrockReranker` |
//! | `cohere`, `voyage`, `jina` | `CohereEmbedder`, `VoyageEmbedder`, `JinaEmbedder` | `CohereReranker`, `VoyageReranker`, `JinaReranker` |
//! | `mistral`, `ollama` | `MistralEmbedder`, `OllamaEmbedder` | |
//! | `tei`, `llama-server` | `TeiEmbedder`, `LlamaServerEmbedder` | `TeiReranker`, `LlamaServerReranker` |
//! | `static` | `StaticEmbedder`: model2vec folders, computed in this process | |
//! | `bert` | `BertEmbedder`: GGUF files, computed in this process | |
//!
//! # What all embedders over HTTP do
//! - Texts go out in batches within the vendor's limits, several calls at once ([`BatchLimits`]); the order is kept. The
//!   first batch that fails ends the call with its error: nothing is missing silently. Nothing is tried again here.
//! - Each reply is checked: one vector a text, as long as `info().dimensions`, all numbers finite. Else `InvalidOutput`.
//! - Vectors get length 1, whether the vendor gives them so or not, unless raw ones are asked for.
//! - A text of nothing but white space is `InvalidInput`, and nothing is sent: the vendors refuse it, each in its way.
//! - A text longer than the model reads is refused by the vendor where it can be told to ([`Truncate`]).
//! - `info().model` names the vector space: vendor, model, dimensions, and whatever else changes vectors.
//! - The dimensions are known before the first call: from a table of documented models, from [`EmbedModel::new`], or
//!   measured by `connect` for an [`EmbedModel::unmeasured`]. Otherwise the constructor fails.

#[macro_use]
mod macros;
mod auth;
mod batch;
#[allow(dead_code, reason = "each vendor is a feature")]
mod env;
#[allow(dead_code, reason = "each vendor is a feature")]
mod indexed;
mod model;
#[allow(dead_code, reason = "each vendor is a feature")]
mod rerank;
#[allow(dead_code, reason = "each vendor is a feature")]
mod shell;
#[allow(dead_code, reason = "each vendor is a feature")]
mod vectors;

#[cfg(feature = "bedrock")]
pub mod bedrock;
#[cfg(feature = "bert")]
pub mod bert;
pub mod cached;
#[cfg(any(feature = "cohere", feature = "bedrock"))]
pub mod cohere;
#[cfg(feature = "static")]
mod fixed;
#[cfg(any(feature = "gemini", feature = "vertex"))]
pub mod google;
#[cfg(feature = "jina")]
mod jina;
#[cfg(feature = "llama-server")]
pub mod llama_server;
#[cfg(feature = "mistral")]
mod mistral;
#[cfg(feature = "ollama")]
pub mod ollama;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "tei")]
pub mod tei;
#[cfg(feature = "voyage")]
mod voyage;

#[cfg(feature = "bedrock")]
pub use bedrock::{BedrockEmbedder, BedrockReranker};
#[cfg(feature = "bert")]
pub use bert::{BertEmbedder, BertOptions};
pub use cached::{CachedEmbedder, EmbedCache};
#[cfg(feature = "cohere")]
pub use cohere::{CohereEmbedder, CohereReranker};
#[cfg(feature = "static")]
pub use fixed::{StaticEmbedder, StaticOptions};
#[cfg(feature = "gemini")]
pub use google::GeminiEmbedder;
#[cfg(feature = "vertex")]
pub use google::VertexEmbedder;
#[cfg(feature = "jina")]
pub use jina::{JinaEmbedder, JinaReranker};
#[cfg(feature = "llama-server")]
pub use llama_server::{LlamaRoute, LlamaServerEmbedder, LlamaServerReranker};
#[cfg(feature = "mistral")]
pub use mistral::MistralEmbedder;
#[cfg(feature = "ollama")]
pub use ollama::OllamaEmbedder;
#[cfg(feature = "openai")]
pub use openai::{OpenAiEmbedder, Preset};
#[cfg(feature = "tei")]
pub use tei::{TeiEmbedder, TeiReranker};
#[cfg(feature = "voyage")]
pub use voyage::{VoyageEmbedder, VoyageReranker};

pub use batch::BatchLimits;
pub use indexed::decode_indexed;
pub use model::{EmbedModel, Encoding, Truncate};
pub use rerank::decode_rerank;

pub use katena_http::{HttpClient, HttpOptions, Secret};
