//! Chat models over HTTP, a feature per protocol.
//!
//! | feature | component | speaks |
//! |---|---|---|
//! | `anthropic` | `AnthropicChat` | Anthropic Messages, at Anthropic and (with `vertex`) on Vertex AI |
//! | `batches` | `batches::OpenAiBatch`, `AnthropicBatch`, `GeminiBatch` | Batches of chat requests, with the features of their vendors |
//! | `openai` (default) | [`OpenAiChat`] | OpenAI Chat Completions, and every server that is compatible with it |
//! | `bedrock` | `BedrockChat`, `BedrockClaude` | Amazon Bedrock: Converse for all models, and (with `anthropic`) Claude by `InvokeModel` |
//! | `gemini` | `GeminiChat` | Gemini `generateContent`, on the Developer API and on Vertex AI |
//! | `cohere` | `CohereChat` | Cohere's chat, version 2 |
//! | `media` | `media::{OpenAiImages, OpenAiSpeech, OpenAiTranscription, OpenAiModeration, OpenAiFiles}` | OpenAI's routes for pictures, sound, moderation and files |
//! | `mistral` | `MistralChat` | Mistral's chat |
//! | `ollama` | `OllamaChat` | Ollama's own chat |
//! | `webhooks` | `webhooks::WebhookVerifier` | Webhooks of OpenAI and Anthropic, verified and typed |
//! | `responses` | `OpenAiResponses` | OpenAI Responses, and the servers that follow it |

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

#[cfg(any(feature = "ollama", feature = "cohere", feature = "mistral", feature = "media"))]
mod fields;

#[cfg(test)]
#[cfg(any(
    feature = "openai",
    feature = "responses",
    feature = "anthropic",
    feature = "ollama",
    feature = "cohere",
    feature = "mistral"
))]
mod golden;

#[cfg(feature = "anthropic")]
pub mod anthropic;
#[cfg(any(feature = "openai", feature = "responses"))]
mod azure;
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
#[cfg(any(feature = "openai", feature = "responses"))]
mod openai_shared;
#[cfg(feature = "openai")]
mod presets;
#[cfg(feature = "webhooks")]
pub mod webhooks;

#[cfg(feature = "anthropic")]
pub use anthropic::AnthropicChat;
#[cfg(any(feature = "openai", feature = "responses"))]
pub use azure::AzureOpenAi;
#[cfg(feature = "bedrock")]
pub use bedrock::BedrockChat;
#[cfg(all(feature = "bedrock", feature = "anthropic"))]
pub use bedrock::BedrockClaude;
#[cfg(feature = "cohere")]
pub use cohere::CohereChat;
#[cfg(feature = "gemini")]
pub use gemini::GeminiChat;
#[cfg(feature = "mistral")]
pub use mistral::MistralChat;
#[cfg(feature = "ollama")]
pub use ollama::OllamaChat;
#[cfg(feature = "openai")]
pub use openai_chat::OpenAiChat;
#[cfg(feature = "responses")]
pub use openai_responses::OpenAiResponses;
#[cfg(feature = "openai")]
pub use presets::{MaxPrice, OpenRouterOptions, Preset, ProviderPreferences};

pub use katena_http::{HttpClient, HttpOptions, Secret};
