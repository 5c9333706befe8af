//! The embedder on a real file.

mod common;

use katena_core::{EmbedRequest, Embedder};

#[tokio::test]
async fn goldens() {
    let (Some(embedder), Some(path)) =
        (common::embedder(), common::evals("ann/minilm_sentence_goldens.json"))
    else {
        return;
    };
    let goldens: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for golden in goldens.as_array().unwrap() {
        let text = golden["text"].as_str().unwrap();
        let response = embedder.embed(&EmbedRequest::documents([text])).await.unwrap();
        for (n, want) in golden["vector_head"].as_array().unwrap().iter().enumerate() {
            let (got, want) = (f64::from(response.vectors[0][n]), want.as_f64().unwrap());
            assert!((got - want).abs() < 0.002, "{text:.40}: value {n} is {got}, not {want}");
        }
    }
}
