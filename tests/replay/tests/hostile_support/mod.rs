//! Every client of a vendor, each with a planted secret; a server that never ends; an ear for all that is logged.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test's support")]

#[path = "../../../../crates/katena-http/tests/support/mod.rs"]
pub mod double;
pub mod ear;
pub mod flood;

use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::StreamExt as _;
use katena_core::{
    ChatModel, ChatModelExt as _, ChatRequest, Document, EmbedRequest, Embedder, EmbedderExt as _, Error,
    Message, RerankRequest, Reranker, RerankerExt as _, Result, Source,
};
use katena_embeddings::{
    BedrockEmbedder, BedrockReranker, CohereEmbedder, CohereReranker, EmbedModel, GeminiEmbedder,
    JinaEmbedder, JinaReranker, LlamaServerEmbedder, LlamaServerReranker, MistralEmbedder, OllamaEmbedder,
    OpenAiEmbedder, TeiEmbedder, TeiReranker, VertexEmbedder, VoyageEmbedder, VoyageReranker,
};
use katena_http::aws::{AwsAuth, Credentials};
use katena_http::{HttpClient, StaticToken};
use katena_layers::{Record, Trace};
use katena_llms::{
    AnthropicChat, AzureOpenAi, BedrockChat, BedrockClaude, CohereChat, GeminiChat, MistralChat, OllamaChat,
    OpenAiChat, OpenAiResponses,
};
use serde_json::{Value, json};

/// What opens a vendor: a key, a token, or the session's token of signed calls.
pub const KEY: &str = "plantedk-9Qz7Xw3vT5mN2bR8";
/// What signs and is never sent.
pub const SIGNING: &str = "plantedk-signing-4Hs6Lp1cY0";
/// How both begin: not even this much may be seen.
pub const START: &str = "plantedk";

#[derive(Clone)]
pub enum Part {
    Chat(Arc<dyn ChatModel>),
    Embed(Arc<dyn Embedder>),
    Rerank(Arc<dyn Reranker>),
}

/// How a client's streamed replies come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    Events,
    Lines,
    Binary,
    /// Not at all.
    Whole,
}

#[derive(Clone)]
pub struct Client {
    pub name: &'static str,
    pub part: Part,
    pub frames: Frames,
    /// A plain good reply.
    pub good: Value,
}

impl Client {
    /// Asks for a whole reply.
    pub async fn ask(&self) -> Result<String> {
        match &self.part {
            Part::Chat(model) => model.generate(&question()).await.map(|r| format!("{r:?} {:?}", r.text())),
            Part::Embed(embedder) => {
                embedder.embed(&EmbedRequest::documents(["a text"])).await.map(|r| format!("{r:?}"))
            }
            Part::Rerank(reranker) => {
                let documents = vec![Document::new("a text", Source::default())];
                let ranked = reranker.rerank(RerankRequest::new("a query", documents)).await;
                ranked.map(|r| format!("{r:?}"))
            }
        }
    }

    /// Asks for a stream and reads it to its end.
    pub async fn ask_stream(&self) -> Result<String> {
        let Part::Chat(model) = &self.part else { return self.ask().await };
        let mut seen = String::new();
        let mut stream = model.stream(&question()).await?;
        while let Some(event) = stream.next().await {
            write!(seen, "{:?} ", event?).unwrap();
        }
        Ok(seen)
    }

    /// The same client with what users put around it.
    pub fn watched(&self, record: &Record) -> Self {
        let record = record.named(self.name);
        let part = match self.part.clone() {
            Part::Chat(model) => Part::Chat(model.layer(record).layer(Trace::new().with_contents())),
            Part::Embed(embedder) => Part::Embed(embedder.layer(record).layer(Trace::new())),
            Part::Rerank(reranker) => Part::Rerank(reranker.layer(record)),
        };
        Self { part, ..self.clone() }
    }

    /// All that the component shows of itself.
    pub fn shown(&self) -> String {
        match &self.part {
            Part::Chat(model) => format!("{model:?} {model:#?} {:?}", model.info()),
            Part::Embed(embedder) => format!("{embedder:?} {embedder:#?} {:?}", embedder.info()),
            Part::Rerank(reranker) => format!("{reranker:?} {reranker:#?}"),
        }
    }
}

fn question() -> ChatRequest {
    ChatRequest::new([Message::user("Hello?")])
}

/// All that an error shows.
pub fn told(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?} {:?}", error.request_id());
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        write!(text, " {cause} {cause:?}").unwrap();
        source = cause.source();
    }
    text
}

fn tokens() -> Arc<StaticToken> {
    Arc::new(StaticToken::new(KEY))
}

fn signed() -> AwsAuth {
    AwsAuth::signed(Credentials::new("AKIDEXAMPLE", SIGNING).with_session_token(KEY))
}

/// Every client, at the server of this address.
pub fn clients(base: &str, http: &HttpClient) -> Vec<Client> {
    let mut all = chat(base, http).unwrap();
    all.extend(embed(base, http).unwrap());
    all.extend(rerank(base, http).unwrap());
    all
}

