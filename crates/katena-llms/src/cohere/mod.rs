//! Cohere's chat, version 2: `/v2/chat`, `/v1/models`.

mod encode;
mod schema;
mod stream;
mod wire;

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

pub use stream::CohereStreamDecoder;
pub use wire::decode_response;

const OFFICIAL: &str = "https://api.cohere.com";
const VENDOR: &str = "cohere";
/// Pages of the list of models; it has one or two.
const MAX_PAGES: usize = 50;

/// A chat model behind [Cohere's chat API](https://docs.cohere.com/v2/reference/chat).
///
/// - Documents are an extra: `request.with_extra("documents", json!([…]))`; so are `citation_options`, `safety_mode`,
///   `strict_tools` and whatever else the request has no field for.
/// - Citations are kept in one opaque part at the end of the answer, `{"type": "citations", "citations": […]}`, and go back
///   with it.
/// - The plan of a tools' use (`tool_plan`) is a part of reasoning right before the calls; thinking is reasoning too.
/// - `reasoning` is a budget of tokens, or none; an empty [`Reasoning`](katena_core::Reasoning) leaves the budget to the
///   vendor; other efforts are `Unsupported`.
/// - One tool is demanded by sending it alone with the choice `REQUIRED`.
/// - A JSON schema is sent in the words that the vendor knows; limits such as `minimum` become part of the description. The
///   vendor takes none together with tools or documents.
/// - Log-probabilities are of the chosen tokens only; they are off in the default capabilities.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Message};
/// use katena_llms::CohereChat;
/// # async fn f() -> katena_core::Result<()> {
/// let model = CohereChat::from_env("command-a-03-2025")?;
/// println!("{}", model.generate(&ChatRequest::new([Message::user("Hi")])).await?.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct CohereChat {
    client: HttpClient,
    endpoint: Endpoint,
    info: ModelInfo,
}

impl fmt::Debug for CohereChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CohereChat")
            .field("info", &self.info)
            .field("endpoint", &self.endpoint)
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
        .with_stop()
        .with_usage()
}

impl CohereChat {
    /// A model of Cohere's own service.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// let model = katena_llms::CohereChat::new("command-a-03-2025", "key-123");
    /// assert_eq!(model.info().vendor, "cohere");
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
        }
        .with_api_key(key)
    }

    /// A model by the environment: `CO_API_KEY` (or `COHERE_API_KEY`), `CO_API_URL`, and the usual proxy variables. The
    /// key may be missing if there is a URL.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` for a bad URL.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        Self::from_lookup(model.into(), |name| std::env::var(name).ok())
    }

    fn from_lookup(model: String, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let key = variable(&lookup, "CO_API_KEY").or_else(|| variable(&lookup, "COHERE_API_KEY"));
        let base = variable(&lookup, "CO_API_URL");
        if key.is_none() && base.is_none() {
            return Err(Error::new(ErrorKind::Unauthenticated, "the variable CO_API_KEY is not set")
                .with_vendor(VENDOR));
        }
        let mut this = Self::new(model, key.unwrap_or_default());
        if let Some(base) = base {
            this = this.with_base_url(base)?;
        }
        this.client = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        Ok(this)
    }

    /// Moves to another server: what `v2/chat` is appended to. The key stays.
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
        let body = encode::body(request, &self.info, streams).map_err(|e| e.with_vendor(VENDOR))?;
        let accept = if streams { "text/event-stream" } else { "application/json" };
        let call = HttpRequest::post(&self.endpoint, "v2/chat")?.with_json(&body)?;
        Ok(call.with_header("accept", accept).with_context(request.context.clone()))
    }
}

#[async_trait]
impl ChatModel for CohereChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, false)?;
        let decode = |raw| decode_response(raw, VENDOR);
        shell::generate(&self.client, call, decode, CohereStreamDecoder::new(VENDOR)).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, true)?;
        let decode = |raw| decode_response(raw, VENDOR);
        shell::stream(&self.client, call, decode, CohereStreamDecoder::new(VENDOR)).await
    }
}

/// The models that chat (`/v1/models`), all pages, with their context windows and abilities as far as they are told.
#[async_trait]
impl ModelCatalog for CohereChat {
    async fn models(&self) -> Result<Vec<ModelInfo>> {
        let (mut all, mut page) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let mut call = HttpRequest::get(&self.endpoint, "v1/models")?
                .with_query("endpoint", "chat")
                .with_query("page_size", "1000");
            if let Some(token) = &page {
                call = call.with_query("page_token", token);
            }
            let reply = self.client.send(call).await?;
            let value: Value = reply.json()?;
            all.extend(models(&value).map_err(|e| reply.mark(e))?);
            page = word(&value, "next_page_token");
            if page.is_none() {
                return Ok(all);
            }
        }
        Err(Error::invalid_output("the list of models has no end").with_vendor(VENDOR))
    }
}

fn models(reply: &Value) -> Result<Vec<ModelInfo>> {
    if !reply.get("models").is_some_and(Value::is_array) {
        return Err(Error::invalid_output("the server's reply is no list of models"));
    }
    let info = |entry: &Value| {
        let mut info = ModelInfo::new(VENDOR, word(entry, "name")?).with_capabilities(everything());
        info.context_tokens =
            count(entry, "context_length").and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        if entry.get("features").is_some_and(Value::is_array) {
            let has = |word: &str| items(entry, "features").iter().any(|f| f.as_str() == Some(word));
            let can = &mut info.capabilities;
            can.tools = has("tools");
            can.json_schema = has("json_schema");
            can.images = has("vision");
            can.reasoning = has("reasoning");
        }
        Some(info)
    };
    Ok(items(reply, "models").iter().filter_map(info).collect())
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
