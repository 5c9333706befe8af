//! What a chat model answers, with all that the vendor says about it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::message::{Message, Part, ToolCall};

/// Why the model stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// It was done, or met a stop text.
    Stop,
    /// The token limit was reached.
    Length,
    /// It asks for tools.
    ToolCalls,
    /// A content filter cut it off.
    ContentFilter,
    /// The vendor's own word.
    Other(String),
}

/// Token counts as the vendor reports them; `None` is unknown, never 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input_tokens: Option<u64>,
    /// Tokens generated, reasoning included.
    pub output_tokens: Option<u64>,
    /// Prompt tokens that came from a cache.
    pub cached_tokens: Option<u64>,
    /// Prompt tokens that were written to a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Generated tokens that were reasoning.
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Counts of prompt and answer.
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens: Some(input_tokens), output_tokens: Some(output_tokens), ..Self::default() }
    }

    /// Sets the cached prompt tokens.
    pub fn with_cached_tokens(mut self, tokens: u64) -> Self {
        self.cached_tokens = Some(tokens);
        self
    }

    /// Sets the prompt tokens that were written to a cache.
    pub fn with_cache_write_tokens(mut self, tokens: u64) -> Self {
        self.cache_write_tokens = Some(tokens);
        self
    }

    /// Sets the reasoning tokens.
    pub fn with_reasoning_tokens(mut self, tokens: u64) -> Self {
        self.reasoning_tokens = Some(tokens);
        self
    }

    /// Prompt and answer together, if both are known.
    pub fn total_tokens(&self) -> Option<u64> {
        Some(self.input_tokens? + self.output_tokens?)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        fn add(a: &mut Option<u64>, b: Option<u64>) {
            if let Some(b) = b {
                *a = Some(a.unwrap_or(0) + b);
            }
        }
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.cached_tokens, other.cached_tokens);
        add(&mut self.cache_write_tokens, other.cache_write_tokens);
        add(&mut self.reasoning_tokens, other.reasoning_tokens);
    }
}

/// A generated token with its log-probability and its likeliest rivals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm of its probability, ≤ 0.
    pub logprob: f32,
    /// The likeliest tokens at this place, likeliest first.
    pub top: Vec<(String, f32)>,
}

impl TokenLogprob {
    /// One token.
    pub fn new(token: impl Into<String>, logprob: f32, top: Vec<(String, f32)>) -> Self {
        Self { token: token.into(), logprob, top }
    }
}

/// A model's whole answer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatResponse {
    /// The message, ready to be appended to the conversation.
    pub message: Message,
    /// Why it ended.
    pub finish: FinishReason,
    /// Token counts.
    pub usage: Usage,
    /// The vendor's own word for why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_raw: Option<String>,
    /// Who answered, as [`ModelInfo::vendor`] names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The model that answered, as the vendor names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The vendor's id of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The vendor's id of the request, as its support asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What the vendor says is left of the account's limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimits>,
    /// How many calls it took, the answered one included, if a layer repeated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Log-probabilities of the answer's tokens, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// The vendor's reply as it was; of a stream what has no other place, or nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Value>,
}

impl fmt::Debug for ChatResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatResponse")
            .field("message", &self.message)
            .field("finish", &self.finish)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

impl ChatResponse {
    /// An answer without usage or ids.
    pub fn new(message: Message, finish: FinishReason) -> Self {
        Self {
            message,
            finish,
            usage: Usage::default(),
            finish_raw: None,
            vendor: None,
            model: None,
            id: None,
            request_id: None,
            rate_limits: None,
            attempts: None,
            logprobs: None,
            raw: None,
        }
    }

    /// Sets the token counts.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Sets the vendor's own word for why it ended.
    pub fn with_finish_raw(mut self, word: impl Into<String>) -> Self {
        self.finish_raw = Some(word.into());
        self
    }

    /// Sets who answered.
    pub fn with_vendor(mut self, vendor: impl Into<String>) -> Self {
        self.vendor = Some(vendor.into());
        self
    }

    /// Sets the vendor's id of the request.
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Sets what is left of the account's limits.
    pub fn with_rate_limits(mut self, limits: RateLimits) -> Self {
        self.rate_limits = Some(limits);
        self
    }

    /// Sets how many calls it took.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Sets the model that answered.
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Sets the vendor's id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the log-probabilities.
    pub fn with_logprobs(mut self, logprobs: Vec<TokenLogprob>) -> Self {
        self.logprobs = Some(logprobs);
        self
    }

    /// Sets the vendor's raw reply.
    pub fn with_raw(mut self, raw: Value) -> Self {
        self.raw = Some(raw);
        self
    }

    /// The answer's text.
    pub fn text(&self) -> String {
        self.message.text()
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.message.tool_calls()
    }

    /// The refusal's words, if the model declined.
    pub fn refusal(&self) -> Option<&str> {
        self.message
            .parts
            .iter()
            .find_map(|p| if let Part::Refusal { text } = p { Some(text.as_str()) } else { None })
    }
}

/// What the vendor says is left of the account's limits, by its response headers. `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RateLimits {
    /// Requests in one window.
    pub requests: Option<u64>,
    /// Requests left in this window.
    pub requests_left: Option<u64>,
    /// Until the requests are full again.
    pub requests_reset: Option<Duration>,
    /// Tokens in one window.
    pub tokens: Option<u64>,
    /// Tokens left in this window.
    pub tokens_left: Option<u64>,
    /// Until the tokens are full again.
    pub tokens_reset: Option<Duration>,
}
