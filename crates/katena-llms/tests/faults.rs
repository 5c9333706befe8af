//! The model against a server that misbehaves.

#![cfg(feature = "openai")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, Cancel, ChatEvent, ChatModel as _, ChatRequest, ChatResponse, Context, ErrorKind,
    FinishReason, Message, Result, Usage,
};
use katena_llms::{HttpClient, HttpOptions, OpenAiChat};
use serde_json::json;
use support::{Reply, Server, Step};

const KEY: &str = "sk-very-secret-123456";

fn model(server: &Server) -> OpenAiChat {
    let client = HttpClient::with_options(HttpOptions::new().with_idle_timeout(Duration::from_secs(10)));
    OpenAiChat::new("m", KEY).with_base_url(format!("{}/v1", server.url)).unwrap().with_client(client)
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

async fn fold(model: &OpenAiChat, request: &ChatRequest) -> Result<ChatResponse> {
    let mut stream = model.stream(request).await?;
    let mut answer = Accumulator::new();
    while let Some(event) = stream.next().await {
        answer.push(&event?)?;
    }
    answer.finish()
}

/// Both ways of asking.
async fn both(reply: Reply) -> [Result<ChatResponse>; 2] {
    let server = Server::always(reply).await;
    let model = model(&server);
    [model.generate(&ask()).await, fold(&model, &ask()).await]
}

fn chunks() -> String {
    let mut text = String::new();
    for piece in ["Grüße", " aus", " 東京", " 👩‍👩‍👧 ☕"] {
        let chunk = json!({"id": "c1", "model": "m1", "choices": [{"index": 0, "delta": {"content": piece}}], "usage": null});
        text.extend(["data: ", &chunk.to_string(), "\n\n"]);
    }
    text.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    text.push_str(
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n",
    );
    text
}

const WHOLE: &str = r#"{"id":"c1","model":"m1","choices":[{"message":{"content":"Grüße aus 東京 👩‍👩‍👧 ☕"},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":3,"completion_tokens":9}}"#;

fn is_right(response: &ChatResponse) {
    assert_eq!(response.text(), "Grüße aus 東京 👩‍👩‍👧 ☕");
    assert_eq!((&response.finish, response.usage), (&FinishReason::Stop, Usage::new(3, 9)));
    assert_eq!((response.id.as_deref(), response.model.as_deref()), (Some("c1"), Some("m1")));
}

#[tokio::test]
async fn either_form_of_reply_answers_either_call_however_it_is_cut_and_labelled() {
    let gzip = |text: &str| {
        let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        z.write_all(text.as_bytes()).unwrap();
        z.finish().unwrap()
    };
    let sse = chunks();
    let replies = [
        Reply::sse(sse.clone()),
        Reply::sse(sse.clone()).in_pieces(1),
        Reply::sse(sse.clone()).in_pieces(7),
        Reply::sse(sse.replace('\n', "\r\n")).in_pieces(3),
        Reply::sse(sse.replace('\n', "\r")),
        Reply::sse(format!("\u{feff}: ping\n\nretry: 10\n\n{sse}")).in_pieces(2),
        Reply::sse(format!(": {}\n\n{sse}", "x".repeat(2_000_000))),
        Reply::sse(format!("{sse}data: rubbish\n\n")),
        Reply::sse(sse.replace("data: [DONE]\n\n", "")),
        Reply::new(200, "text/plain", sse.clone()),
        Reply::new(200, "application/json", sse.clone()),
        Reply::sse(gzip(&sse)).with_header("content-encoding", "gzip"),
        Reply::json(WHOLE),
        Reply::json(WHOLE).in_pieces(1),
        Reply::new(200, "text/event-stream", WHOLE),
        Reply::new(200, "text/plain", format!("\n  {WHOLE}")),
        Reply::json(gzip(WHOLE)).with_header("content-encoding", "gzip"),
    ];
    for reply in replies {
        for result in both(reply.clone()).await {
            is_right(&result.unwrap_or_else(|e| panic!("{:?} {e:?}", reply.headers)));
        }
    }
}

#[tokio::test]
async fn a_reply_cut_anywhere_is_never_a_short_answer() {
    let text = chunks();
    let end_of_answer = text.find("data: {\"choices\":[{\"index\":0,\"delta\":{},").unwrap();
    // In the midst of a character, of JSON, between events; with and without a proper end of the body.
    let inside = text.find('ü').unwrap() + 1;
    for at in [inside, 20, text.find("\n\n").unwrap() + 2, end_of_answer] {
        let part = text.as_bytes()[..at].to_vec();
        for reply in [Reply::sse(part.clone()), Reply::sse(part.clone()).then(Step::Cut)] {
            for result in both(reply).await {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable, "cut at {at}");
            }
        }
    }
    for at in [1, 30, WHOLE.len() - 1] {
        for reply in
            [Reply::json(&WHOLE.as_bytes()[..at]), Reply::json(&WHOLE.as_bytes()[..at]).then(Step::Cut)]
        {
            for result in both(reply).await {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable, "cut at {at}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_typed_error() {
    let error = r#"{"error":{"message":"busy","type":"server_error"}}"#;
    let cases = [
        (Reply::new(200, "text/html", "<html>Sign in</html>"), ErrorKind::InvalidOutput),
        (Reply::sse("<html>Sign in</html>"), ErrorKind::InvalidOutput),
        (Reply::json(""), ErrorKind::Unavailable),
        (Reply::sse(""), ErrorKind::Unavailable),
        (Reply::sse("data: [DONE]\n\n"), ErrorKind::Unavailable),
        (Reply::sse("data: {\"choices\": [}\n\n"), ErrorKind::InvalidOutput),
        (Reply::json("{\"choices\": [}"), ErrorKind::InvalidOutput),
        (Reply::json(error), ErrorKind::Unavailable),
        (Reply::sse(format!("data: {error}\n\n")), ErrorKind::Unavailable),
        (
            Reply::sse(format!(
                ": keep-alive\n\n{}",
                chunks().replacen(
                    "data: {\"choices\":[]",
                    &format!("data: {error}\n\ndata: {{\"choices\":[]"),
                    1
                )
            )),
            ErrorKind::Unavailable,
        ),
        (
            Reply::new(
                400,
                "application/json",
                r#"{"error":{"message":"long","code":"context_length_exceeded"}}"#,
            ),
            ErrorKind::ContextTooLong,
        ),
        (
            Reply::new(429, "application/json", r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#),
            ErrorKind::QuotaExceeded,
        ),
        (Reply::new(503, "text/html", "<html>down</html>"), ErrorKind::Unavailable),
        (
            Reply::new(404, "application/json", r#"{"error":{"message":"no such model"}}"#),
            ErrorKind::NotFound,
        ),
    ];
    for (reply, kind) in cases {
        for result in both(reply.clone()).await {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), kind, "{reply:?}: {error:?}");
            assert_eq!(error.vendor(), Some("openai-compatible"), "{error:?}");
            assert!(!format!("{error:?}").contains(KEY));
        }
    }
}

#[tokio::test]
async fn mere_words_are_no_reply() {
    let [whole, streamed] = both(Reply::json("just words")).await;
    assert_eq!(whole.unwrap_err().kind(), ErrorKind::InvalidOutput);
    // As a stream, it is a line that means nothing, and then an end that comes too early.
    assert_eq!(streamed.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn retry_after_reaches_the_caller() {
    let reply = Reply::new(429, "application/json", r#"{"error":{"message":"slow"}}"#)
        .with_header("retry-after", "3");
    for result in both(reply.with_header("x-request-id", "req_9")).await {
        let error = result.unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::RateLimited, Some(Duration::from_secs(3)))
        );
        assert_eq!(error.request_id(), Some("req_9"));
    }
}

#[tokio::test]
async fn an_error_after_half_the_text_comes_after_that_text() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\ndata: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n";
    let server = Server::always(Reply::sse(text)).await;
    let events: Vec<_> = model(&server).stream(&ask()).await.unwrap().collect().await;
    assert!(matches!(&events[1], Ok(ChatEvent::Delta { text, .. }) if text == "half"));
    assert_eq!(events[2].as_ref().unwrap_err().status(), Some(503));
    assert_eq!(events.len(), 3, "nothing comes after an error");
}

#[tokio::test]
async fn silence_deadline_and_cancel_end_a_stream() {
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n";
    let server = Server::always(Reply::sse(half).then(Step::Stall)).await;
    let impatient =
        HttpClient::with_options(HttpOptions::new().with_idle_timeout(Duration::from_millis(200)));
    let impatient = model(&server).with_client(impatient);
    assert_eq!(fold(&impatient, &ask()).await.unwrap_err().kind(), ErrorKind::Timeout);
    let model = model(&server);
    let deadline = Context::new().with_deadline(Instant::now() + Duration::from_millis(80));
    assert_eq!(fold(&model, &ask().with_context(deadline)).await.unwrap_err().kind(), ErrorKind::Timeout);
    let cancel = Cancel::new();
    let mut stream =
        model.stream(&ask().with_context(Context::new().with_cancel(cancel.clone()))).await.unwrap();
    stream.next().await.unwrap().unwrap();
    stream.next().await.unwrap().unwrap();
    cancel.cancel();
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    server.wait_all_gone().await;
    let stream = model.stream(&ask()).await.unwrap();
    drop(stream);
    server.wait_all_gone().await;
}

#[tokio::test]
async fn done_ends_the_stream_without_waiting_for_the_end_of_the_body() {
    let server = Server::always(Reply::sse(chunks()).then(Step::Stall)).await;
    is_right(&fold(&model(&server), &ask()).await.unwrap());
    server.wait_gone(1).await;
}

#[tokio::test]
async fn a_finished_stream_leaves_its_connection_for_the_next() {
    let server = Server::always(Reply::sse(chunks())).await;
    let model = model(&server);
    for _ in 0..6 {
        is_right(&fold(&model, &ask()).await.unwrap());
    }
    assert_eq!(server.requests().len(), 6);
    let connections = server.connections.load(std::sync::atomic::Ordering::SeqCst);
    assert!(connections < 6, "{connections} connections for 6 calls");
}

#[tokio::test]
async fn the_request_is_what_it_should_be() {
    let server = Server::always(Reply::json(WHOLE)).await;
    let model = model(&server);
    model.generate(&ask().with_max_tokens(5)).await.unwrap();
    fold(&model, &ask()).await.unwrap();
    let seen = server.requests();
    assert_eq!(seen[0].path, "/v1/chat/completions");
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(
        seen[0].json(),
        json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5})
    );
    assert_eq!(seen[1].json()["stream_options"], json!({"include_usage": true}));
    assert_eq!(seen[1].headers["accept"], "text/event-stream");
    // Without a key no header is sent.
    let local = OpenAiChat::compatible("m", &server.url).unwrap();
    local.generate(&ask()).await.unwrap();
    assert!(!server.requests()[2].headers.contains_key("authorization"));
    assert_eq!(server.requests()[2].path, "/chat/completions");
}

#[test]
fn without_a_runtime_it_is_an_error_and_no_panic() {
    let model = OpenAiChat::compatible("m", "http://127.0.0.1:9").unwrap();
    let request = ask();
    for error in [
        futures_util::FutureExt::now_or_never(model.generate(&request)).expect("at once").unwrap_err(),
        futures_util::FutureExt::now_or_never(model.stream(&request)).expect("at once").err().unwrap(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
