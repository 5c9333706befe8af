//! Every client against servers that mean no good: what they repeat, where they redirect, how much they send.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod hostile_support;

use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use hostile_support::double::{Reply, Server};
use hostile_support::flood::Flood;
use hostile_support::{Client, Frames, KEY, SIGNING, START, clients, ear, told};
use katena_core::ErrorKind;
use katena_http::{HttpClient, HttpOptions, Proxy};
use katena_layers::Record;
use serde_json::json;

fn json_of(status: u16, body: &serde_json::Value) -> Reply {
    Reply::new(status, "application/json", body.to_string())
}

/// A frame of AWS's event stream that says an exception.
fn exception(payload: &str) -> Vec<u8> {
    let sum = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_be_bytes()
    };
    let mut headers = Vec::new();
    for (name, value) in [(":exception-type", "accessDeniedException"), (":message-type", "exception")] {
        headers.push(u8::try_from(name.len()).unwrap());
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let mut frame = u32::try_from(16 + headers.len() + payload.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&sum(&frame));
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload.as_bytes());
    frame.extend_from_slice(&sum(&frame));
    frame
}

/// A stream with the key in its error.
fn broken_stream(frames: Frames) -> Reply {
    let error = json!({"type": "error", "message": format!("bad {KEY}"),
        "error": {"type": "authentication_error", "code": KEY, "message": format!("bad key {KEY}: {KEY}")}});
    match frames {
        Frames::Lines => {
            Reply::new(200, "application/x-ndjson", format!("{}\n", json!({"error": format!("bad {KEY}")})))
        }
        Frames::Binary => Reply::new(
            200,
            "application/vnd.amazon.eventstream",
            exception(&json!({"message": format!("bad {KEY}"), "originalMessage": KEY}).to_string()),
        ),
        _ => Reply::sse(format!("event: error\ndata: {error}\n\n")),
    }
}

/// Replies that repeat the key where an error can pick it up.
fn repeating(frames: Frames) -> Vec<(&'static str, Reply)> {
    let said = format!("Incorrect API key provided: {KEY}.");
    let error = json!({"message": said, "type": format!("t {KEY}"), "code": KEY, "param": KEY});
    // Whatever field a client reads, it has the wrong type, which its reader complains about by repeating it.
    let names = [
        "data",
        "choices",
        "output",
        "embeddings",
        "embedding",
        "predictions",
        "results",
        "content",
        "candidates",
        "message",
        "model",
        "status",
        "usage",
        "stop_reason",
        "finish_reason",
        "stopReason",
    ];
    let wrong: serde_json::Map<_, _> = names.into_iter().map(|n| (n.to_owned(), json!(KEY))).collect();
    let long = "x".repeat(1990);
    let mut all = vec![
        ("401", json_of(401, &json!({"error": error}))),
        ("403 of another form", json_of(403, &json!({"detail": said, "__type": KEY}))),
        ("400 with a text", Reply::new(400, "text/plain", said.clone())),
        ("400 with a long text", json_of(400, &json!({"error": {"message": format!("{long}{KEY}")}}))),
        ("200 with an error", json_of(200, &json!({"error": error}))),
        ("200 with fields of the wrong type", json_of(200, &wrong.into())),
        ("200 with a list of texts", json_of(200, &json!([KEY]))),
        ("200 with a text", Reply::new(200, &format!("text/{KEY}"), said.clone())),
        ("200 with a page", Reply::new(200, &format!("text/html; {KEY}"), format!("<p>{KEY}"))),
        ("200 with broken JSON", Reply::json(format!("{{\"{KEY}\": \"{KEY}\", {KEY}"))),
        ("200 cut off", Reply::json(format!("{{\"{KEY}\": \"{KEY}"))),
        (
            "a redirect",
            Reply::new(307, "text/plain", said).with_header("location", &format!("http://h/{KEY}")),
        ),
    ];
    if frames != Frames::Whole {
        all.push(("a stream with an error", broken_stream(frames)));
    }
    all.into_iter()
        .map(|(name, reply)| (name, reply.with_header("x-request-id", &format!("req {KEY}"))))
        .collect()
}

fn clean(text: &str, client: &Client, case: &str) {
    let at = text.find(START);
    let around = at.map(|at| text.chars().skip(at.saturating_sub(150)).take(300).collect::<String>());
    assert!(at.is_none(), "{}, {case}: {}", client.name, around.unwrap_or_default());
}

