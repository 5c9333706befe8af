//! Claude in its own words, within Bedrock's envelope.

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{Stream, StreamExt as _};
use katena_core::{
    ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ModelInfo, Result,
    TokenCounter,
};
use katena_http::aws::AwsAuth;
use katena_http::{HttpClient, HttpStream, Secret};
use serde_json::{Value, json};

use super::link::{Link, VENDOR};
use super::stream::frames;
use crate::anthropic::encode::{self, Reply, Settings, Target};
use crate::anthropic::{AnthropicStreamDecoder, decode_response, models};
use crate::shell::StreamDecoder;

/// Opaque items of an answer are Anthropic's wherever it comes from, so that a conversation may move.
const WORDS: &str = "anthropic";

/// Claude on Bedrock by `InvokeModel`, which speaks Anthropic Messages: for what Converse leaves out, such as Anthropic's
/// own tools and betas. Requests are encoded as [`AnthropicChat`](crate::AnthropicChat) does it.
///
/// ```
/// use katena_core::ChatModel;
/// use katena_llms::bedrock::BedrockClaude;
/// let model = BedrockClaude::with_bearer("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us-east-1", "sk-123");
/// assert!(model.info().capabilities.tools);
/// assert!(!format!("{model:?}").contains("sk-123"));
/// ```
#[derive(Clone)]
pub struct BedrockClaude {
    link: Link,
    /// As callers see it.
    info: ModelInfo,
    /// As the encoder sees it: it takes Anthropic's items.
    wire: ModelInfo,
    settings: Settings,
}

impl fmt::Debug for BedrockClaude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BedrockClaude")
            .field("info", &self.info)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl BedrockClaude {
    /// A model in a region, by its id on Bedrock, an inference profile or an ARN. A region that is none fails at the first
    /// call, with kind `Config`.
    pub fn new(model: impl Into<String>, region: impl Into<String>, auth: AwsAuth) -> Self {
        Self::over(model.into(), Link::new(region, auth))
    }

    /// A model in a region, by an API key of Bedrock.
    pub fn with_bearer(model: impl Into<String>, region: impl Into<String>, key: impl Into<Secret>) -> Self {
        Self::new(model, region, AwsAuth::bearer(key))
    }

    /// A model by the environment, as [`BedrockChat::from_env`](super::BedrockChat::from_env).
    ///
    /// # Errors
    /// Kind `Config` if there is no region or an address is bad.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        Ok(Self::over(model.into(), Link::from_env()?))
    }

    fn over(model: String, link: Link) -> Self {
        let mut info = ModelInfo::new(VENDOR, &model).with_capabilities(models::capabilities(&model));
        info.context_tokens = models::context_tokens(&model);
        let mut wire = info.clone();
        WORDS.clone_into(&mut wire.vendor);
        Self { link, info, wire, settings: Settings::default() }
    }

    /// Moves to another address, such as an endpoint within a private network.
    ///
    /// # Errors
    /// Kind `Config` if it is no `http` or `https` address, or has a user name or password in it.
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Result<Self> {
        self.link.set_base(base_url)?;
        Ok(self)
    }

    /// Asks for a beta feature by its name, with every call.
    pub fn with_beta(mut self, name: impl Into<String>) -> Self {
        self.settings.betas.push(name.into());
        self
    }

    /// Adds a tool that the vendor knows, as its documentation writes it, to every request.
    pub fn with_server_tool(mut self, tool: Value) -> Self {
        self.settings.server_tools.push(tool);
        self
    }

    /// Sets the limit of tokens for requests that have none.
    pub fn with_max_tokens(mut self, max_tokens: u32) -> Self {
        self.settings.max_tokens = Some(max_tokens);
        self
    }

    /// Sets what the model can do; without it, what is known by its name.
    pub fn with_capabilities(mut self, capabilities: ChatCapabilities) -> Self {
        self.info.capabilities = capabilities;
        self.wire.capabilities = capabilities;
        self
    }

    /// Sets the context window in tokens, as `info()` reports it.
    pub fn with_context_tokens(mut self, tokens: u32) -> Self {
        self.info.context_tokens = Some(tokens);
        self
    }

    /// Uses this client, so that components share connections and settings.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.link.client = client;
        self
    }

    fn body(&self, request: &ChatRequest, reply: Reply) -> Result<Value> {
        request.context.check()?;
        let body = encode::body(request, &self.wire, &self.settings, Target::Bedrock, reply);
        let body = body.map_err(|e| e.with_vendor(VENDOR))?;
        serde_json::to_value(body)
            .map_err(|e| Error::invalid_input("the request can't be written as JSON").with_source(e))
    }

    async fn call(&self, request: &ChatRequest, reply: Reply) -> Result<katena_http::HttpRequest> {
        let (route, accept) = match reply {
            Reply::Stream => ("invoke-with-response-stream", "application/vnd.amazon.eventstream"),
            _ => ("invoke", "application/json"),
        };
        let body = self.body(request, reply)?;
        let call = self.link.call(&self.info.model, route)?.with_json(&body)?.with_header("accept", accept);
        self.link.prove(call.with_context(request.context.clone())).await
    }
}

