//! What a chat model is and can do.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::chat::ChatRequest;
use crate::error::Result;

/// What a chat model can do; contract suites and callers choose by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ChatCapabilities {
    /// Tool calls.
    pub tools: bool,
    /// A JSON schema for the answer.
    pub json_schema: bool,
    /// Images in.
    pub images: bool,
    /// Sound in.
    pub audio: bool,
    /// Videos in.
    pub video: bool,
    /// Files in, such as PDFs.
    pub files: bool,
    /// [`ChatRequest::reasoning`].
    pub reasoning: bool,
    /// [`ChatRequest::prompt_cache`].
    pub prompt_cache: bool,
    /// [`ChatRequest::top_k`].
    pub top_k: bool,
    /// A seed that makes answers repeatable.
    pub seed: bool,
    /// Log-probabilities.
    pub logprobs: bool,
    /// Texts that end the answer.
    pub stop: bool,
    /// Token counts in the response.
    pub usage: bool,
}

impl ChatCapabilities {
    /// Nothing beyond text.
    pub fn none() -> Self {
        Self::default()
    }
    /// Sets tool calls.
    pub fn with_tools(mut self) -> Self {
        self.tools = true;
        self
    }
    /// Sets JSON schemas.
    pub fn with_json_schema(mut self) -> Self {
        self.json_schema = true;
        self
    }
    /// Sets images.
    pub fn with_images(mut self) -> Self {
        self.images = true;
        self
    }
    /// Sets sound.
    pub fn with_audio(mut self) -> Self {
        self.audio = true;
        self
    }
    /// Sets videos.
    pub fn with_video(mut self) -> Self {
        self.video = true;
        self
    }
    /// Sets files.
    pub fn with_files(mut self) -> Self {
        self.files = true;
        self
    }
    /// Sets the control of reasoning.
    pub fn with_reasoning(mut self) -> Self {
        self.reasoning = true;
        self
    }
    /// Sets the control of prompt caching.
    pub fn with_prompt_cache(mut self) -> Self {
        self.prompt_cache = true;
        self
    }
    /// Sets top-k sampling.
    pub fn with_top_k(mut self) -> Self {
        self.top_k = true;
        self
    }
    /// Sets seeds.
    pub fn with_seed(mut self) -> Self {
        self.seed = true;
        self
    }
    /// Sets log-probabilities.
    pub fn with_logprobs(mut self) -> Self {
        self.logprobs = true;
        self
    }
    /// Sets stop texts.
    pub fn with_stop(mut self) -> Self {
        self.stop = true;
        self
    }
    /// Sets usage.
    pub fn with_usage(mut self) -> Self {
        self.usage = true;
        self
    }

    /// What both can do.
    ///
    /// ```
    /// use katena_core::ChatCapabilities;
    /// let (a, b) = (ChatCapabilities::none().with_tools().with_seed(), ChatCapabilities::none().with_tools());
    /// assert_eq!(a.common(b), ChatCapabilities::none().with_tools());
    /// ```
    pub fn common(self, other: Self) -> Self {
        Self {
            tools: self.tools && other.tools,
            json_schema: self.json_schema && other.json_schema,
            images: self.images && other.images,
            audio: self.audio && other.audio,
            video: self.video && other.video,
            files: self.files && other.files,
            reasoning: self.reasoning && other.reasoning,
            prompt_cache: self.prompt_cache && other.prompt_cache,
            top_k: self.top_k && other.top_k,
            seed: self.seed && other.seed,
            logprobs: self.logprobs && other.logprobs,
            stop: self.stop && other.stop,
            usage: self.usage && other.usage,
        }
    }
}

/// A model's name and abilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Who serves it, such as `openai` or `llama.cpp`.
    pub vendor: String,
    /// The model's name there.
    pub model: String,
    /// Tokens of prompt and answer together, if known.
    pub context_tokens: Option<u32>,
    /// What it can do.
    pub capabilities: ChatCapabilities,
}

impl ModelInfo {
    /// A model of which only the names are known.
    pub fn new(vendor: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            model: model.into(),
            context_tokens: None,
            capabilities: ChatCapabilities::default(),
        }
    }

    /// Sets the context window in tokens.
    pub fn with_context_tokens(mut self, tokens: u32) -> Self {
        self.context_tokens = Some(tokens);
        self
    }

    /// Sets the abilities.
    pub fn with_capabilities(mut self, capabilities: ChatCapabilities) -> Self {
        self.capabilities = capabilities;
        self
    }
}

/// Lists the models that an account can use, where the vendor has a route for it.
#[async_trait]
pub trait ModelCatalog: std::fmt::Debug + Send + Sync {
    /// All models, in the vendor's order. Abilities that the vendor doesn't tell are those of the protocol.
    async fn models(&self) -> Result<Vec<ModelInfo>>;
}

/// Counts the tokens of a request before it is sent, by the vendor's own counter.
#[async_trait]
pub trait TokenCounter: std::fmt::Debug + Send + Sync {
    /// Tokens of the whole prompt: messages, tools and schema.
    async fn count_tokens(&self, request: &ChatRequest) -> Result<u64>;
}
