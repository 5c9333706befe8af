//! Map-reduce under load: bounded calls, order, cancelling, no deadlock.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use common::{FnChat, documents, prompt, reply_of};
use futures_util::StreamExt as _;
use futures_util::lock::Mutex;
use katena_chains::{MapReduceDocuments, MapRerankDocuments};
use katena_core::{
    Cancel, ChainExt as _, ChatRequest, Context, ErrorKind, Event, FinishReason, Run, Streamed,
};

/// Counts what is in flight; a dropped call counts as ended.
#[derive(Clone, Default)]
struct Flight {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    started: Arc<AtomicUsize>,
}

struct Flying(Flight);

impl Flight {
    fn start(&self) -> Flying {
        self.started.fetch_add(1, SeqCst);
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        Flying(self.clone())
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

#[tokio::test]
async fn two_hundred_documents_keep_their_order_and_at_most_four_calls_run() {
    let flight = Flight::default();
    let model = FnChat::new({
        let flight = flight.clone();
        move |request: ChatRequest| {
            let flight = flight.clone();
            async move {
                let _flying = flight.start();
                let asked = prompt(&request);
                let number: usize = asked.split("text ").nth(1).map_or(0, |t| {
                    t.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
                });
                // Later calls overtake earlier ones.
                for _ in 0..(number * 7) % 11 {
                    tokio::task::yield_now().await;
                }
                Ok(reply_of(format!("part{number}"), FinishReason::Stop))
            }
        }
    });
    let summary =
        MapReduceDocuments::summary(model.clone()).with_tokens(100_000).with_concurrency(4).reported();
    let report = summary.run(documents((1..=200).map(|n| format!("text {n}.")))).await.unwrap();
    assert_eq!(flight.most.load(SeqCst), 4, "as many as allowed, and never more");
    assert_eq!(flight.started.load(SeqCst), 201);
    let partials: Vec<u64> = report.notes("partial").map(|v| v["document"].as_u64().unwrap()).collect();
    assert_eq!(partials.len(), 200);

    let asked = prompt(model.requests().last().unwrap());
    let order: Vec<usize> =
        asked.split("part").skip(1).filter_map(|p| p.split('\n').next()?.parse().ok()).collect();
    assert_eq!(order, (1..=200).collect::<Vec<_>>());
}

/// A model with one permit, which a call holds while it runs: both deadlocks of the chain's documentation would show here.
#[tokio::test]
async fn a_model_with_one_permit_is_enough() {
    let permit = Arc::new(Mutex::new(()));
    let model = FnChat::new(move |request: ChatRequest| {
        let permit = permit.clone();
        async move {
            let _permit = permit.lock().await;
            tokio::task::yield_now().await;
            let json = request.response_format.is_some();
            let text = if json { r#"{"answer": "a", "score": 1}"# } else { "some words" };
            Ok(reply_of(text, FinishReason::Stop))
        }
    });
    let texts = || documents((0..60).map(|n| format!("text {n}")));
    // A budget that makes it collapse as well; more events than the listener's queue holds.
    let summary = MapReduceDocuments::summary(model.clone()).with_tokens(200).with_concurrency(8);
    let mut stream = summary.into_stream(texts(), Run::new());
    let (mut collapsed, mut output) = (0, None);
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            Streamed::Event(event) => {
                collapsed +=
                    usize::from(matches!(event.event, Event::Custom { name, .. } if name == "collapsed"));
                tokio::task::yield_now().await;
            }
            Streamed::Output(combined) => output = Some(combined),
        }
    }
    assert!(collapsed > 0);
    assert_eq!(output.unwrap().text, "some words");
    let rerank = MapRerankDocuments::qa(model).with_concurrency(8);
    assert_eq!(rerank.stream(("When?", texts())).output().await.unwrap().number, 1);
}

/// A model whose calls never end by themselves.
fn endless(flight: &Flight) -> FnChat {
    let flight = flight.clone();
    FnChat::new(move |_| {
        let flying = flight.start();
        async move {
            std::future::pending::<()>().await;
            drop(flying);
            Ok(reply_of("never", FinishReason::Stop))
        }
    })
}

#[tokio::test]
async fn cancelling_in_the_middle_stops_all_calls() {
    let (flight, cancel) = (Flight::default(), Cancel::new());
    let summary = MapReduceDocuments::summary(endless(&flight));
    let run = Run::from(Context::new().with_cancel(cancel.clone()));
    let work = tokio::spawn(async move { summary.run_with(documents(["text"; 50]), run).await });
    while flight.now.load(SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    assert_eq!(work.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(
        (flight.now.load(SeqCst), flight.started.load(SeqCst)),
        (0, 4),
        "none is left, none was begun after"
    );
}

#[tokio::test]
async fn dropping_the_stream_stops_all_calls() {
    let flight = Flight::default();
    let summary = MapReduceDocuments::summary(endless(&flight));
    let mut stream = summary.stream(documents(["text"; 50]));
    while flight.now.load(SeqCst) < 4 {
        let _ = futures_util::poll!(stream.next());
    }
    drop(stream);
    assert_eq!((flight.now.load(SeqCst), flight.started.load(SeqCst)), (0, 4));
}

#[tokio::test]
async fn the_first_error_stops_the_others() {
    let flight = Flight::default();
    let model = FnChat::new({
        let flight = flight.clone();
        move |request: ChatRequest| {
            let flying = flight.start();
            async move {
                if prompt(&request).contains("poison") {
                    return Err(katena_core::Error::new(ErrorKind::Unavailable, "down"));
                }
                std::future::pending::<()>().await;
                drop(flying);
                Ok(reply_of("never", FinishReason::Stop))
            }
        }
    });
    let texts = documents(["a", "b", "poison", "d", "e", "f"]);
    let error = MapReduceDocuments::summary(model).run(texts).await.unwrap_err();
    assert_eq!((error.kind(), error.context("document")), (ErrorKind::Unavailable, Some("3: doc3.md")));
    assert_eq!(flight.now.load(SeqCst), 0);
    assert!(flight.started.load(SeqCst) <= 4, "the others were not begun");
}
