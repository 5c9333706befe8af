//! What embedders and rerankers do when servers misbehave, and how batches go out.

#![cfg(all(feature = "openai", feature = "vertex", feature = "tei", feature = "cohere"))]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod doubles;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use doubles::support::{Reply, Seen, Server, Step};
use doubles::{DIMENSIONS, base64, indexed, rerank, vector, vertex};
use katena_core::{
    Cancel, Context, Document, EmbedRequest, Embedder as _, Error, ErrorKind, RerankRequest, Reranker as _,
    Result, Source,
};
use katena_embeddings::{
    BatchLimits, CohereReranker, EmbedModel, OpenAiEmbedder, TeiReranker, VertexEmbedder,
};
use katena_http::{Secret, TokenSource};
use serde_json::json;

const KEY: &str = "sk-very-hidden-0123";

fn embedder(server: &Server) -> OpenAiEmbedder {
    OpenAiEmbedder::compatible(EmbedModel::new("m", DIMENSIONS), &server.url).unwrap().with_api_key(KEY)
}

async fn answered(reply: Reply) -> Error {
    let server = Server::always(reply).await;
    embedder(&server).embed(&EmbedRequest::documents(["one", "two"])).await.unwrap_err()
}

fn data(items: &[serde_json::Value]) -> Reply {
    Reply::json(json!({ "data": items }).to_string())
}

fn item(index: u64, vector: impl Into<serde_json::Value>) -> serde_json::Value {
    json!({ "index": index, "embedding": vector.into() })
}

