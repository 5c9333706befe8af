//! Embedders and rerankers.

use std::sync::Arc;

use katena_core::{
    Document, EmbedRequest, EmbedResponse, Embedder, EmbedderExt as _, Error, RerankRequest, Reranker as _,
    RerankerExt as _, Result, Source,
};
use katena_embeddings::{
    CohereEmbedder, EmbedModel, GeminiEmbedder, LlamaServerReranker, MistralEmbedder, OllamaEmbedder,
    OpenAiEmbedder, VoyageEmbedder,
};
use katena_http::HttpClient;
use katena_layers::Retry;
use serde_json::{Value, json};

use crate::clients::KEY;
use crate::rows::Row;

/// The embedder that speaks the row's protocol, told how long the recorded vectors are.
fn embedder(row: &Row, base: &str, http: HttpClient, dimensions: usize) -> Result<Arc<dyn Embedder>> {
    let name = row.request["model"].as_str().unwrap_or("a-model");
    let model = EmbedModel::new(name, dimensions);
    Ok(match (row.api.as_str(), row.provider.as_str()) {
        ("cohere.embed", _) | ("embeddings", "cohere") => {
            Arc::new(CohereEmbedder::new(model, KEY)?.with_base_url(base)?.with_client(http))
        }
        ("gemini.embed", _) => {
            Arc::new(GeminiEmbedder::new(model, KEY)?.with_base_url(base)?.with_client(http))
        }
        ("ollama.embed", _) => Arc::new(OllamaEmbedder::new(model)?.with_base_url(base)?.with_client(http)),
        (_, "mistral") => Arc::new(MistralEmbedder::new(model, KEY)?.with_base_url(base)?.with_client(http)),
        (_, "voyage") => Arc::new(VoyageEmbedder::new(model, KEY)?.with_base_url(base)?.with_client(http)),
        _ => Arc::new(OpenAiEmbedder::compatible(model, base)?.with_client(http)),
    })
}

/// The recorded vectors, read without a component.
fn decode(row: &Row) -> Result<EmbedResponse> {
    let raw: Value = serde_json::from_slice(&row.body)
        .map_err(|e| Error::invalid_output("the recording is no JSON").with_source(e))?;
    match (row.api.as_str(), row.provider.as_str()) {
        ("cohere.embed", _) | ("embeddings", "cohere") => katena_embeddings::cohere::decode_response(raw),
        ("gemini.embed", _) => katena_embeddings::google::decode_response(raw),
        ("ollama.embed", _) => katena_embeddings::ollama::decode_response(raw),
        _ => katena_embeddings::decode_indexed(raw),
    }
}

/// Embeds as many texts as the recording has vectors, and reports the vectors' number and length.
pub(crate) async fn embed(row: &Row, base: &str, http: HttpClient, retry: &Retry) -> Result<Value> {
    let (count, dimensions) = match decode(row) {
        Ok(recorded) => (recorded.vectors.len(), recorded.vectors.first().map_or(1, Vec::len)),
        Err(_) => (1, 1),
    };
    let embedder = embedder(row, base, http, dimensions)?.layer(retry.clone());
    let texts = (0..count).map(|n| format!("text {n}"));
    let response = embedder.embed(&EmbedRequest::documents(texts)).await?;
    let length = response.vectors.first().map_or(0, Vec::len);
    Ok(json!({
        "embeddings": {"n": response.vectors.len(), "dim": length},
        "usage": {"input": response.usage.input_tokens},
    }))
}

/// Reranks the recorded request's documents.
pub(crate) async fn rerank(row: &Row, base: &str, http: HttpClient, retry: &Retry) -> Result<Value> {
    let reranker = LlamaServerReranker::new("a-model", base)?.with_client(http).layer(retry.clone());
    // Each document is known again by its number.
    let document = |(n, text): (usize, &Value)| {
        Document::new(text.as_str().unwrap_or("a document"), Source::new(n.to_string()))
    };
    let mut documents: Vec<Document> =
        row.request["documents"].as_array().into_iter().flatten().enumerate().map(document).collect();
    if documents.is_empty() {
        // Nothing to rank is no call for the component; the recorded server was asked all the same.
        documents.push(Document::new("a document", Source::default()));
    }
    let mut request = RerankRequest::new("the recorded query", documents);
    request.top_k = row.request["top_n"].as_u64().and_then(|n| usize::try_from(n).ok());
    let ranked = reranker.rerank(request).await?;
    let ranked: Vec<Value> =
        ranked.iter().map(|d| json!([d.item.source.uri.parse::<usize>().ok(), d.score])).collect();
    Ok(json!({"rerank": ranked}))
}
