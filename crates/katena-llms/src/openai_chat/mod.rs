//! OpenAI Chat Completions, and the many servers that speak it too.

#[cfg(feature = "batches")]
mod batch;
mod cache;
mod encode;
mod quick;
mod quirks;
mod reasoning;
mod stream;
mod wire;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind,
    ModelInfo, Result,
};
use katena_http::HttpRequest;
use serde_json::Value;

use crate::openai_shared::Reply;
use crate::openai_shared::link::{Link, builders, variable};
use crate::shell::{self, StreamDecoder};

pub use quirks::{CacheForm, Dialect, JsonMode, NamedTool, Quirks, ReasoningBack, ReasoningForm, TokenLimit};
pub use stream::OpenAiStreamDecoder;
pub use wire::decode_response;

const PATH: &str = "chat/completions";

/// A chat model behind the OpenAI Chat Completions protocol.
///
/// Streams, tools, JSON schemas, images, log-probabilities and token counts. Every option of the request is sent or
/// refused with `Unsupported`:
///
/// - What the [capabilities](Self::with_capabilities) don't name is refused before anything is sent.
/// - A JSON schema is sent with `strict` if strictness keeps its meaning (all properties required or nullable, none
///   open), else without.
/// - Reasoning in earlier messages goes back as the server's [quirks](Self::with_quirks) say; the protocol itself has no
///   place for it. Refusals are sent back as refusals.
/// - Pictures go in user messages and tool results; audio (WAV, MP3) and inline files in user messages; video is
///   refused.
/// - `reasoning` becomes `reasoning_effort`, `prompt_cache` becomes `prompt_cache_key` and `prompt_cache_retention`, or
///   what the server has in their place.
/// - Vendor extras are merged into the request's body. One that repeats a field which the request sets is `InvalidInput`.
///
/// The first choice of a reply is the answer, so an extra `n` above 1 is refused.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Message};
/// use katena_llms::OpenAiChat;
/// # async fn f() -> katena_core::Result<()> {
/// let model = OpenAiChat::from_env("gpt-5-mini")?;
/// let local = OpenAiChat::compatible("smollm2", "http://localhost:8080/v1")?;
/// let answer = local.generate(&ChatRequest::new([Message::user("Hi")])).await?;
/// println!("{}", answer.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenAiChat {
    pub(crate) link: Link,
    info: ModelInfo,
    quirks: Quirks,
    /// Members of every body, unless the request has its own.
    defaults: BTreeMap<String, Value>,
}

builders!(OpenAiChat);

impl fmt::Debug for OpenAiChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiChat")
            .field("info", &self.info)
            .field("link", &self.link)
            .field("quirks", &self.quirks)
            .finish_non_exhaustive()
    }
}

/// All that OpenAI's own service can.
fn everything() -> ChatCapabilities {
    ChatCapabilities::none()
        .with_tools()
        .with_json_schema()
        .with_images()
        .with_audio()
        .with_files()
        .with_reasoning()
        .with_prompt_cache()
        .with_seed()
        .with_logprobs()
        .with_stop()
        .with_usage()
}

/// All that a server of the dialect can.
fn all_of(dialect: Dialect) -> ChatCapabilities {
    match dialect {
        Dialect::OpenAi => everything(),
        Dialect::Compatible => everything().with_top_k(),
    }
}

impl OpenAiChat {
    pub(crate) fn of(link: Link, vendor: &str, model: impl Into<String>, dialect: Dialect) -> Self {
        Self {
            link: link.with_vendor(vendor),
            info: ModelInfo::new(vendor, model).with_capabilities(all_of(dialect)),
            quirks: dialect.into(),
            defaults: BTreeMap::new(),
        }
    }

    /// A model of OpenAI's own service.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// use katena_llms::OpenAiChat;
    /// let model = OpenAiChat::new("gpt-5-mini", "sk-123");
    /// assert_eq!(model.info().model, "gpt-5-mini");
    /// assert!(!format!("{model:?}").contains("sk-123"));
    /// ```
    pub fn new(model: impl Into<String>, key: impl Into<katena_http::Secret>) -> Self {
        Self::of(Link::official(), "openai", model, Dialect::OpenAi).with_api_key(key)
    }

    /// A model of a compatible server, without a key; [`with_api_key`](Self::with_api_key) adds one.
    ///
    /// `base_url` is what `chat/completions` is appended to, usually ending in `/v1`.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
    pub fn compatible(model: impl Into<String>, base_url: impl AsRef<str>) -> Result<Self> {
        Ok(Self::of(Link::new(base_url)?, "openai-compatible", model, Dialect::Compatible))
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
            None => Self::of(Link::official(), "openai", model, Dialect::OpenAi),
            Some(base) => Self::new(model, "").with_base_url(base)?,
        };
        if this.link.is_official() && key.is_none() {
            return Err(Error::new(ErrorKind::Unauthenticated, "the variable OPENAI_API_KEY is not set")
                .with_vendor("openai"));
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

    /// Moves to another server; the key stays. Unless it is OpenAI's own, the dialect becomes
    /// [`Compatible`](Dialect::Compatible) and the vendor's name `openai-compatible`.
    ///
    /// # Errors
    /// As [`compatible`](Self::compatible).
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Result<Self> {
        self.link = self.link.with_base(base_url)?;
        if self.link.is_official() {
            return Ok(self.with_dialect(Dialect::OpenAi).with_vendor("openai"));
        }
        // A preset's own quirks stay.
        let this = if self.quirks == Quirks::OPENAI { self.with_dialect(Dialect::Compatible) } else { self };
        Ok(if this.info.vendor == "openai" { this.with_vendor("openai-compatible") } else { this })
    }

    /// Sets the dialect: the usual quirks, and what such a server can, unless that was set.
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        if [Dialect::OpenAi, Dialect::Compatible].map(all_of).contains(&self.info.capabilities) {
            self.info.capabilities = all_of(dialect);
        }
        self.quirks = dialect.into();
        self
    }

    /// Sets where this server differs from others.
    pub fn with_quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// Sets how one tool is demanded by name.
    pub fn with_named_tool(mut self, named_tool: NamedTool) -> Self {
        self.quirks.named_tool = named_tool;
        self
    }

    /// Sends a vendor extra with every request that has none of that name.
    pub fn with_default_extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.defaults.insert(name.into(), value.into());
        self
    }

    async fn call(&self, request: &ChatRequest, reply: Reply) -> Result<HttpRequest> {
        request.context.check()?;
        let body = encode::body(request, &self.info, self.quirks, &self.defaults, reply)
            .map_err(|e| e.with_vendor(self.info.vendor.clone()))?;
        self.link.post(PATH, &body, reply.accept(), &request.context).await
    }

    fn decoder(&self, request: &ChatRequest) -> OpenAiStreamDecoder {
        OpenAiStreamDecoder::new(&self.info.vendor).with_max_alternatives(alternatives(request))
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
impl ChatModel for OpenAiChat {
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

impl StreamDecoder for OpenAiStreamDecoder {
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
