//! The bodies of each maker's models.

use katena_core::{EmbedResponse, Result};
use katena_http::aws::path_segment;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Truncate;
use crate::cohere;
use crate::shell::{Call, Wire};
use crate::vectors::{self, Vector};

/// Whose model it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    TitanV1,
    TitanV2,
    Nova,
    Cohere,
}

impl Family {
    /// By the model's id without a region.
    pub(super) fn of(id: &str) -> Option<Self> {
        match id {
            _ if id.starts_with("amazon.titan-embed-text-v1") || id.starts_with("amazon.titan-embed-g1") => {
                Some(Self::TitanV1)
            }
            _ if id.starts_with("amazon.titan-embed-text") => Some(Self::TitanV2),
            _ if id.starts_with("amazon.nova") => Some(Self::Nova),
            _ if id.starts_with("cohere.embed") => Some(Self::Cohere),
            _ => None,
        }
    }

    pub(super) fn one_text(self) -> bool {
        self != Self::Cohere
    }
}

pub(super) fn path(model: &str) -> String {
    format!("model/{}/invoke", path_segment(model))
}

#[derive(Debug, Clone)]
pub(crate) struct BedrockWire {
    pub(super) family: Family,
}

impl Wire for BedrockWire {
    type Reply = Value;

    fn path(&self, call: &Call<'_>) -> String {
        path(call.model)
    }

    fn body(&self, call: &Call<'_>) -> Value {
        let text = call.texts.first().map_or("", |t| t);
        match self.family {
            Family::TitanV1 => json!({ "inputText": text }),
            Family::TitanV2 => {
                let mut body = json!({ "inputText": text, "normalize": true });
                if let Some(n) = call.dimensions {
                    body["dimensions"] = n.into();
                }
                body
            }
            Family::Nova => {
                let mut single = json!({
                    "embeddingPurpose": call.by_role("GENERIC_RETRIEVAL", "GENERIC_INDEX"),
                    "text": {
                        "truncationMode": if call.truncate == Truncate::End { "END" } else { "NONE" },
                        "value": text,
                    },
                });
                if let Some(n) = call.dimensions {
                    single["embeddingDimension"] = n.into();
                }
                json!({ "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": single })
            }
            Family::Cohere => {
                let mut body = cohere::body(call);
                // The fourth generation names the ends of a text otherwise.
                if call.truncate == Truncate::End && call.model.contains("embed-v4") {
                    body["truncate"] = "RIGHT".into();
                }
                body
            }
        }
    }

    fn read(&self, reply: Value) -> Result<EmbedResponse> {
        decode_response(reply)
    }

    fn space(&self) -> String {
        match self.family {
            Family::TitanV1 | Family::TitanV2 => String::new(),
            Family::Nova => "&roles=embeddingPurpose".to_owned(),
            Family::Cohere => "&roles=input_type".to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Titan {
    embedding: Vector,
    #[serde(rename = "inputTextTokenCount")]
    tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Nova {
    embeddings: Vec<NovaItem>,
}

#[derive(Debug, Deserialize)]
struct NovaItem {
    embedding: Vector,
}

/// Reads what `InvokeModel` gives for Titan, Nova or Cohere embeddings; the reply tells whose it is.
///
/// # Errors
/// Kind `InvalidOutput` if it holds no vectors; the service's error if it holds one.
///
/// ```
/// let raw = serde_json::json!({"embedding": [0.5, 0.5], "inputTextTokenCount": 3});
/// assert_eq!(katena_embeddings::bedrock::decode_response(raw)?.usage.input_tokens, Some(3));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn decode_response(raw: Value) -> Result<EmbedResponse> {
    if raw.get("embedding").is_some_and(|v| !v.is_null()) {
        let titan: Titan = vectors::from_value(raw)?;
        return Ok(vectors::response([titan.embedding], titan.tokens));
    }
    if raw.pointer("/embeddings/0/embedding").is_some() {
        let nova: Nova = vectors::from_value(raw)?;
        return Ok(vectors::response(nova.embeddings.into_iter().map(|e| e.embedding), None));
    }
    cohere::decode_response(raw)
}
