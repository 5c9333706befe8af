//! Mistral's embeddings: OpenAI's route with `output_dimension`.

use katena_core::Result;
use katena_http::{Endpoint, Secret};
use serde_json::{Value, json};

use crate::model::Known;
use crate::shell::{Call, Shell, Wire};
use crate::{BatchLimits, EmbedModel, env, indexed};

/// As Mistral's model pages state.
const MODELS: &[Known] = &[
    ("mistral-embed", 1024, Some(8192)),
    ("mistral-embed-2312", 1024, Some(8192)),
    ("codestral-embed", 1536, Some(8192)),
    ("codestral-embed-2505", 1536, Some(8192)),
];

/// A call may hold 16,384 tokens in all: the API answers a larger one with "Too many tokens in batch. Max is 16384".
const LIMITS: BatchLimits = BatchLimits::new(128).with_bytes(16_384);

#[derive(Debug, Clone)]
pub(crate) struct MistralWire;

impl Wire for MistralWire {
    type Reply = indexed::Reply;

    fn path(&self, _call: &Call<'_>) -> String {
        "embeddings".to_owned()
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let mut body = json!({ "model": call.model, "input": call.texts });
        if let Some(n) = call.dimensions {
            body["output_dimension"] = n.into();
        }
        body
    }

    fn read(&self, reply: Self::Reply) -> Result<katena_core::EmbedResponse> {
        indexed::read(reply)
    }
}

embedder! {
    /// Mistral's embedding models. Queries and documents are embedded alike; a text that is too long is refused by the
    /// server. `codestral-embed` gives shorter vectors by [`with_dimensions`](Self::with_dimensions).
    ///
    /// ```
    /// use katena_core::Embedder;
    /// let embedder = katena_embeddings::MistralEmbedder::new("mistral-embed", "key")?;
    /// assert_eq!(embedder.info().dimensions, 1024);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    MistralEmbedder, MistralWire
}
embedder_setters!(MistralEmbedder: key, dimensions);

impl MistralEmbedder {
    /// A model of Mistral's service.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known.
    pub fn new(model: impl Into<EmbedModel>, key: impl Into<Secret>) -> Result<Self> {
        let model = model.into().resolve_by_name(MODELS)?;
        let endpoint = Endpoint::new("https://api.mistral.ai/v1")?;
        Ok(Self(Shell::new("mistral", endpoint, model, MistralWire, LIMITS)).with_api_key(key))
    }

    /// A model by the environment: `MISTRAL_API_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` if the model's dimensions are not known.
    pub fn from_env(model: impl Into<EmbedModel>) -> Result<Self> {
        let key = env::required(&env::process, &["MISTRAL_API_KEY"], "mistral")?;
        Ok(Self::new(model, key)?.with_client(env::client()))
    }
}
