//! Cohere's v2 API: embeddings and reranking. Pictures are not embedded here.

use katena_core::{EmbedResponse, Result};
use katena_http::{Endpoint, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::Known;
use crate::rerank::{RerankCall, RerankShell, RerankWire};
use crate::shell::{Call, Shell, Wire};
use crate::vectors::{self, Vector};
use crate::{BatchLimits, EmbedModel, Encoding, Truncate, env};

const BASE: &str = "https://api.cohere.com/v2";

/// Dimensions and context lengths, by Cohere's model page.
pub(crate) const MODELS: &[Known] = &[
    ("embed-v4.0", 1536, Some(128_000)),
    ("embed-english-v3.0", 1024, Some(512)),
    ("embed-english-light-v3.0", 384, Some(512)),
    ("embed-multilingual-v3.0", 1024, Some(512)),
    ("embed-multilingual-light-v3.0", 384, Some(512)),
];

/// At most 96 texts a call, by Cohere's API reference.
pub(crate) const LIMITS: BatchLimits = BatchLimits::new(96);

/// The reply of `/v2/embed`, of `/v1/embed`, and of Cohere's models on Bedrock.
#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    embeddings: Option<Embeddings>,
    meta: Option<Value>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Embeddings {
    Plain(Vec<Vector>),
    ByType { float: Option<Vec<Vector>>, base64: Option<Vec<Vector>> },
}

pub(crate) fn read(reply: Reply) -> Result<EmbedResponse> {
    vectors::no_error(reply.error.as_ref())?;
    let list = match reply.embeddings {
        Some(Embeddings::Plain(list)) => list,
        Some(
            Embeddings::ByType { float: Some(list), .. } | Embeddings::ByType { base64: Some(list), .. },
        ) => list,
        _ => return Err(vectors::missing("embeddings")),
    };
    let billed = reply.meta.as_ref().and_then(|m| m.get("billed_units"));
    Ok(vectors::response(list, vectors::count(billed, &["input_tokens"])))
}

/// Reads the reply of Cohere's `/v2/embed`, of its `/v1/embed`, and of its models on Bedrock.
///
/// # Errors
/// Kind `InvalidOutput` if it holds no float vectors; the vendor's error if it holds one.
///
/// ```
/// let raw = serde_json::json!({"embeddings": {"float": [[0.5, 0.5]]}, "meta": {"billed_units": {"input_tokens": 2}}});
/// assert_eq!(katena_embeddings::cohere::decode_response(raw)?.usage.input_tokens, Some(2));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn decode_response(raw: Value) -> Result<EmbedResponse> {
    vectors::from_value(raw).and_then(read)
}

/// What Cohere is told, here and on Bedrock.
pub(crate) fn body(call: &Call<'_>) -> Value {
    let mut body = json!({
        "texts": call.texts,
        "input_type": call.by_role("search_query", "search_document"),
        "truncate": if call.truncate == Truncate::End { "END" } else { "NONE" },
    });
    if let Some(n) = call.dimensions {
        body["output_dimension"] = n.into();
    }
    body
}

#[derive(Debug, Clone)]
pub(crate) struct CohereWire {
    encoding: Encoding,
}

impl Wire for CohereWire {
    type Reply = Reply;

    fn path(&self, _call: &Call<'_>) -> String {
        "embed".to_owned()
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let mut body = body(call);
        body["model"] = call.model.into();
        body["embedding_types"] = match self.encoding {
            Encoding::Floats => json!(["float"]),
            Encoding::Base64 => json!(["base64"]),
        };
        body
    }

    fn read(&self, reply: Self::Reply) -> Result<EmbedResponse> {
        read(reply)
    }

    fn space(&self) -> String {
        "&roles=input_type".to_owned()
    }
}

embedder! {
    /// Cohere's embedding models. The role goes into `input_type` (`search_query`, `search_document`).
    ///
    /// ```
    /// use katena_core::Embedder;
    /// let embedder = katena_embeddings::CohereEmbedder::new("embed-v4.0", "key")?.with_dimensions(512);
    /// assert_eq!(embedder.info().dimensions, 512);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    CohereEmbedder, CohereWire
}
embedder_setters!(CohereEmbedder: key, dimensions, truncate);

impl CohereEmbedder {
    /// A model of Cohere's service.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known.
    pub fn new(model: impl Into<EmbedModel>, key: impl Into<Secret>) -> Result<Self> {
        let model = model.into().resolve_by_name(MODELS)?;
        let wire = CohereWire { encoding: Encoding::Floats };
        Ok(Self(Shell::new("cohere", Endpoint::new(BASE)?, model, wire, LIMITS)).with_api_key(key))
    }

    /// A model by the environment: `CO_API_KEY` or `COHERE_API_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` if the model's dimensions are not known.
    pub fn from_env(model: impl Into<EmbedModel>) -> Result<Self> {
        let key = env::required(&env::process, &["CO_API_KEY", "COHERE_API_KEY"], "cohere")?;
        Ok(Self::new(model, key)?.with_client(env::client()))
    }

    /// Sets the form in which vectors are asked for.
    pub fn with_encoding(self, encoding: Encoding) -> Self {
        Self(self.0.set(|s| s.wire.encoding = encoding))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct CohereRerankWire {
    max_tokens_per_doc: Option<u32>,
}

impl RerankWire for CohereRerankWire {
    fn path(&self, _call: &RerankCall<'_>) -> String {
        "rerank".to_owned()
    }

    fn body(&self, call: &RerankCall<'_>) -> Value {
        let mut body = json!({ "model": call.model, "query": call.query, "documents": call.texts });
        if let Some(top) = call.top {
            body["top_n"] = top.into();
        }
        if let Some(tokens) = self.max_tokens_per_doc {
            body["max_tokens_per_doc"] = tokens.into();
        }
        body
    }
}

reranker! {
    /// Cohere's rerankers, such as `rerank-v3.5`. Scores are from 0 to 1. Cohere cuts each document to
    /// `max_tokens_per_doc`, 4,096 unless [set](Self::with_max_tokens_per_doc).
    ///
    /// ```
    /// let reranker = katena_embeddings::CohereReranker::new("rerank-v3.5", "key")?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    CohereReranker, CohereRerankWire
}

impl CohereReranker {
    /// A model of Cohere's service.
    ///
    /// # Errors
    /// None today; the address is checked.
    pub fn new(model: impl Into<String>, key: impl Into<Secret>) -> Result<Self> {
        // Cohere advises against more than 1,000 documents a call.
        let limits = BatchLimits::new(1000).with_bytes(4_000_000);
        let wire = CohereRerankWire { max_tokens_per_doc: None };
        Ok(Self(RerankShell::new("cohere", Endpoint::new(BASE)?, model.into(), wire, limits))
            .with_api_key(key))
    }

    /// A model by the environment: `CO_API_KEY` or `COHERE_API_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        let key = env::required(&env::process, &["CO_API_KEY", "COHERE_API_KEY"], "cohere")?;
        Ok(Self::new(model, key)?.with_client(env::client()))
    }

    /// Sets how many tokens of a document count.
    pub fn with_max_tokens_per_doc(mut self, tokens: u32) -> Self {
        self.0.wire.max_tokens_per_doc = Some(tokens);
        self
    }
}
