//! Chat models over HTTP, a feature per protocol.
//!
//! | feature | component | speaks |
//! |---|---|---|
//! | `openai` (default) | [`OpenAiChat`] | OpenAI Chat Completions, and every server that is compatible with it |

#[cfg(any(
    feature = "openai",
    feature = "responses",
    feature = "anthropic",
    feature = "gemini",
    feature = "bedrock",
    feature = "ollama",
    feature = "cohere",
    feature = "mistral"
))]
mod parts;
#[cfg(any(
    feature = "openai",
    feature = "responses",
    feature = "anthropic",
    feature = "gemini",
    feature = "bedrock",
    feature = "ollama",
    feature = "cohere",
    feature = "mistral"
))]
mod shell;

#[cfg(feature = "anthropic")]
pub mod anthropic;
#[cfg(feature = "batches")]
pub mod batches;
#[cfg(feature = "bedrock")]
pub mod bedrock;
#[cfg(feature = "cohere")]
pub mod cohere;
#[cfg(feature = "gemini")]
pub mod gemini;
#[cfg(feature = "media")]
pub mod media;
#[cfg(feature = "mistral")]
pub mod mistral;
#[cfg(feature = "ollama")]
pub mod ollama;
#[cfg(feature = "openai")]
pub mod openai_chat;
#[cfg(feature = "responses")]
pub mod openai_responses;
#[cfg(feature = "webhooks")]
pub mod webhooks;

#[cfg(feature = "openai")]
pub use openai_chat::OpenAiChat;

pub use katena_http::{HttpClient, HttpOptions, Secret};
