//! Chat models over HTTP, a feature per protocol.
//!
//! | feature | component | speaks |
//! |---|---|---|
//! | `openai` (default) | [`OpenAiChat`] | OpenAI Chat Completions, and every server that is compatible with it |

#[cfg(feature = "openai")]
pub mod openai_chat;

#[cfg(feature = "openai")]
pub use openai_chat::OpenAiChat;

pub use katena_http::{HttpClient, HttpOptions, Secret};