#[tokio::test]
async fn secrets_are_nowhere() {
    assert!(KEY.starts_with(START) && SIGNING.starts_with(START));
    ear::listen();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cassette.jsonl");
    let record = Record::new(&file);
    let http = HttpClient::new();
    let names: Vec<(&str, Frames, serde_json::Value)> =
        clients("http://h", &http).into_iter().map(|c| (c.name, c.frames, c.good)).collect();
    assert!(names.len() > 35);
    for (n, (_, frames, good)) in names.iter().enumerate() {
        let mut cases = repeating(*frames);
        cases.push(("a good reply", json_of(200, good)));
        for (case, reply) in cases {
            let server = Server::always(reply).await;
            let client = clients(&server.url, &http).swap_remove(n);
            clean(&client.shown(), &client, "the component");
            let watched = client.watched(&record);
            clean(&watched.shown(), &client, "the layers");
            for result in [watched.ask().await, watched.ask_stream().await] {
                assert_eq!(result.is_ok(), case == "a good reply", "{}, {case}: {result:?}", client.name);
                clean(&result.unwrap_or_else(|error| told(&error)), &client, case);
            }
            let seen = server.requests();
            assert_eq!(seen.len(), 2, "{}, {case}", client.name);
            // What can be repeated was sent, in a header and nowhere else; what signs was not.
            for request in &seen {
                let sent = request.headers.values().any(|v| v.ends_with(KEY));
                assert!(sent, "{}: {:?}", client.name, request.headers);
                assert!(!format!("{:?}", request.headers).contains(SIGNING), "{}", client.name);
                clean(&request.path, &client, "the address");
                clean(&String::from_utf8_lossy(&request.body), &client, "the body");
            }
            clean(&ear::heard(), &client, "the logs");
        }
    }
    record.save().unwrap();
    let cassette = std::fs::read_to_string(&file).unwrap();
    assert!(cassette.lines().count() > names.len(), "the cassette has the calls");
    assert!(cassette.contains("***") && !cassette.contains(START), "the cassette shows a secret");
    let heard = ear::heard();
    assert!(heard.contains("span ") && heard.contains("unauthenticated"), "the calls were logged");
    assert!(!heard.contains(START) && !format!("{record:?}").contains(START));
}

#[tokio::test]
async fn a_slash_at_the_end_of_the_address_does_not_matter() {
    let server = Server::always(json_of(401, &json!({}))).await;
    let http = HttpClient::new();
    let url = &server.url;
    let bases = [url.clone(), format!("{url}/"), format!("{url}/a/b"), format!("{url}/a/b/")];
    for n in 0..clients(url, &http).len() {
        let mut paths = Vec::new();
        let mut name = "";
        for base in &bases {
            let client = clients(base, &http).swap_remove(n);
            name = client.name;
            client.ask().await.unwrap_err();
            paths.push(server.requests().last().unwrap().path.clone());
        }
        assert!(paths[0].len() > 1 && !paths[0].contains("//"), "{name}: {paths:?}");
        assert_eq!(paths[0], paths[1], "{name}");
        assert_eq!(paths[2], format!("/a/b{}", paths[0]), "{name}");
        assert_eq!(paths[2], paths[3], "{name}");
    }
}

#[tokio::test]
async fn a_redirect_takes_nothing_elsewhere() {
    let elsewhere = Server::always(json_of(200, &json!({}))).await;
    let http = HttpClient::new();
    for status in [301, 302, 303, 307, 308] {
        let reply = Reply::new(status, "text/plain", "there").with_header("location", &elsewhere.url);
        let server = Server::always(reply).await;
        for client in clients(&server.url, &http) {
            for result in [client.ask().await, client.ask_stream().await] {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config, "{}: {error}", client.name);
                assert_eq!(error.status(), Some(status), "{}", client.name);
                assert!(error.context("location").is_some(), "{}: {error}", client.name);
                assert!(!error.is_temporary(), "{}", client.name);
            }
        }
    }
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0, "somebody followed");
}

/// What lies in the sockets' buffers beyond the limit, with room to spare.
const ENOUGH: u64 = 48 << 20;