fn chat(base: &str, http: &HttpClient) -> Result<Vec<Client>> {
    let http = || http.clone();
    fn of(name: &'static str, model: impl ChatModel + 'static, frames: Frames, good: &Value) -> Client {
        Client { name, part: Part::Chat(Arc::new(model)), frames, good: good.clone() }
    }
    let openai = json!({"id": "1", "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}]});
    let responses = json!({"id": "1", "object": "response", "status": "completed", "model": "m",
        "output": [{"type": "message", "id": "2", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let anthropic = json!({"id": "1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    let gemini = json!({"candidates": [{"index": 0, "finishReason": "STOP",
            "content": {"role": "model", "parts": [{"text": "Hi"}]}}],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1}});
    let converse = json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
        "stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 1}});
    let ollama = json!({"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": true,
        "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1});
    let cohere = json!({"id": "1", "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
        "usage": {"tokens": {"input_tokens": 1, "output_tokens": 1}}});
    let azure = AzureOpenAi::new(base).with_api_key(KEY);
    let entra = AzureOpenAi::new(base).with_token_source(tokens());
    let dated = entra.clone().with_api_version("2024-10-21");
    let compatible = || OpenAiChat::compatible("m", base).map(|m| m.with_client(http()));
    Ok(vec![
        of("OpenAiChat", compatible()?.with_api_key(KEY), Frames::Events, &openai),
        of("OpenAiChat, token", compatible()?.with_token_source(tokens()), Frames::Events, &openai),
        of("OpenAiChat, header", compatible()?.with_header("x-api-key", KEY), Frames::Events, &openai),
        of(
            "OpenAiResponses",
            OpenAiResponses::compatible("m", base)?.with_api_key(KEY).with_client(http()),
            Frames::Events,
            &responses,
        ),
        of("Azure", OpenAiChat::azure(&azure, "d")?.with_client(http()), Frames::Events, &openai),
        of("Azure, token", OpenAiChat::azure(&dated, "d")?.with_client(http()), Frames::Events, &openai),
        of(
            "Azure, responses",
            OpenAiResponses::azure(&entra, "d")?.with_client(http()),
            Frames::Events,
            &responses,
        ),
        of(
            "AnthropicChat",
            AnthropicChat::new("m", KEY).with_client(http()).with_base_url(base)?,
            Frames::Events,
            &anthropic,
        ),
        of(
            "AnthropicChat, token",
            AnthropicChat::new("m", "").with_auth_token(KEY).with_client(http()).with_base_url(base)?,
            Frames::Events,
            &anthropic,
        ),
        of(
            "AnthropicChat, Vertex",
            AnthropicChat::vertex("m", "p", "global", tokens())?.with_client(http()).with_base_url(base)?,
            Frames::Events,
            &anthropic,
        ),
        of(
            "GeminiChat",
            GeminiChat::new("m", KEY).with_client(http()).with_base_url(base)?,
            Frames::Events,
            &gemini,
        ),
        of(
            "GeminiChat, Vertex",
            GeminiChat::vertex("m", "p", "global", tokens())?.with_client(http()).with_base_url(base)?,
            Frames::Events,
            &gemini,
        ),
        of(
            "GeminiChat, express",
            GeminiChat::vertex_express("m", KEY).with_client(http()).with_base_url(base)?,
            Frames::Events,
            &gemini,
        ),
        of(
            "BedrockChat",
            BedrockChat::with_bearer("m", "us-east-1", KEY).with_client(http()).with_base_url(base)?,
            Frames::Binary,
            &converse,
        ),
        of(
            "BedrockChat, signed",
            BedrockChat::new("m", "us-east-1", signed()).with_client(http()).with_base_url(base)?,
            Frames::Binary,
            &converse,
        ),
        of(
            "BedrockClaude",
            BedrockClaude::with_bearer("m", "us-east-1", KEY).with_client(http()).with_base_url(base)?,
            Frames::Binary,
            &anthropic,
        ),
        of(
            "BedrockClaude, signed",
            BedrockClaude::new("m", "us-east-1", signed()).with_client(http()).with_base_url(base)?,
            Frames::Binary,
            &anthropic,
        ),
        of(
            "OllamaChat",
            OllamaChat::new("m").with_api_key(KEY).with_client(http()).with_base_url(base)?,
            Frames::Lines,
            &ollama,
        ),
        of(
            "CohereChat",
            CohereChat::new("m", KEY).with_client(http()).with_base_url(base)?,
            Frames::Events,
            &cohere,
        ),
        of(
            "MistralChat",
            MistralChat::new("m", KEY).with_client(http()).with_base_url(base)?,
            Frames::Events,
            &openai,
        ),
    ])
}

fn embed(base: &str, http: &HttpClient) -> Result<Vec<Client>> {
    let http = || http.clone();
    let own = || EmbedModel::new("m", 2);
    fn of(name: &'static str, embedder: impl Embedder + 'static, good: Value) -> Client {
        Client { name, part: Part::Embed(Arc::new(embedder)), frames: Frames::Whole, good }
    }
    let vector = json!([0.6, 0.8]);
    let indexed = || json!({"data": [{"index": 0, "embedding": vector}], "usage": {"prompt_tokens": 1}});
    let listed = || json!({"embeddings": [vector]});
    let vertex = json!({"predictions": [{"embeddings": {"values": vector}}]});
    let titan = || EmbedModel::new("amazon.titan-embed-text-v2:0", 2);
    let one = || json!({"embedding": vector, "inputTextTokenCount": 1});
    Ok(vec![
        of(
            "OpenAiEmbedder",
            OpenAiEmbedder::compatible(own(), base)?.with_api_key(KEY).with_client(http()),
            indexed(),
        ),
        of(
            "OpenAiEmbedder, Azure",
            OpenAiEmbedder::azure(own(), base)?.with_api_key(KEY).with_client(http()),
            indexed(),
        ),
        of(
            "OpenAiEmbedder, Azure, token",
            OpenAiEmbedder::azure_dated(own(), base, "2024-10-21")?
                .with_token_source(tokens())
                .with_client(http()),
            indexed(),
        ),
        of(
            "GeminiEmbedder",
            GeminiEmbedder::new(own(), KEY)?.with_base_url(base)?.with_client(http()),
            json!({"embeddings": [{"values": vector}]}),
        ),
        of(
            "VertexEmbedder",
            VertexEmbedder::new(own(), "p", "global", tokens())?.with_base_url(base)?.with_client(http()),
            vertex,
        ),
        of(
            "BedrockEmbedder",
            BedrockEmbedder::new(titan(), "us-east-1", AwsAuth::bearer(KEY))?
                .with_base_url(base)?
                .with_client(http()),
            one(),
        ),
        of(
            "BedrockEmbedder, signed",
            BedrockEmbedder::new(titan(), "us-east-1", signed())?.with_base_url(base)?.with_client(http()),
            one(),
        ),
        of(
            "CohereEmbedder",
            CohereEmbedder::new(own(), KEY)?.with_base_url(base)?.with_client(http()),
            json!({"embeddings": {"float": [vector]}}),
        ),
        of(
            "VoyageEmbedder",
            VoyageEmbedder::new(own(), KEY)?.with_base_url(base)?.with_client(http()),
            indexed(),
        ),
        of(
            "JinaEmbedder",
            JinaEmbedder::new(own(), KEY)?.with_base_url(base)?.with_client(http()),
            indexed(),
        ),
        of(
            "MistralEmbedder",
            MistralEmbedder::new(own(), KEY)?.with_base_url(base)?.with_client(http()),
            indexed(),
        ),
        of(
            "OllamaEmbedder",
            OllamaEmbedder::new(own())?.with_api_key(KEY).with_base_url(base)?.with_client(http()),
            listed(),
        ),
        of(
            "TeiEmbedder",
            TeiEmbedder::new(own(), base)?.with_api_key(KEY).with_client(http()),
            json!([vector]),
        ),
        of(
            "LlamaServerEmbedder",
            LlamaServerEmbedder::new(own(), base)?.with_api_key(KEY).with_client(http()),
            indexed(),
        ),
    ])
}

fn rerank(base: &str, http: &HttpClient) -> Result<Vec<Client>> {
    let http = || http.clone();
    fn of(name: &'static str, reranker: impl Reranker + 'static, good: Value) -> Client {
        Client { name, part: Part::Rerank(Arc::new(reranker)), frames: Frames::Whole, good }
    }
    let ranked = || json!({"results": [{"index": 0, "relevance_score": 0.5}]});
    let voyage = json!({"data": [{"index": 0, "relevance_score": 0.5}]});
    let bedrock = |auth| {
        let reranker = BedrockReranker::new("cohere.rerank-v3-5:0", "us-east-1", auth)?;
        Ok::<_, Error>(reranker.with_base_url(base)?.with_client(http()))
    };
    Ok(vec![
        of(
            "CohereReranker",
            CohereReranker::new("m", KEY)?.with_base_url(base)?.with_client(http()),
            ranked(),
        ),
        of("JinaReranker", JinaReranker::new("m", KEY)?.with_base_url(base)?.with_client(http()), ranked()),
        of("VoyageReranker", VoyageReranker::new("m", KEY)?.with_base_url(base)?.with_client(http()), voyage),
        of("BedrockReranker", bedrock(AwsAuth::bearer(KEY))?, ranked()),
        of("BedrockReranker, signed", bedrock(signed())?, ranked()),
        of(
            "TeiReranker",
            TeiReranker::new(base)?.with_api_key(KEY).with_client(http()),
            json!([{"index": 0, "score": 0.5}]),
        ),
        of(
            "LlamaServerReranker",
            LlamaServerReranker::new("m", base)?.with_api_key(KEY).with_client(http()),
            ranked(),
        ),
    ])
}
