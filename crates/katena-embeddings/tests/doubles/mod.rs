//! Doubles of the vendors' servers: each speaks that vendor's wire over vectors made by hashing words, so that what comes
//! out can be checked against what went in. They know nothing of the real models.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "each test uses some")]

#[path = "../../../katena-http/tests/support/mod.rs"]
pub mod support;

use base64::Engine as _;
use futures_util::FutureExt as _;
use katena_core::fake::HashEmbedder;
use katena_core::{EmbedRequest, Embedder as _};
use serde_json::{Value, json};
use support::{Reply, Seen};

pub const DIMENSIONS: usize = 48;

/// The vector of a text, of length 1.
pub fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let embedder = HashEmbedder::new(dimensions);
    let response = embedder.embed(&EmbedRequest::documents([text])).now_or_never().unwrap().unwrap();
    response.vectors.into_iter().next().unwrap()
}

/// In what a vendor may call unnormalised.
fn long(text: &str, dimensions: usize) -> Vec<f32> {
    vector(text, dimensions).into_iter().map(|x| x * 18.5).collect()
}

pub fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list of texts").iter().map(|t| t.as_str().expect("a text")).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().map_or(DIMENSIONS, |n| n as usize)
}

fn refuse(status: u16, message: &str) -> Reply {
    Reply::new(status, "application/json", json!({"error": {"message": message}}).to_string())
}

