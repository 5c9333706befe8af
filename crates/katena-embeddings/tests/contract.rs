//! The contracts of embedders and rerankers, for each vendor against a double of its server, and for llama.cpp's against
//! the real one where its address is given.

#![cfg(all(
    feature = "openai",
    feature = "gemini",
    feature = "vertex",
    feature = "bedrock",
    feature = "cohere",
    feature = "voyage",
    feature = "jina",
    feature = "mistral",
    feature = "ollama",
    feature = "tei",
    feature = "llama-server"
))]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod doubles;

use std::sync::Arc;

use doubles::support::{Reply, Seen, Server};
use doubles::{DIMENSIONS, bedrock, cohere, gemini, indexed, llama_native, ollama, rerank, tei, vertex};
use katena_core::{Context, EmbedderExt as _};
use katena_embeddings::{
    BedrockEmbedder, BedrockReranker, CohereEmbedder, CohereReranker, EmbedCache, EmbedModel, Encoding,
    GeminiEmbedder, JinaEmbedder, JinaReranker, LlamaRoute, LlamaServerEmbedder, LlamaServerReranker,
    MistralEmbedder, OllamaEmbedder, OpenAiEmbedder, TeiEmbedder, TeiReranker, VertexEmbedder,
    VoyageEmbedder, VoyageReranker,
};
use katena_http::StaticToken;
use katena_http::aws::{AwsAuth, Credentials};
use katena_testkit::{FAKE_KEY, embedder_contract, fixtures, reranker_contract};

async fn server(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(handler).await
}

fn model(name: &str) -> EmbedModel {
    EmbedModel::new(name, DIMENSIONS)
}

