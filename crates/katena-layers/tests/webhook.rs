//! Budget alerts by webhook, against a small server on loopback.

#![cfg(feature = "http")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod http_support;

use std::sync::Arc;
use std::time::Duration;

use http_support::{Reply, Server, Step};
use katena_core::fake::EchoChat;
use katena_core::{ChatModel as _, ChatModelExt as _, ChatRequest, Message};
use katena_http::{HttpClient, Secret};
use katena_layers::{Budget, Cost, Date, ManualWallClock, MemoryLedger, Meter, Price, PriceTable, Webhook};

fn model(webhook: Webhook) -> impl katena_core::ChatModel {
    let prices = PriceTable::empty("2026-01-31").with_price("fake", "echo", Price::new(1e6, 1e6));
    let budget = Budget::daily("day", Cost::dollars(10.0)).with_webhook(webhook);
    // It stands: the day doesn't end within a test.
    let noon = ManualWallClock::at(Date::new(2026, 1, 30), Duration::from_secs(12 * 3600));
    let meter = Meter::new(MemoryLedger::new()).with_prices(prices).with_wall_clock(Arc::new(noon));
    EchoChat::new().layer(meter.with_budget(budget))
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("planted-prompt")])
}

async fn posts(server: &Server, n: usize) -> Vec<http_support::Seen> {
    let wait = async {
        while server.requests().len() < n {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the webhook comes");
    server.requests()
}

#[tokio::test]
async fn each_threshold_is_posted_once() {
    let server = Server::always(Reply::json("{}")).await;
    let url = format!("{}/hooks/budget?team=a", server.url);
    let webhook = Webhook::new(HttpClient::new(), &url).unwrap();
    let model = model(webhook.with_header("authorization", Secret::new("Bearer hook-secret")));
    for _ in 0..6 {
        model.generate(&ask()).await.unwrap();
    }
    let mut thresholds: Vec<_> =
        posts(&server, 3).await.iter().map(|p| p.json()["threshold"].as_u64().unwrap()).collect();
    thresholds.sort_unstable();
    assert_eq!(thresholds, [50, 80, 100]);
    let post = &server.requests()[0];
    assert_eq!((post.method.as_str(), post.path.as_str()), ("POST", "/hooks/budget?team=a"));
    assert_eq!(post.headers["authorization"], "Bearer hook-secret");
    assert_eq!(
        (post.json()["budget"].clone(), post.json()["limit_nanos"].clone()),
        ("day".into(), 10_000_000_000_u64.into())
    );
    assert!(!String::from_utf8_lossy(&post.body).contains("planted"));
}

#[tokio::test]
async fn a_failing_or_silent_webhook_neither_fails_nor_delays_a_call() {
    let silent = Server::always(Reply { steps: vec![Step::Stall], ..Reply::json("") }).await;
    let failing = Server::always(Reply::new(500, "text/plain", "no")).await;
    for url in [silent.url.clone(), failing.url.clone(), "http://127.0.0.1:9/gone".to_owned()] {
        let webhook = Webhook::new(HttpClient::new(), &url).unwrap();
        assert!(!format!("{webhook:?}").contains("127"), "an address may be a key");
        let model = model(webhook);
        for _ in 0..6 {
            model.generate(&ask()).await.unwrap();
        }
    }
    posts(&silent, 3).await;
    assert!(Webhook::new(HttpClient::new(), "no address").is_err());
}
