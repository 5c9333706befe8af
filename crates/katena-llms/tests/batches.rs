//! Batches against doubles of the vendors' servers: scripted, with the shapes of their wires.

#![cfg(all(feature = "batches", feature = "openai", feature = "anthropic", feature = "gemini"))]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use katena_core::{
    BatchModel, BatchModelExt as _, BatchOrder, BatchState, BatchWait, ChatRequest, Clock, Error, ErrorKind,
    ManualClock, Message, Result,
};
use katena_llms::batches::{AnthropicBatch, GeminiBatch, OpenAiBatch};
use katena_llms::gemini::GeminiChat;
use katena_llms::{AnthropicChat, OpenAiChat};
use serde_json::{Value, json};
use support::{Reply, Seen, Server, Step};

const KEY: &str = "sk-very-secret-123456";

fn openai(server: &Server) -> OpenAiBatch {
    OpenAiBatch::new(OpenAiChat::new("gpt-x", KEY).with_base_url(format!("{}/v1", server.url)).unwrap())
}

fn anthropic(server: &Server) -> AnthropicBatch {
    AnthropicBatch::new(AnthropicChat::new("claude-x", KEY).with_base_url(&server.url).unwrap()).unwrap()
}

fn gemini(server: &Server) -> GeminiBatch {
    let chat = GeminiChat::new("gemini-x", KEY).with_base_url(format!("{}/v1beta", server.url)).unwrap();
    GeminiBatch::new(chat).unwrap()
}

