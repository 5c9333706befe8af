//! Ollama's own chat: `/api/chat`, `/api/tags`, `/api/show`, `/api/pull`.

mod encode;
mod host;
mod pull;
mod stream;

use std::fmt;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Context, Error, ModelCatalog,
    ModelInfo, Result,
};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, Proxy, Secret};
use serde_json::{Value, json};

use crate::fields::{items, variable, word};
use crate::shell;

pub use encode::KeepAlive;
pub use pull::{OllamaPull, PullProgress};
pub use stream::{OllamaStreamDecoder, decode_response};

const VENDOR: &str = "ollama";

/// A chat model behind [Ollama](https://github.com/ollama/ollama/blob/main/docs/api.md)'s own protocol.
///
/// - `reasoning`: unset leaves the model's way; an effort is Ollama's `think` level, none or a budget of 0 is `false`, an
///   empty [`Reasoning`](katena_core::Reasoning) is `true`; other budgets are `Unsupported`.
/// - A JSON schema is sent as `format`.
/// - Ollama has no choice of tools. `None` sends no tools; a call that must be made is asked for by `format`, and the
///   answer read as a call; not together with a JSON schema.
/// - Pictures are sent inline only; audio, videos and files are `Unsupported`.
/// - Extras with the name of a runner option (`num_gpu`, `min_p`, `repeat_penalty`, …) go into `options`, all others
///   into the body.
/// - Calls that come without an id get one.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Message};
/// use katena_llms::OllamaChat;
/// # async fn f() -> katena_core::Result<()> {
/// let model = OllamaChat::from_env("qwen3:4b")?.with_num_ctx(8192);
/// println!("{}", model.generate(&ChatRequest::new([Message::user("Hi")])).await?.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OllamaChat {
    client: HttpClient,
    endpoint: Endpoint,
    info: ModelInfo,
    settings: encode::Settings,
}

impl fmt::Debug for OllamaChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OllamaChat")
            .field("info", &self.info)
            .field("endpoint", &self.endpoint)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn everything() -> ChatCapabilities {
    ChatCapabilities::none()
        .with_tools()
        .with_json_schema()
        .with_images()
        .with_reasoning()
        .with_top_k()
        .with_seed()
        .with_logprobs()
        .with_stop()
        .with_usage()
}