embedder_contract!(openai, async {
    let server = server(indexed).await;
    let made = OpenAiEmbedder::new(model("m"), FAKE_KEY).unwrap().with_base_url(&server.url).unwrap();
    (made, server)
});
embedder_contract!(openai_compatible, async {
    let server = server(indexed).await;
    let made = OpenAiEmbedder::compatible(EmbedModel::unmeasured("m"), &server.url).unwrap();
    let made = made.with_prefixes("query: ", "passage: ").with_api_key(FAKE_KEY);
    (made.connect(&Context::new()).await.unwrap(), server)
});
embedder_contract!(azure, async {
    let server = server(indexed).await;
    let made =
        OpenAiEmbedder::azure_dated(model("text-embedding-3-small"), &server.url, "2024-10-21").unwrap();
    (made.with_api_key(FAKE_KEY), server)
});
embedder_contract!(gemini_api, async {
    let server = server(gemini).await;
    let made = GeminiEmbedder::new("gemini-embedding-001", FAKE_KEY).unwrap().with_dimensions(32);
    (made.with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(vertex_predict, async {
    let server = server(vertex).await;
    let token = Arc::new(StaticToken::new(FAKE_KEY));
    let made = VertexEmbedder::new("text-embedding-005", "p", "l", token).unwrap().with_dimensions(32);
    (made.with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(vertex_embed_content, async {
    let server = server(vertex).await;
    let token = Arc::new(StaticToken::new(FAKE_KEY));
    let made = VertexEmbedder::new("gemini-embedding-2", "p", "l", token).unwrap().with_dimensions(32);
    (made.with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(bedrock_titan, async {
    let server = server(bedrock).await;
    let made = BedrockEmbedder::new(
        EmbedModel::new("amazon.titan-embed-text-v1", DIMENSIONS),
        "eu-west-1",
        AwsAuth::bearer(FAKE_KEY),
    );
    (made.unwrap().with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(bedrock_nova, async {
    let server = server(bedrock).await;
    let auth = AwsAuth::signed(Credentials::new("AKIDEXAMPLE", FAKE_KEY));
    let made = BedrockEmbedder::new("amazon.nova-2-multimodal-embeddings-v1:0", "eu-west-1", auth).unwrap();
    (made.with_dimensions(32).with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(bedrock_cohere, async {
    let server = server(bedrock).await;
    let made = BedrockEmbedder::new("cohere.embed-v4:0", "eu-west-1", AwsAuth::bearer(FAKE_KEY)).unwrap();
    (made.with_dimensions(32).with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(cohere_v2, async {
    let server = server(cohere).await;
    let made = CohereEmbedder::new("embed-v4.0", FAKE_KEY).unwrap().with_dimensions(32);
    (made.with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(cohere_base64, async {
    let server = server(cohere).await;
    let made = CohereEmbedder::new("embed-v4.0", FAKE_KEY).unwrap().with_dimensions(32);
    (made.with_encoding(Encoding::Base64).with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(voyage, async {
    let server = server(indexed).await;
    let made = VoyageEmbedder::new("voyage-3.5", FAKE_KEY).unwrap().with_dimensions(32);
    (made.with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(jina, async {
    let server = server(indexed).await;
    let made = JinaEmbedder::new("jina-embeddings-v3", FAKE_KEY).unwrap().with_dimensions(32);
    (made.with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(mistral, async {
    let server = server(indexed).await;
    let made = MistralEmbedder::new("codestral-embed", FAKE_KEY).unwrap().with_dimensions(32);
    (made.with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(ollama_embed, async {
    let server = server(ollama).await;
    (OllamaEmbedder::new(model("m")).unwrap().with_base_url(&server.url).unwrap(), server)
});
embedder_contract!(tei_embed, async {
    let server = server(tei).await;
    (TeiEmbedder::new(model("m"), &server.url).unwrap(), server)
});
embedder_contract!(llama_double_native, async {
    let server = server(llama_native).await;
    (LlamaServerEmbedder::new(model("m"), &server.url).unwrap().with_route(LlamaRoute::Native), server)
});
embedder_contract!(llama_double_compatible, async {
    let server = server(indexed).await;
    (LlamaServerEmbedder::new(model("m"), &server.url).unwrap(), server)
});
embedder_contract!(cached, async {
    let server = server(tei).await;
    let folder = fixtures::temp_dir();
    let made =
        TeiEmbedder::new(model("m"), &server.url).unwrap().layer(EmbedCache::open(folder.path()).unwrap());
    (made, (server, folder))
});

/// The server of the tests may have been started without embeddings; then there is nothing to hold to the contract.
async fn llama(route: LlamaRoute) -> Option<LlamaServerEmbedder> {
    let url = fixtures::server_url("KATENA_TEST_LLAMA_SERVER_URL")?;
    let made = LlamaServerEmbedder::new(EmbedModel::unmeasured("test-model"), url).unwrap().with_route(route);
    match made.connect(&Context::new()).await {
        Ok(made) => Some(made),
        Err(error) if matches!(error.status(), Some(400 | 404 | 501)) => None,
        Err(error) => panic!("{error:?}"),
    }
}
embedder_contract!(llama_server, async { llama(LlamaRoute::Compatible).await });
embedder_contract!(llama_server_native, async { llama(LlamaRoute::Native).await });

reranker_contract!(cohere_reranker, async {
    let server = server(rerank).await;
    (CohereReranker::new("rerank-v3.5", FAKE_KEY).unwrap().with_base_url(&server.url).unwrap(), server)
});
reranker_contract!(jina_reranker, async {
    let server = server(rerank).await;
    (JinaReranker::new("m", FAKE_KEY).unwrap().with_base_url(&server.url).unwrap(), server)
});
reranker_contract!(voyage_reranker, async {
    let server = server(rerank).await;
    (VoyageReranker::new("rerank-2.5", FAKE_KEY).unwrap().with_base_url(&server.url).unwrap(), server)
});
reranker_contract!(tei_reranker, async {
    let server = server(rerank).await;
    (TeiReranker::new(&server.url).unwrap(), server)
});
reranker_contract!(llama_reranker, async {
    let server = server(rerank).await;
    (LlamaServerReranker::new("m", &server.url).unwrap(), server)
});
reranker_contract!(bedrock_reranker, async {
    let server = server(rerank).await;
    let made = BedrockReranker::new("cohere.rerank-v3-5:0", "eu-west-1", AwsAuth::bearer(FAKE_KEY)).unwrap();
    (made.with_base_url(&server.url).unwrap(), server)
});
