use katena_core::{EmbedRole, Embedder as _, ErrorKind};

use super::*;
use crate::Truncate;

fn make(model: &str) -> BedrockEmbedder {
    BedrockEmbedder::new(model, "eu-west-1", AwsAuth::bearer("sk-hidden")).unwrap()
}

fn body(embedder: &BedrockEmbedder, role: EmbedRole) -> Value {
    serde_json::from_slice(embedder.0.request(&["a".into()], role).unwrap().body()).unwrap()
}

#[test]
fn bodies_by_maker() {
    assert_eq!(body(&make("amazon.titan-embed-text-v1"), EmbedRole::Query), json!({"inputText": "a"}));
    assert_eq!(
        body(&make("amazon.titan-embed-text-v2:0").with_dimensions(256), EmbedRole::Query),
        json!({"inputText": "a", "normalize": true, "dimensions": 256})
    );
    assert_eq!(
        body(&make("amazon.nova-2-multimodal-embeddings-v1:0").with_dimensions(256), EmbedRole::Query),
        json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingPurpose": "GENERIC_RETRIEVAL",
            "text": {"value": "a", "truncationMode": "NONE"}, "embeddingDimension": 256}})
    );
    assert_eq!(
        body(&make("eu.cohere.embed-v4:0").with_truncation(Truncate::End), EmbedRole::Document),
        json!({"texts": ["a"], "input_type": "search_document", "truncate": "RIGHT"})
    );
    assert_eq!(
        body(&make("cohere.embed-english-v3"), EmbedRole::Query),
        json!({"texts": ["a"], "input_type": "search_query", "truncate": "NONE"})
    );
}

#[test]
fn addresses_and_limits() {
    let titan = make("amazon.titan-embed-text-v2:0");
    let request = format!("{:?}", titan.0.request(&["a".into()], EmbedRole::Query).unwrap());
    let want = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/amazon.titan-embed-text-v2%3A0/invoke";
    assert!(request.contains(want), "{request}");
    assert_eq!((titan.0.limits.texts, make("cohere.embed-v4:0").0.limits.texts), (1, 96));
    assert_eq!(make("eu.cohere.embed-v4:0").info().dimensions, 1536);
    assert!(!format!("{titan:?}").contains("hidden"));
    let auth = || AwsAuth::bearer("k");
    let other = BedrockEmbedder::new("meta.x", "eu-west-1", auth()).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Unsupported);
    let region = BedrockEmbedder::new("cohere.embed-v4:0", "evil.example/", auth()).unwrap_err();
    assert_eq!(region.kind(), ErrorKind::Config);
}

#[test]
fn replies_by_maker() {
    let vectors = |raw| decode_response(raw).unwrap().vectors;
    assert_eq!(
        vectors(json!({"embeddings": [{"embedding": [1, 2], "embeddingType": "TEXT"}]})),
        [[1.0, 2.0]]
    );
    assert_eq!(vectors(json!({"embeddings": [[1, 2]], "response_type": "embeddings_floats"})), [[1.0, 2.0]]);
    assert_eq!(vectors(json!({"embeddings": {"float": [[1, 2]]}})), [[1.0, 2.0]]);
    assert_eq!(decode_response(json!({"embeddings": {}})).unwrap_err().kind(), ErrorKind::InvalidOutput);
}
