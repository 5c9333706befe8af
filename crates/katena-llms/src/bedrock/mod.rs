//! Amazon Bedrock: every model by Converse, and Claude in its own words by `InvokeModel`.
//!
//! [`BedrockChat`] speaks Converse, one protocol for the models of all vendors. [`BedrockClaude`] (with the feature
//! `anthropic`) speaks Anthropic Messages within Bedrock's envelope, for what Converse leaves out.

mod blocks;
mod catalog;
#[cfg(feature = "anthropic")]
mod claude;
mod encode;
mod family;
mod link;
mod schema;
mod stream;
mod wire;

use std::fmt;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream as streams;
use katena_core::{
    ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo, Part, Result,
    ToolCall,
};
use katena_http::{HttpClient, HttpRequest, HttpStream, Secret, Shape};
use serde_json::Value;

use crate::shell::{self, StreamDecoder};
use link::{Link, VENDOR};

#[cfg(feature = "anthropic")]
pub use claude::BedrockClaude;
pub use family::ModelFamily;
pub use katena_http::aws::{AuthChoice, AwsAuth, Credentials, CredentialsProvider};
pub use stream::ConverseStreamDecoder;
pub use wire::decode_response;

/// A model of Amazon Bedrock, by the Converse protocol.
///
/// The model is named by its id (`amazon.nova-lite-v1:0`), an inference profile (`us.anthropic.claude-…`) or an ARN.
/// Every option of the request is sent or refused with `Unsupported`:
///
/// - What the [capabilities](Self::with_capabilities) don't name is refused before anything is sent. JSON schemas are
///   not among them unless the caller says so, since most models have none.
/// - System messages go to the field `system`, wherever they stand. What one role says in a row is sent as one message.
/// - Media are sent inline or as `s3://` addresses. Documents get names that the service takes.
/// - Reasoning and `top_k` are sent as the model's own fields, by its [family](ModelFamily).
/// - Reasoning in earlier messages is sent back with its signature; without one it is left out.
/// - Extras that are fields of Converse (`guardrailConfig`, `performanceConfig`, `requestMetadata`, `serviceTier`,
///   `toolConfig`, …) are sent as such, all others as `additionalModelRequestFields`.
///
/// Each call is signed by itself, so a layer that repeats calls sends a fresh signature.
///
/// ```
/// use katena_core::ChatModel;
/// use katena_llms::bedrock::{AwsAuth, BedrockChat, Credentials};
/// let auth = AwsAuth::signed(Credentials::new("AKIDEXAMPLE", "sk-123"));
/// let model = BedrockChat::new("amazon.nova-lite-v1:0", "us-east-1", auth);
/// assert_eq!(model.info().vendor, "bedrock");
/// assert!(!format!("{model:?}").contains("sk-123"));
/// ```
#[derive(Clone)]
pub struct BedrockChat {
    link: Link,
    info: ModelInfo,
    family: ModelFamily,
    system_tools: Vec<String>,
}

impl fmt::Debug for BedrockChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BedrockChat")
            .field("info", &self.info)
            .field("family", &self.family)
            .field("system_tools", &self.system_tools)
            .field("link", &self.link)
            .finish()
    }
}

impl BedrockChat {
    /// A model in a region. A region that is none fails at the first call, with kind `Config`.
    pub fn new(model: impl Into<String>, region: impl Into<String>, auth: AwsAuth) -> Self {
        Self::over(model.into(), Link::new(region, auth))
    }

    /// A model in a region, by an API key of Bedrock.
    pub fn with_bearer(model: impl Into<String>, region: impl Into<String>, key: impl Into<Secret>) -> Self {
        Self::new(model, region, AwsAuth::bearer(key))
    }

