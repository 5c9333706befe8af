//! OpenAI Chat Completions, and the many servers that speak it too.

mod encode;
mod stream;
mod wire;

use std::fmt;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind,
    ModelInfo, Result,
};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, Proxy, Secret};

use crate::shell::{self, StreamDecoder};

pub use stream::OpenAiStreamDecoder;
pub use wire::decode_response;

const OFFICIAL: &str = "https://api.openai.com/v1";
const PATH: &str = "chat/completions";

/// Which rules the server follows where servers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's own service: the token limit is `max_completion_tokens` (its reasoning models know no other), and
    /// `top_k` is `Unsupported`.
    OpenAi,
    /// A compatible server, such as llama.cpp's or vLLM's: the token limit is `max_tokens`, and `top_k` is sent.
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

/// A chat model behind the OpenAI Chat Completions protocol.
///
/// Streams, tools, JSON schemas, images, log-probabilities and token counts. Every option of the request is sent or
/// refused with `Unsupported`:
///
/// - What the [capabilities](Self::with_capabilities) don't name is refused before anything is sent.
/// - A JSON schema is sent with `strict` if strictness keeps its meaning (all properties required or nullable, none
///   open), else without.
/// - Reasoning in earlier messages is not sent: the protocol has no place for it. Refusals are sent back as refusals.
/// - Pictures go in user messages and tool results; audio (WAV, MP3) and inline files in user messages; video is
///   refused.
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
    client: HttpClient,
    endpoint: Endpoint,
    info: ModelInfo,
    dialect: Dialect,
    named_tool: NamedTool,
}

impl fmt::Debug for OpenAiChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiChat")
            .field("info", &self.info)
            .field("endpoint", &self.endpoint)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

fn everything() -> ChatCapabilities {
    ChatCapabilities::none()
        .with_tools()
        .with_json_schema()
        .with_images()
        .with_seed()
        .with_logprobs()
        .with_stop()
        .with_usage()
}

impl OpenAiChat {
    /// A model of OpenAI's own service.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// use katena_llms::OpenAiChat;
    /// let model = OpenAiChat::new("gpt-5-mini", "sk-123");
    /// assert_eq!(model.info().model, "gpt-5-mini");
    /// assert!(!format!("{model:?}").contains("sk-123"));
    /// ```
    pub fn new(model: impl Into<String>, key: impl Into<Secret>) -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        let endpoint = Endpoint::new(OFFICIAL).expect("a good address");
        Self {
            client: HttpClient::new(),
            endpoint: endpoint.with_vendor("openai"),
            info: ModelInfo::new("openai", model).with_capabilities(everything()),
            dialect: Dialect::OpenAi,
            named_tool: NamedTool::ByName,
        }
        .with_api_key(key)
    }

    /// A model of a compatible server, without a key; [`with_api_key`](Self::with_api_key) adds one.
    ///
    /// `base_url` is what `chat/completions` is appended to, usually ending in `/v1`.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
    pub fn compatible(model: impl Into<String>, base_url: impl AsRef<str>) -> Result<Self> {
        Ok(Self {
            client: HttpClient::new(),
            endpoint: Endpoint::new(base_url)?.with_vendor("openai-compatible"),
            info: ModelInfo::new("openai-compatible", model).with_capabilities(everything()),
            dialect: Dialect::Compatible,
            named_tool: NamedTool::ByName,
        })
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
        let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let key = get("OPENAI_API_KEY");
        let mut this = match (get("OPENAI_BASE_URL"), key) {
            (None, Some(key)) => Self::new(model, key),
            (Some(base), Some(key)) => Self::new(model, key).with_base_url(base)?,
            (Some(base), None) if !is_official(&Endpoint::new(&base)?) => Self::compatible(model, base)?,
            (_, None) => {
                return Err(Error::new(ErrorKind::Unauthenticated, "the variable OPENAI_API_KEY is not set")
                    .with_vendor("openai"));
            }
        };
        for (name, header) in
            [("OPENAI_ORG_ID", "openai-organization"), ("OPENAI_PROJECT_ID", "openai-project")]
        {
            if let Some(value) = get(name) {
                this.endpoint = this.endpoint.with_header(header, value);
            }
        }
        this.client = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        Ok(this)
    }

    /// Moves to another server; the key stays. Unless it is OpenAI's own, the dialect becomes
    /// [`Compatible`](Dialect::Compatible) and the vendor's name `openai-compatible`.
    ///
    /// # Errors
    /// As [`compatible`](Self::compatible).
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Result<Self> {
        self.endpoint = self.endpoint.with_base(base_url)?;
        if is_official(&self.endpoint) {
            self.dialect = Dialect::OpenAi;
            return Ok(self.with_vendor("openai"));
        }
        self.dialect = Dialect::Compatible;
        Ok(if self.info.vendor == "openai" { self.with_vendor("openai-compatible") } else { self })
    }

    /// Sets the key; an empty one is not sent.
    pub fn with_api_key(mut self, key: impl Into<Secret>) -> Self {
        let key = key.into();
        if !key.is_empty() {
            self.endpoint = self.endpoint.with_bearer(key);
        }
        self
    }

    /// Sends a header with every call; its value is treated as a secret.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.endpoint = self.endpoint.with_header(name.into(), value);
        self
    }

    /// Sets the vendor's name, in `info()` and in errors.
    pub fn with_vendor(mut self, vendor: impl Into<String>) -> Self {
        self.info.vendor = vendor.into();
        self.endpoint = self.endpoint.with_vendor(self.info.vendor.clone());
        self
    }

    /// Sets the dialect.
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Sets how one tool is demanded by name.
    pub fn with_named_tool(mut self, named_tool: NamedTool) -> Self {
        self.named_tool = named_tool;
        self
    }

    /// Sets what the model can do; without it, everything that the protocol can.
    pub fn with_capabilities(mut self, capabilities: ChatCapabilities) -> Self {
        self.info.capabilities = capabilities;
        self
    }

    /// Sets the context window in tokens, as `info()` reports it.
    pub fn with_context_tokens(mut self, tokens: u32) -> Self {
        self.info.context_tokens = Some(tokens);
        self
    }

    /// Uses this client, so that components share connections and settings.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    fn call(&self, request: &ChatRequest, reply: encode::Reply) -> Result<HttpRequest> {
        request.context.check()?;
        let body = encode::body(request, &self.info, self.dialect, self.named_tool, reply)
            .map_err(|e| e.with_vendor(self.info.vendor.clone()))?;
        let accept = match reply {
            encode::Reply::Whole => "application/json",
            encode::Reply::Stream => "text/event-stream",
        };
        let call = HttpRequest::post(&self.endpoint, PATH)?.with_json(&body)?;
        Ok(call.with_header("accept", accept).with_context(request.context.clone()))
    }

    fn decoder(&self, request: &ChatRequest) -> OpenAiStreamDecoder {
        OpenAiStreamDecoder::new(&self.info.vendor).with_max_alternatives(alternatives(request))
    }

    fn decode(&self, request: &ChatRequest, raw: serde_json::Value) -> Result<ChatResponse> {
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

fn is_official(endpoint: &Endpoint) -> bool {
    endpoint.base().host_str() == Some("api.openai.com")
}

#[async_trait]
impl ChatModel for OpenAiChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, encode::Reply::Whole)?;
        shell::generate(&self.client, call, |raw| self.decode(request, raw), self.decoder(request)).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, encode::Reply::Stream)?;
        shell::stream(&self.client, call, |raw| self.decode(request, raw), self.decoder(request)).await
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
