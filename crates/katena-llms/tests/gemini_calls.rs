//! What goes over the wire of Gemini's two services, and what comes back, against a scripted server.

#![cfg(feature = "gemini")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatModel as _, ChatRequest, ChatResponse, Context, Error, ErrorKind, Message,
    ModelCatalog as _, Result, TokenCounter as _,
};
use katena_http::{Secret, TokenSource};
use katena_llms::GeminiChat;
use katena_llms::gemini::GeminiFiles;
use serde_json::{Value, json};

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;
use support::{Reply, Server, Step};

const KEY: &str = "key-that-nobody-sees";

fn request() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

fn answer(text: &str) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"}], "responseId": "r"})
}

fn model(server: &Server) -> GeminiChat {
    GeminiChat::new("gem", KEY).with_base_url(format!("{}/v1beta", server.url)).unwrap()
}

async fn fold(model: &GeminiChat) -> Result<ChatResponse> {
    let mut stream = model.stream(&request()).await?;
    let mut answer = Accumulator::new();
    while let Some(event) = stream.next().await {
        answer.push(&event?)?;
    }
    answer.finish()
}

#[tokio::test]
async fn the_developer_api() {
    let server = Server::start(|seen| {
        if seen.path.contains("stream") {
            Reply::sse(format!("data: {}\r\n\r\n", answer("streamed")))
        } else {
            Reply::json(answer("whole").to_string()).with_header("x-request-id", "req-1")
        }
    })
    .await;
    let model = model(&server);
    let whole = model.generate(&request()).await.unwrap();
    assert_eq!((whole.text().as_str(), whole.vendor.as_deref()), ("whole", Some("gemini")));
    assert_eq!(whole.request_id.as_deref(), Some("req-1"));
    assert_eq!(fold(&model).await.unwrap().text(), "streamed");
    let seen = server.requests();
    assert_eq!(seen[0].path, "/v1beta/models/gem:generateContent");
    assert_eq!(seen[1].path, "/v1beta/models/gem:streamGenerateContent?alt=sse");
    // The key stands in a header, never in the address.
    assert!(seen.iter().all(|s| s.headers["x-goog-api-key"] == KEY && !s.path.contains(KEY)));
}

#[derive(Debug, Default)]
struct Counted(AtomicUsize);

#[async_trait]
impl TokenSource for Counted {
    async fn token(&self) -> Result<Secret> {
        Ok(Secret::new(format!("token-{}", self.0.fetch_add(1, Ordering::SeqCst))))
    }
}

#[derive(Debug)]
struct NoToken;

#[async_trait]
impl TokenSource for NoToken {
    async fn token(&self) -> Result<Secret> {
        Err(Error::new(ErrorKind::Unauthenticated, "no credentials"))
    }
}

#[tokio::test]
async fn vertex_with_tokens() {
    let server = Server::always(Reply::json(answer("x").to_string())).await;
    let model = GeminiChat::vertex("gem", "acme", "europe-west4", Arc::new(Counted::default())).unwrap();
    let model = model.with_base_url(format!("{}/v1beta1", server.url)).unwrap().with_quota_project("payer");
    let got = model.generate(&request()).await.unwrap();
    assert_eq!(got.vendor.as_deref(), Some("vertex"));
    model.generate(&request()).await.unwrap();
    let seen = server.requests();
    assert_eq!(
        seen[0].path,
        "/v1beta1/projects/acme/locations/europe-west4/publishers/google/models/gem:generateContent"
    );
    assert_eq!(seen[0].headers["authorization"], "Bearer token-0");
    assert_eq!(seen[1].headers["authorization"], "Bearer token-1");
    assert_eq!(seen[0].headers["x-goog-user-project"], "payer");
    assert!(!seen[0].headers.contains_key("x-goog-api-key"));
    let without = GeminiChat::vertex("gem", "acme", "global", Arc::new(NoToken)).unwrap();
    let error = without.generate(&request()).await.unwrap_err();
    assert_eq!((error.kind(), error.vendor()), (ErrorKind::Unauthenticated, Some("vertex")));
}

