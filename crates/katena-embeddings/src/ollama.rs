//! Ollama's `/api/embed`.

use katena_core::{EmbedResponse, Result};
use katena_http::Endpoint;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::Known;
use crate::shell::{Call, Shell, Wire};
use crate::vectors::{self, Vector};
use crate::{BatchLimits, EmbedModel, Truncate, env};

/// As the models' cards state. A tag after the name does not change the dimensions where the table has no entry for it.
const MODELS: &[Known] = &[
    ("nomic-embed-text", 768, Some(2048)),
    ("mxbai-embed-large", 1024, Some(512)),
    ("all-minilm", 384, Some(256)),
    ("bge-m3", 1024, Some(8192)),
    ("bge-large", 1024, Some(512)),
    ("snowflake-arctic-embed2", 1024, Some(8192)),
    ("embeddinggemma", 768, Some(2048)),
    ("granite-embedding:278m", 768, Some(512)),
    ("granite-embedding:30m", 384, Some(512)),
    ("granite-embedding", 384, Some(512)),
    ("qwen3-embedding:0.6b", 1024, Some(32768)),
    ("qwen3-embedding:4b", 2560, Some(32768)),
    ("qwen3-embedding:8b", 4096, Some(32768)),
];

/// These models have one size, whatever the tag.
const ONE_SIZE: &[&str] = &[
    "nomic-embed-text",
    "mxbai-embed-large",
    "bge-m3",
    "bge-large",
    "snowflake-arctic-embed2",
    "embeddinggemma",
];

/// Ollama states no limit; this keeps calls short.
const LIMITS: BatchLimits = BatchLimits::new(64).with_bytes(500_000);

#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    embeddings: Option<Vec<Vector>>,
    embedding: Option<Vector>,
    prompt_eval_count: Option<u64>,
    error: Option<Value>,
}

fn read(reply: Reply) -> Result<EmbedResponse> {
    vectors::no_error(reply.error.as_ref())?;
    let list = match (reply.embeddings, reply.embedding) {
        (Some(list), _) => list,
        (None, Some(one)) => vec![one],
        (None, None) => return Err(vectors::missing("embeddings")),
    };
    Ok(vectors::response(list, reply.prompt_eval_count))
}

/// Reads the reply of Ollama's `/api/embed`, or of its older `/api/embeddings`.
///
/// # Errors
/// Kind `InvalidOutput` if it holds no vectors; the server's error if it holds one.
///
/// ```
/// let raw = serde_json::json!({"embeddings": [[0.5, 0.5]], "prompt_eval_count": 3});
/// assert_eq!(katena_embeddings::ollama::decode_response(raw)?.usage.input_tokens, Some(3));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn decode_response(raw: Value) -> Result<EmbedResponse> {
    vectors::from_value(raw).and_then(read)
}

#[derive(Debug, Clone)]
pub(crate) struct OllamaWire;

impl Wire for OllamaWire {
    type Reply = Reply;

    fn path(&self, _call: &Call<'_>) -> String {
        "api/embed".to_owned()
    }

    fn body(&self, call: &Call<'_>) -> Value {
        // Ollama cuts long texts silently unless told not to.
        let truncate = call.truncate == Truncate::End;
        let mut body = json!({ "model": call.model, "input": call.texts, "truncate": truncate });
        if let Some(n) = call.dimensions {
            body["dimensions"] = n.into();
        }
        body
    }

    fn read(&self, reply: Self::Reply) -> Result<EmbedResponse> {
        read(reply)
    }
}

embedder! {
    /// Embedding models served by Ollama. Queries and documents are embedded alike unless
    /// [`with_prefixes`](Self::with_prefixes) says otherwise; `nomic-embed-text` wants `"search_query: "` and
    /// `"search_document: "`. Ollama's own fields go by [`with_extra`](Self::with_extra): `keep_alive`, `options`.
    ///
    /// ```
    /// use katena_core::Embedder;
    /// let embedder = katena_embeddings::OllamaEmbedder::new("nomic-embed-text")?
    ///     .with_prefixes("search_query: ", "search_document: ");
    /// assert_eq!(embedder.info().dimensions, 768);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    OllamaEmbedder, OllamaWire
}
embedder_setters!(OllamaEmbedder: key, dimensions, truncate);

impl OllamaEmbedder {
    /// A model of the server on this machine, `http://localhost:11434`.
    ///
    /// # Errors
    /// Kind `Config` if the model's dimensions are not known.
    pub fn new(model: impl Into<EmbedModel>) -> Result<Self> {
        let model = model.into();
        let name = model.name().to_owned();
        let bare = name.split(':').next().unwrap_or_default();
        let key = if ONE_SIZE.contains(&bare) || name.ends_with(":latest") { bare } else { &name };
        let model = model.resolve(key, MODELS)?;
        let endpoint = Endpoint::new("http://localhost:11434")?;
        Ok(Self(Shell::new("ollama", endpoint, model, OllamaWire, LIMITS)))
    }

    /// A model by the environment: `OLLAMA_HOST`, with or without `http://`, and `OLLAMA_API_KEY`; without them the
    /// server on this machine.
    ///
    /// # Errors
    /// Kind `Config` for a bad address or a model of unknown dimensions.
    pub fn from_env(model: impl Into<EmbedModel>) -> Result<Self> {
        Self::from_lookup(model.into(), env::process)
    }

    fn from_lookup(model: EmbedModel, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut this = Self::new(model)?.with_client(env::client());
        if let Some(host) = env::get(&lookup, "OLLAMA_HOST") {
            let base = if host.contains("://") { host } else { format!("http://{host}") };
            // The variable names the host alone; the server's own port is meant then.
            let port = Endpoint::new(&base)?.base().port();
            let rest = base.split_once("://").map_or("", |(_, rest)| rest);
            let bare = port.is_none()
                && base.starts_with("http://")
                && !rest.trim_end_matches('/').contains(['/', ':']);
            let base = if bare { format!("{}:11434", base.trim_end_matches('/')) } else { base };
            this = this.with_base_url(base)?;
        }
        Ok(this.with_api_key(env::get(&lookup, "OLLAMA_API_KEY").unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use katena_core::Embedder as _;

    use super::*;

    #[test]
    fn tags_and_hosts() {
        let dimensions = |m: &str| OllamaEmbedder::new(m).map(|e| e.info().dimensions).ok();
        assert_eq!(dimensions("nomic-embed-text:v1.5"), Some(768));
        assert_eq!(dimensions("all-minilm:latest"), Some(384));
        assert_eq!(dimensions("all-minilm:33m"), None);
        assert_eq!(dimensions("qwen3-embedding:4b"), Some(2560));
        let host = |h: &str| {
            let lookup = |name: &str| (name == "OLLAMA_HOST").then(|| h.to_owned());
            OllamaEmbedder::from_lookup("bge-m3".into(), lookup).unwrap().0.endpoint.base().to_string()
        };
        assert_eq!(host("box"), "http://box:11434/");
        assert_eq!(host("box:99"), "http://box:99/");
        assert_eq!(host("https://box/x"), "https://box/x");
        assert_eq!(host(""), "http://localhost:11434/");
    }
}