/// OpenAI's route and those like it; numbers its vectors backwards.
pub fn indexed(seen: &Seen) -> Reply {
    let body = seen.json();
    let texts = texts(&body["input"]);
    if texts.len() > 2048 || texts.iter().any(|t| t.is_empty()) {
        return refuse(400, "invalid input");
    }
    let dimensions =
        size(if body["dimensions"].is_null() { &body["output_dimension"] } else { &body["dimensions"] });
    let packed = body["encoding_format"] == "base64" || body["embedding_type"] == "base64";
    let item = |(n, text): (usize, &&str)| {
        let vector = vector(text, dimensions);
        json!({"object": "embedding", "index": n,
            "embedding": if packed { json!(base64(&vector)) } else { json!(vector) }})
    };
    let mut data: Vec<Value> = texts.iter().enumerate().map(item).collect();
    data.reverse();
    let tokens: usize = texts.iter().map(|t| t.len()).sum();
    Reply::json(
        json!({"object": "list", "data": data, "model": "double",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
        .to_string(),
    )
}

pub fn gemini(seen: &Seen) -> Reply {
    let body = seen.json();
    let requests = body["requests"].as_array().unwrap();
    if requests.len() > 100 {
        return refuse(400, "at most 100 requests can be in one batch");
    }
    let one = |r: &Value| {
        let text = r["content"]["parts"][0]["text"].as_str().unwrap();
        json!({"values": long(text, size(&r["outputDimensionality"]))})
    };
    Reply::json(json!({"embeddings": requests.iter().map(one).collect::<Vec<_>>()}).to_string())
}

pub fn vertex(seen: &Seen) -> Reply {
    if seen.headers.get("authorization").is_none_or(|a| !a.starts_with("Bearer ")) {
        return refuse(401, "no token");
    }
    let body = seen.json();
    if seen.path.ends_with(":embedContent") {
        let text = body["content"]["parts"][0]["text"].as_str().unwrap();
        let values = vector(text, size(&body["embedContentConfig"]["outputDimensionality"]));
        return Reply::json(json!({"embedding": {"values": values}}).to_string());
    }
    let dimensions = size(&body["parameters"]["outputDimensionality"]);
    let one = |r: &Value| {
        let values = vector(r["content"].as_str().unwrap(), dimensions);
        json!({"embeddings": {"values": values, "statistics": {"token_count": 2, "truncated": false}}})
    };
    let list: Vec<Value> = body["instances"].as_array().unwrap().iter().map(one).collect();
    Reply::json(json!({"predictions": list}).to_string())
}

pub fn cohere(seen: &Seen) -> Reply {
    let body = seen.json();
    let texts = texts(&body["texts"]);
    if texts.len() > 96 || body["input_type"].is_null() {
        return refuse(400, "invalid request");
    }
    let dimensions = size(&body["output_dimension"]);
    let vectors: Vec<Vec<f32>> = texts.iter().map(|t| vector(t, dimensions)).collect();
    let embeddings = if body["embedding_types"] == json!(["base64"]) {
        json!({"base64": vectors.iter().map(|v| base64(v)).collect::<Vec<_>>()})
    } else {
        json!({"float": vectors})
    };
    Reply::json(
        json!({"id": "x", "embeddings": embeddings, "texts": texts,
        "meta": {"billed_units": {"input_tokens": texts.len()}}})
        .to_string(),
    )
}

pub fn bedrock(seen: &Seen) -> Reply {
    if !seen.headers.contains_key("authorization") {
        return refuse(403, "no proof");
    }
    let body = seen.json();
    if body["texts"].is_array() {
        return cohere(seen);
    }
    if let Some(single) = body.get("singleEmbeddingParams") {
        let text = single["text"]["value"].as_str().unwrap();
        let vector = vector(text, size(&single["embeddingDimension"]));
        return Reply::json(
            json!({"embeddings": [{"embedding": vector, "embeddingType": "TEXT"}]}).to_string(),
        );
    }
    let vector = long(body["inputText"].as_str().unwrap(), size(&body["dimensions"]));
    Reply::json(json!({"embedding": vector, "inputTextTokenCount": 3}).to_string())
}

pub fn ollama(seen: &Seen) -> Reply {
    let body = seen.json();
    let texts = texts(&body["input"]);
    let vectors: Vec<Vec<f32>> = texts.iter().map(|t| vector(t, size(&body["dimensions"]))).collect();
    Reply::json(
        json!({"model": body["model"], "embeddings": vectors, "prompt_eval_count": texts.len()}).to_string(),
    )
}

pub fn tei(seen: &Seen) -> Reply {
    let body = seen.json();
    let texts = texts(&body["inputs"]);
    if texts.len() > 32 {
        return Reply::new(
            413,
            "application/json",
            r#"{"error":"batch too large","error_type":"Validation"}"#,
        );
    }
    Reply::json(json!(texts.iter().map(|t| vector(t, DIMENSIONS)).collect::<Vec<_>>()).to_string())
}

pub fn llama_native(seen: &Seen) -> Reply {
    let body = seen.json();
    let texts = texts(&body["content"]);
    let one = |(n, t): (usize, &&str)| json!({"index": n, "embedding": [vector(t, DIMENSIONS)]});
    Reply::json(json!(texts.iter().enumerate().map(one).collect::<Vec<_>>()).to_string())
}

/// How many of the query's words the text has.
pub fn score(query: &str, text: &str) -> f64 {
    let words = |t: &str| t.to_lowercase().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let text = words(text);
    let hits = words(query).iter().filter(|w| text.contains(w)).count();
    hits as f64 / 10.0
}

/// Any reranker: worst first, so that the client must sort.
pub fn rerank(seen: &Seen) -> Reply {
    let body = seen.json();
    let bare = body["texts"].is_array();
    let texts = texts(if bare { &body["texts"] } else { &body["documents"] });
    if texts.iter().any(|t| t.is_empty()) {
        return refuse(400, "documents must not be empty");
    }
    let query = body["query"].as_str().unwrap();
    let mut scored: Vec<(usize, f64)> = texts.iter().enumerate().map(|(n, t)| (n, score(query, t))).collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top =
        ["top_n", "top_k"].into_iter().find_map(|k| body[k].as_u64()).map_or(texts.len(), |n| n as usize);
    scored.truncate(top);
    scored.reverse();
    let name = if bare { "score" } else { "relevance_score" };
    let list: Vec<Value> = scored.iter().map(|(n, s)| json!({"index": n, name: s})).collect();
    let voyage = body.get("truncation").is_some();
    Reply::json(match (bare, voyage) {
        (true, _) => json!(list).to_string(),
        (false, true) => json!({"object": "list", "data": list}).to_string(),
        (false, false) => json!({"id": "x", "results": list}).to_string(),
    })
}
