use std::sync::Arc;

use katena_core::{EmbedRole, Embedder as _, ErrorKind};
use katena_http::{HttpRequest, StaticToken};
use serde_json::json;

use super::*;
use crate::{EmbedModel, Truncate};

fn parse(request: HttpRequest) -> Value {
    serde_json::from_slice(request.body()).expect("a JSON body")
}

#[test]
fn gemini_bodies() {
    let body = |e: &GeminiEmbedder| parse(e.0.request(&["a".into()], EmbedRole::Query).unwrap());
    let one = GeminiEmbedder::new("models/gemini-embedding-001", "k").unwrap().with_dimensions(8);
    assert_eq!(
        body(&one),
        json!({"requests": [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]},
            "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8}]})
    );
    let two = GeminiEmbedder::new("gemini-embedding-2", "k").unwrap();
    assert_eq!(
        body(&two),
        json!({"requests": [{"model": "models/gemini-embedding-2",
            "content": {"parts": [{"text": "task: search result | query: a"}]}}]})
    );
    assert_ne!(one.info().model, one.clone().with_task_types("A", "B").info().model);
    let shown = format!("{:?}", GeminiEmbedder::new("gemini-embedding-2", "sk-hidden").unwrap());
    assert!(shown.contains("x-goog-api-key") && !shown.contains("hidden"), "{shown}");
}

#[test]
fn vertex_bodies_and_addresses() {
    let make = |model: EmbedModel, location: &str| {
        VertexEmbedder::new(model, "my-project", location, Arc::new(StaticToken::new("t"))).unwrap()
    };
    let old =
        make("text-embedding-005".into(), "europe-west4").with_dimensions(8).with_truncation(Truncate::End);
    assert_eq!(
        parse(old.0.request(&["a".into(), "b".into()], EmbedRole::Document).unwrap()),
        json!({"instances": [{"content": "a", "task_type": "RETRIEVAL_DOCUMENT"},
            {"content": "b", "task_type": "RETRIEVAL_DOCUMENT"}],
            "parameters": {"autoTruncate": true, "outputDimensionality": 8}})
    );
    let request = format!("{:?}", old.0.request(&["a".into()], EmbedRole::Query).unwrap());
    assert!(request.contains(
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/my-project/locations/europe-west4/publishers/google/models/text-embedding-005:predict"
    ), "{request}");
    let new = make("gemini-embedding-2".into(), "global");
    assert_eq!(
        parse(new.0.request(&["a".into()], EmbedRole::Document).unwrap()),
        json!({"content": {"parts": [{"text": "title: none | text: a"}]}, "embedContentConfig": {"autoTruncate": false}})
    );
    assert_eq!(new.0.endpoint.base().host_str(), Some("aiplatform.googleapis.com"));
    assert_eq!(new.0.limits.texts, 1);
    let bad = VertexEmbedder::new("text-embedding-005", "p/../x", "l", Arc::new(StaticToken::new("t")));
    assert_eq!(bad.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn single_replies_and_errors() {
    let one = json!({"embedding": {"values": [1, 2]}, "usageMetadata": {"promptTokenCount": 4}});
    let response = decode_response(one).unwrap();
    assert_eq!((response.vectors, response.usage.input_tokens), (vec![vec![1.0, 2.0]], Some(4)));
    assert_eq!(decode_response(json!({})).unwrap_err().kind(), ErrorKind::InvalidOutput);
    let error =
        decode_response(json!({"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::RateLimited);
}