fn all(server: &Server) -> [(Box<dyn BatchModel>, &'static str); 3] {
    [
        (Box::new(openai(server)), "batch_1"),
        (Box::new(anthropic(server)), "mb_1"),
        (Box::new(gemini(server)), "batches/g1"),
    ]
}

fn ask(text: &str) -> ChatRequest {
    ChatRequest::new([Message::user(text)]).with_max_tokens(9)
}

fn order() -> BatchOrder {
    BatchOrder::new().with_request("one", ask("1+1?")).with_request("two", ask("2+2?"))
}

/// The answer of each wire that says `text`.
fn chat_completion(text: &str) -> Value {
    json!({"id": "c", "model": "m", "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1}})
}

fn message(text: &str) -> Value {
    json!({"id": "m", "model": "m", "role": "assistant", "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1}})
}

fn candidate(text: &str) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}})
}

fn openai_batch(status: &str) -> Value {
    json!({"id": "batch_1", "object": "batch", "status": status, "output_file_id": null, "error_file_id": null,
        "request_counts": {"total": 2, "completed": 0, "failed": 0}})
}

fn anthropic_batch(status: &str, counts: Value) -> Value {
    json!({"id": "mb_1", "type": "message_batch", "processing_status": status, "request_counts": counts,
        "results_url": "https://elsewhere.example/results"})
}

fn gemini_batch(state: &str) -> Value {
    json!({"name": "batches/g1", "metadata": {"state": state, "batchStats": {"requestCount": "2",
        "pendingRequestCount": "2"}}})
}

fn lines(values: &[Value]) -> String {
    values.iter().flat_map(|v| [v.to_string(), "\n".to_owned()]).collect()
}

fn json_reply(value: &Value) -> Reply {
    Reply::json(value.to_string())
}

/// All results by name, errors by kind, and the items that were errors themselves.
async fn gather(
    model: &dyn BatchModel,
    id: &str,
) -> (BTreeMap<String, Result<String, ErrorKind>>, Vec<Error>) {
    let (mut by_name, mut broken) = (BTreeMap::new(), Vec::new());
    let mut results = model.results(id).await.unwrap();
    while let Some(item) = results.next().await {
        match item {
            Ok(result) => {
                let vendor = result
                    .response
                    .as_ref()
                    .map_or_else(|e| e.vendor().map(str::to_owned), |r| r.vendor.clone());
                assert_eq!(vendor, Some(model.info().vendor.clone()));
                let answer = result.response.map(|r| r.text()).map_err(|e| e.kind());
                assert!(by_name.insert(result.custom_id, answer).is_none());
            }
            Err(error) => broken.push(error),
        }
    }
    (by_name, broken)
}

#[tokio::test]
async fn openai_takes_a_file_and_gives_two() {
    let server = Server::start(|seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/v1/files") => Reply::json(r#"{"id":"file-in","object":"file","purpose":"batch"}"#),
        ("POST", "/v1/batches") => json_reply(&openai_batch("validating")),
        ("GET", "/v1/batches/batch_1") => {
            let mut batch = openai_batch("completed");
            batch["output_file_id"] = json!("file-out");
            batch["error_file_id"] = json!("file-err");
            batch["request_counts"] = json!({"total": 5, "completed": 2, "failed": 3});
            json_reply(&batch)
        }
        ("GET", "/v1/files/file-out/content") => {
            let ok = |id: &str, text: &str| {
                json!({"id": "r", "custom_id": id, "error": null,
                    "response": {"status_code": 200, "request_id": "req_1", "body": chat_completion(text)}})
            };
            // Out of order, with a line that is broken and one that does not say whose it is.
            let text = format!("{}{{\"custom_id\": \"lost\n{}", lines(&[ok("two", "4")]), lines(&[ok("one", "2"), json!({})]));
            Reply::new(200, "application/octet-stream", text.trim_end()).in_pieces(7)
        }
        ("GET", "/v1/files/file-err/content") => Reply::json(lines(&[
            json!({"custom_id": "bad", "response": {"status_code": 400, "request_id": "req_2",
                "body": {"error": {"message": "no such model", "type": "invalid_request_error"}}}, "error": null}),
            json!({"custom_id": "late", "response": null, "error": {"code": "batch_expired", "message": "expired"}}),
            json!({"custom_id": "gone", "response": null, "error": {"code": "batch_cancelled", "message": "x"}}),
            json!({"custom_id": "odd", "response": {"status_code": 200, "body": {"choices": []}}, "error": null}),
        ])),
        other => panic!("{other:?}"),
    })
    .await;
    let model = openai(&server);
    let batch = model.create(&order().with_extra("metadata", json!({"a": "b"}))).await.unwrap();
    assert_eq!(
        (batch.id.as_str(), &batch.state, batch.counts.waiting),
        ("batch_1", &BatchState::Waiting, Some(2))
    );
    let (by_name, broken) = gather(&model, "batch_1").await;
    assert_eq!((by_name["one"].clone(), by_name["two"].clone()), (Ok("2".into()), Ok("4".into())));
    assert_eq!(by_name["bad"], Err(ErrorKind::InvalidInput));
    assert_eq!(
        (by_name["late"].clone(), by_name["gone"].clone()),
        (Err(ErrorKind::Timeout), Err(ErrorKind::Cancelled))
    );
    assert_eq!(by_name["odd"], Err(ErrorKind::InvalidOutput));
    assert_eq!(broken.iter().map(Error::kind).collect::<Vec<_>>(), [ErrorKind::InvalidOutput; 2]);
    let seen = server.requests();
    let form = String::from_utf8(seen[0].body.clone()).unwrap();
    assert!(seen[0].headers["content-type"].starts_with("multipart/form-data; boundary="));
    assert!(form.contains("name=\"purpose\"\r\n\r\nbatch\r\n") && form.contains("application/jsonl"));
    let sent: Vec<Value> = form.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    assert_eq!(sent.len(), 2);
    assert_eq!((&sent[1]["custom_id"], &sent[1]["url"]), (&json!("two"), &json!("/v1/chat/completions")));
    assert_eq!((&sent[1]["body"]["model"], sent[1]["body"].get("stream")), (&json!("gpt-x"), None));
    assert_eq!(
        seen[1].json(),
        json!({"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h",
            "metadata": {"a": "b"}})
    );
    assert!(seen.iter().all(|s| s.headers["authorization"] == format!("Bearer {KEY}")));
}