    /// A model by the environment: the region by `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile; the proof of identity
    /// by `AWS_BEARER_TOKEN_BEDROCK`, else AWS's default chain; another address by `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`;
    /// and the usual proxy variables.
    ///
    /// # Errors
    /// Kind `Config` if there is no region or an address is bad.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        Ok(Self::over(model.into(), Link::from_env()?))
    }

    fn over(model: String, link: Link) -> Self {
        let family = ModelFamily::of(&model);
        let info = ModelInfo::new(VENDOR, model).with_capabilities(family.capabilities());
        Self { link, info, family, system_tools: Vec::new() }
    }

    /// Moves to another address, such as an endpoint within a private network.
    ///
    /// # Errors
    /// Kind `Config` if it is no `http` or `https` address, or has a user name or password in it.
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Result<Self> {
        self.link.set_base(base_url)?;
        Ok(self)
    }

    /// Sets the model's maker where its id doesn't tell it, and with it the capabilities.
    pub fn with_family(mut self, family: ModelFamily) -> Self {
        self.family = family;
        self.info.capabilities = family.capabilities();
        self
    }

    /// Adds a tool that the service itself runs to every request, such as `nova_grounding` or `nova_code_interpreter`. Its
    /// calls and results come as opaque parts; see [`server_tool_call`].
    pub fn with_system_tool(mut self, name: impl Into<String>) -> Self {
        self.system_tools.push(name.into());
        self
    }

    /// Sets what the model can do; without it, what the protocol can say to models of its family.
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
        self.link.client = client;
        self
    }

    async fn call(&self, request: &ChatRequest, route: &str, accept: &'static str) -> Result<HttpRequest> {
        request.context.check()?;
        let body = encode::body(request, &self.info, self.family, &self.system_tools);
        let body = body.map_err(|e| e.with_vendor(VENDOR))?;
        let call = self.link.call(&self.info.model, route)?.with_json(&body)?.with_header("accept", accept);
        self.link.prove(call.with_context(request.context.clone())).await
    }

    fn decode(&self, raw: Value) -> Result<ChatResponse> {
        decode_response(raw, &self.info.vendor)
    }

    fn decoder(&self) -> ConverseStreamDecoder {
        ConverseStreamDecoder::new(&self.info.vendor)
    }
}

#[async_trait]
impl ChatModel for BedrockChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, "converse", "application/json").await?;
        let reply = self.link.client.send(call).await?;
        let response = reply.json::<Value>().and_then(|raw| self.decode(raw));
        Ok(reply.complete(response.map_err(|e| reply.mark(e))?))
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, "converse-stream", "application/vnd.amazon.eventstream").await?;
        stream(&self.link, call, |raw| self.decode(raw), self.decoder(), stream::frames).await
    }
}

/// Asks for a binary event stream. A server that answers at once is understood too.
async fn stream<D, F>(
    link: &Link,
    call: HttpRequest,
    decode: impl FnOnce(Value) -> Result<ChatResponse>,
    decoder: D,
    frames: impl FnOnce(HttpStream) -> F,
) -> Result<ChatStream>
where
    D: StreamDecoder,
    F: futures_util::Stream<Item = Result<(String, String)>> + Send + 'static,
{
    let mut body = link.client.open(call).await?;
    match body.shape().await? {
        Shape::Other => {
            let (mark, complete) = (body.marker(), body.completer());
            Ok(shell::events(frames(body), decoder, mark, complete))
        }
        Shape::Json => {
            let reply = body.read(link.client.options().max_body).await?;
            let response = reply.json::<Value>().and_then(decode).map_err(|e| reply.mark(e))?;
            let events = ChatEvent::of_response(reply.complete(response));
            Ok(streams::iter(events.into_iter().map(Ok)).boxed())
        }
        shape => Err(body.unreadable(shape)),
    }
}

/// The call of a tool that the service itself runs (web search, code), which is kept as an opaque part: nobody else has
/// to answer it.
///
/// ```
/// use katena_core::Part;
/// let call = serde_json::json!({"toolUse": {
///     "toolUseId": "1", "name": "nova_grounding", "type": "server_tool_use", "input": {"query": "rust"},
/// }});
/// let part = Part::Opaque { vendor: "bedrock".into(), value: call };
/// assert_eq!(katena_llms::bedrock::server_tool_call(&part).unwrap().name, "nova_grounding");
/// ```
pub fn server_tool_call(part: &Part) -> Option<ToolCall> {
    match part {
        Part::Opaque { value, .. } => {
            let call = value.get("toolUse").filter(|call| wire::is_server_tool(call))?;
            wire::tool_call(call).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