#[tokio::test]
async fn a_gibibyte_is_not_read() {
    const LIMIT: usize = 1 << 20;
    let http = HttpClient::with_options(HttpOptions::new().with_max_body(LIMIT));
    let piece = |text: &str| text.repeat((64 << 10) / text.len()).into_bytes();
    // A frame of Bedrock's that announces 20 MiB: its prelude has the right checksum.
    let mut frame = vec![1, 64, 0, 0, 0, 0, 0, 0];
    let mut crc = flate2::Crc::new();
    crc.update(&frame);
    frame.extend_from_slice(&crc.sum().to_be_bytes());
    let floods = [
        ("white space", 200, "application/json", b" ".to_vec(), piece(" \n")),
        ("a text without end", 200, "application/json", b"{\"a\": \"".to_vec(), piece("x")),
        ("an event without end", 200, "text/event-stream", b"data: x".to_vec(), piece("x")),
        (
            "an event of lines without end",
            200,
            "text/event-stream",
            b"data: x\n".to_vec(),
            piece("data: xy\n"),
        ),
        ("a line without end", 200, "application/x-ndjson", b"{\"a\": \"".to_vec(), piece("x")),
        ("a frame", 200, "application/vnd.amazon.eventstream", frame, piece("x")),
        ("comments", 200, "text/event-stream", b": x\n\n".to_vec(), piece(": keep-alive\n\n")),
        ("blank lines", 200, "application/x-ndjson", b"{\"message\": {}}\n".to_vec(), piece("\n")),
        ("an error", 500, "application/json", b"{\"error\": \"".to_vec(), piece("x")),
    ];
    for (case, status, kind, first, piece) in floods {
        for n in 0..clients("http://h", &http).len() {
            for streamed in [false, true] {
                let flood = Flood::start(status, kind, first.clone(), piece.clone()).await;
                let client = clients(&flood.url, &http).swap_remove(n);
                if streamed && client.frames == Frames::Whole {
                    continue;
                }
                let result = if streamed { client.ask_stream().await } else { client.ask().await };
                let error = result.unwrap_err();
                let kinds = [ErrorKind::InvalidOutput, ErrorKind::Unavailable];
                assert!(kinds.contains(&error.kind()), "{}, {case}: {error}", client.name);
                assert_eq!(status == 500, error.status() == Some(500), "{}, {case}: {error}", client.name);
                assert!(told(&error).len() < 10_000, "{}, {case}", client.name);
                let poured = flood.poured().await;
                assert!(poured < ENOUGH, "{}, {case}, streamed {streamed}: {poured} bytes", client.name);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_kept() {
    let x = "x".repeat(256 << 10);
    let data = |value: serde_json::Value| format!("data: {value}\n\n");
    let openai = || data(json!({"choices": [{"index": 0, "delta": {"content": x}}]}));
    let floods = [
        ("OpenAiChat", String::new(), openai()),
        ("MistralChat", String::new(), openai()),
        (
            "GeminiChat",
            String::new(),
            data(json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": x}]}}]})),
        ),
        (
            "AnthropicChat",
            data(
                json!({"type": "message_start", "message": {"id": "1", "role": "assistant", "content": []}}),
            ) + &data(json!({"type": "content_block_start", "index": 0,
                    "content_block": {"type": "text", "text": ""}})),
            data(json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": x}})),
        ),
        (
            "OpenAiResponses",
            data(json!({"type": "response.output_item.added", "output_index": 0,
                "item": {"type": "message", "id": "1", "role": "assistant", "content": []}})),
            data(json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0,
                "item_id": "1", "delta": x})),
        ),
        (
            "CohereChat",
            data(json!({"type": "content-start", "index": 0,
                "delta": {"message": {"content": {"type": "text", "text": ""}}}})),
            data(json!({"type": "content-delta", "index": 0,
                "delta": {"message": {"content": {"text": x}}}})),
        ),
        (
            "OllamaChat",
            String::new(),
            format!("{}\n", json!({"message": {"role": "assistant", "content": x}, "done": false})),
        ),
    ];
    let http = HttpClient::new();
    for (name, first, piece) in floods {
        let kind = if name == "OllamaChat" { "application/x-ndjson" } else { "text/event-stream" };
        let flood = Flood::start(200, kind, (first + &piece).into_bytes(), piece.into_bytes()).await;
        let client = clients(&flood.url, &http).into_iter().find(|c| c.name == name).unwrap();
        let error = client.ask_stream().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{name}: {error}");
        assert!(error.message().contains("limit"), "{name}: {error}");
        let poured = flood.poured().await;
        // All of the limit was taken, and not much more.
        assert!((64 << 20..192 << 20).contains(&poured), "{name}: {poured} bytes");
    }
}

#[tokio::test]
async fn what_grows_when_it_is_unpacked_is_stopped_too() {
    let pack = |text: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        for _ in 0..64 {
            gzip.write_all(text).unwrap();
        }
        gzip.finish().unwrap()
    };
    let http = HttpClient::with_options(HttpOptions::new().with_max_body(1 << 20));
    let filler = vec![b'x'; 1 << 20];
    for (kind, start) in [("application/json", "{\"a\": \""), ("text/event-stream", "data: ")] {
        let mut text = start.as_bytes().to_vec();
        text.extend_from_slice(&filler);
        let reply = Reply::new(200, kind, pack(&text)).with_header("content-encoding", "gzip");
        let server = Server::always(reply).await;
        for client in clients(&server.url, &http) {
            for result in [client.ask().await, client.ask_stream().await] {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{}: {error}", client.name);
            }
        }
    }
}

#[tokio::test]
async fn a_proxy_is_asked() {
    let proxy = Server::always(json_of(403, &json!({"error": {"message": "hidden-word"}}))).await;
    let address = proxy.url.replace("http://", "http://someone:hidden-word@");
    let options = HttpOptions::new().with_proxy(Proxy::Url(address.as_str().into()));
    let http = HttpClient::with_options(options.clone());
    assert!(!format!("{options:?} {http:?}").contains("hidden"));
    let basic = base64::prelude::BASE64_STANDARD.encode("someone:hidden-word");
    for client in clients("http://upstream.invalid/v9", &http) {
        let error = client.ask().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status()),
            (ErrorKind::PermissionDenied, Some(403)),
            "{}",
            client.name
        );
        assert!(!told(&error).contains("hidden"), "{}: {error:?}", client.name);
        let seen = proxy.requests().pop().unwrap();
        assert!(seen.path.starts_with("http://upstream.invalid/v9/"), "{}: {}", client.name, seen.path);
        assert_eq!(seen.headers["proxy-authorization"], format!("Basic {basic}"), "{}", client.name);
    }
    // A tunnel: the proxy learns the host and nothing else.
    for client in clients("https://upstream.invalid/v9", &http) {
        let error = client.ask().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}: {error:?}", client.name);
        assert!(!told(&error).contains("hidden"), "{}: {error:?}", client.name);
        let seen = proxy.requests().pop().unwrap();
        assert_eq!((&*seen.method, &*seen.path), ("CONNECT", "upstream.invalid:443"), "{}", client.name);
        assert!(!format!("{:?}", seen.headers).contains(START), "{}", client.name);
    }
    let wrong = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::Url("http://".into())));
    let error = clients("http://upstream.invalid", &wrong)[0].ask().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// Set where this test's own program is started again: the server to ask.