#[tokio::test]
async fn anthropic_takes_a_list_and_gives_lines() {
    let server = Server::start(|seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/v1/messages/batches") => {
            let counts = json!({"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0});
            json_reply(&anthropic_batch("in_progress", counts))
        }
        ("GET", "/v1/messages/batches/mb_1") => {
            let counts = json!({"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 1});
            json_reply(&anthropic_batch("ended", counts))
        }
        ("POST", "/v1/messages/batches/mb_1/cancel") => json_reply(&anthropic_batch("canceling", json!({}))),
        ("GET", "/v1/messages/batches/mb_1/results") => {
            let of = |id: &str, result: Value| json!({"custom_id": id, "result": result});
            let error =
                json!({"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}});
            let text = lines(&[
                of("two", json!({"type": "succeeded", "message": message("4")})),
                of("bad", json!({"type": "errored", "error": error})),
                of("late", json!({"type": "expired"})),
                of("gone", json!({"type": "canceled"})),
                of("new", json!({"type": "of_tomorrow"})),
            ]);
            let last = lines(&[of("one", json!({"type": "succeeded", "message": message("2")}))]);
            Reply::new(200, "application/binary", format!("{text}rubbish\n{last}")).in_pieces(11)
        }
        other => panic!("{other:?}"),
    })
    .await;
    let model = anthropic(&server);
    let beta = ask("x").with_extra("betas", json!(["b"]));
    let batch = model.create(&order().with_request("three", beta)).await.unwrap();
    assert_eq!(
        (batch.id.as_str(), &batch.state, batch.counts.total),
        ("mb_1", &BatchState::Running, Some(2))
    );
    assert_eq!(model.get("mb_1").await.unwrap().state, BatchState::Expired);
    assert_eq!(model.cancel("mb_1").await.unwrap().state, BatchState::Cancelling);
    let (by_name, broken) = gather(&model, "mb_1").await;
    assert_eq!((by_name["one"].clone(), by_name["two"].clone()), (Ok("2".into()), Ok("4".into())));
    assert_eq!(by_name["bad"], Err(ErrorKind::InvalidInput));
    assert_eq!(
        (by_name["late"].clone(), by_name["gone"].clone()),
        (Err(ErrorKind::Timeout), Err(ErrorKind::Cancelled))
    );
    assert_eq!(broken.iter().map(Error::kind).collect::<Vec<_>>(), [ErrorKind::InvalidOutput; 2]);
    assert_eq!(broken[0].context("custom id"), Some("new"));
    let seen = server.requests();
    assert_eq!(
        (seen[0].headers["x-api-key"].as_str(), seen[0].headers["anthropic-beta"].as_str()),
        (KEY, "b")
    );
    let sent = seen[0].json();
    assert_eq!(sent["requests"][0]["custom_id"], "one");
    assert_eq!(sent["requests"][2]["params"].get("betas"), None);
    assert_eq!(
        sent["requests"][1]["params"],
        json!({"model": "claude-x", "max_tokens": 9,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}]})
    );
    let long = BatchOrder::new().with_request("a b", ask("x"));
    assert_eq!(model.create(&long).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn gemini_takes_a_list_and_gives_an_operation() {
    let server = Server::start(|seen: &Seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("POST", "/v1beta/models/gemini-x:batchGenerateContent") => {
            json_reply(&gemini_batch("BATCH_STATE_PENDING"))
        }
        ("POST", "/v1beta/batches/g1:cancel") => Reply::json("{}"),
        ("GET", "/v1beta/batches/g1") => {
            let mut batch = gemini_batch("BATCH_STATE_SUCCEEDED");
            batch["done"] = json!(true);
            let of = |id: &str| json!({"custom_id": id});
            batch["response"] = json!({"inlinedResponses": {"inlinedResponses": [
                {"response": candidate("4"), "metadata": of("two")},
                {"error": {"code": 3, "message": "bad", "status": "INVALID_ARGUMENT"}, "metadata": of("bad")},
                {"error": {"code": 8, "message": "slow"}, "metadata": of("slow")},
                {"response": candidate("?")},
                {"metadata": of("empty")},
                {"response": candidate("2"), "metadata": of("one")},
            ]}});
            json_reply(&batch)
        }
        other => panic!("{other:?}"),
    })
    .await;
    let model = gemini(&server);
    let batch = model.create(&order().with_extra("displayName", "night")).await.unwrap();
    assert_eq!(
        (batch.id.as_str(), &batch.state, batch.counts.total),
        ("batches/g1", &BatchState::Waiting, Some(2))
    );
    let (by_name, broken) = gather(&model, "batches/g1").await;
    assert_eq!((by_name["one"].clone(), by_name["two"].clone()), (Ok("2".into()), Ok("4".into())));
    assert_eq!(
        (by_name["bad"].clone(), by_name["slow"].clone()),
        (Err(ErrorKind::InvalidInput), Err(ErrorKind::RateLimited))
    );
    assert_eq!(broken.iter().map(Error::kind).collect::<Vec<_>>(), [ErrorKind::InvalidOutput; 2]);
    assert!(model.cancel("g1").await.unwrap().raw.get("response").is_none());
    let seen = server.requests();
    assert_eq!(seen[0].headers["x-goog-api-key"], KEY);
    let sent = seen[0].json();
    assert_eq!(sent["batch"]["displayName"], "night");
    let requests = &sent["batch"]["inputConfig"]["requests"]["requests"];
    assert_eq!(requests[1]["metadata"]["custom_id"], "two");
    assert_eq!(requests[1]["request"]["contents"][0]["parts"][0]["text"], "2+2?");
}

#[tokio::test]
async fn bad_orders_and_ids_send_nothing() {
    let server = Server::always(Reply::json("{}")).await;
    for (model, _) in all(&server) {
        for order in [
            BatchOrder::new(),
            order().with_request("one", ask("again")),
            order().with_request("", ask("nameless")),
            order().with_request("three", ChatRequest::default()),
        ] {
            assert_eq!(model.create(&order).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{model:?}");
        }
        let cancelled = order();
        cancelled.context.cancel.cancel();
        assert_eq!(model.create(&cancelled).await.unwrap_err().kind(), ErrorKind::Cancelled);
        for id in ["", "../secrets", "a/b", "a?b", "."] {
            assert_eq!(model.get(id).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{id}");
            assert_eq!(model.results(id).await.err().unwrap().kind(), ErrorKind::InvalidInput, "{id}");
        }
        assert!(!format!("{model:?}").contains(KEY));
    }
    assert!(server.requests().is_empty());
    for (model, id) in all(&server) {
        assert_eq!(model.get(id).await.unwrap_err().kind(), ErrorKind::InvalidOutput);
    }
}

#[tokio::test]
async fn results_of_a_batch_that_is_not_over_are_not_there_yet() {
    let server = Server::start(|seen: &Seen| {
        json_reply(&match seen.path.as_str() {
            "/v1/batches/batch_1" => openai_batch("in_progress"),
            "/v1/messages/batches/mb_1" => anthropic_batch("in_progress", json!({})),
            _ => gemini_batch("BATCH_STATE_RUNNING"),
        })
    })
    .await;
    for (model, id) in all(&server) {
        let error = model.results(id).await.err().unwrap();
        assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true));
        assert_eq!(error.vendor(), Some(model.info().vendor.as_str()));
    }
}

#[tokio::test]
async fn a_batch_that_failed_says_why() {
    let server = Server::start(|seen: &Seen| {
        let mut openai = openai_batch("failed");
        openai["errors"] =
            json!({"object": "list", "data": [{"code": "invalid_json", "message": "line 3 is no JSON"}]});
        let mut gemini = gemini_batch("BATCH_STATE_FAILED");
        gemini["error"] = json!({"code": 3, "message": "line 3 is no JSON"});
        json_reply(if seen.path.starts_with("/v1/") { &openai } else { &gemini })
    })
    .await;
    let models: [(Box<dyn BatchModel>, &str); 2] =
        [(Box::new(openai(&server)), "batch_1"), (Box::new(gemini(&server)), "batches/g1")];
    for (model, id) in models {
        assert_eq!(model.get(id).await.unwrap().state, BatchState::Failed);
        let error = model.results(id).await.err().unwrap();
        assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, "line 3 is no JSON"));
    }
}

#[tokio::test]
async fn results_that_are_cut_off_end_with_an_error() {
    let server = Server::start(|seen: &Seen| match seen.path.as_str() {
        "/v1/messages/batches/mb_1" => json_reply(&anthropic_batch("ended", json!({"succeeded": 2}))),
        _ => {
            let line = lines(&[
                json!({"custom_id": "one", "result": {"type": "succeeded", "message": message("2")}}),
            ]);
            Reply::new(200, "application/x-jsonl", format!("{line}{{\"custom_id\":")).then(Step::Cut)
        }
    })
    .await;
    let (by_name, broken) = gather(&anthropic(&server), "mb_1").await;
    assert_eq!(by_name["one"], Ok("2".into()));
    assert_eq!(broken.iter().map(Error::kind).collect::<Vec<_>>(), [ErrorKind::Unavailable]);
}

#[tokio::test]
async fn odd_shapes_are_errors_and_no_panic() {
    let odd = [
        json!("x"),
        json!([1]),
        json!(3),
        json!(null),
        json!({"custom_id": 1}),
        json!({"type": "succeeded"}),
    ];
    for shape in odd {
        let of = shape.clone();
        let server = Server::start(move |seen: &Seen| match seen.path.as_str() {
            "/v1/batches/batch_1" => {
                json_reply(&json!({"id": "batch_1", "status": "completed", "output_file_id": "f", "error_file_id": of,
                    "request_counts": of, "errors": of}))
            }
            "/v1/messages/batches/mb_1" => json_reply(&anthropic_batch("ended", of.clone())),
            "/v1beta/batches/g1" => {
                json_reply(&json!({"name": "batches/g1", "done": true, "metadata": of, "response": of}))
            }
            _ => Reply::json(lines(&[
                of.clone(),
                json!({"custom_id": "a", "response": of, "result": of, "error": of}),
                json!({"custom_id": "b", "response": {"status_code": 200, "body": of}, "result": {"type": "succeeded", "message": of}}),
                json!({"custom_id": "c", "result": {"type": "errored", "error": of}, "response": {"status_code": 400, "body": of}}),
            ])),
        })
        .await;
        for (model, id) in all(&server) {
            assert!(model.get(id).await.is_ok());
            if let Ok(mut results) = model.results(id).await {
                while let Some(item) = results.next().await {
                    let answered = item.is_ok_and(|r| r.response.is_ok());
                    assert!(!answered, "{shape} is no answer");
                }
            }
        }
    }
}

/// A clock that does not let anybody wait.
#[derive(Debug, Default)]
struct Hasty(ManualClock);

impl Clock for Hasty {
    fn now(&self) -> std::time::Instant {
        self.0.now()
    }
    fn sleep(&self, duration: Duration) -> futures_util::future::BoxFuture<'static, ()> {
        let nap = self.0.sleep(duration);
        self.0.advance(duration);
        nap
    }
}

