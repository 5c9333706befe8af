//! The client against a server that misbehaves.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt as _;
use katena_core::{Cancel, Context, ErrorKind};
use katena_http::{Endpoint, HttpClient, HttpOptions, HttpRequest, Secret, Shape};
use serde_json::{Value, json};
use support::{Reply, Server, Step};

const KEY: &str = "sk-very-secret-123456";

fn request(server: &Server) -> HttpRequest {
    let endpoint = Endpoint::new(format!("{}/v1/", server.url))
        .unwrap()
        .with_bearer(Secret::new(KEY))
        .with_vendor("acme");
    HttpRequest::post(&endpoint, "chat/completions").unwrap().with_json(&json!({"a": 1})).unwrap()
}

fn idle(millis: u64) -> HttpClient {
    HttpClient::with_options(HttpOptions::new().with_idle_timeout(Duration::from_millis(millis)))
}

#[tokio::test]
async fn sends_what_it_should_and_reads_json() {
    let server = Server::always(Reply::json(r#"{"ok": true}"#).with_header("x-request-id", "req_1")).await;
    let reply = HttpClient::new().send(request(&server)).await.unwrap();
    assert_eq!(reply.json::<Value>().unwrap(), json!({"ok": true}));
    assert_eq!((reply.status(), reply.request_id()), (200, Some("req_1")));
    let seen = &server.requests()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(seen.headers["content-type"], "application/json");
    assert_eq!(seen.body, br#"{"a":1}"#);
}

#[tokio::test]
async fn an_error_reply_keeps_what_the_server_said_but_never_the_key() {
    let body = json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "type": "auth", "code": "invalid_api_key"}});
    let server = Server::always(
        Reply::new(401, "application/json", body.to_string()).with_header("x-request-id", "req_7"),
    )
    .await;
    let error = HttpClient::new().send(request(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(
        (error.status(), error.vendor(), error.request_id()),
        (Some(401), Some("acme"), Some("req_7"))
    );
    assert_eq!(error.context("code"), Some("invalid_api_key"));
    assert!(error.message().starts_with("Incorrect API key provided"));
    assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
    assert!(!format!("{:?}", request(&server)).contains(KEY));
}

#[tokio::test]
async fn retry_after_and_should_retry_are_kept() {
    let limited = Reply::new(429, "application/json", r#"{"error":{"message":"slow"}}"#);
    let server = Server::always(limited.clone().with_header("retry-after", "7")).await;
    let error = HttpClient::new().send(request(&server)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(7))));
    assert!(error.is_temporary());

    let server = Server::always(
        limited
            .clone()
            .with_header("retry-after-ms", "250")
            .with_header("retry-after", "7")
            .with_header("x-should-retry", "false"),
    )
    .await;
    let error = HttpClient::new().open(request(&server)).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_millis(250)));
    assert!(!error.is_temporary());

    let date = SystemTime::now() + Duration::from_secs(3600);
    let server = Server::always(limited.with_header("retry-after", &httpdate_of(date))).await;
    let wait = HttpClient::new().send(request(&server)).await.unwrap_err().retry_after().unwrap();
    assert!(wait > Duration::from_secs(3000) && wait <= Duration::from_secs(3600), "{wait:?}");
}

