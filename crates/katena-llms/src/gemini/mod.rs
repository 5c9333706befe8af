//! Gemini's `generateContent`, on the Developer API and on Vertex AI.
//!
//! # Signatures and the vendor's own items
//! The models sign parts of their answers and want each signature back where it stood. Within a message,
//!
//! - a signed thought is `Part::Reasoning` with its text and signature;
//! - the signature of any other part is a `Part::Reasoning` without text right before the part that it signs, so
//!   that texts and tool calls keep their order and other vendors may leave it out. It belongs to that part: keep
//!   both or drop both;
//! - code that the vendor ran, its output, its own tools and parts of unknown kinds are `Part::Opaque` with the
//!   part as it was.
//!
//! The signature's text begins with `gemini:`. Reasoning with another vendor's signature is not sent; reasoning
//! without any is sent as a thought.

#[cfg(feature = "batches")]
mod batch;
mod catalog;
mod contents;
mod encode;
mod env;
mod files;
mod frames;
mod schema;
mod signature;
mod stream;
mod wire;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, ModelInfo, Result,
};
use katena_http::{Endpoint, HttpClient, HttpRequest, Secret, TokenSource};
use serde_json::Value;

use crate::shell::{self, StreamDecoder};
use encode::Style;

pub use files::{GeminiFile, GeminiFiles};
pub use stream::GeminiStreamDecoder;
pub use wire::decode_response;

const DEVELOPER: &str = "gemini";
const VERTEX: &str = "vertex";
const DEVELOPER_BASE: &str = "https://generativelanguage.googleapis.com/v1beta";
const VERTEX_BASE: &str = "https://aiplatform.googleapis.com/v1beta1";

/// How schemas of tools and answers are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaForm {
    /// As JSON schemas (`parametersJsonSchema`, `responseJsonSchema`), which Gemini 2 and later take.
    JsonSchema,
    /// As OpenAPI schemas (`parameters`, `responseSchema`), for older models. A schema that refers to itself is
    /// `Unsupported`.
    OpenApi,
}

/// How an effort of reasoning is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EffortForm {
    /// As a level, which Gemini 3 and later take.
    Level,
    /// As a number of tokens, which Gemini 2.5 takes: minimal and low are 1,024, medium 8,192, high 24,576, as the
    /// vendor's own OpenAI-compatible route counts.
    Budget,
}

/// Where pictures and files go that a tool gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolMedia {
    /// Into the tool's result, which Gemini 3 and later take.
    Within,
    /// Beside the results, for older models.
    Beside,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Service {
    Developer,
    /// With `projects/…/locations/…`, or without by a key ("express mode").
    Vertex(Option<String>),
}

/// A Gemini model.
///
/// Streams, tools, JSON schemas, images, sound, video, files, reasoning, log-probabilities, stored prompts and
/// token counts. Every option of the request is sent or refused with `Unsupported`:
///
/// - What the [capabilities](Self::with_capabilities) don't name is refused before anything is sent.
/// - System messages stand at the start of the conversation and hold text.
/// - Media go inline (base64) or by address: an uploaded file ([`GeminiFiles`]), Cloud Storage, a public address.
///   The name of a file is not sent.
/// - `reasoning` asks for thoughts, too. `prompt_cache.key` is the name of a stored prompt (`cachedContents/…`);
///   without a key nothing is sent, since the vendor keeps prompts by itself; points and times are refused.
/// - Words of JSON schemas that the protocol does not know are sent as a note in the description.
/// - Vendor extras are merged into the request's body: an object such as `generationConfig` field by field, `tools`
///   are added to the tools. One that repeats a field which the request sets is `InvalidInput`.
///
/// The first candidate is the answer. In [`Usage`](katena_core::Usage), tokens that the vendor's own tools (search,
/// code) added to the prompt are not counted; they stand in the raw reply.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Message};
/// use katena_llms::GeminiChat;
/// # async fn f() -> katena_core::Result<()> {
/// let model = GeminiChat::from_env("gemini-2.5-flash")?;
/// let answer = model.generate(&ChatRequest::new([Message::user("Hi")])).await?;
/// println!("{}", answer.text());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct GeminiChat {
    client: HttpClient,
    endpoint: Endpoint,
    tokens: Option<Arc<dyn TokenSource>>,
    service: Service,
    info: ModelInfo,
    style: Style,
}

