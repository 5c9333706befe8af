//! Jina: embeddings and reranking.

use katena_core::Result;
use katena_http::{Endpoint, Secret};
use serde_json::{Value, json};

use crate::model::Known;
use crate::rerank::{RerankCall, RerankShell, RerankWire};
use crate::shell::{Call, Shell, Wire};
use crate::{BatchLimits, EmbedModel, Encoding, Truncate, env, indexed};

const BASE: &str = "https://api.jina.ai/v1";

/// Dimensions and context lengths, by Jina's model pages.
const MODELS: &[Known] = &[
    ("jina-embeddings-v4", 2048, Some(32768)),
    ("jina-embeddings-v3", 1024, Some(8192)),
    ("jina-embeddings-v2-base-en", 768, Some(8192)),
    ("jina-embeddings-v2-base-de", 768, Some(8192)),
    ("jina-embeddings-v2-base-es", 768, Some(8192)),
    ("jina-embeddings-v2-base-zh", 768, Some(8192)),
    ("jina-embeddings-v2-base-code", 768, Some(8192)),
    ("jina-clip-v2", 1024, Some(8192)),
    ("jina-code-embeddings-0.5b", 896, Some(32768)),
    ("jina-code-embeddings-1.5b", 1536, Some(32768)),
];

/// Jina documents no number of texts that its servers take; this keeps calls short.
const LIMITS: BatchLimits = BatchLimits::new(128).with_bytes(500_000);

#[derive(Debug, Clone)]
pub(crate) struct JinaWire {
    encoding: Encoding,
    tasks: Option<(String, String)>,
}

impl Wire for JinaWire {
    type Reply = indexed::Reply;

    fn path(&self, _call: &Call<'_>) -> String {
        "embeddings".to_owned()
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let mut body = json!({
            "model": call.model,
            "input": call.texts,
            "normalized": true,
            "truncate": call.truncate == Truncate::End,
        });
        if let Some((query, document)) = &self.tasks {
            body["task"] = call.by_role(query, document).as_str().into();
        }
        if let Some(n) = call.dimensions {
            body["dimensions"] = n.into();
        }
        if self.encoding == Encoding::Base64 {
            body["embedding_type"] = "base64".into();
        }
        body
    }

    fn read(&self, reply: Self::Reply) -> Result<katena_core::EmbedResponse> {
        indexed::read(reply)
    }

    fn space(&self) -> String {
        self.tasks.as_ref().map_or_else(String::new, |(q, d)| format!("&task={q}|{d}"))
    }
}

embedder! {
    /// Jina's embedding models. The role goes into `task` (`retrieval.query`, `retrieval.passage`), for the models before
    /// v3 it makes no difference. Vectors are asked for in base64.
    ///
    /// ```
    /// use katena_core::Embedder;
    /// let embedder = katena_embeddings::JinaEmbedder::new("jina-embeddings-v3", "key")?;
    /// assert_eq!(embedder.info().dimensions, 1024);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    JinaEmbedder, JinaWire
}
embedder_setters!(JinaEmbedder: key, dimensions, truncate);

impl JinaEmbedder {
    /// A model of Jina's service.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known.
    pub fn new(model: impl Into<EmbedModel>, key: impl Into<Secret>) -> Result<Self> {
        let model = model.into().resolve_by_name(MODELS)?;
        let plain = model.name.contains("-v2-") || model.name.contains("-v1");
        let tasks = match model.name.as_str() {
            _ if plain => None,
            name if name.starts_with("jina-code-embeddings") => Some(("nl2code.query", "nl2code.passage")),
            _ => Some(("retrieval.query", "retrieval.passage")),
        };
        let tasks = tasks.map(|(q, d)| (q.to_owned(), d.to_owned()));
        let wire = JinaWire { encoding: Encoding::Base64, tasks };
        Ok(Self(Shell::new("jina", Endpoint::new(BASE)?, model, wire, LIMITS)).with_api_key(key))
    }

    /// A model by the environment: `JINA_API_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` if the model's dimensions are not known.
    pub fn from_env(model: impl Into<EmbedModel>) -> Result<Self> {
        let key = env::required(&env::process, &["JINA_API_KEY"], "jina")?;
        Ok(Self::new(model, key)?.with_client(env::client()))
    }

    /// Sets the `task` for queries and for documents, such as `text-matching` for both.
    pub fn with_tasks(self, query: impl Into<String>, document: impl Into<String>) -> Self {
        Self(self.0.set(|s| s.wire.tasks = Some((query.into(), document.into()))))
    }

    /// Sets the form in which vectors are asked for.
    pub fn with_encoding(self, encoding: Encoding) -> Self {
        Self(self.0.set(|s| s.wire.encoding = encoding))
    }
}

/// `/rerank` as Jina and llama.cpp's server have it.
#[derive(Debug, Clone)]
pub(crate) struct JinaRerankWire;

impl RerankWire for JinaRerankWire {
    fn path(&self, _call: &RerankCall<'_>) -> String {
        "rerank".to_owned()
    }

    fn body(&self, call: &RerankCall<'_>) -> Value {
        let mut body = json!({
            "model": call.model,
            "query": call.query,
            "documents": call.texts,
            "return_documents": false,
        });
        if let Some(top) = call.top {
            body["top_n"] = top.into();
        }
        body
    }
}

reranker! {
    /// Jina's rerankers, such as `jina-reranker-v2-base-multilingual`. `jina-reranker-v3` judges the documents of a call
    /// together: give it no more than one call takes.
    ///
    /// ```
    /// let reranker = katena_embeddings::JinaReranker::new("jina-reranker-v2-base-multilingual", "key")?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    JinaReranker, JinaRerankWire
}

impl JinaReranker {
    /// A model of Jina's service.
    ///
    /// # Errors
    /// None today; the address is checked.
    pub fn new(model: impl Into<String>, key: impl Into<Secret>) -> Result<Self> {
        // Jina documents 2,048 documents as the most.
        let limits = BatchLimits::new(2048);
        let shell = RerankShell::new("jina", Endpoint::new(BASE)?, model.into(), JinaRerankWire, limits);
        Ok(Self(shell).with_api_key(key))
    }

    /// A model by the environment: `JINA_API_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing.
    pub fn from_env(model: impl Into<String>) -> Result<Self> {
        let key = env::required(&env::process, &["JINA_API_KEY"], "jina")?;
        Ok(Self::new(model, key)?.with_client(env::client()))
    }
}