const ASK: &str = "KATENA_TEST_ASK";

#[tokio::test]
async fn the_environments_proxy_is_asked_if_that_is_set() {
    if let Ok(base) = std::env::var(ASK) {
        let from_env = HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv));
        for http in [from_env, HttpClient::new()] {
            for client in clients(&base, &http) {
                client.ask().await.unwrap_err();
            }
        }
        return;
    }
    let refuse = json_of(403, &json!({"error": {"message": "no"}}));
    let proxy = Server::always(refuse.clone()).await;
    let server = Server::always(refuse).await;
    let count = clients("http://h", &HttpClient::new()).len();
    let child = |no_proxy: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "the_environments_proxy_is_asked_if_that_is_set", "--nocapture"]);
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
            child.env_remove(name);
        }
        child.env("HTTP_PROXY", &proxy.url).env("NO_PROXY", no_proxy).env(ASK, &server.url);
        child
    };
    for (no_proxy, by_proxy, directly) in [("", count, count), ("127.0.0.1", count, 3 * count)] {
        let mut child = child(no_proxy);
        let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((proxy.requests().len(), server.requests().len()), (by_proxy, directly), "{no_proxy:?}");
    }
    assert!(proxy.requests().iter().all(|seen| seen.path.starts_with(&server.url)));
}
