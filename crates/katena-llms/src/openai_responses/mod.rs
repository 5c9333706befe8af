//! OpenAI Responses, and the servers that follow it.

#[cfg(feature = "batches")]
mod batch;
mod encode;
mod items;
mod messages;
mod stream;
mod wire;

use std::fmt;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind,
    ModelInfo, Result, TokenCounter,
};
use katena_http::HttpRequest;
use serde_json::Value;

use crate::openai_shared::link::{Link, builders, variable};
use crate::openai_shared::{Reply, count};
use crate::shell::{self, StreamDecoder};

pub use stream::ResponsesStreamDecoder;
pub use wire::decode_response;

const PATH: &str = "responses";

/// Whether the server keeps the answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// No: `store` is false, and reasoning comes encrypted, to be sent back with the next request.
    #[default]
    Stateless,
    /// Yes: `store` is true, and earlier reasoning is referred to by its id.
    Stored,
    /// As the server does by itself: nothing is said.
    Unsaid,
}

/// How much of its reasoning the model tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasoningSummary {
    /// The most detailed form that the model has.
    Auto,
    /// In short.
    Concise,
    /// At length.
    Detailed,
}

/// What is set on the component and goes with every request.
#[derive(Debug, Clone, Default)]
struct Settings {
    storage: Storage,
    summary: Option<ReasoningSummary>,
    hosted: Vec<Value>,
}

/// A chat model behind the OpenAI Responses protocol.
///
/// Streams, tools, JSON schemas, images, files, reasoning, log-probabilities and token counts. Every option of the
/// request is sent or refused with `Unsupported`:
///
/// - What the [capabilities](Self::with_capabilities) don't name is refused before anything is sent. The protocol has no
///   stop texts, no seed, no `top_k` and no penalties.
/// - Reasoning comes with a signature that holds the item as the server sent it, and goes back unchanged to the same
///   vendor; that of other vendors is left out. A model that does not think refuses the wish for encrypted reasoning. OpenAI's are
///   known by name; an Azure deployment of one needs [capabilities](Self::with_capabilities) without `reasoning`.
/// - Calls of the server's own tools (web search, code interpreter, MCP, …), custom tools' calls, compactions and sources
///   of a text are [`Part::Opaque`](katena_core::Part::Opaque) and go back unchanged.
/// - The system messages before all others are the `instructions`.
/// - Cache points need no marks: the server keeps prompts by itself.
/// - Vendor extras are merged into the request's body, `include`, `text` and `reasoning` by their members. One that repeats
///   a field which the request sets is `InvalidInput`.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Effort, Message, Reasoning};
/// use katena_llms::OpenAiResponses;
/// # async fn f() -> katena_core::Result<()> {
/// let model = OpenAiResponses::from_env("gpt-5-mini")?;
/// let request = ChatRequest::new([Message::user("Hi")]).with_reasoning(Reasoning::effort(Effort::Low));
/// println!("{}", model.generate(&request).await?.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenAiResponses {
    link: Link,
    info: ModelInfo,
    settings: Settings,
}

builders!(OpenAiResponses);

impl fmt::Debug for OpenAiResponses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiResponses")
            .field("info", &self.info)
            .field("link", &self.link)
            .field("storage", &self.settings.storage)
            .finish_non_exhaustive()
    }
}

/// OpenAI's families that answer 400 to a request for encrypted reasoning. The list is closed: models since then reason.
const NEVER_REASON: [&str; 4] = ["gpt-3.5", "gpt-4", "chatgpt-4o", "gpt-5-chat"];

fn everything() -> ChatCapabilities {
    ChatCapabilities::none()
        .with_tools()
        .with_json_schema()
        .with_images()
        .with_files()
        .with_reasoning()
        .with_prompt_cache()
        .with_logprobs()
        .with_usage()
}

impl OpenAiResponses {
    pub(crate) fn of(link: Link, vendor: &str, model: impl Into<String>) -> Self {
        let model = model.into();
        let mut can = everything();
        can.reasoning = !NEVER_REASON.iter().any(|family| model.starts_with(family));
        Self {
            link: link.with_vendor(vendor),
            info: ModelInfo::new(vendor, model).with_capabilities(can),
            settings: Settings::default(),
        }
    }

    /// A model of OpenAI's own service.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// use katena_llms::OpenAiResponses;
    /// let model = OpenAiResponses::new("gpt-5-mini", "sk-123");
    /// assert_eq!(model.info().model, "gpt-5-mini");
    /// assert!(!format!("{model:?}").contains("sk-123"));
    /// ```
    pub fn new(model: impl Into<String>, key: impl Into<katena_http::Secret>) -> Self {
        Self::of(Link::official(), "openai", model).with_api_key(key)
    }

    /// A model of a compatible server, without a key; [`with_api_key`](Self::with_api_key) adds one.
    ///
    /// `base_url` is what `responses` is appended to, usually ending in `/v1`.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
    pub fn compatible(model: impl Into<String>, base_url: impl AsRef<str>) -> Result<Self> {
        Ok(Self::of(Link::new(base_url)?, "openai-compatible", model))
    }

