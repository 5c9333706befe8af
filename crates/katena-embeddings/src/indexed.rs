//! The reply of OpenAI's embeddings route, which many others give too: `data` with numbered vectors.

use katena_core::{EmbedResponse, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::vectors::{self, Vector};

#[derive(Debug, Deserialize)]
pub(crate) struct Reply {
    data: Option<Vec<Item>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Item {
    embedding: Vector,
    index: Option<u64>,
}

pub(crate) fn read(reply: Reply) -> Result<EmbedResponse> {
    vectors::no_error(reply.error.as_ref())?;
    let data = reply.data.ok_or_else(|| vectors::missing("data"))?;
    let ordered = vectors::in_order(data.into_iter().map(|i| (i.index, i.embedding)).collect())?;
    let tokens = vectors::count(reply.usage.as_ref(), &["prompt_tokens", "total_tokens"]);
    Ok(vectors::response(ordered, tokens))
}

/// Reads the reply of OpenAI's `/embeddings` and of all that follow it (Azure, Mistral, Voyage, Jina, llama.cpp's
/// `/v1/embeddings`, …): vectors as numbers or base64, ordered by `index`.
///
/// # Errors
/// Kind `InvalidOutput` if the reply holds no vectors, or their numbers are not 0 to n-1; the vendor's error if it holds
/// one.
///
/// ```
/// let raw = serde_json::json!({"data": [
///     {"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": "AACAPwAAAAA="}
/// ], "usage": {"prompt_tokens": 4, "total_tokens": 4}});
/// let response = katena_embeddings::decode_indexed(raw)?;
/// assert_eq!(response.vectors, [[1.0, 0.0], [0.0, 1.0]]);
/// assert_eq!(response.usage.input_tokens, Some(4));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn decode_indexed(raw: Value) -> Result<EmbedResponse> {
    vectors::from_value(raw).and_then(read)
}
