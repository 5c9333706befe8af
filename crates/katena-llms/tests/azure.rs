//! Azure OpenAI, against a double: routes, keys, tokens, and a filter that refuses.

#![cfg(all(feature = "openai", feature = "responses", feature = "entra"))]
#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use katena_core::{Accumulator, ChatModel, ChatRequest, ErrorKind, Message, ModelCatalog as _, Result};
use katena_http::{EntraToken, TokenSource as _};
use katena_llms::{AzureOpenAi, OpenAiChat, OpenAiResponses};
use serde_json::json;
use support::{Reply, Seen, Server};

const KEY: &str = "very-secret-key-123";
const DATE: &str = "2024-10-21";

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

/// The first piece of a stream tells of the filter alone, without a choice.
const STREAM: &str = concat!(
    r#"data: {"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
    "\n\n",
    r#"data: {"id":"c1","model":"gpt-5","choices":[{"index":0,"delta":{"content":"Hello"},"content_filter_results":{}}]}"#,
    "\n\n",
    r#"data: {"id":"c1","model":"gpt-5","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\ndata: [DONE]\n\n",
);

fn answer(seen: &Seen) -> Reply {
    if seen.path.contains("/models") {
        return Reply::json(r#"{"data": [{"id": "gpt-5"}]}"#);
    }
    let body = seen.json();
    let reply = match seen.path.contains("/responses") {
        true => {
            let item = json!({"type": "message", "content": [{"type": "output_text", "text": "Hello"}]});
            json!({"status": "completed", "output": [item]})
        }
        false if body["stream"] == true => return Reply::sse(STREAM),
        false => json!({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}),
    };
    Reply::json(reply.to_string())
}

async fn streamed(model: &dyn ChatModel) -> Result<String> {
    let (mut stream, mut answer) = (model.stream(&ask()).await?, Accumulator::new());
    while let Some(event) = stream.next().await {
        answer.push(&event?)?;
    }
    Ok(answer.finish()?.text())
}

#[tokio::test]
async fn routes_and_the_key_header() {
    let server = Server::start(answer).await;
    let azure = AzureOpenAi::new(&server.url).with_api_key(KEY);
    let dated = azure.clone().with_api_version(DATE);
    let chat = OpenAiChat::azure(&azure, "my-gpt").unwrap();
    let old = OpenAiChat::azure(&dated, "my-gpt").unwrap();
    let responses = OpenAiResponses::azure(&azure, "my-gpt").unwrap();
    for model in [&chat as &dyn ChatModel, &old, &responses] {
        assert_eq!(model.generate(&ask()).await.unwrap().text(), "Hello");
        assert_eq!(model.info().vendor, "azure");
    }
    assert_eq!(streamed(&old).await.unwrap(), "Hello");
    assert_eq!(old.models().await.unwrap()[0].model, "gpt-5");
    assert_eq!(chat.models().await.unwrap()[0].model, "gpt-5");
    let seen = server.requests();
    let paths: Vec<&str> = seen.iter().map(|s| s.path.as_str()).collect();
    let deployment = format!("/openai/deployments/my-gpt/chat/completions?api-version={DATE}");
    assert_eq!(
        paths,
        [
            "/openai/v1/chat/completions",
            &deployment,
            "/openai/v1/responses",
            &deployment,
            &format!("/openai/models?api-version={DATE}"),
            "/openai/v1/models",
        ]
    );
    for call in seen {
        assert_eq!(call.headers["api-key"], KEY);
        assert!(!call.headers.contains_key("authorization"));
        if call.method == "POST" {
            assert_eq!(call.json()["model"], "my-gpt");
        }
    }
}

#[tokio::test]
async fn a_filter_that_refuses_is_a_refusal() {
    let error = json!({"error": {"message": "The response was filtered", "type": null, "param": "prompt",
        "code": "content_filter", "status": 400, "innererror": {"code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {"violence": {"filtered": true, "severity": "high"}}}}});
    let server = Server::always(Reply::new(400, "application/json", error.to_string())).await;
    let azure = AzureOpenAi::new(&server.url).with_api_key(KEY);
    let models: [Box<dyn ChatModel>; 2] = [
        Box::new(OpenAiChat::azure(&azure, "d").unwrap()),
        Box::new(OpenAiResponses::azure(&azure, "d").unwrap()),
    ];
    for model in models {
        let error = model.generate(&ask()).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, Some(400)));
        assert_eq!(error.vendor(), Some("azure"));
        assert!(!error.is_temporary());
    }
}

/// A double of Entra: it counts its tokens.
async fn entra(lasts: u64) -> (Server, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let fetched = count.clone();
    let server = Server::start(move |_| {
        let n = fetched.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::json(
            json!({"token_type": "Bearer", "expires_in": lasts, "access_token": format!("token-{n}")})
                .to_string(),
        )
    })
    .await;
    (server, count)
}

#[tokio::test]
async fn a_token_is_fetched_once_and_sent_as_bearer() {
    let (authority, count) = entra(3600).await;
    let server = Server::start(answer).await;
    let tokens = EntraToken::client_secret("my-tenant", "app", KEY)
        .unwrap()
        .with_authority(&authority.url)
        .unwrap()
        .with_scope(EntraToken::AI_SCOPE);
    assert!(!format!("{tokens:?}").contains(KEY));
    let azure = AzureOpenAi::new(&server.url).with_token_source(Arc::new(tokens));
    let chat = OpenAiChat::azure(&azure, "d").unwrap();
    let responses = OpenAiResponses::azure(&azure, "d").unwrap();
    let calls = (0..8).map(async |n| match n % 2 {
        0 => chat.generate(&ask()).await.unwrap().text(),
        _ => responses.generate(&ask()).await.unwrap().text(),
    });
    assert!(join_all(calls).await.iter().all(|text| text == "Hello"));
    assert_eq!(count.load(Ordering::SeqCst), 1, "one fetch for all");
    let asked = authority.requests().remove(0);
    assert_eq!(asked.path, "/my-tenant/oauth2/v2.0/token");
    let form = String::from_utf8(asked.body).unwrap();
    assert_eq!(
        form,
        format!(
            "grant_type=client_credentials&client_id=app&scope=https%3A%2F%2Fai.azure.com%2F.default&client_secret={KEY}"
        )
    );
    for call in server.requests() {
        assert_eq!(call.headers["authorization"], "Bearer token-1");
        assert!(!call.headers.contains_key("api-key"));
    }
}

#[tokio::test]
async fn an_old_token_is_replaced() {
    // Within the last five minutes of its life a token is replaced.
    let (authority, count) = entra(60).await;
    let tokens = EntraToken::client_secret("t", "app", KEY).unwrap().with_authority(&authority.url).unwrap();
    assert_eq!(tokens.token().await.unwrap().expose(), "token-1");
    assert_eq!(tokens.token().await.unwrap().expose(), "token-2");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn credentials_that_are_refused_say_so_without_the_secret() {
    let words =
        json!({"error": "invalid_client", "error_description": format!("AADSTS7000215: bad secret {KEY}")});
    let authority = Server::always(Reply::new(401, "application/json", words.to_string())).await;
    let tokens = EntraToken::client_secret("t", "app", KEY).unwrap().with_authority(&authority.url).unwrap();
    let azure = AzureOpenAi::new("https://example.openai.azure.com").with_token_source(Arc::new(tokens));
    let error = OpenAiChat::azure(&azure, "d").unwrap().generate(&ask()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Unauthenticated, Some(401)));
    assert!(!format!("{error:?}").contains(KEY), "{error:?}");
    assert!(error.to_string().contains("AADSTS7000215"), "{error}");
}

#[tokio::test]
async fn an_apps_managed_identity_is_asked_by_its_header() {
    let reply = json!({"access_token": "t", "expires_on": "4102444800", "token_type": "Bearer"});
    let server = Server::always(Reply::json(reply.to_string())).await;
    let url = format!("{}/msi/token", server.url);
    let vars = [("IDENTITY_ENDPOINT", url.as_str()), ("IDENTITY_HEADER", KEY), ("AZURE_CLIENT_ID", "mine")];
    let tokens =
        EntraToken::from_lookup(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
            .unwrap();
    for _ in 0..2 {
        assert_eq!(tokens.token().await.unwrap().expose(), "t");
    }
    let seen = server.requests();
    assert_eq!((seen.len(), seen[0].method.as_str()), (1, "GET"));
    assert_eq!(seen[0].headers["x-identity-header"], KEY);
    let want =
        "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=mine";
    assert_eq!(seen[0].path, want);
}

#[test]
fn debug_hides_the_key() {
    let azure = AzureOpenAi::new("https://example.openai.azure.com").with_api_key(KEY);
    let model = OpenAiChat::azure(&azure, "d").unwrap();
    assert!(!format!("{azure:?} {model:?}").contains(KEY));
}