impl OllamaChat {
    /// A model of the Ollama on this machine, at its usual port.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// let model = katena_llms::OllamaChat::new("qwen3:4b");
    /// assert_eq!(model.info().vendor, "ollama");
    /// ```
    pub fn new(model: impl Into<String>) -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        let endpoint = Endpoint::new(host::LOCAL).expect("a good address");
        Self {
            client: HttpClient::new(),
            endpoint: endpoint.with_vendor(VENDOR),
            info: ModelInfo::new(VENDOR, model).with_capabilities(everything()),
            settings: encode::Settings::default(),
        }
    }

    /// A model by the environment: `OLLAMA_HOST` in all the forms that Ollama takes (without it, this machine),
    /// `OLLAMA_API_KEY` for its cloud, and the usual proxy variables.
    ///
    /// # Errors
    /// Kind `Config` for a host that can't be an address.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        Self::from_lookup(model.into(), |name| std::env::var(name).ok())
    }

    fn from_lookup(model: String, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut this = Self::new(model);
        if let Some(host) = variable(&lookup, "OLLAMA_HOST") {
            this = this.with_base_url(host::base_of(&host)?)?;
        }
        if let Some(key) = variable(&lookup, "OLLAMA_API_KEY") {
            this = this.with_api_key(key);
        }
        this.client = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        Ok(this)
    }

    /// Moves to another server: what `api/chat` is appended to.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Result<Self> {
        self.endpoint = self.endpoint.with_base(base_url)?;
        Ok(self)
    }

    /// Sets the key, for Ollama's cloud or a guarded server; an empty one is not sent.
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

    /// Sets the context window in tokens (`num_ctx`), for the server and in `info()`. Unset, the server decides, and cuts
    /// off what is longer.
    pub fn with_num_ctx(mut self, tokens: u32) -> Self {
        self.settings.num_ctx = Some(tokens);
        self.info.context_tokens = Some(tokens);
        self
    }

    /// Sets how long the model stays in memory after a call.
    pub fn with_keep_alive(mut self, time: KeepAlive) -> Self {
        self.settings.keep_alive = Some(time);
        self
    }

    /// Sets what the model can do; without it, everything that the protocol can.
    pub fn with_capabilities(mut self, capabilities: ChatCapabilities) -> Self {
        self.info.capabilities = capabilities;
        self
    }

    /// Asks the server what the model can do (`/api/show`), and takes it over: tools, pictures, reasoning. A server that
    /// does not say leaves the capabilities as they are.
    ///
    /// # Errors
    /// Kind `NotFound` if the server has no such model; else those of the call.
    pub async fn detected(mut self, context: &Context) -> Result<Self> {
        context.check()?;
        let call =
            HttpRequest::post(&self.endpoint, "api/show")?.with_json(&json!({"model": self.info.model}))?;
        let reply = self.client.send(call.with_context(context.clone())).await?;
        let shown: Value = reply.json()?;
        if shown.get("capabilities").is_some_and(Value::is_array) {
            let has = |word: &str| items(&shown, "capabilities").iter().any(|c| c.as_str() == Some(word));
            let can = &mut self.info.capabilities;
            can.tools = has("tools");
            can.images = has("vision");
            can.reasoning = has("thinking");
        }
        Ok(self)
    }

    /// Uses this client, so that components share connections and settings.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    /// Fetches models into this server.
    pub fn puller(&self) -> OllamaPull {
        OllamaPull::of(self.client.clone(), self.endpoint.clone())
    }

    fn call(&self, request: &ChatRequest, streams: bool) -> Result<HttpRequest> {
        request.context.check()?;
        let body =
            encode::body(request, &self.info, self.settings, streams).map_err(|e| e.with_vendor(VENDOR))?;
        let call = HttpRequest::post(&self.endpoint, "api/chat")?.with_json(&body)?;
        Ok(call.with_context(request.context.clone()))
    }

    fn decoder(request: &ChatRequest) -> OllamaStreamDecoder {
        let alternatives = request.logprobs.map_or(usize::MAX, |n| n as usize);
        let decoder = OllamaStreamDecoder::new().with_max_alternatives(alternatives);
        if encode::is_forced(request) { decoder.with_forced_call() } else { decoder }
    }
}

#[async_trait]
impl ChatModel for OllamaChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, false)?;
        let decode = |raw| stream::decode_with(Self::decoder(request), raw);
        shell::generate_ndjson(&self.client, call, decode, Self::decoder(request)).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, true)?;
        shell::stream_ndjson(&self.client, call, Self::decoder(request)).await
    }
}

/// The models that the server holds (`/api/tags`). What each can do is not told, so all that the protocol can is stated.
#[async_trait]
impl ModelCatalog for OllamaChat {
    async fn models(&self) -> Result<Vec<ModelInfo>> {
        let reply = self.client.send(HttpRequest::get(&self.endpoint, "api/tags")?).await?;
        let value: Value = reply.json()?;
        models(&value).map_err(|e| reply.mark(e))
    }
}

fn models(reply: &Value) -> Result<Vec<ModelInfo>> {
    if !reply.get("models").is_some_and(|m| m.is_array() || m.is_null()) {
        return Err(Error::invalid_output("the server's reply is no list of models"));
    }
    let name = |entry: &Value| word(entry, "model").or_else(|| word(entry, "name"));
    let info = |name| ModelInfo::new(VENDOR, name).with_capabilities(everything());
    Ok(items(reply, "models").iter().filter_map(name).map(info).collect())
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
