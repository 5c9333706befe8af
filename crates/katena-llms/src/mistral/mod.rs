//! Mistral's chat: OpenAI's in outline, its own in many details.

mod encode;
mod stream;

use std::fmt;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ErrorKind, ModelCatalog,
    ModelInfo, Result,
};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, Proxy, Secret};
use serde_json::Value;

use crate::fields::{count, items, variable, word};
use crate::shell;

pub use stream::{MistralStreamDecoder, decode_response};

const OFFICIAL: &str = "https://api.mistral.ai/v1";
const VENDOR: &str = "mistral";

/// A chat model behind [Mistral's chat API](https://docs.mistral.ai/api/#tag/chat).
///
/// - Thinking is a part of reasoning, and goes back as the chunk that it was.
/// - `reasoning` is an effort, or none; budgets are `Unsupported`. `prompt_mode` is an extra.
/// - A conversation that ends with the assistant's text is gone on with (`prefix`); the answer repeats that text.
/// - Ids of calls that other vendors made are made fit: nine letters and digits, the same for a call and its result.
/// - Pictures, documents and sound are sent inline or by address; videos are `Unsupported`.
/// - A seed is `random_seed`. The vendor has no `top_k`; log-probabilities are off in the default capabilities, since few
///   of its models have them.
/// - `prompt_cache` sends its key; points need no mark, since the vendor keeps prompts by itself; a time to keep is
///   `Unsupported`.
/// - `parallel_tool_calls`, `prompt_mode`, `prediction` and whatever else the request has no field for are extras.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Message};
/// use katena_llms::MistralChat;
/// # async fn f() -> katena_core::Result<()> {
/// let model = MistralChat::from_env("mistral-small-latest")?;
/// println!("{}", model.generate(&ChatRequest::new([Message::user("Hi")])).await?.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MistralChat {
    client: HttpClient,
    endpoint: Endpoint,
    info: ModelInfo,
    guard: encode::Guard,
}

impl fmt::Debug for MistralChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MistralChat")
            .field("info", &self.info)
            .field("endpoint", &self.endpoint)
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

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
        .with_stop()
        .with_usage()
}

impl MistralChat {
    /// A model of Mistral's own service.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// let model = katena_llms::MistralChat::new("mistral-small-latest", "key-123");
    /// assert_eq!(model.info().vendor, "mistral");
    /// assert!(!format!("{model:?}").contains("key-123"));
    /// ```
    pub fn new(model: impl Into<String>, key: impl Into<Secret>) -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        let endpoint = Endpoint::new(OFFICIAL).expect("a good address");
        Self {
            client: HttpClient::new(),
            endpoint: endpoint.with_vendor(VENDOR),
            info: ModelInfo::new(VENDOR, model).with_capabilities(everything()),
            guard: encode::Guard::Off,
        }
        .with_api_key(key)
    }

    /// A model by the environment: `MISTRAL_API_KEY`, and the usual proxy variables.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        Self::from_lookup(model.into(), |name| std::env::var(name).ok())
    }

    fn from_lookup(model: String, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let Some(key) = variable(&lookup, "MISTRAL_API_KEY") else {
            return Err(Error::new(ErrorKind::Unauthenticated, "the variable MISTRAL_API_KEY is not set")
                .with_vendor(VENDOR));
        };
        let client = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        Ok(Self::new(model, key).with_client(client))
    }

    /// Moves to another server: what `chat/completions` is appended to, usually ending in `/v1`. The key stays.
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
            self.endpoint = self.endpoint.with_bearer(key);
        }
        self
    }

    /// Sends a header with every call; its value is treated as a secret.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.endpoint = self.endpoint.with_header(name.into(), value);
        self
    }

    /// Puts Mistral's own guard prompt before each conversation (`safe_prompt`).
    pub fn with_safe_prompt(mut self) -> Self {
        self.guard = encode::Guard::On;
        self
    }

    /// Sets what the model can do; without it, everything that the protocol can but log-probabilities.
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

    fn call(&self, request: &ChatRequest, streams: bool) -> Result<HttpRequest> {
        request.context.check()?;
        let body =
            encode::body(request, &self.info, self.guard, streams).map_err(|e| e.with_vendor(VENDOR))?;
        let accept = if streams { "text/event-stream" } else { "application/json" };
        let call = HttpRequest::post(&self.endpoint, "chat/completions")?.with_json(&body)?;
        Ok(call.with_header("accept", accept).with_context(request.context.clone()))
    }

    fn decoder(request: &ChatRequest) -> MistralStreamDecoder {
        let alternatives = request.logprobs.map_or(usize::MAX, |n| n as usize);
        MistralStreamDecoder::new(VENDOR).with_max_alternatives(alternatives)
    }
}

#[async_trait]
impl ChatModel for MistralChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, false)?;
        let decode = |raw| stream::decode_with(Self::decoder(request), raw);
        shell::generate(&self.client, call, decode, Self::decoder(request)).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, true)?;
        let decode = |raw| stream::decode_with(Self::decoder(request), raw);
        shell::stream(&self.client, call, decode, Self::decoder(request)).await
    }
}

/// The models that chat (`/models`), with their context windows and abilities as far as they are told.
#[async_trait]
impl ModelCatalog for MistralChat {
    async fn models(&self) -> Result<Vec<ModelInfo>> {
        let reply = self.client.send(HttpRequest::get(&self.endpoint, "models")?).await?;
        models(&reply.json()?).map_err(|e| reply.mark(e))
    }
}

fn models(reply: &Value) -> Result<Vec<ModelInfo>> {
    if !reply.get("data").is_some_and(Value::is_array) {
        return Err(Error::invalid_output("the server's reply is no list of models"));
    }
    let info = |entry: &Value| {
        let mut info = ModelInfo::new(VENDOR, word(entry, "id")?).with_capabilities(everything());
        info.context_tokens =
            count(entry, "max_context_length").and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        let told = |ability: &str| entry.get("capabilities")?.get(ability)?.as_bool();
        if told("completion_chat") == Some(false) {
            return None;
        }
        let can = &mut info.capabilities;
        can.tools = told("function_calling").unwrap_or(can.tools);
        can.images = told("vision").unwrap_or(can.images);
        can.reasoning = told("reasoning").unwrap_or(can.reasoning);
        can.audio = told("audio").unwrap_or(can.audio);
        Some(info)
    };
    Ok(items(reply, "data").iter().filter_map(info).collect())
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
