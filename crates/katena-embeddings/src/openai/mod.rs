//! OpenAI's embeddings, Azure's, and the many servers that speak the same.

mod azure;
mod presets;

use katena_core::Result;
use katena_http::{Endpoint, Secret};
use serde_json::{Value, json};

use crate::indexed;
use crate::model::Known;
use crate::shell::{Call, Shell, Wire};
use crate::{BatchLimits, EmbedModel, Encoding, env};

pub use presets::Preset;

const OFFICIAL: &str = "https://api.openai.com/v1";

/// Dimensions and the 8,191 or 8,192 tokens as OpenAI's embeddings guide states them; the others as their model cards do.
const MODELS: &[Known] = &[
    ("text-embedding-3-small", 1536, Some(8191)),
    ("text-embedding-3-large", 3072, Some(8191)),
    ("text-embedding-ada-002", 1536, Some(8191)),
    ("nomic-embed-text-v1.5", 768, Some(8192)),
    ("bge-m3", 1024, Some(8192)),
    ("bge-small-en-v1.5", 384, Some(512)),
    ("bge-base-en-v1.5", 768, Some(512)),
    ("bge-large-en-v1.5", 1024, Some(512)),
    ("multilingual-e5-large-instruct", 1024, Some(512)),
    ("all-MiniLM-L6-v2", 384, Some(256)),
    ("Qwen3-Embedding-0.6B", 1024, Some(32768)),
    ("Qwen3-Embedding-4B", 2560, Some(32768)),
    ("Qwen3-Embedding-8B", 4096, Some(32768)),
];

/// At most 2,048 texts and 300,000 tokens a call, by OpenAI's API reference.
const LIMITS: BatchLimits = BatchLimits::new(2048).with_bytes(300_000);

/// A compatible server need not take as much; 64 texts keep its calls short.
const COMPATIBLE_LIMITS: BatchLimits = BatchLimits::new(64).with_bytes(300_000);

#[derive(Debug, Clone, Default)]
pub(crate) struct OpenAiWire {
    encoding: Encoding,
    key: KeyHeader,
}

#[derive(Debug, Clone, Copy, Default)]
enum KeyHeader {
    #[default]
    Bearer,
    ApiKey,
}

impl Wire for OpenAiWire {
    type Reply = indexed::Reply;

    fn path(&self, _call: &Call<'_>) -> String {
        "embeddings".to_owned()
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let mut body = json!({ "model": call.model, "input": call.texts });
        if let Some(n) = call.dimensions {
            body["dimensions"] = n.into();
        }
        if self.encoding == Encoding::Base64 {
            body["encoding_format"] = "base64".into();
        }
        body
    }

    fn read(&self, reply: Self::Reply) -> Result<katena_core::EmbedResponse> {
        indexed::read(reply)
    }
}

embedder! {
    /// An embedder behind OpenAI's embeddings route: OpenAI itself, Azure, and every compatible server.
    ///
    /// OpenAI is asked for base64, compatible servers for numbers, and both are read from either. The vectors are put in
    /// order by their `index`. Queries and documents are embedded alike unless
    /// [`with_prefixes`](Self::with_prefixes) says otherwise. A text that is too long is refused by the server.
    ///
    /// ```no_run
    /// use katena_core::{Context, EmbedderExt};
    /// use katena_embeddings::{EmbedModel, OpenAiEmbedder};
    /// # async fn f() -> katena_core::Result<()> {
    /// let hosted = OpenAiEmbedder::from_env("text-embedding-3-small")?.with_dimensions(512);
    /// let local = OpenAiEmbedder::compatible(EmbedModel::unmeasured("my-model"), "http://localhost:8000/v1")?
    ///     .connect(&Context::new())
    ///     .await?;
    /// let vector = local.embed_query("Where do ferries leave?", &Context::new()).await?;
    /// # Ok(()) }
    /// ```
    OpenAiEmbedder, OpenAiWire
}
embedder_setters!(OpenAiEmbedder: dimensions, tokens);

impl OpenAiEmbedder {
    /// A model of OpenAI's own service.
    ///
    /// ```
    /// use katena_core::Embedder;
    /// use katena_embeddings::OpenAiEmbedder;
    /// let embedder = OpenAiEmbedder::new("text-embedding-3-small", "sk-123")?;
    /// assert_eq!(embedder.info().dimensions, 1536);
    /// assert_eq!(embedder.info().model, "openai/text-embedding-3-small?dimensions=1536");
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known.
    pub fn new(model: impl Into<EmbedModel>, key: impl Into<Secret>) -> Result<Self> {
        let model = model.into().resolve_by_name(MODELS)?;
        let wire = OpenAiWire { encoding: Encoding::Base64, ..OpenAiWire::default() };
        Ok(Self(Shell::new("openai", Endpoint::new(OFFICIAL)?, model, wire, LIMITS)).with_api_key(key))
    }