/// Anthropic's events out of the frames `chunk`, each of which holds one as base64.
fn events(body: HttpStream) -> impl Stream<Item = Result<(String, String)>> + Send + 'static {
    frames(body).filter_map(|frame| {
        let event = match frame {
            Err(error) => Some(Err(error)),
            Ok((name, payload)) if name == "chunk" => Some(unpack(&payload)),
            // Frames of unknown types are passed over.
            Ok(_) => None,
        };
        std::future::ready(event)
    })
}

fn unpack(payload: &str) -> Result<(String, String)> {
    let bad = || Error::invalid_output("a frame of the stream holds no event");
    let value: Value = serde_json::from_str(payload).map_err(|e| bad().with_source(e))?;
    let packed = value.get("bytes").and_then(Value::as_str).ok_or_else(bad)?;
    let bytes = BASE64_STANDARD.decode(packed).map_err(|e| bad().with_source(e))?;
    let text = String::from_utf8(bytes).map_err(|e| bad().with_source(e))?;
    let event: Value = serde_json::from_str(&text).map_err(|e| bad().with_source(e))?;
    let name = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok((name, text))
}

/// The words are Anthropic's, the answer is Bedrock's.
fn decode(raw: Value) -> Result<ChatResponse> {
    Ok(decode_response(raw, WORDS)?.with_vendor(VENDOR))
}

struct Decoder(AnthropicStreamDecoder);

impl StreamDecoder for Decoder {
    fn push(&mut self, event: &str, data: &str) -> Result<()> {
        self.0.push(event, data)
    }
    fn next_event(&mut self) -> Option<ChatEvent> {
        self.0.next_event().map(|event| match event {
            ChatEvent::Finished(response) => ChatEvent::Finished(Box::new(response.with_vendor(VENDOR))),
            event => event,
        })
    }
    fn is_done(&self) -> bool {
        self.0.is_done()
    }
    fn finish(&mut self) -> Result<()> {
        self.0.finish()
    }
}

#[async_trait]
impl ChatModel for BedrockClaude {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, Reply::Whole).await?;
        let reply = self.link.client.send(call).await?;
        let response = reply.json::<Value>().and_then(decode);
        Ok(reply.complete(response.map_err(|e| reply.mark(e))?))
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, Reply::Stream).await?;
        let decoder = Decoder(AnthropicStreamDecoder::new(WORDS));
        super::stream(&self.link, call, decode, decoder, events).await
    }
}

/// By `CountTokens`, which some models have.
#[async_trait]
impl TokenCounter for BedrockClaude {
    async fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        // The service counts a whole body, the limit of tokens included.
        let body = self.body(request, Reply::Whole)?.to_string();
        let input = json!({"invokeModel": {"body": BASE64_STANDARD.encode(body)}});
        super::catalog::count(&self.link, &self.info.model, input, request).await
    }
}