impl fmt::Debug for GeminiChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeminiChat")
            .field("info", &self.info)
            .field("endpoint", &self.endpoint)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

fn everything() -> ChatCapabilities {
    ChatCapabilities::none()
        .with_tools()
        .with_json_schema()
        .with_images()
        .with_audio()
        .with_video()
        .with_files()
        .with_reasoning()
        .with_prompt_cache()
        .with_top_k()
        .with_seed()
        .with_logprobs()
        .with_stop()
        .with_usage()
}

impl GeminiChat {
    fn at(model: String, base: &str, service: Service) -> Result<Self> {
        let vendor = if service == Service::Developer { DEVELOPER } else { VERTEX };
        Ok(Self {
            client: HttpClient::new(),
            endpoint: Endpoint::new(base)?.with_vendor(vendor),
            tokens: None,
            service,
            info: ModelInfo::new(vendor, model).with_capabilities(everything()),
            style: Style {
                schema: SchemaForm::JsonSchema,
                effort: EffortForm::Level,
                tool_media: ToolMedia::Within,
            },
        })
    }

    /// A model of the Developer API.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// use katena_llms::GeminiChat;
    /// let model = GeminiChat::new("gemini-2.5-flash", "key-123");
    /// assert_eq!(model.info().vendor, "gemini");
    /// assert!(!format!("{model:?}").contains("key-123"));
    /// ```
    pub fn new(model: impl Into<String>, key: impl Into<Secret>) -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        let this = Self::at(model.into(), DEVELOPER_BASE, Service::Developer).expect("a good address");
        this.with_api_key(key)
    }

    /// A model on Vertex AI. `location` is a region such as `europe-west4`, `us`, `eu`, or `global`.
    ///
    /// `model` is a name such as `gemini-2.5-flash`, `publisher/name` for another publisher's model that speaks
    /// this protocol, or the whole path of a tuned model's endpoint.
    ///
    /// # Errors
    /// Kind `Config` if the project or the location can't stand in an address.
    pub fn vertex(
        model: impl Into<String>,
        project: impl AsRef<str>,
        location: impl AsRef<str>,
        tokens: Arc<dyn TokenSource>,
    ) -> Result<Self> {
        let (project, location) = (project.as_ref().trim(), location.as_ref().trim());
        // A project may be named `domain:name`.
        let fine = |text: &str, more: &[char]| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || more.contains(&c))
        };
        if !fine(project, &['.', ':', '_']) || !fine(location, &[]) {
            return Err(Error::config("the project or location is no name that can stand in an address")
                .with_context("project", project)
                .with_context("location", location));
        }
        let base = match location {
            "global" => VERTEX_BASE.to_owned(),
            "us" | "eu" => format!("https://aiplatform.{location}.rep.googleapis.com/v1beta1"),
            region => format!("https://{region}-aiplatform.googleapis.com/v1beta1"),
        };
        let service = Service::Vertex(Some(format!("projects/{project}/locations/{location}")));
        Ok(Self { tokens: Some(tokens), ..Self::at(model.into(), &base, service)? })
    }

    /// A model on Vertex AI by an API key ("express mode"), without project and location.
    ///
    /// ```
    /// use katena_core::ChatModel;
    /// let model = katena_llms::GeminiChat::vertex_express("gemini-2.5-flash", "key-123");
    /// assert_eq!(model.info().vendor, "vertex");
    /// ```
    pub fn vertex_express(model: impl Into<String>, key: impl Into<Secret>) -> Self {
        #[allow(clippy::expect_used)]
        let this = Self::at(model.into(), VERTEX_BASE, Service::Vertex(None)).expect("a good address");
        this.with_api_key(key)
    }

    /// Moves to another server, such as a proxy; key and tokens stay. The address holds the version: what is
    /// appended begins with `models/` or, on Vertex AI, `projects/` or `publishers/`.
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
            self.endpoint = self.endpoint.with_header("x-goog-api-key", key);
        }
        self
    }

    /// Sets where access tokens come from.
    pub fn with_tokens(mut self, tokens: Arc<dyn TokenSource>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Sets the project that the calls are billed to (`X-Goog-User-Project`), where it is another than that of the
    /// credentials.
    pub fn with_quota_project(self, project: impl Into<String>) -> Self {
        self.with_header("x-goog-user-project", project.into())
    }

    /// Sends a header with every call; its value is treated as a secret.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.endpoint = self.endpoint.with_header(name.into(), value);
        self
    }

    /// Sets how schemas are sent; without it, as JSON schemas.
    pub fn with_schema_form(mut self, form: SchemaForm) -> Self {
        self.style.schema = form;
        self
    }

    /// Sets how an effort of reasoning is sent; without it, as a level.
    pub fn with_effort_form(mut self, form: EffortForm) -> Self {
        self.style.effort = form;
        self
    }

    /// Sets where media go that a tool gave; without it, into the tool's result.
    pub fn with_tool_media(mut self, media: ToolMedia) -> Self {
        self.style.tool_media = media;
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

    /// The model's path below the base address.
    fn path(&self) -> String {
        let model = self.info.model.trim_matches('/');
        match &self.service {
            Service::Developer if model.contains('/') => model.to_owned(),
            Service::Developer => format!("models/{model}"),
            Service::Vertex(_) if model.starts_with("projects/") => model.to_owned(),
            Service::Vertex(place) => {
                let own = match model.split_once('/') {
                    _ if model.starts_with("publishers/") => model.to_owned(),
                    Some(("models", name)) => format!("publishers/google/models/{name}"),
                    Some((publisher, name)) => format!("publishers/{publisher}/models/{name}"),
                    None => format!("publishers/google/models/{model}"),
                };
                place.as_ref().map_or(own.clone(), |place| format!("{place}/{own}"))
            }
        }
    }

    async fn authorized(&self, call: HttpRequest) -> Result<HttpRequest> {
        Ok(match &self.tokens {
            Some(tokens) => {
                let token = tokens.token().await.map_err(|e| e.with_vendor(self.info.vendor.clone()))?;
                call.with_header("authorization", Secret::new(format!("Bearer {}", token.expose())))
            }
            None => call,
        })
    }

    async fn call(&self, request: &ChatRequest, method: &str) -> Result<HttpRequest> {
        request.context.check()?;
        let body = encode::body(request, &self.info, self.style)
            .map_err(|e| e.with_vendor(self.info.vendor.clone()))?;
        let call =
            HttpRequest::post(&self.endpoint, &format!("{}:{method}", self.path()))?.with_json(&body)?;
        let call = call.with_context(request.context.clone());
        request.context.cancel.guard(self.authorized(call)).await
    }

    fn decoder(&self, request: &ChatRequest) -> GeminiStreamDecoder {
        GeminiStreamDecoder::new(&self.info.vendor).with_max_alternatives(alternatives(request))
    }

    fn decode(&self, request: &ChatRequest, raw: Value) -> Result<ChatResponse> {
        wire::decode_limited(raw, &self.info.vendor, alternatives(request))
    }
}

/// How many alternatives to each token were asked for; without a word about it, whatever comes.
fn alternatives(request: &ChatRequest) -> usize {
    request.logprobs.map_or(usize::MAX, |n| n as usize)
}

#[async_trait]
impl ChatModel for GeminiChat {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let call = self.call(request, "generateContent").await?.with_header("accept", "application/json");
        shell::generate(&self.client, call, |raw| self.decode(request, raw), self.decoder(request)).await
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let call = self.call(request, "streamGenerateContent").await?.with_query("alt", "sse");
        let call = call.with_header("accept", "text/event-stream");
        frames::stream(&self.client, call, |raw| self.decode(request, raw), self.decoder(request)).await
    }
}

impl StreamDecoder for GeminiStreamDecoder {
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
