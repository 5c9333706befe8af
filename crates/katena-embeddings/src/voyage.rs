//! Voyage: embeddings and reranking.

use katena_core::Result;
use katena_http::{Endpoint, Secret};
use serde_json::{Value, json};

use crate::model::Known;
use crate::rerank::{RerankCall, RerankShell, RerankWire};
use crate::shell::{Call, Shell, Wire};
use crate::{BatchLimits, EmbedModel, Encoding, Truncate, env, indexed};

const BASE: &str = "https://api.voyageai.com/v1";

/// Default dimensions and context lengths, by Voyage's text embeddings page.
const MODELS: &[Known] = &[
    ("voyage-4-large", 1024, Some(32000)),
    ("voyage-4", 1024, Some(32000)),
    ("voyage-4-lite", 1024, Some(32000)),
    ("voyage-3-large", 1024, Some(32000)),
    ("voyage-3.5", 1024, Some(32000)),
    ("voyage-3.5-lite", 1024, Some(32000)),
    ("voyage-code-3", 1024, Some(32000)),
    ("voyage-finance-2", 1024, Some(32000)),
    ("voyage-law-2", 1024, Some(16000)),
    ("voyage-multilingual-2", 1024, Some(32000)),
    ("voyage-3", 1024, Some(32000)),
    ("voyage-3-lite", 512, Some(32000)),
    ("voyage-code-2", 1536, Some(16000)),
];

/// At most 1,000 texts; tokens in all: a million for the lite models, 320,000 for most, 120,000 for the large and special
/// ones. The smallest is kept for all.
const LIMITS: BatchLimits = BatchLimits::new(1000).with_bytes(120_000);

/// At most 1,000 documents; the tokens in all are between 200,000 and 600,000 and count the query with each document.
const RERANK_LIMITS: BatchLimits = BatchLimits::new(1000).with_bytes(200_000);

#[derive(Debug, Clone)]
pub(crate) struct VoyageWire {
    encoding: Encoding,
}

impl Wire for VoyageWire {
    type Reply = indexed::Reply;

    fn path(&self, _call: &Call<'_>) -> String {
        "embeddings".to_owned()
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let mut body = json!({
            "model": call.model,
            "input": call.texts,
            "input_type": call.by_role("query", "document"),
            "truncation": call.truncate == Truncate::End,
        });
        if let Some(n) = call.dimensions {
            body["output_dimension"] = n.into();
        }
        if self.encoding == Encoding::Base64 {
            body["encoding_format"] = "base64".into();
        }
        body
    }

    fn read(&self, reply: Self::Reply) -> Result<katena_core::EmbedResponse> {
        indexed::read(reply)
    }

    fn space(&self) -> String {
        "&roles=input_type".to_owned()
    }
}

embedder! {
    /// Voyage's embedding models. The role goes into `input_type`; vectors are asked for in base64.
    ///
    /// ```
    /// use katena_core::Embedder;
    /// let embedder = katena_embeddings::VoyageEmbedder::new("voyage-3.5", "key")?.with_dimensions(256);
    /// assert_eq!(embedder.info().model, "voyage/voyage-3.5?dimensions=256&roles=input_type");
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    VoyageEmbedder, VoyageWire
}
embedder_setters!(VoyageEmbedder: key, dimensions, truncate);

impl VoyageEmbedder {
    /// A model of Voyage's service.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known.
    pub fn new(model: impl Into<EmbedModel>, key: impl Into<Secret>) -> Result<Self> {
        let model = model.into().resolve_by_name(MODELS)?;
        let wire = VoyageWire { encoding: Encoding::Base64 };
        Ok(Self(Shell::new("voyage", Endpoint::new(BASE)?, model, wire, LIMITS)).with_api_key(key))
    }

    /// A model by the environment: `VOYAGE_API_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` if the model's dimensions are not known.
    pub fn from_env(model: impl Into<EmbedModel>) -> Result<Self> {
        let key = env::required(&env::process, &["VOYAGE_API_KEY"], "voyage")?;
        Ok(Self::new(model, key)?.with_client(env::client()))
    }

    /// Sets the form in which vectors are asked for.
    pub fn with_encoding(self, encoding: Encoding) -> Self {
        Self(self.0.set(|s| s.wire.encoding = encoding))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct VoyageRerankWire {
    truncate: Truncate,
}

impl RerankWire for VoyageRerankWire {
    fn path(&self, _call: &RerankCall<'_>) -> String {
        "rerank".to_owned()
    }

    fn body(&self, call: &RerankCall<'_>) -> Value {
        let mut body = json!({
            "model": call.model,
            "query": call.query,
            "documents": call.texts,
            "truncation": self.truncate == Truncate::End,
        });
        if let Some(top) = call.top {
            body["top_k"] = top.into();
        }
        body
    }
}

reranker! {
    /// Voyage's rerankers, such as `rerank-2.5`.
    ///
    /// ```
    /// let reranker = katena_embeddings::VoyageReranker::new("rerank-2.5", "key")?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    VoyageReranker, VoyageRerankWire
}

impl VoyageReranker {
    /// A model of Voyage's service.
    ///
    /// # Errors
    /// None today; the address is checked.
    pub fn new(model: impl Into<String>, key: impl Into<Secret>) -> Result<Self> {
        let wire = VoyageRerankWire { truncate: Truncate::Refuse };
        let shell = RerankShell::new("voyage", Endpoint::new(BASE)?, model.into(), wire, RERANK_LIMITS);
        Ok(Self(shell).with_api_key(key))
    }

    /// A model by the environment: `VOYAGE_API_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        let key = env::required(&env::process, &["VOYAGE_API_KEY"], "voyage")?;
        Ok(Self::new(model, key)?.with_client(env::client()))
    }

    /// Sets what happens to documents longer than the model reads; they are refused by default.
    pub fn with_truncation(mut self, truncate: Truncate) -> Self {
        self.0.wire.truncate = truncate;
        self
    }
}
