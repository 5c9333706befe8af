//! Presets, against a double that keeps what it was sent.

#![cfg(feature = "openai")]
#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use katena_core::{
    ChatModel as _, ChatRequest, Effort, ErrorKind, Message, Part, PromptCache, Reasoning, ResponseFormat,
};
use katena_llms::{OpenAiChat, OpenRouterOptions, Preset, ProviderPreferences};
use serde_json::json;
use support::{Reply, Server};

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

async fn double(preset: Preset, message: serde_json::Value) -> (OpenAiChat, Server) {
    let reply = json!({"model": "other/model", "choices": [{"message": message, "finish_reason": "stop"}]});
    let server = Server::always(Reply::json(reply.to_string())).await;
    let model = OpenAiChat::preset(preset, "a/model", "key").unwrap();
    (model.with_base_url(format!("{}/v1", server.url)).unwrap(), server)
}

#[tokio::test]
async fn openrouter_gets_its_options_and_its_reasoning_back() {
    let details = json!([{"type": "reasoning.encrypted", "data": "opaque", "id": "rs_1", "index": 0}]);
    let message = json!({"content": "Hello", "reasoning": "hm", "reasoning_details": details});
    let (model, server) = double(Preset::OpenRouter, message).await;
    let options = OpenRouterOptions::new()
        .with_fallback("b/model")
        .with_provider(ProviderPreferences::new().with_order(["X"]).without_fallbacks())
        .with_max_price(0.5, 2.0)
        .with_app("https://example.com", "Example");
    let model = model.with_openrouter(options);
    let request = ask().with_reasoning(Reasoning::budget(2000)).with_prompt_cache(PromptCache::new());
    let answer = model.generate(&request).await.unwrap();
    assert_eq!(
        (answer.model.as_deref(), answer.vendor.as_deref()),
        (Some("other/model"), Some("openrouter"))
    );
    let next = ChatRequest::new([Message::user("Hi"), answer.message, Message::user("And?")]);
    model.generate(&next.with_max_tokens(5)).await.unwrap();
    let seen = server.requests();
    assert_eq!(
        (seen[0].headers["http-referer"].as_str(), seen[0].headers["x-title"].as_str()),
        ("https://example.com", "Example")
    );
    let (first, second) = (seen[0].json(), seen[1].json());
    assert_eq!((&first["models"], &first["reasoning"]), (&json!(["b/model"]), &json!({"max_tokens": 2000})));
    let provider =
        json!({"order": ["X"], "allow_fallbacks": false, "max_price": {"prompt": 0.5, "completion": 2.0}});
    assert_eq!(first["provider"], provider);
    assert_eq!(first["messages"][0]["content"][0]["cache_control"], json!({"type": "ephemeral"}));
    assert_eq!((&second["messages"][1]["reasoning_details"], &second["max_tokens"]), (&details, &json!(5)));
}

#[tokio::test]
async fn deepseek_has_forms_of_its_own() {
    let message = json!({"content": "Hello", "reasoning_content": "hm"});
    let (model, server) = double(Preset::DeepSeek, message).await;
    let answer = model.generate(&ask().with_reasoning(Reasoning::effort(Effort::None))).await.unwrap();
    assert!(matches!(&answer.message.parts[0], Part::Reasoning { text, .. } if text == "hm"));
    let next = ChatRequest::new([Message::user("Hi"), answer.message, Message::user("And?")]);
    model.generate(&next.with_response_format(ResponseFormat::JsonObject)).await.unwrap();
    let seen = server.requests();
    assert_eq!(seen[0].json()["thinking"], json!({"type": "disabled"}));
    assert_eq!(seen[1].json()["messages"][1]["reasoning_content"], "hm");
    assert_eq!(seen[1].json()["response_format"], json!({"type": "json_object"}));
    let schema = ResponseFormat::JsonSchema { name: "x".into(), schema: json!({"type": "object"}) };
    for request in [ask().with_response_format(schema), ask().with_seed(1), ask().with_top_k(1)] {
        assert_eq!(model.generate(&request).await.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