    /// A model by the environment: `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID`, and the
    /// usual proxy variables. The key may be missing if the base URL is another than OpenAI's own.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` for a bad base URL.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        Self::from_lookup(model.into(), |name| std::env::var(name).ok())
    }

    fn from_lookup(model: String, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let key = variable(&lookup, "OPENAI_API_KEY");
        let mut this = match variable(&lookup, "OPENAI_BASE_URL") {
            None => Self::of(Link::official(), "openai", model),
            Some(base) => Self::compatible(model, base)?,
        };
        if this.link.is_official() {
            this = this.with_vendor("openai");
            if key.is_none() {
                return Err(Error::new(ErrorKind::Unauthenticated, "the variable OPENAI_API_KEY is not set")
                    .with_vendor("openai"));
            }
        }
        this = this.with_api_key(key.unwrap_or_default());
        for (name, header) in
            [("OPENAI_ORG_ID", "openai-organization"), ("OPENAI_PROJECT_ID", "openai-project")]
        {
            if let Some(value) = variable(&lookup, name) {
                this = this.with_header(header, value);
            }
        }
        this.link = this.link.with_env_proxy();
        Ok(this)
    }

    /// Moves to another server; the key stays. Unless it is OpenAI's own, the vendor's name becomes `openai-compatible`.
    ///
    /// # Errors
    /// As [`compatible`](Self::compatible).
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Result<Self> {
        self.link = self.link.with_base(base_url)?;
        Ok(match self.link.is_official() {
            true => self.with_vendor("openai"),
            false if self.info.vendor == "openai" => self.with_vendor("openai-compatible"),
            false => self,
        })
    }

    /// Sets whether the server keeps the answers; without it, it does not.
    pub fn with_storage(mut self, storage: Storage) -> Self {
        self.settings.storage = storage;
        self
    }

    /// Asks for a summary of the model's reasoning.
    pub fn with_reasoning_summary(mut self, summary: ReasoningSummary) -> Self {
        self.settings.summary = Some(summary);
        self
    }

    /// Offers one of the server's own tools with every request, such as `{"type": "web_search"}`.
    pub fn with_hosted_tool(mut self, tool: Value) -> Self {
        self.settings.hosted.push(tool);
        self
    }

    fn body<'a>(&'a self, request: &'a ChatRequest, reply: Reply) -> Result<encode::Body<'a>> {
        request.context.check()?;
        encode::body(request, &self.info, &self.settings, reply)
            .map_err(|e| e.with_vendor(self.info.vendor.clone()))
    }

    async fn call(&self, request: &ChatRequest, reply: Reply) -> Result<HttpRequest> {
        self.link.post(PATH, &self.body(request, reply)?, reply.accept(), &request.context).await
    }

    fn decoder(&self, request: &ChatRequest) -> ResponsesStreamDecoder {
        ResponsesStreamDecoder::new(&self.info.vendor).with_max_alternatives(alternatives(request))
    }

    fn decode(&self, request: &ChatRequest, raw: Value) -> Result<ChatResponse> {
        let mut response = decode_response(raw, &self.info.vendor)?;
        for token in response.logprobs.iter_mut().flatten() {
            token.top.truncate(alternatives(request));
        }
        Ok(response)
    }
}

/// How many alternatives to each token were asked for; without a word about it, whatever comes.
fn alternatives(request: &ChatRequest) -> usize {
    request.logprobs.map_or(usize::MAX, |n| n as usize)
}

#[async_trait]
impl ChatModel for OpenAiResponses {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, Reply::Whole).await?;
        let decoder = self.decoder(request);
        shell::generate(&self.link.client, call, |raw| self.decode(request, raw), decoder).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, Reply::Stream).await?;
        let decoder = self.decoder(request);
        shell::stream(&self.link.client, call, |raw| self.decode(request, raw), decoder).await
    }
}

/// By `responses/input_tokens`, which OpenAI's own service has.
#[async_trait]
impl TokenCounter for OpenAiResponses {
    async fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        let body = encode::prompt_only(&self.body(request, Reply::Whole)?)?;
        let path = format!("{PATH}/input_tokens");
        let call = self.link.post(&path, &body, Reply::Whole.accept(), &request.context).await?;
        let reply = self.link.client.send(call).await?;
        count(reply.json::<Value>()?.get("input_tokens"))
            .ok_or_else(|| reply.mark(Error::invalid_output("the server's reply has no count of tokens")))
    }
}

impl StreamDecoder for ResponsesStreamDecoder {
    fn push(&mut self, event: &str, data: &str) -> Result<()> {
        self.push(event, data)
    }
    fn next_event(&mut self) -> Option<ChatEvent> {
        self.next_event()
    }
    fn is_done(&self) -> bool {
        self.is_done()
    }
    fn finish(&mut self) -> Result<()> {
        self.finish()
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