    /// A model of a compatible server, without a key; [`with_api_key`](Self::with_api_key) adds one.
    ///
    /// `base_url` is what `embeddings` is appended to, usually ending in `/v1`.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known, or `base_url` is no `http` or `https` address.
    pub fn compatible(model: impl Into<EmbedModel>, base_url: impl AsRef<str>) -> Result<Self> {
        let model = model.into();
        // Hosts of many makers' models put the maker's name before.
        let key = model.name().rsplit('/').next().unwrap_or_default().to_owned();
        let model = model.resolve(&key, MODELS)?;
        let endpoint = Endpoint::new(base_url)?;
        Ok(Self(Shell::new("openai-compatible", endpoint, model, OpenAiWire::default(), COMPATIBLE_LIMITS)))
    }

    /// A model of a vendor whose address is known here.
    ///
    /// ```
    /// use katena_embeddings::{OpenAiEmbedder, Preset};
    /// let embedder = OpenAiEmbedder::preset(Preset::OPENROUTER, "openai/text-embedding-3-small", "key")?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known.
    pub fn preset(preset: Preset, model: impl Into<EmbedModel>, key: impl Into<Secret>) -> Result<Self> {
        let embedder = Self::compatible(model, preset.base_url)?.with_vendor(preset.vendor);
        Ok(embedder.with_api_key(key))
    }

    /// A model of a preset, with the key from its variable; a preset without one needs none.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the variable is not set, `Config` if the model's dimensions are not known.
    pub fn preset_from_env(preset: Preset, model: impl Into<EmbedModel>) -> Result<Self> {
        Self::preset_from_lookup(preset, model.into(), env::process)
    }

    fn preset_from_lookup(
        preset: Preset,
        model: EmbedModel,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let key = match preset.key_variable {
            Some(name) => env::required(&lookup, &[name], preset.vendor)?,
            None => String::new(),
        };
        Ok(Self::preset(preset, model, key)?.with_client(env::client()))
    }

    /// A model by the environment: `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID`, and the
    /// usual proxy variables. The key may be missing if the base URL is another than OpenAI's own.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` for a bad base URL or a model of unknown dimensions.
    pub fn from_env(model: impl Into<EmbedModel>) -> Result<Self> {
        Self::from_lookup(model.into(), env::process)
    }

    fn from_lookup(model: EmbedModel, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let official = |base: &str| {
            Ok::<_, katena_core::Error>(Endpoint::new(base)?.base().host_str() == Some("api.openai.com"))
        };
        let mut this = match env::get(&lookup, "OPENAI_BASE_URL") {
            Some(base) if !official(&base)? => {
                let key = env::get(&lookup, "OPENAI_API_KEY").unwrap_or_default();
                Self::compatible(model, base)?.with_api_key(key)
            }
            base => {
                let this = Self::new(model, env::required(&lookup, &["OPENAI_API_KEY"], "openai")?)?;
                match base {
                    Some(base) => this.with_base_url(base)?,
                    None => this,
                }
            }
        };
        for (name, header) in
            [("OPENAI_ORG_ID", "openai-organization"), ("OPENAI_PROJECT_ID", "openai-project")]
        {
            if let Some(value) = env::get(&lookup, name) {
                this = this.with_header(header, value);
            }
        }
        Ok(this.with_client(env::client()))
    }

    /// Sets the key; an empty one is not sent. Azure takes it as `api-key`, all others as `Authorization: Bearer`.
    pub fn with_api_key(self, key: impl Into<Secret>) -> Self {
        let key = key.into();
        Self(self.0.set(|s| match s.wire.key {
            KeyHeader::Bearer => s.set_key(key),
            KeyHeader::ApiKey if key.is_empty() => {}
            KeyHeader::ApiKey => s.set_header("api-key".to_owned(), key),
        }))
    }

    /// Sets the form in which vectors are asked for.
    pub fn with_encoding(self, encoding: Encoding) -> Self {
        Self(self.0.set(|s| s.wire.encoding = encoding))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
