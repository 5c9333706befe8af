//! Hugging Face Text Embeddings Inference: `/embed` and `/rerank`.

use katena_core::{EmbedResponse, Result};
use katena_http::Endpoint;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::rerank::{RerankCall, RerankShell, RerankWire};
use crate::shell::{Call, Shell, Wire};
use crate::vectors::{self, Vector};
use crate::{BatchLimits, EmbedModel, Truncate};

/// The server's own default for `--max-client-batch-size`.
const LIMITS: BatchLimits = BatchLimits::new(32);

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Many(Vec<Vector>),
    One(Vector),
    Error { error: Value },
}

fn read(reply: Reply) -> Result<EmbedResponse> {
    let list = match reply {
        Reply::Many(list) => list,
        Reply::One(one) => vec![one],
        Reply::Error { error } => {
            vectors::no_error(Some(&error))?;
            return Err(vectors::missing("vectors"));
        }
    };
    // The counts are in headers, for the whole server's queue and not for the call.
    Ok(vectors::response(list, None))
}

/// Reads the reply of `/embed`, and of Hugging Face's feature extraction: a list of vectors, or one vector.
///
/// # Errors
/// Kind `InvalidOutput` if it holds no vectors; the server's error if it holds one.
///
/// ```
/// let response = katena_embeddings::tei::decode_response(serde_json::json!([[0.5, 0.5], [1, 0]]))?;
/// assert_eq!(response.vectors.len(), 2);
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn decode_response(raw: Value) -> Result<EmbedResponse> {
    vectors::from_value(raw).and_then(read)
}

#[derive(Debug, Clone, Default)]
pub(crate) struct TeiWire {
    prompts: Option<(String, String)>,
}

impl Wire for TeiWire {
    type Reply = Reply;

    fn path(&self, _call: &Call<'_>) -> String {
        "embed".to_owned()
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let mut body =
            json!({ "inputs": call.texts, "normalize": true, "truncate": call.truncate == Truncate::End });
        if let Some((query, document)) = &self.prompts {
            let name = call.by_role(query, document);
            if !name.is_empty() {
                body["prompt_name"] = name.as_str().into();
            }
        }
        if let Some(n) = call.dimensions {
            body["dimensions"] = n.into();
        }
        body
    }

    fn read(&self, reply: Self::Reply) -> Result<EmbedResponse> {
        read(reply)
    }

    fn space(&self) -> String {
        self.prompts.as_ref().map_or_else(String::new, |(q, d)| format!("&prompts={q}|{d}"))
    }
}

embedder! {
    /// A model behind Text Embeddings Inference. The server holds one model; the name here only names the vector space.
    ///
    /// ```
    /// use katena_embeddings::{EmbedModel, TeiEmbedder};
    /// let embedder = TeiEmbedder::new(EmbedModel::new("BAAI/bge-m3", 1024), "http://localhost:8080")?
    ///     .with_prompt_names("query", "");
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    TeiEmbedder, TeiWire
}
embedder_setters!(TeiEmbedder: key, dimensions, truncate);

impl TeiEmbedder {
    /// The model of the server at `base_url`. Dimensions are stated, or measured by [`connect`](Self::connect).
    ///
    /// # Errors
    /// Kind `Config` if the dimensions are not stated, or `base_url` is no `http` or `https` address.
    pub fn new(model: impl Into<EmbedModel>, base_url: impl AsRef<str>) -> Result<Self> {
        let model = model.into().resolve_by_name(&[])?;
        Ok(Self(Shell::new("tei", Endpoint::new(base_url)?, model, TeiWire::default(), LIMITS)))
    }

    /// Uses the prompts of these names from the model's own settings; an empty name is none.
    pub fn with_prompt_names(self, query: impl Into<String>, document: impl Into<String>) -> Self {
        Self(self.0.set(|s| s.wire.prompts = Some((query.into(), document.into()))))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct TeiRerankWire {
    truncate: Truncate,
}

impl RerankWire for TeiRerankWire {
    fn path(&self, _call: &RerankCall<'_>) -> String {
        "rerank".to_owned()
    }

    fn body(&self, call: &RerankCall<'_>) -> Value {
        // There is no field for the best k: the server ranks all.
        json!({ "query": call.query, "texts": call.texts, "truncate": self.truncate == Truncate::End })
    }
}

reranker! {
    /// A reranker behind Text Embeddings Inference. Scores are from 0 to 1, unless the server is asked for raw ones by
    /// `with_extra("raw_scores", true)`.
    ///
    /// ```
    /// let reranker = katena_embeddings::TeiReranker::new("http://localhost:8080")?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    TeiReranker, TeiRerankWire
}

impl TeiReranker {
    /// The reranker of the server at `base_url`.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address.
    pub fn new(base_url: impl AsRef<str>) -> Result<Self> {
        let wire = TeiRerankWire { truncate: Truncate::Refuse };
        Ok(Self(RerankShell::new("tei", Endpoint::new(base_url)?, String::new(), wire, LIMITS)))
    }

    /// Sets what happens to documents longer than the model reads; they are refused by default.
    pub fn with_truncation(mut self, truncate: Truncate) -> Self {
        self.0.wire.truncate = truncate;
        self
    }
}
