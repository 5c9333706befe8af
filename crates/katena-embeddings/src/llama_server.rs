//! llama.cpp's server: `/v1/embeddings`, its own `/embedding`, and `/v1/rerank`.

use katena_core::{EmbedResponse, Result};
use katena_http::Endpoint;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::rerank::{RerankCall, RerankShell, RerankWire};
use crate::shell::{Call, Shell, Wire};
use crate::vectors::{self, Nested};
use crate::{BatchLimits, EmbedModel};

/// The server states no number of texts; this keeps calls short.
const LIMITS: BatchLimits = BatchLimits::new(32).with_bytes(300_000);

/// Which of the server's routes is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LlamaRoute {
    /// `/v1/embeddings`, as OpenAI has it; it counts tokens.
    #[default]
    Compatible,
    /// `/embedding`, the server's own.
    Native,
}

#[derive(Debug, Deserialize)]
struct Object {
    data: Option<Vec<Item>>,
    embedding: Option<Nested>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Item {
    embedding: Nested,
    index: Option<u64>,
}

fn read(reply: Value) -> Result<EmbedResponse> {
    let (items, usage) = if reply.is_array() {
        (vectors::from_value::<Vec<Item>>(reply)?, None)
    } else {
        let Object { data, embedding, usage, error } = vectors::from_value(reply)?;
        vectors::no_error(error.as_ref())?;
        let one = embedding.map(|embedding| vec![Item { embedding, index: None }]);
        (data.or(one).ok_or_else(|| vectors::missing("embedding"))?, usage)
    };
    let ordered = vectors::in_order(items.into_iter().map(|i| (i.index, i.embedding.0)).collect())?;
    Ok(vectors::response(ordered, vectors::count(usage.as_ref(), &["prompt_tokens", "total_tokens"])))
}

/// Reads the reply of `/v1/embeddings` or of `/embedding`.
///
/// # Errors
/// Kind `InvalidOutput` if it holds no vectors, or one for each token; the server's error if it holds one.
///
/// ```
/// let raw = serde_json::json!([{"index": 1, "embedding": [[0, 1]]}, {"index": 0, "embedding": [[1, 0]]}]);
/// assert_eq!(katena_embeddings::llama_server::decode_response(raw)?.vectors, [[1.0, 0.0], [0.0, 1.0]]);
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn decode_response(raw: Value) -> Result<EmbedResponse> {
    read(raw)
}

#[derive(Debug, Clone, Default)]
pub(crate) struct LlamaServerWire {
    route: LlamaRoute,
}

impl Wire for LlamaServerWire {
    type Reply = Value;

    fn path(&self, _call: &Call<'_>) -> String {
        match self.route {
            LlamaRoute::Compatible => "v1/embeddings".to_owned(),
            LlamaRoute::Native => "embedding".to_owned(),
        }
    }

    fn body(&self, call: &Call<'_>) -> Value {
        match self.route {
            LlamaRoute::Compatible => json!({ "model": call.model, "input": call.texts }),
            LlamaRoute::Native => json!({ "content": call.texts }),
        }
    }

    fn read(&self, reply: Self::Reply) -> Result<EmbedResponse> {
        read(reply)
    }
}

/// The server's root: `/v1` at the end of an address is taken off, so that both ways of writing it work.
fn root(base_url: &str) -> Result<Endpoint> {
    let base = base_url.trim().trim_end_matches('/');
    Endpoint::new(base.strip_suffix("/v1").unwrap_or(base))
}

embedder! {
    /// A model behind llama.cpp's server, started with `--embeddings` and a pooling. Queries and documents are embedded
    /// alike unless [`with_prefixes`](Self::with_prefixes) says otherwise. A text that is longer than the server's batch
    /// is refused by it.
    ///
    /// ```
    /// use katena_embeddings::{EmbedModel, LlamaServerEmbedder};
    /// let model = EmbedModel::new("all-MiniLM-L6-v2", 384);
    /// let embedder = LlamaServerEmbedder::new(model, "http://localhost:8080")?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    LlamaServerEmbedder, LlamaServerWire
}
embedder_setters!(LlamaServerEmbedder: key);

impl LlamaServerEmbedder {
    /// The model of the server at `base_url`. Dimensions are stated, or measured by [`connect`](Self::connect).
    ///
    /// # Errors
    /// Kind `Config` if the dimensions are not stated, or `base_url` is no `http` or `https` address.
    pub fn new(model: impl Into<EmbedModel>, base_url: impl AsRef<str>) -> Result<Self> {
        let model = model.into().resolve_by_name(&[])?;
        let endpoint = root(base_url.as_ref())?;
        Ok(Self(Shell::new("llama.cpp", endpoint, model, LlamaServerWire::default(), LIMITS)))
    }

    /// Sets the route.
    pub fn with_route(self, route: LlamaRoute) -> Self {
        Self(self.0.set(|s| s.wire.route = route))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LlamaRerankWire;

impl RerankWire for LlamaRerankWire {
    fn path(&self, _call: &RerankCall<'_>) -> String {
        "v1/rerank".to_owned()
    }

    fn body(&self, call: &RerankCall<'_>) -> Value {
        let mut body = json!({ "model": call.model, "query": call.query, "documents": call.texts });
        if let Some(top) = call.top {
            body["top_n"] = top.into();
        }
        body
    }
}

reranker! {
    /// A reranker behind llama.cpp's server, started with `--reranking`. Scores are the model's raw ones, from minus
    /// infinity up.
    ///
    /// ```
    /// let reranker = katena_embeddings::LlamaServerReranker::new("bge-reranker-v2-m3", "http://localhost:8080")?;
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    LlamaServerReranker, LlamaRerankWire
}

impl LlamaServerReranker {
    /// The reranker of the server at `base_url`.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address.
    pub fn new(model: impl Into<String>, base_url: impl AsRef<str>) -> Result<Self> {
        let endpoint = root(base_url.as_ref())?;
        Ok(Self(RerankShell::new("llama.cpp", endpoint, model.into(), LlamaRerankWire, LIMITS)))
    }
}
