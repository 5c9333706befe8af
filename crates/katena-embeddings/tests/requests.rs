//! What goes over the wire, by vendor.

#![cfg(all(
    feature = "openai",
    feature = "gemini",
    feature = "cohere",
    feature = "voyage",
    feature = "jina",
    feature = "mistral",
    feature = "ollama",
    feature = "tei",
    feature = "llama-server",
    feature = "bedrock"
))]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod doubles;

use doubles::support::{Reply, Seen, Server};
use katena_core::{Document, EmbedRequest, EmbedRole, Embedder, RerankRequest, Reranker, Source};
use katena_embeddings::{
    BedrockReranker, CohereEmbedder, CohereReranker, EmbedModel, JinaEmbedder, JinaReranker, LlamaRoute,
    LlamaServerEmbedder, LlamaServerReranker, MistralEmbedder, OllamaEmbedder, TeiEmbedder, TeiReranker,
    Truncate, VoyageEmbedder, VoyageReranker,
};
use katena_http::aws::AwsAuth;
use serde_json::{Value, json};

/// Sends one text and gives what the server saw; the reply makes the call fail, which is of no matter here.
async fn sent(server: &Server, embedder: &dyn Embedder, role: EmbedRole) -> (String, Value) {
    let request = EmbedRequest::documents(["a"]).with_role(role);
    embedder.embed(&request).await.unwrap_err();
    last(server)
}

fn last(server: &Server) -> (String, Value) {
    let seen: Seen = server.requests().pop().unwrap();
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.headers["content-type"], "application/json");
    let body = seen.json();
    (seen.path, body)
}

async fn nothing() -> Server {
    Server::always(Reply::json("{}")).await
}

#[tokio::test]
async fn embedders() {
    let server = nothing().await;
    let url = &server.url;
    let (query, document) = (EmbedRole::Query, EmbedRole::Document);
    let expect = async |embedder: &dyn Embedder, role, path: &str, body: Value| {
        assert_eq!(sent(&server, embedder, role).await, (path.to_owned(), body));
    };
    let cohere = CohereEmbedder::new("embed-v4.0", "k").unwrap().with_base_url(url).unwrap();
    let body = json!({"model": "embed-v4.0", "texts": ["a"], "input_type": "search_query", "truncate": "NONE",
        "embedding_types": ["float"]});
    expect(&cohere, query, "/embed", body).await;
    let cohere = cohere.with_dimensions(256).with_truncation(Truncate::End);
    let body = json!({"model": "embed-v4.0", "texts": ["a"], "input_type": "search_document", "truncate": "END",
        "embedding_types": ["float"], "output_dimension": 256});
    expect(&cohere, document, "/embed", body).await;

    let voyage =
        VoyageEmbedder::new("voyage-3.5", "k").unwrap().with_base_url(url).unwrap().with_dimensions(256);
    let body = json!({"model": "voyage-3.5", "input": ["a"], "input_type": "query", "truncation": false,
        "output_dimension": 256, "encoding_format": "base64"});
    expect(&voyage, query, "/embeddings", body).await;

    let jina = JinaEmbedder::new("jina-embeddings-v3", "k").unwrap().with_base_url(url).unwrap();
    let body = json!({"model": "jina-embeddings-v3", "input": ["a"], "task": "retrieval.passage",
        "normalized": true, "truncate": false, "embedding_type": "base64"});
    expect(&jina, document, "/embeddings", body).await;
    let jina = JinaEmbedder::new("jina-embeddings-v2-base-en", "k").unwrap().with_base_url(url).unwrap();
    let body = json!({"model": "jina-embeddings-v2-base-en", "input": ["a"], "normalized": true,
        "truncate": false, "embedding_type": "base64"});
    expect(&jina, query, "/embeddings", body).await;

    let mistral = MistralEmbedder::new("codestral-embed", "k").unwrap().with_base_url(url).unwrap();
    let body = json!({"model": "codestral-embed", "input": ["a"], "output_dimension": 64});
    expect(&mistral.with_dimensions(64), query, "/embeddings", body).await;

    let ollama =
        OllamaEmbedder::new("bge-m3").unwrap().with_base_url(url).unwrap().with_extra("keep_alive", "5m");
    let body = json!({"model": "bge-m3", "input": ["a"], "truncate": false, "keep_alive": "5m"});
    expect(&ollama, query, "/api/embed", body).await;

    let tei = TeiEmbedder::new(EmbedModel::new("m", 3), url).unwrap().with_prompt_names("query", "");
    let body = json!({"inputs": ["a"], "normalize": true, "truncate": false, "prompt_name": "query"});
    expect(&tei, query, "/embed", body).await;
    let body = json!({"inputs": ["a"], "normalize": true, "truncate": false});
    expect(&tei, document, "/embed", body).await;

    let llama = LlamaServerEmbedder::new(EmbedModel::new("m", 3), format!("{url}/v1/")).unwrap();
    expect(&llama, query, "/v1/embeddings", json!({"model": "m", "input": ["a"]})).await;
    expect(&llama.with_route(LlamaRoute::Native), query, "/embedding", json!({"content": ["a"]})).await;
}

#[tokio::test]
async fn rerankers() {
    let server = nothing().await;
    let url = &server.url;
    let expect = async |reranker: &dyn Reranker, path: &str, body: Value| {
        let documents = ["a", "b"].map(|t| Document::new(t, Source::new("u"))).to_vec();
        reranker.rerank(RerankRequest::new("q", documents).with_top_k(1)).await.unwrap_err();
        assert_eq!(last(&server), (path.to_owned(), body));
    };
    let cohere = CohereReranker::new("rerank-v3.5", "k").unwrap().with_base_url(url).unwrap();
    let body = json!({"model": "rerank-v3.5", "query": "q", "documents": ["a", "b"], "top_n": 1,
        "max_tokens_per_doc": 512});
    expect(&cohere.with_max_tokens_per_doc(512), "/rerank", body).await;
    let voyage = VoyageReranker::new("rerank-2.5", "k").unwrap().with_base_url(url).unwrap();
    let body =
        json!({"model": "rerank-2.5", "query": "q", "documents": ["a", "b"], "top_k": 1, "truncation": true});
    expect(&voyage.with_truncation(Truncate::End), "/rerank", body).await;
    let jina = JinaReranker::new("m", "k").unwrap().with_base_url(url).unwrap();
    let body =
        json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1, "return_documents": false});
    expect(&jina, "/rerank", body).await;
    let tei = TeiReranker::new(url).unwrap().with_extra("raw_scores", true);
    let body = json!({"query": "q", "texts": ["a", "b"], "truncate": false, "raw_scores": true});
    expect(&tei, "/rerank", body).await;
    let llama = LlamaServerReranker::new("m", url).unwrap();
    let body = json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1});
    expect(&llama, "/v1/rerank", body).await;
    let auth = AwsAuth::bearer("k");
    let bedrock = BedrockReranker::new("cohere.rerank-v3-5:0", "eu-west-1", auth).unwrap();
    let body = json!({"query": "q", "documents": ["a", "b"], "top_n": 1, "api_version": 2});
    expect(&bedrock.with_base_url(url).unwrap(), "/model/cohere.rerank-v3-5%3A0/invoke", body).await;
    let seen = server.requests().pop().unwrap();
    assert_eq!(seen.headers["authorization"], "Bearer k");
}
