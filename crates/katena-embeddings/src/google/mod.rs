//! Google's embedding models: by the Gemini API and on Vertex AI.

#[cfg(feature = "gemini")]
mod gemini;
#[cfg(feature = "vertex")]
mod vertex;

#[cfg(feature = "gemini")]
pub use gemini::GeminiEmbedder;
#[cfg(feature = "vertex")]
pub use vertex::VertexEmbedder;

use katena_core::{EmbedResponse, EmbedRole, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::model::Known;
use crate::vectors::{self, Vector};

/// Dimensions and context lengths, by the two services' embeddings pages.
pub(crate) const MODELS: &[Known] = &[
    ("gemini-embedding-001", 3072, Some(2048)),
    ("gemini-embedding-2", 3072, Some(8192)),
    ("gemini-embedding-2-preview", 3072, Some(8192)),
    ("text-embedding-005", 768, Some(2048)),
    ("text-embedding-004", 768, Some(2048)),
    ("text-multilingual-embedding-002", 768, Some(2048)),
    ("embedding-001", 768, Some(2048)),
];

/// How a model is told a text's role: models of the second generation read it in the text, the earlier ones in a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tasks {
    Field { query: String, document: String },
    Prompt,
}

impl Tasks {
    pub(crate) fn of(model: &str) -> Self {
        if model.contains("gemini-embedding-2") {
            Self::Prompt
        } else {
            Self::new("RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT")
        }
    }

    pub(crate) fn new(query: impl Into<String>, document: impl Into<String>) -> Self {
        Self::Field { query: query.into(), document: document.into() }
    }

    /// The value of `taskType`, if there is one.
    pub(crate) fn field(&self, role: EmbedRole) -> Option<&str> {
        match (self, role) {
            (Self::Prompt, _) => None,
            (Self::Field { query, .. }, EmbedRole::Query) => Some(query),
            (Self::Field { document, .. }, _) => Some(document),
        }
    }

    /// The text as it is sent; the prompts are those of the models' documentation.
    pub(crate) fn text(&self, role: EmbedRole, text: &str) -> String {
        match (self, role) {
            (Self::Field { .. }, _) => text.to_owned(),
            (Self::Prompt, EmbedRole::Query) => format!("task: search result | query: {text}"),
            (Self::Prompt, _) => format!("title: none | text: {text}"),
        }
    }

    pub(crate) fn space(&self) -> String {
        match self {
            Self::Prompt => "&roles=prompt".to_owned(),
            Self::Field { query, document } => format!("&taskType={query}|{document}"),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    embeddings: Option<Vec<Values>>,
    embedding: Option<Values>,
    predictions: Option<Vec<Prediction>>,
    #[serde(rename = "usageMetadata")]
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Values {
    values: Vector,
    statistics: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Prediction {
    embeddings: Values,
}

pub(crate) fn read(reply: Reply) -> Result<EmbedResponse> {
    vectors::no_error(reply.error.as_ref())?;
    let list = match reply {
        Reply { embeddings: Some(list), .. } => list,
        Reply { embedding: Some(one), .. } => vec![one],
        Reply { predictions: Some(list), .. } => list.into_iter().map(|p| p.embeddings).collect(),
        _ => return Err(vectors::missing("embeddings")),
    };
    let counts = list.iter().map(|v| vectors::count(v.statistics.as_ref(), &["token_count", "tokenCount"]));
    let tokens = vectors::count(reply.usage.as_ref(), &["promptTokenCount", "totalTokenCount"])
        .or_else(|| counts.sum::<Option<u64>>());
    Ok(vectors::response(list.into_iter().map(|v| v.values), tokens))
}

/// Reads the replies of `batchEmbedContents`, `embedContent` and Vertex AI's `:predict`.
///
/// # Errors
/// Kind `InvalidOutput` if it holds no vectors; the vendor's error if it holds one.
///
/// ```
/// use katena_embeddings::google::decode_response;
/// let gemini = serde_json::json!({"embeddings": [{"values": [0.5, 0.5]}]});
/// let vertex = serde_json::json!({"predictions": [
///     {"embeddings": {"values": [0.5, 0.5], "statistics": {"token_count": 3, "truncated": false}}}
/// ]});
/// assert_eq!(decode_response(gemini)?.vectors, decode_response(vertex.clone())?.vectors);
/// assert_eq!(decode_response(vertex)?.usage.input_tokens, Some(3));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn decode_response(raw: Value) -> Result<EmbedResponse> {
    vectors::from_value(raw).and_then(read)
}

#[cfg(all(test, feature = "gemini", feature = "vertex"))]
#[path = "tests.rs"]
mod tests;
