//! Where servers of the protocol differ, as data.

/// Which rules the server follows where servers differ: a usual set of [`Quirks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's own service, and Azure's: [`Quirks::OPENAI`].
    OpenAi,
    /// A compatible server, such as llama.cpp's or vLLM's: [`Quirks::COMPATIBLE`].
    Compatible,
}

/// How one tool is demanded by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamedTool {
    /// By an object with the tool's name, as the protocol says.
    ByName,
    /// By sending that tool alone with the choice `required`, for servers that know words only. The call is the same;
    /// the model does not see the other tools.
    Alone,
}

/// The name of the token limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenLimit {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`; OpenAI's reasoning models know no other.
    MaxCompletionTokens,
}

/// How the amount of reasoning is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasoningForm {
    /// `reasoning_effort`, a word. A budget is `Unsupported`.
    Effort,
    /// `reasoning`, an object with `effort` or `max_tokens`: OpenRouter.
    Object,
    /// `thinking` with the type `enabled` or `disabled`, and `reasoning_effort` beside it: DeepSeek, Z.ai.
    Thinking,
    /// `chat_template_kwargs` with `enable_thinking` and `reasoning_effort`: llama.cpp.
    Template,
}

/// In which form earlier reasoning goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasoningBack {
    /// Not at all: the protocol itself has no place for it.
    Never,
    /// As text in `reasoning_content`: DeepSeek, vLLM, llama.cpp.
    ReasoningContent,
    /// As text in `reasoning`: Groq, Cerebras.
    Reasoning,
    /// As `reasoning_details`, with signatures and encrypted pieces as they came: OpenRouter. Reasoning without any goes
    /// as text in `reasoning`.
    Details,
}

/// How the server is told what of a prompt to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheForm {
    /// `prompt_cache_key` and `prompt_cache_retention`; the server finds equal beginnings by itself, so points need no
    /// marks.
    Key,
    /// `cache_control` marks in tools and messages, as Anthropic's models want them. A key is `Unsupported`.
    Marks,
    /// The server keeps prompts by itself and takes no wishes: a key or a time is `Unsupported`.
    Automatic,
}

/// Whether `{"type": "json_object"}` is known although schemas are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonMode {
    /// Only together with schemas.
    WithSchemas,
    /// Always.
    Always,
}

/// Where servers of the protocol differ.
///
/// ```
/// use katena_llms::openai_chat::{OpenAiChat, Quirks, ReasoningBack};
/// let model = OpenAiChat::compatible("m", "http://localhost:8000/v1")?
///     .with_quirks(Quirks::COMPATIBLE.with_reasoning_back(ReasoningBack::ReasoningContent));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirks {
    /// The name of the token limit.
    pub token_limit: TokenLimit,
    /// How one tool is demanded by name.
    pub named_tool: NamedTool,
    /// How the amount of reasoning is asked for.
    pub reasoning: ReasoningForm,
    /// In which form earlier reasoning goes back.
    pub reasoning_back: ReasoningBack,
    /// How the server is told what of a prompt to keep.
    pub prompt_cache: CacheForm,
    /// Whether `json_object` is known although schemas are not.
    pub json_mode: JsonMode,
    /// The fewest alternatives that log-probabilities are asked for with. Some servers take 0 for "none at all"; what is
    /// more than was asked for is dropped from the answer.
    pub min_logprobs: u32,
}

impl Quirks {
    /// OpenAI's own service.
    pub const OPENAI: Self = Self {
        token_limit: TokenLimit::MaxCompletionTokens,
        named_tool: NamedTool::ByName,
        reasoning: ReasoningForm::Effort,
        reasoning_back: ReasoningBack::Never,
        prompt_cache: CacheForm::Key,
        json_mode: JsonMode::WithSchemas,
        min_logprobs: 0,
    };

    /// A compatible server of which no more is known.
    pub const COMPATIBLE: Self = Self { token_limit: TokenLimit::MaxTokens, min_logprobs: 1, ..Self::OPENAI };

    /// Sets the name of the token limit.
    pub const fn with_token_limit(mut self, token_limit: TokenLimit) -> Self {
        self.token_limit = token_limit;
        self
    }

    /// Sets how one tool is demanded by name.
    pub const fn with_named_tool(mut self, named_tool: NamedTool) -> Self {
        self.named_tool = named_tool;
        self
    }

    /// Sets how the amount of reasoning is asked for.
    pub const fn with_reasoning(mut self, reasoning: ReasoningForm) -> Self {
        self.reasoning = reasoning;
        self
    }

    /// Sets in which form earlier reasoning goes back.
    pub const fn with_reasoning_back(mut self, reasoning_back: ReasoningBack) -> Self {
        self.reasoning_back = reasoning_back;
        self
    }

    /// Sets how the server is told what of a prompt to keep.
    pub const fn with_prompt_cache(mut self, prompt_cache: CacheForm) -> Self {
        self.prompt_cache = prompt_cache;
        self
    }

    /// Sets whether `json_object` is known although schemas are not.
    pub const fn with_json_mode(mut self, json_mode: JsonMode) -> Self {
        self.json_mode = json_mode;
        self
    }
}

impl From<Dialect> for Quirks {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAi => Self::OPENAI,
            Dialect::Compatible => Self::COMPATIBLE,
        }
    }
}
