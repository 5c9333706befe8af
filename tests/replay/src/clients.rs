//! Which client asks for which exchange.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatModel, ChatModelExt as _, ChatRequest, ChatResponse, Message, Result, TokenCounter,
};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, StaticToken};
use katena_layers::Retry;
use katena_llms::anthropic::AnthropicChat;
use katena_llms::bedrock::{BedrockChat, BedrockClaude};
use katena_llms::cohere::CohereChat;
use katena_llms::gemini::GeminiChat;
use katena_llms::mistral::MistralChat;
use katena_llms::ollama::OllamaChat;
use katena_llms::openai_chat::OpenAiChat;
use katena_llms::openai_responses::OpenAiResponses;
use serde_json::{Value, json};

use crate::report::{self, Counts};
use crate::rows::Row;
use crate::vectors;

pub(crate) const KEY: &str = "replayed-key";

/// The clients, sharing connections.
pub(crate) struct Clients {
    http: HttpClient,
    retry: Retry,
}

impl Clients {
    /// A silence longer than this is an error, and so is a whole reply that takes longer than six of it.
    pub(crate) fn new(silence: Duration) -> Self {
        let options = HttpOptions::new().with_idle_timeout(silence).with_timeout(silence * 6);
        // As by default, but with shorter waits.
        let retry = Retry::new(2).with_base(Duration::from_millis(20));
        Self { http: HttpClient::with_options(options), retry }
    }

    /// Asks for one exchange and reports it.
    pub(crate) async fn ask(&self, row: &Row, base: &str) -> Value {
        let result = match self.chat_model(row, base) {
            Some(Ok((model, counts))) => {
                let model = model.layer(self.retry.clone());
                let request = ChatRequest::new([Message::user("The recorded question.")]);
                let response = if row.is_stream() {
                    streamed(&*model, &request).await
                } else {
                    model.generate(&request).await
                };
                response.map(|r| report::response(&r, counts))
            }
            Some(Err(error)) => Err(error),
            None => match row.api.as_str() {
                "embeddings" | "cohere.embed" | "gemini.embed" | "ollama.embed" => {
                    vectors::embed(row, base, self.http.clone(), &self.retry).await
                }
                "rerank" => vectors::rerank(row, base, self.http.clone(), &self.retry).await,
                _ => self.other(row, base).await,
            },
        };
        result.unwrap_or_else(|error| report::error(&error))
    }

    /// The chat model that speaks the row's protocol.
    fn chat_model(&self, row: &Row, base: &str) -> Option<Result<(Arc<dyn ChatModel>, Counts)>> {
        let http = || self.http.clone();
        let model = row.request["model"].as_str().unwrap_or("a-model");
        fn of(model: impl ChatModel + 'static, counts: Counts) -> (Arc<dyn ChatModel>, Counts) {
            (Arc::new(model), counts)
        }
        Some(match row.api.as_str() {
            "chat.completions" if row.provider == "mistral" => MistralChat::new(model, KEY)
                .with_client(http())
                .with_base_url(base)
                .map(|m| of(m, Counts::Whole)),
            "chat.completions" => OpenAiChat::compatible(model, base)
                .map(|m| of(m.with_api_key(KEY).with_client(http()), Counts::Whole)),
            "responses" => OpenAiResponses::compatible(model, base)
                .map(|m| of(m.with_api_key(KEY).with_client(http()), Counts::Whole)),
            "messages" => AnthropicChat::new(model, KEY)
                .with_client(http())
                .with_base_url(base)
                .map(|m| of(m, Counts::WithoutCache)),
            "gemini" | "gemini.stream" => {
                let chat = if row.provider == "vertex" {
                    GeminiChat::vertex(model, "project", "global", Arc::new(StaticToken::new(KEY)))
                } else {
                    Ok(GeminiChat::new(model, KEY))
                };
                chat.and_then(|m| m.with_client(http()).with_base_url(base))
                    .map(|m| of(m, Counts::WithoutReasoning))
            }
            "converse" | "converse.stream" => BedrockChat::with_bearer(model, "us-east-1", KEY)
                .with_client(http())
                .with_base_url(base)
                .map(|m| of(m, Counts::WithoutCache)),
            "invoke" if row.path.contains("anthropic") => BedrockClaude::with_bearer(model, "us-east-1", KEY)
                .with_client(http())
                .with_base_url(base)
                .map(|m| of(m, Counts::WithoutCache)),
            "ollama.chat" => {
                OllamaChat::new(model).with_client(http()).with_base_url(base).map(|m| of(m, Counts::Whole))
            }
            "cohere.chat" => CohereChat::new(model, KEY)
                .with_client(http())
                .with_base_url(base)
                .map(|m| of(m, Counts::Whole)),
            _ => return None,
        })
    }

    /// What has no layers of its own is asked again here, by the same rule.
    async fn other(&self, row: &Row, base: &str) -> Result<Value> {
        let mut tries = 0;
        loop {
            let error = match self.once(row, base).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            tries += 1;
            match self.retry.wait_before(tries, &error) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    async fn once(&self, row: &Row, base: &str) -> Result<Value> {
        if row.api == "count_tokens" {
            let request = ChatRequest::new([Message::user("The recorded question.")]);
            let count = match row.provider.as_str() {
                "anthropic" => {
                    let model =
                        AnthropicChat::new("m", KEY).with_client(self.http.clone()).with_base_url(base)?;
                    model.count_tokens(&request).await?
                }
                _ => {
                    let model =
                        GeminiChat::new("m", KEY).with_client(self.http.clone()).with_base_url(base)?;
                    model.count_tokens(&request).await?
                }
            };
            return Ok(json!({"count": count}));
        }
        // A route without a component of its own: what the client itself makes of the reply.
        let endpoint = Endpoint::new(base)?;
        self.http.send(HttpRequest::post(&endpoint, "x")?.with_json(&row.request)?).await?;
        Ok(json!({}))
    }
}

/// The answer of a stream, folded, with the law of streaming checked.
async fn streamed(model: &dyn ChatModel, request: &ChatRequest) -> Result<ChatResponse> {
    let mut stream = model.stream(request).await?;
    let mut answer = Accumulator::new();
    while let Some(event) = stream.next().await {
        answer.push(&event?)?;
    }
    answer.finish()
}
