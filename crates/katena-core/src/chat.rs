//! Chat models: one request, one response, or a stream of events that folds into it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::error::Result;
use crate::event::ChatStream;
use crate::info::ModelInfo;
use crate::layer::Layer;
use crate::message::Message;
use crate::options::{PromptCache, Reasoning};
use crate::response::ChatResponse;
use crate::tool::ToolSpec;

/// Which tool the model may or must call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool call.
    None,
    /// At least one tool call.
    Required,
    /// This tool.
    Named(String),
}

/// The form that the answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: Value,
    },
    /// Text that matches a regular expression as a whole, in the syntax of the crate `regex`, without anchors and looking
    /// around. Local models keep it; a vendor that can't gives `Unsupported`.
    Regex {
        /// The expression.
        pattern: String,
    },
    /// Text of a grammar, in llguidance's dialect of Lark: rules such as `start: "yes" | "no"`. Local models keep it; a
    /// vendor that can't gives `Unsupported`.
    Grammar {
        /// The grammar; its first rule is `start`.
        grammar: String,
    },
}

impl ResponseFormat {
    /// The format of `T`, by its derived schema.
    pub fn of<T: JsonSchema>() -> Self {
        let schema = schemars::generate::SchemaSettings::draft2020_12()
            .with(|s| s.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<T>();
        Self::JsonSchema { name: T::schema_name().into_owned(), schema: schema.to_value() }
    }
}

/// One call of a chat model. Every option is an `Option`: unset leaves the vendor's default, an explicit 0 is sent.
///
/// ```
/// use katena_core::{ChatRequest, Message};
/// let request = ChatRequest::new([Message::user("Hi")]).with_temperature(0.0).with_max_tokens(64);
/// assert_eq!(request.temperature, Some(0.0));
/// ```
#[derive(Clone, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Tools that the model may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpec>,
    /// Which of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// The form of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// Randomness, 0 (greedy) to usually 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling, above 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Only the k likeliest tokens, 1 and up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Most tokens to generate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Texts that end the answer; they are not part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Seed of the sampler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// −2 to 2: less of what is already there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// −2 to 2: less of what is often there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// How many alternatives per token to report log-probabilities for; 0 reports the chosen token alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u32>,
    /// How much the model thinks before it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// What of the prompt the vendor shall keep for the next call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_cache: Option<PromptCache>,
    /// Vendor extras by name, sent as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Value>,
    /// Labels, deadline, cancel signal.
    #[serde(skip)]
    pub context: Context,
}

impl fmt::Debug for ChatRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatRequest")
            .field("messages", &self.messages.len())
            .field("tools", &self.tools.len())
            .field("temperature", &self.temperature)
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

impl ChatRequest {
    /// A request with these messages.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        Self { messages: messages.into_iter().collect(), ..Self::default() }
    }

    /// Sets the tools.
    pub fn with_tools(mut self, tools: impl IntoIterator<Item = ToolSpec>) -> Self {
        self.tools = tools.into_iter().collect();
        self
    }

    /// Sets the tool choice.
    pub fn with_tool_choice(mut self, choice: ToolChoice) -> Self {
        self.tool_choice = Some(choice);
        self
    }

    /// Sets the form of the answer.
    pub fn with_response_format(mut self, format: ResponseFormat) -> Self {
        self.response_format = Some(format);
        self
    }

    /// Sets the temperature.
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sets nucleus sampling.
    pub fn with_top_p(mut self, top_p: f32) -> Self {
        self.top_p = Some(top_p);
        self
    }

    /// Sets top-k sampling.
    pub fn with_top_k(mut self, top_k: u32) -> Self {
        self.top_k = Some(top_k);
        self
    }

    /// Sets the most tokens to generate.
    pub fn with_max_tokens(mut self, max_tokens: u32) -> Self {
        self.max_tokens = Some(max_tokens);
        self
    }

    /// Sets the texts that end the answer.
    pub fn with_stop<S: Into<String>>(mut self, stop: impl IntoIterator<Item = S>) -> Self {
        self.stop = stop.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the sampler's seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Asks for log-probabilities with this many alternatives per token.
    pub fn with_logprobs(mut self, alternatives: u32) -> Self {
        self.logprobs = Some(alternatives);
        self
    }

    /// Sets how much the model thinks before it answers.
    pub fn with_reasoning(mut self, reasoning: Reasoning) -> Self {
        self.reasoning = Some(reasoning);
        self
    }

    /// Asks the vendor to keep the prompt, or parts of it, for the next call.
    pub fn with_prompt_cache(mut self, prompt_cache: PromptCache) -> Self {
        self.prompt_cache = Some(prompt_cache);
        self
    }

    /// Adds a vendor extra.
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// A model that continues a conversation.
///
/// # Contract
/// - `stream_folds_to_finished`: the folded events of a stream equal its `Finished` response.
/// - `stream_ends_once`: `Finished` comes exactly once and last; an end without it is an error.
/// - `parts_start_before_they_grow`: each part starts, grows and ends, in that order.
/// - `generate_answers`: `generate` gives an assistant message with a finish reason.
/// - `no_messages_is_invalid`: a request without messages is `InvalidInput`.
/// - `max_tokens_is_kept`: a small `max_tokens` ends with `Length` (or an earlier stop).
/// - `unsupported_is_said`: what the capabilities don't name is `Unsupported`, never dropped.
/// - `usage_is_reported`: with that capability, both counts are there, streamed or not.
/// - `stop_ends_the_answer`: with that capability, a stop text is not part of the answer.
/// - `seed_repeats`: with that capability, equal seeds give equal answers.
/// - `logprobs_are_reported`: with that capability, one entry a token, each ≤ 0.
/// - `tools_are_called`: with that capability, a required tool call comes with the tool's name and JSON arguments.
/// - `json_schema_is_kept`: with that capability, the answer's text parses and fits.
/// - `cancelled_before_the_call`: a cancelled context is `Cancelled`, nothing is asked.
/// - `deadline_before_the_call`: a passed deadline is `Timeout`.
/// - `dropped_stream_stops`: dropping a stream ends the call; the model still answers the next.
/// - `concurrent_calls_do_not_mix`: parallel calls each get their own answer.
/// - `debug_hides_content`: `Debug` prints names and shapes, never messages or keys.
#[async_trait]
pub trait ChatModel: fmt::Debug + Send + Sync {
    /// Name and abilities.
    fn info(&self) -> &ModelInfo;

    /// Asks and waits for the whole answer.
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse>;

    /// Asks and yields events as they come. Errors before the first event are returned here or as the first item.
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream>;
}

macro_rules! forward {
    ($($ptr:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<M: ChatModel + ?Sized> ChatModel for $ptr {
            fn info(&self) -> &ModelInfo {
                (**self).info()
            }
            async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
                (**self).generate(request).await
            }
            async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
                (**self).stream(request).await
            }
        }
    )*};
}
forward!(Arc<M>, Box<M>);

/// Conveniences of every [`ChatModel`].
pub trait ChatModelExt: ChatModel {
    /// Wraps the model in a layer.
    fn layer<L: Layer<dyn ChatModel>>(self, layer: L) -> Arc<dyn ChatModel>
    where
        Self: Sized + 'static,
    {
        layer.layer(Arc::new(self))
    }
}

impl<M: ChatModel + ?Sized> ChatModelExt for M {}