#[tokio::test]
async fn streams_in_each_form() {
    let chunk = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}]});
    let error = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"overloaded\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n";
    // A bare error in the midst of the events, however the bytes are cut.
    for size in [1, 5, 4096] {
        let server =
            Server::always(Reply::sse(format!("data: {chunk}\r\n\r\n{error}")).in_pieces(size)).await;
        let mut stream = model(&server).stream(&request()).await.unwrap();
        let mut texts = 0;
        let failed = loop {
            match stream.next().await.expect("an error before the end") {
                Ok(_) => texts += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(
            (failed.kind(), failed.message(), failed.vendor()),
            (ErrorKind::Unavailable, "overloaded", Some("gemini"))
        );
        assert_eq!(texts, 2, "the start and the delta came before");
        assert!(stream.next().await.is_none());
    }
    // A list of chunks, and an error alone.
    let server = Server::always(Reply::json(format!("[{chunk}\n,\r\n{}]", answer("b")))).await;
    assert_eq!(fold(&model(&server)).await.unwrap().text(), "ab");
    let server = Server::always(Reply::sse(error)).await;
    assert_eq!(fold(&model(&server)).await.unwrap_err().message(), "overloaded");
    // Cut off: by the connection, or by an end before the finish reason.
    for reply in [
        Reply::sse(format!("data: {chunk}\n\n")),
        Reply::sse(format!("data: {chunk}\n\n")).then(Step::Cut),
        Reply::json(format!("[{chunk}\n,")),
    ] {
        let server = Server::always(reply).await;
        assert_eq!(fold(&model(&server)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn errors_by_status() {
    let body = json!({"error": {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}});
    let server = Server::always(Reply::new(429, "application/json", body.to_string())).await;
    for error in
        [model(&server).generate(&request()).await.unwrap_err(), fold(&model(&server)).await.unwrap_err()]
    {
        assert_eq!(
            (error.kind(), error.status(), error.message()),
            (ErrorKind::RateLimited, Some(429), "Quota exceeded.")
        );
    }
    let body = json!({"error": {"code": 400, "message": format!("{KEY} is not valid"), "status": "INVALID_ARGUMENT"}});
    let server = Server::always(Reply::new(400, "application/json", body.to_string())).await;
    let error = model(&server).generate(&request()).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains(KEY), "{error:?}");
}

#[tokio::test]
async fn counts_tokens_on_both_services() {
    let server = Server::always(Reply::json(r#"{"totalTokens": 5, "promptTokensDetails": []}"#)).await;
    let request = ChatRequest::new([Message::system("S"), Message::user("Hi")]);
    assert_eq!(model(&server).count_tokens(&request).await.unwrap(), 5);
    let vertex = GeminiChat::vertex_express("gem", KEY).with_base_url(&server.url).unwrap();
    assert_eq!(
        vertex.count_tokens(&request.with_prompt_cache(katena_core::PromptCache::new())).await.unwrap(),
        5
    );
    let seen = server.requests();
    assert_eq!(seen[0].path, "/v1beta/models/gem:countTokens");
    let counted = seen[0].json()["generateContentRequest"].clone();
    assert_eq!(counted["model"], "models/gem");
    assert_eq!(counted["systemInstruction"], json!({"parts": [{"text": "S"}]}));
    assert_eq!(seen[1].path, "/publishers/google/models/gem:countTokens");
    assert_eq!(seen[1].json()["systemInstruction"], json!({"parts": [{"text": "S"}]}));
    let server = Server::always(Reply::json("{}")).await;
    assert_eq!(
        model(&server).count_tokens(&self::request()).await.unwrap_err().kind(),
        ErrorKind::InvalidOutput
    );
}

#[tokio::test]
async fn lists_models_page_by_page() {
    let server = Server::start(|seen| {
        Reply::json(if seen.path.contains("pageToken=p2") {
            r#"{"models": [{"name": "models/b"}]}"#
        } else {
            r#"{"models": [{"name": "models/a", "inputTokenLimit": 7}], "nextPageToken": "p2"}"#
        })
    })
    .await;
    let models = model(&server).models().await.unwrap();
    let names: Vec<&str> = models.iter().map(|m| m.model.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(models[0].context_tokens, Some(7));
    assert_eq!(server.requests()[1].path, "/v1beta/models?pageSize=1000&pageToken=p2");
    let server = Server::always(Reply::json(r#"{"models": [], "nextPageToken": "again"}"#)).await;
    assert_eq!(model(&server).models().await.unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[tokio::test]
async fn uploads_a_file_and_waits_until_it_is_ready() {
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |seen| {
        let state = match seen.method.as_str() {
            "GET" if asked.fetch_add(1, Ordering::SeqCst) > 0 => "ACTIVE",
            "DELETE" => return Reply::json("{}"),
            _ => "PROCESSING",
        };
        let file = json!({"name": "files/v1", "uri": "https://example.com/v1beta/files/v1", "mimeType": "video/mp4",
            "sizeBytes": "4", "state": state});
        Reply::json(if seen.method == "POST" { json!({"file": file}) } else { file }.to_string())
    })
    .await;
    let files = GeminiFiles::new(KEY).with_base_url(format!("{}/v1beta", server.url)).unwrap();
    let files = files.with_polling(Duration::ZERO, Duration::from_millis(10));
    let file = files.upload("a \"film\"", "video/mp4", vec![0, 255, 13, 10], &Context::new()).await.unwrap();
    assert!(file.ready);
    assert_eq!((file.name.as_str(), file.bytes), ("files/v1", Some(4)));
    files.delete(&file.name, &Context::new()).await.unwrap();
    let seen = server.requests();
    let routes: Vec<String> = seen.iter().map(|s| format!("{} {}", s.method, s.path)).collect();
    assert_eq!(
        routes,
        [
            "POST /upload/v1beta/files",
            "GET /v1beta/files/v1",
            "GET /v1beta/files/v1",
            "DELETE /v1beta/files/v1"
        ]
    );
    assert!(seen.iter().all(|s| s.headers["x-goog-api-key"] == KEY));
    assert_eq!(seen[0].headers["x-goog-upload-protocol"], "multipart");
    let boundary =
        seen[0].headers["content-type"].strip_prefix("multipart/related; boundary=").unwrap().to_owned();
    let mut expected = format!(
        "--{boundary}\r\ncontent-type: application/json; charset=utf-8\r\n\r\n\
         {{\"file\":{{\"displayName\":\"a \\\"film\\\"\",\"mimeType\":\"video/mp4\"}}}}\r\n\
         --{boundary}\r\ncontent-type: video/mp4\r\n\r\n"
    )
    .into_bytes();
    expected.extend([0, 255, 13, 10]);
    expected.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    assert_eq!(seen[0].body, expected);
    let error = files.upload("x", "text/plain\r\nx: y", "", &Context::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_file_that_is_never_ready_is_a_timeout() {
    let file = json!({"name": "files/v1", "uri": "u", "mimeType": "video/mp4", "state": "PROCESSING"});
    let server = Server::start(move |seen| {
        Reply::json(if seen.method == "POST" { json!({"file": file}) } else { file.clone() }.to_string())
    })
    .await;
    let files = GeminiFiles::new(KEY).with_base_url(format!("{}/v1beta", server.url)).unwrap();
    let files = files.with_polling(Duration::ZERO, Duration::from_millis(3));
    let error = files.upload("x", "video/mp4", "x", &Context::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(server.requests().len(), 4);
}