#[tokio::test]
async fn bad_replies_are_typed() {
    let good = vector("one", DIMENSIONS);
    let mut nan = good.clone();
    nan[3] = f32::NAN;
    let two = |second: serde_json::Value| data(&[item(0, good.clone()), item(1, second)]);
    let error = r#"{"error":{"message":"slow down sk-very-hidden-0123","type":"tokens","code":"rate_limit_exceeded"}}"#;
    let cases = [
        (Reply::new(429, "application/json", error).with_header("retry-after", "3"), ErrorKind::RateLimited),
        (Reply::new(500, "text/plain", "boom"), ErrorKind::Unavailable),
        (Reply::new(401, "application/json", error), ErrorKind::RateLimited),
        (
            Reply::json(r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#),
            ErrorKind::RateLimited,
        ),
        (Reply::new(200, "text/html", "<html>login</html>"), ErrorKind::InvalidOutput),
        (Reply::json(""), ErrorKind::Unavailable),
        (Reply::json(r#"{"data": [{"embedding": [0.1, "#), ErrorKind::Unavailable),
        (Reply::json(r#"{"data": [{"embedding": [NaN]}]}"#), ErrorKind::InvalidOutput),
        (Reply::json("{}"), ErrorKind::InvalidOutput),
        (Reply::json("[]"), ErrorKind::InvalidOutput),
        (Reply::json("{\"data\": []").then(Step::Cut), ErrorKind::Unavailable),
        (data(&[item(0, good.clone())]), ErrorKind::InvalidOutput),
        (
            data(&[item(0, good.clone()), item(1, good.clone()), item(2, good.clone())]),
            ErrorKind::InvalidOutput,
        ),
        (data(&[item(0, good.clone()), item(0, good.clone())]), ErrorKind::InvalidOutput),
        (two(json!(good[1..])), ErrorKind::InvalidOutput),
        (two(json!([])), ErrorKind::InvalidOutput),
        (two(json!(vec![0.0; DIMENSIONS])), ErrorKind::InvalidOutput),
        (two(json!(base64(&nan))), ErrorKind::InvalidOutput),
        (two(json!("no base64!")), ErrorKind::InvalidOutput),
        (two(json!(null)), ErrorKind::InvalidOutput),
    ];
    for (n, (reply, kind)) in cases.into_iter().enumerate() {
        let status = reply.status;
        let error = answered(reply).await;
        let expected = if n == 2 { ErrorKind::Unauthenticated } else { kind };
        assert_eq!(error.kind(), expected, "case {n}: {error:?}");
        assert_eq!(error.vendor(), Some("openai-compatible"), "case {n}");
        assert!(!format!("{error:?} {error}").contains("hidden"), "case {n}: {error:?}");
        if status != 200 {
            assert_eq!(error.status(), Some(status), "case {n}");
        }
        if n == 0 {
            assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        }
    }
}

#[tokio::test]
async fn shuffled_vectors_and_both_forms_are_put_right() {
    let (one, two) = (vector("one", DIMENSIONS), vector("two words", DIMENSIONS));
    let server = Server::always(data(&[item(1, base64(&two)), item(0, one.clone())])).await;
    let got = embedder(&server).embed(&EmbedRequest::documents(["one", "two words"])).await.unwrap();
    for (got, want) in got.vectors.iter().zip([one, two]) {
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}

#[tokio::test]
async fn lengths_are_made_one_or_left() {
    let long: Vec<f32> = vector("a b c", DIMENSIONS).iter().map(|x| x * 7.0).collect();
    let server = Server::always(data(&[item(0, long.clone())])).await;
    let request = EmbedRequest::documents(["a b c"]);
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let unit = embedder(&server).embed(&request).await.unwrap().vectors.remove(0);
    assert!((length(&unit) - 1.0).abs() < 1e-5);
    let raw = embedder(&server).with_raw_vectors();
    assert!(!raw.info().normalized);
    assert_eq!(raw.embed(&request).await.unwrap().vectors[0], long);
}

/// Answers the first batch last.
#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_limits_and_order() {
    let server = Server::start(|seen: &Seen| {
        let first = seen.json()["input"][0] == "text 0";
        let mut reply = indexed(seen);
        if first {
            reply.steps.insert(0, Step::Wait(Duration::from_millis(150)));
        }
        reply
    })
    .await;
    let texts: Vec<String> = (0..25).map(|n| format!("text {n}")).collect();
    let made = embedder(&server).with_batch_limits(BatchLimits::new(10).with_bytes(50)).with_concurrency(3);
    let got = made.embed(&EmbedRequest::documents(texts.clone())).await.unwrap();
    for (vector, text) in got.vectors.iter().zip(&texts) {
        let want = doubles::vector(text, DIMENSIONS);
        assert!(vector.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6), "{text}");
    }
    let bytes: usize = texts.iter().map(String::len).sum();
    assert_eq!(got.usage.input_tokens, Some(bytes as u64), "usage is summed");
    let sizes: Vec<Vec<serde_json::Value>> =
        server.requests().iter().map(|r| r.json()["input"].as_array().unwrap().clone()).collect();
    assert_eq!(sizes.iter().map(Vec::len).sum::<usize>(), 25);
    for batch in &sizes {
        assert!(batch.len() <= 10 && batch.iter().map(|t| t.as_str().unwrap().len()).sum::<usize>() <= 50);
    }
}

#[tokio::test]
async fn never_more_calls_at_once_than_allowed() {
    let server = Server::always(Reply::json("{").then(Step::Stall)).await;
    let made = embedder(&server).with_batch_limits(BatchLimits::new(1)).with_concurrency(3);
    let call =
        tokio::spawn(async move { made.embed(&EmbedRequest::documents(["a", "b", "c", "d", "e"])).await });
    while server.requests().len() < 3 {
        tokio::task::yield_now().await;
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.requests().len(), 3);
    call.abort();
    // Dropping the call closes its connections.
    server.wait_gone(3).await;
}

#[tokio::test]
async fn one_failing_batch_fails_the_call() {
    let server = Server::start(|seen: &Seen| {
        if seen.json()["input"][0] == "text 2" {
            Reply::new(503, "text/plain", "busy")
        } else {
            indexed(seen)
        }
    })
    .await;
    let texts: Vec<String> = (0..4).map(|n| format!("text {n}")).collect();
    let made = embedder(&server).with_batch_limits(BatchLimits::new(1));
    let error = made.embed(&EmbedRequest::documents(texts)).await.unwrap_err();
    assert_eq!((error.kind(), error.context("texts")), (ErrorKind::Unavailable, Some("2..3")));
}

#[tokio::test]
async fn a_sum_with_an_unknown_part_is_unknown() {
    let server = Server::start(|seen: &Seen| {
        if seen.json()["input"][0] == "b" { data(&[item(0, vector("b", DIMENSIONS))]) } else { indexed(seen) }
    })
    .await;
    let made = embedder(&server).with_batch_limits(BatchLimits::new(1));
    assert_eq!(made.embed(&EmbedRequest::documents(["a", "b"])).await.unwrap().usage.input_tokens, None);
    assert_eq!(made.embed(&EmbedRequest::documents(["a", "c"])).await.unwrap().usage.input_tokens, Some(2));
}

#[tokio::test]
async fn blank_texts_are_refused_before_anything_is_sent() {
    let server = Server::start(indexed).await;
    for blank in ["", " \n\t"] {
        let error = embedder(&server).embed(&EmbedRequest::documents(["a", blank])).await.unwrap_err();
        assert_eq!((error.kind(), error.context("text")), (ErrorKind::InvalidInput, Some("1")));
    }
    assert!(embedder(&server).embed(&EmbedRequest::default()).await.unwrap().vectors.is_empty());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn cancel_and_deadline_end_a_running_call() {
    let stall = Reply::json("{").then(Step::Stall);
    let server = Server::always(stall).await;
    let cancel = Cancel::new();
    let context = Context::new().with_cancel(cancel.clone());
    let made = embedder(&server);
    let request = EmbedRequest::documents(["a"]).with_context(context);
    let call = tokio::spawn(async move { made.embed(&request).await });
    while server.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    server.wait_gone(1).await;
    let soon = Context::new().with_deadline(Instant::now() + Duration::from_millis(100));
    let error =
        embedder(&server).embed(&EmbedRequest::documents(["a"]).with_context(soon)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn dimensions_are_measured_and_checked() {
    let server = Server::start(indexed).await;
    let made = OpenAiEmbedder::compatible(EmbedModel::unmeasured("m"), &server.url).unwrap();
    let error = made.embed(&EmbedRequest::documents(["a"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let made = made.connect(&Context::new()).await.unwrap();
    assert_eq!(made.info().dimensions, DIMENSIONS);
    assert_eq!(made.info().model, format!("openai-compatible/m?dimensions={DIMENSIONS}"));
    let wrong = OpenAiEmbedder::compatible(EmbedModel::new("m", 7), &server.url).unwrap();
    let error = wrong.connect(&Context::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.context("got")), (ErrorKind::InvalidOutput, Some("48")));
}

/// A source of tokens that counts.
#[derive(Debug, Default)]
struct Tokens(AtomicUsize);

#[async_trait::async_trait]
impl TokenSource for Tokens {
    async fn token(&self) -> Result<Secret> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            2 => Err(Error::new(ErrorKind::Unauthenticated, "no more tokens")),
            n => Ok(Secret::new(format!("token-{n}"))),
        }
    }
}

#[tokio::test]
async fn each_call_gets_a_token_of_its_own() {
    let server = Server::start(vertex).await;
    let made = VertexEmbedder::new(EmbedModel::new("m", DIMENSIONS), "p", "l", Arc::new(Tokens::default()))
        .unwrap()
        .with_base_url(&server.url)
        .unwrap();
    for _ in 0..2 {
        made.embed(&EmbedRequest::query("a")).await.unwrap();
    }
    let error = made.embed(&EmbedRequest::query("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.vendor()), (ErrorKind::Unauthenticated, Some("vertex")));
    let sent: Vec<String> = server.requests().iter().map(|r| r.headers["authorization"].clone()).collect();
    assert_eq!(sent, ["Bearer token-0", "Bearer token-1"]);
}

fn documents(texts: &[&str]) -> Vec<Document> {
    let make = |(n, text): (usize, &&str)| Document::new(*text, Source::new("a.txt")).with_id(n.to_string());
    texts.iter().enumerate().map(make).collect()
}

fn ids(ranked: &[katena_core::Scored<Document>]) -> Vec<&str> {
    ranked.iter().map(|r| r.item.id.as_str()).collect()
}

#[tokio::test]
async fn rankings_are_joined_over_batches() {
    let server = Server::start(rerank).await;
    let made = TeiReranker::new(&server.url).unwrap().with_batch_limits(BatchLimits::new(2));
    let texts = ["none", "the last ferry", "", "ferry", "other", "last ferry"];
    let request = RerankRequest::new("the last ferry", documents(&texts));
    let ranked = made.rerank(request.clone()).await.unwrap();
    assert_eq!(ids(&ranked), ["1", "5", "3", "0", "4", "2"]);
    assert_eq!(ids(&made.rerank(request.clone().with_top_k(2)).await.unwrap()), ["1", "5"]);
    let before = server.requests().len();
    assert!(made.rerank(request.with_top_k(0)).await.unwrap().is_empty());
    assert_eq!(server.requests().len(), before, "nothing is asked for nothing");
    assert!(server.requests().iter().all(|r| r.json()["texts"].as_array().unwrap().len() <= 2));
}

#[tokio::test]
async fn bad_rankings_are_typed() {
    let cases = [
        (r#"{"results": [{"index": 0, "relevance_score": 1}]}"#, 200, ErrorKind::InvalidOutput),
        (
            r#"{"results": [{"index": 0, "relevance_score": 1}, {"index": 5, "relevance_score": 1}]}"#,
            200,
            ErrorKind::InvalidOutput,
        ),
        (
            r#"{"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1}]}"#,
            200,
            ErrorKind::InvalidOutput,
        ),
        (r#"{"results": [{"index": 0}]}"#, 200, ErrorKind::InvalidOutput),
        ("<html>", 200, ErrorKind::InvalidOutput),
        ("", 200, ErrorKind::Unavailable),
        (r#"{"message": "invalid api token sk-very-hidden-0123"}"#, 401, ErrorKind::Unauthenticated),
        (r#"{"message": "slow"}"#, 429, ErrorKind::RateLimited),
    ];
    for (body, status, kind) in cases {
        let server = Server::always(Reply::new(status, "application/json", body)).await;
        let made = CohereReranker::new("rerank-v3.5", KEY).unwrap().with_base_url(&server.url).unwrap();
        let error = made.rerank(RerankRequest::new("q", documents(&["a", "b"]))).await.unwrap_err();
        assert_eq!((error.kind(), error.vendor()), (kind, Some("cohere")), "{body}: {error:?}");
        assert!(!format!("{error:?} {made:?}").contains("hidden"), "{error:?}");
    }
    let server = Server::always(Reply::json("{}")).await;
    let made = CohereReranker::new("m", KEY).unwrap().with_base_url(&server.url).unwrap();
    let error = made.rerank(RerankRequest::new(" ", documents(&["a"]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let context = Context::new();
    context.cancel.cancel();
    let cancelled = RerankRequest::new("q", documents(&["a"])).with_context(context);
    assert_eq!(made.rerank(cancelled).await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(server.requests().is_empty());
}