fn httpdate_of(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

#[tokio::test]
async fn pages_and_broken_bodies_are_typed_errors() {
    let cases = [
        (Reply::new(200, "text/html", "<html><h1>Sign in</h1>"), ErrorKind::InvalidOutput, "HTML"),
        (Reply::json("<!doctype html>"), ErrorKind::InvalidOutput, "HTML"),
        (Reply::json(""), ErrorKind::Unavailable, "empty"),
        (Reply::json("  \n"), ErrorKind::Unavailable, "empty"),
        (Reply::json(r#"{"a": [1, "#), ErrorKind::Unavailable, "cut off"),
        (Reply::json(r#"{"a": }"#), ErrorKind::InvalidOutput, "understood"),
        (Reply::json(r#"{"a":"#).then(Step::Cut), ErrorKind::Unavailable, "broke"),
        (
            Reply::new(200, "application/json", "rubbish").with_header("content-encoding", "gzip"),
            ErrorKind::InvalidOutput,
            "compressed",
        ),
        (Reply::new(502, "text/html", "<html>Bad gateway</html>"), ErrorKind::Unavailable, "status 502"),
    ];
    for (reply, kind, says) in cases {
        let server = Server::always(reply.clone()).await;
        let result = HttpClient::new().send(request(&server)).await.and_then(|r| r.json::<Value>());
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{reply:?}: {error:?}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("<html"), "{error}");
    }
}

#[tokio::test]
async fn gzip_is_unpacked_and_limited() {
    let pack = |text: &[u8]| {
        let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        z.write_all(text).unwrap();
        z.finish().unwrap()
    };
    let server =
        Server::always(Reply::json(pack(br#"{"ok":1}"#)).with_header("content-encoding", "gzip")).await;
    let reply = HttpClient::new().send(request(&server)).await.unwrap();
    assert_eq!(reply.json::<Value>().unwrap(), json!({"ok": 1}));
    assert!(server.requests()[0].headers["accept-encoding"].contains("gzip"));

    let bomb = pack(&vec![b' '; 20 << 20]);
    assert!(bomb.len() < 100_000);
    let server = Server::always(Reply::json(bomb).with_header("content-encoding", "gzip")).await;
    let client = HttpClient::with_options(HttpOptions::new().with_max_body(1 << 20));
    assert_eq!(client.send(request(&server)).await.unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::always(
        Reply::new(307, "text/plain", "").with_header("location", "http://127.0.0.1:1/x?key=s"),
    )
    .await;
    let error = HttpClient::new().send(request(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.context("location"), Some("http://127.0.0.1:1/x"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn silence_ends_a_stream() {
    let server = Server::always(Reply::sse("data: x\n\n").then(Step::Stall)).await;
    let mut events = idle(200).open(request(&server)).await.unwrap().into_sse();
    assert!(events.next().await.unwrap().is_ok());
    assert_eq!(events.next().await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    assert!(events.next().await.is_none());
    server.wait_gone(1).await;
}

#[tokio::test]
async fn a_cut_stream_is_unavailable() {
    let server =
        Server::always(Reply::sse("data: x\n\ndata: é".as_bytes()[..15].to_vec()).then(Step::Cut)).await;
    let events: Vec<_> = HttpClient::new().open(request(&server)).await.unwrap().into_sse().collect().await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn deadline_and_cancel_are_kept() {
    let server = Server::always(Reply::sse("data: x\n\n").then(Step::Stall)).await;
    let until = |ms| Context::new().with_deadline(Instant::now() + Duration::from_millis(ms));
    let client = HttpClient::new();
    // Before the call: nothing is asked.
    assert_eq!(
        client.send(request(&server).with_context(until(0))).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    let cancel = Cancel::new();
    cancel.cancel();
    let cancelled = Context::new().with_cancel(cancel);
    assert_eq!(
        client.open(request(&server).with_context(cancelled)).await.unwrap_err().kind(),
        ErrorKind::Cancelled
    );
    assert_eq!(server.requests().len(), 0);
    // While a whole reply is read, and in the midst of a stream.
    assert_eq!(
        client.send(request(&server).with_context(until(100))).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    let mut stream = client.open(request(&server).with_context(until(60_000))).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    // Nothing more comes: a clock that stands goes on to the next timer, which is the deadline.
    tokio::time::pause();
    let error = stream.next().await.unwrap().unwrap_err();
    tokio::time::resume();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("deadline"), "{error}");
    let cancel = Cancel::new();
    let mut stream =
        client.open(request(&server).with_context(Context::new().with_cancel(cancel.clone()))).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let waiting = tokio::spawn(async move { stream.next().await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    cancel.cancel();
    assert_eq!(waiting.await.unwrap().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    server.wait_all_gone().await;
}

#[tokio::test]
async fn the_total_timeout_bounds_a_whole_reply() {
    let server = Server::always(Reply::json("{").then(Step::Stall)).await;
    let client = HttpClient::with_options(HttpOptions::new().with_timeout(Duration::from_millis(100)));
    let error = client.send(request(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_temporary());
}

#[tokio::test]
async fn dropping_a_stream_closes_its_connection_and_others_are_reused() {
    let server = Server::always(Reply::sse("data: x\n\n").then(Step::Stall)).await;
    let client = HttpClient::new();
    for n in 1..=20 {
        let mut stream = client.open(request(&server)).await.unwrap();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        server.wait_gone(n).await;
    }
    let server = Server::always(Reply::json("{}")).await;
    for _ in 0..5 {
        client.send(request(&server)).await.unwrap();
    }
    assert!(server.connections.load(Ordering::SeqCst) < 5, "connections are used again");
}

#[tokio::test]
async fn a_connection_that_the_server_may_be_closing_is_not_used_again() {
    let server = Server::always(Reply::json("{}")).await;
    let client = HttpClient::new();
    let connections = || server.connections.load(Ordering::SeqCst);
    client.send(request(&server)).await.unwrap();
    // The connection comes back a little after the reply.
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.send(request(&server)).await.unwrap();
    assert_eq!(connections(), 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(4500)).await;
    tokio::time::resume();
    client.send(request(&server)).await.unwrap();
    assert_eq!(connections(), 2);
}

#[tokio::test]
async fn the_shape_is_seen_without_taking_anything() {
    for (body, shape) in [
        (" \n{}", Shape::Json),
        ("data: x\n\n", Shape::Other),
        ("\u{feff}{", Shape::Json),
        ("<p>", Shape::Html),
        ("", Shape::Empty),
    ] {
        let server = Server::always(Reply::sse(body).in_pieces(1)).await;
        let mut stream = HttpClient::new().open(request(&server)).await.unwrap();
        assert_eq!(stream.shape().await.unwrap(), shape, "{body:?}");
        assert_eq!(stream.read(100).await.unwrap().body, body.as_bytes());
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let endpoint = Endpoint::new("http://127.0.0.1:9").unwrap();
    let error = HttpClient::new().send(HttpRequest::get(&endpoint, "x").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.context("url"), Some("http://127.0.0.1:9/x"));
}

#[test]
fn without_a_runtime_it_is_an_error_and_no_panic() {
    let endpoint = Endpoint::new("http://127.0.0.1:9").unwrap();
    let client = HttpClient::new();
    let future = client.send(HttpRequest::get(&endpoint, "x").unwrap());
    let error = futures_util::FutureExt::now_or_never(future).expect("at once").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_said_without_its_value() {
    let endpoint = Endpoint::new("http://127.0.0.1:9").unwrap().with_bearer(Secret::new("line\nbreak"));
    let error = HttpClient::new().send(HttpRequest::get(&endpoint, "x").unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.context("header")), (ErrorKind::Config, Some("authorization")));
    assert!(!format!("{error:?}").contains("break"));
}
