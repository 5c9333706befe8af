//! Anthropic Messages: Claude at Anthropic's own API and, with the feature `vertex`, on Vertex AI.

#[cfg(feature = "batches")]
mod batch;
mod blocks;
mod catalog;
pub(crate) mod encode;
pub(crate) mod models;
mod place;
mod schema;
mod stream;
mod wire;

use std::fmt;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind, ModelInfo, Result,
};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, Proxy, Secret};
use serde_json::Value;

use crate::shell;
use encode::{Reply, Settings};
use place::Place;

#[cfg(feature = "batches")]
pub(crate) use place::below_v1;
pub use stream::AnthropicStreamDecoder;
pub use wire::{FIELDS, ITEMS, decode_response};

const OFFICIAL: &str = "https://api.anthropic.com";
/// The version of the API that this speaks.
const VERSION: &str = "2023-06-01";

/// A chat model behind the Anthropic Messages protocol.
///
/// Streams, tools, JSON schemas, pictures, documents, thinking, prompt caching and token counts. Every option of the
/// request is sent or refused with `Unsupported`:
///
/// - What the [capabilities](Self::with_capabilities) don't name is refused before anything is sent. Without a word about
///   them they are those of the model by its name; an unknown name is taken for the newest.
/// - System messages are sent first, wherever they stand in the conversation, in their order: the protocol has one place
///   for them. One that holds items of the vendor, such as tools that are added later, stays in its place.
/// - Messages of one role that follow each other are joined; results of tools are the user's.
/// - The protocol demands a limit of tokens. If neither the request nor
///   [`with_max_tokens`](Self::with_max_tokens) gives one, it is 16,384 beyond the budget of reasoning, or the model's own
///   limit if that is less (4,096 for the first Claude 3 models, 8,192 for Claude 3.5).
/// - Reasoning: a budget of tokens turns thinking on, 0 or the effort `None` off. An effort alone is sent to models that
///   think adaptively (4.6 and later); older ones know only budgets. `Minimal` is sent as `low`.
/// - Reasoning in earlier messages goes back if it is signed. Redacted thinking, tools that the vendor runs and their
///   results, compactions and citations are opaque items of the vendor `anthropic` and go back unchanged.
/// - A JSON schema is adapted to the vendor's subset: objects are closed, rules that it does not enforce are told in
///   descriptions. What the subset can't say, such as objects with free keys, is `Unsupported`.
/// - [`PromptCache`](katena_core::PromptCache): at most 4 places; up to 5 minutes is `5m`, more is `1h`; a key is
///   `Unsupported`.
/// - Documents: PDF inline or by address, text inline. Audio and video are refused.
/// - Vendor extras are merged into the request's body. Two have a meaning of their own: `disable_parallel_tool_use` goes
///   into the tool choice, `betas` (a list of names) into the header. One that repeats a field which the request sets
///   is `InvalidInput`.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Message};
/// use katena_llms::AnthropicChat;
/// # async fn f() -> katena_core::Result<()> {
/// let model = AnthropicChat::from_env("claude-sonnet-4-5")?;
/// let answer = model.generate(&ChatRequest::new([Message::user("Hi")])).await?;
/// println!("{}", answer.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AnthropicChat {
    client: HttpClient,
    endpoint: Endpoint,
    place: Place,
    info: ModelInfo,
    settings: Settings,
}

impl fmt::Debug for AnthropicChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicChat")
            .field("info", &self.info)
            .field("endpoint", &self.endpoint)
            .field("betas", &self.settings.betas)
            .finish_non_exhaustive()
    }
}

/// What is known of a model by its name.
fn info(vendor: &str, model: impl Into<String>) -> ModelInfo {
    let mut info = ModelInfo::new(vendor, model);
    info.capabilities = models::capabilities(&info.model);
    info.context_tokens = models::context_tokens(&info.model);
    info
}

impl AnthropicChat {
    /// A model of Anthropic's own API, by key.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// use katena_llms::AnthropicChat;
    /// let model = AnthropicChat::new("claude-sonnet-4-5", "sk-ant-123");
    /// assert_eq!(model.info().model, "claude-sonnet-4-5");
    /// assert!(!format!("{model:?}").contains("sk-ant-123"));
    /// ```
    pub fn new(model: impl Into<String>, key: impl Into<Secret>) -> Self {
        Self::official(model.into()).with_api_key(key)
    }

