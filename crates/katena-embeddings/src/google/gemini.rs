//! The Gemini API's `batchEmbedContents`.

use katena_core::{EmbedResponse, Result};
use katena_http::{Endpoint, Secret};
use serde_json::{Value, json};

use super::{MODELS, Reply, Tasks, read};
use crate::shell::{Call, Shell, Wire};
use crate::{BatchLimits, EmbedModel, env};

const BASE: &str = "https://generativelanguage.googleapis.com/v1beta";

/// At most 100 texts: the API answers more with "at most 100 requests can be in one batch".
const LIMITS: BatchLimits = BatchLimits::new(100);

#[derive(Debug, Clone)]
pub(crate) struct GeminiWire {
    pub(super) tasks: Tasks,
}

impl Wire for GeminiWire {
    type Reply = Reply;

    fn path(&self, call: &Call<'_>) -> String {
        format!("models/{}:batchEmbedContents", call.model)
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let one = |text: &str| {
            let mut one = json!({
                "model": format!("models/{}", call.model),
                "content": { "parts": [{ "text": self.tasks.text(call.role, text) }] },
            });
            if let Some(task) = self.tasks.field(call.role) {
                one["taskType"] = task.into();
            }
            if let Some(n) = call.dimensions {
                one["outputDimensionality"] = n.into();
            }
            one
        };
        json!({ "requests": call.texts.iter().map(|t| one(t)).collect::<Vec<_>>() })
    }

    fn read(&self, reply: Reply) -> Result<EmbedResponse> {
        read(reply)
    }

    fn space(&self) -> String {
        self.tasks.space()
    }
}

embedder! {
    /// Google's embedding models by the Gemini API.
    ///
    /// The role goes into `taskType` (`RETRIEVAL_QUERY`, `RETRIEVAL_DOCUMENT`); `gemini-embedding-2` reads it in the text,
    /// where the documented prompts are put. Shortened vectors do not come with length 1 from every model; they are given
    /// it. The API has no field to refuse texts that are too long.
    ///
    /// ```
    /// use katena_core::Embedder;
    /// let embedder = katena_embeddings::GeminiEmbedder::new("gemini-embedding-001", "key")?.with_dimensions(768);
    /// assert_eq!(
    ///     embedder.info().model,
    ///     "gemini/gemini-embedding-001?dimensions=768&taskType=RETRIEVAL_QUERY|RETRIEVAL_DOCUMENT"
    /// );
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    GeminiEmbedder, GeminiWire
}
embedder_setters!(GeminiEmbedder: dimensions);

impl GeminiEmbedder {
    /// A model of the Gemini API, with or without `models/` before its name.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known.
    pub fn new(model: impl Into<EmbedModel>, key: impl Into<Secret>) -> Result<Self> {
        let model = model.into();
        let key_of_table = model.name().trim_start_matches("models/").to_owned();
        let mut model = model.resolve(&key_of_table, MODELS)?;
        model.name = key_of_table;
        let wire = GeminiWire { tasks: Tasks::of(&model.name) };
        Ok(Self(Shell::new("gemini", Endpoint::new(BASE)?, model, wire, LIMITS)).with_api_key(key))
    }

    /// A model by the environment: `GOOGLE_API_KEY`, else `GEMINI_API_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` if the model's dimensions are not known.
    pub fn from_env(model: impl Into<EmbedModel>) -> Result<Self> {
        let key = env::required(&env::process, &["GOOGLE_API_KEY", "GEMINI_API_KEY"], "gemini")?;
        Ok(Self::new(model, key)?.with_client(env::client()))
    }

    /// Sets the key, sent as `x-goog-api-key`; an empty one is not sent.
    pub fn with_api_key(self, key: impl Into<Secret>) -> Self {
        let key = key.into();
        if key.is_empty() {
            return self;
        }
        Self(self.0.set(|s| s.set_header("x-goog-api-key".to_owned(), key)))
    }

    /// Sets the `taskType` for queries and for documents, such as `SEMANTIC_SIMILARITY` for both.
    pub fn with_task_types(self, query: impl Into<String>, document: impl Into<String>) -> Self {
        Self(self.0.set(|s| s.wire.tasks = Tasks::new(query, document)))
    }
}