#[tokio::test]
async fn waiting_looks_until_the_end() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = looks.clone();
    let server = Server::start(move |_: &Seen| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => json_reply(&openai_batch("validating")),
        1 => Reply::new(503, "application/json", r#"{"error":{"message":"busy"}}"#),
        2 => json_reply(&openai_batch("in_progress")),
        _ => json_reply(&openai_batch("expired")),
    })
    .await;
    let model = openai(&server);
    let batch = model.wait("batch_1", &Hasty::default(), &BatchWait::new()).await.unwrap();
    assert_eq!((batch.state, looks.load(Ordering::SeqCst)), (BatchState::Expired, 4));
    // An expired batch without files has no results, and that is no error.
    let (by_name, broken) = gather(&model, "batch_1").await;
    assert!(by_name.is_empty() && broken.is_empty());
}

/// Each vendor's recorded words about a batch, served again.
#[tokio::test]
async fn recorded_batches_are_understood() {
    use std::io::{BufRead as _, BufReader};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/replay");
    let mut seen = 0;
    for vendor in ["openai", "anthropic", "gemini"] {
        let Ok(file) = std::fs::File::open(folder.join(format!("{vendor}.jsonl.gz"))) else {
            println!("skipped: the recorded traffic is not beside this checkout");
            return;
        };
        for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
            let row: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let path = row["path"].as_str().unwrap();
            let Some((_, id)) = path.split_once("/batches/").filter(|_| row["method"] == "GET") else {
                continue;
            };
            let body = row["body"].as_str().unwrap().to_owned();
            let server = Server::always(Reply::json(body.clone())).await;
            let model: Box<dyn BatchModel> = match vendor {
                "openai" => Box::new(openai(&server)),
                "anthropic" => Box::new(anthropic(&server)),
                _ => Box::new(gemini(&server)),
            };
            let batch = model.get(id).await.unwrap();
            assert!(batch.id.ends_with(id) && !matches!(batch.state, BatchState::Other(_)), "{batch:?}");
            assert_eq!(server.requests()[0].path, path);
            if vendor == "gemini" && batch.state == BatchState::Completed {
                let (by_name, broken) = gather(&*model, id).await;
                assert!(broken.is_empty());
                assert_eq!(
                    (by_name["0"].clone(), by_name["1"].clone()),
                    (Ok("4".into()), Ok("Jupiter".into()))
                );
                assert_eq!(batch.counts.succeeded, Some(2));
            }
            seen += 1;
        }
    }
    println!("{seen} recorded batches");
    assert!(seen > 0);
}