    fn official(model: String) -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        let endpoint = Endpoint::new(OFFICIAL).expect("a good address");
        Self {
            client: HttpClient::new(),
            endpoint: endpoint.with_vendor("anthropic").with_header("anthropic-version", VERSION),
            place: Place::Api,
            info: info("anthropic", model),
            settings: Settings::default(),
        }
    }

    /// A model by the environment: `ANTHROPIC_API_KEY`, else `ANTHROPIC_AUTH_TOKEN` (a bearer token); `ANTHROPIC_BASE_URL`;
    /// and the usual proxy variables. Key and token may be missing if the base URL is another than Anthropic's own.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if key and token are missing, `Config` for a bad base URL.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        Self::from_lookup(model.into(), |name| std::env::var(name).ok())
    }

    fn from_lookup(model: String, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let mut this = Self::official(model);
        if let Some(base) = get("ANTHROPIC_BASE_URL") {
            this = this.with_base_url(base)?;
        }
        this = match (get("ANTHROPIC_API_KEY"), get("ANTHROPIC_AUTH_TOKEN")) {
            (Some(key), _) => this.with_api_key(key),
            (None, Some(token)) => this.with_auth_token(token),
            (None, None) if this.endpoint.base().host_str() != Some("api.anthropic.com") => this,
            (None, None) => {
                let what = "neither ANTHROPIC_API_KEY nor ANTHROPIC_AUTH_TOKEN is set";
                return Err(Error::new(ErrorKind::Unauthenticated, what).with_vendor("anthropic"));
            }
        };
        this.client = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        Ok(this)
    }

    /// Moves to another server that speaks the protocol; the key stays. `v1/messages` is appended, or `messages` if the
    /// address ends in `/v1`.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Result<Self> {
        self.endpoint = self.endpoint.with_base(base_url)?;
        Ok(self)
    }

    /// Sets the key; an empty one is not sent.
    pub fn with_api_key(mut self, key: impl Into<Secret>) -> Self {
        let key = key.into();
        if !key.is_empty() {
            self.endpoint = self.endpoint.with_header("x-api-key", key);
        }
        self
    }

    /// Sets a bearer token; an empty one is not sent.
    pub fn with_auth_token(mut self, token: impl Into<Secret>) -> Self {
        let token = token.into();
        if !token.is_empty() {
            self.endpoint = self.endpoint.with_bearer(token);
        }
        self
    }

    /// Asks for a beta feature by its name, with every call.
    pub fn with_beta(mut self, name: impl Into<String>) -> Self {
        self.settings.betas.push(name.into());
        self
    }

    /// Adds a tool that the vendor runs, as its documentation writes it, to every request:
    /// `{"type": "web_search_20250305", "name": "web_search"}`.
    pub fn with_server_tool(mut self, tool: Value) -> Self {
        self.settings.server_tools.push(tool);
        self
    }

    /// Sets the limit of tokens for requests that have none.
    pub fn with_max_tokens(mut self, max_tokens: u32) -> Self {
        self.settings.max_tokens = Some(max_tokens);
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

    /// Sets what the model can do; without it, what is known by its name.
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

    async fn call(&self, request: &ChatRequest, reply: Reply) -> Result<HttpRequest> {
        request.context.check()?;
        let named = |e: Error| e.with_vendor(self.info.vendor.clone());
        let target = self.place.target();
        let body = encode::body(request, &self.info, &self.settings, target, reply).map_err(named)?;
        let betas = encode::betas(request, &self.settings).map_err(named)?;
        let path = self.place.path(&self.endpoint, &self.info.model, reply);
        let accept = match reply {
            Reply::Stream => "text/event-stream",
            Reply::Whole | Reply::Count => "application/json",
        };
        let mut call =
            HttpRequest::post(&self.endpoint, &path)?.with_json(&body)?.with_header("accept", accept);
        if !betas.is_empty() {
            call = call.with_header("anthropic-beta", betas.join(","));
        }
        self.place.open(call, &request.context).await
    }

    fn decode(&self, raw: Value) -> Result<ChatResponse> {
        decode_response(raw, &self.info.vendor)
    }

    fn decoder(&self) -> AnthropicStreamDecoder {
        AnthropicStreamDecoder::new(&self.info.vendor)
    }
}

#[async_trait]
impl ChatModel for AnthropicChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, Reply::Whole).await?;
        shell::generate(&self.client, call, |raw| self.decode(raw), self.decoder()).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, Reply::Stream).await?;
        shell::stream(&self.client, call, |raw| self.decode(raw), self.decoder()).await
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
