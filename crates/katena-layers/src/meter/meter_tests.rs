//! Unit tests of the meter; those of the ledgers are in `ledger_tests.rs`, load is in `tests/load.rs`.
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::{EchoChat, FlakyChat, HashEmbedder, ScriptedChat};
use katena_core::{
    ChatModelExt as _, ChatRequest, ChatResponse, Context, Document, EmbedRequest, EmbedderExt as _,
    FinishReason, Message, RerankRequest, Reranker, RerankerExt as _, Scored, Source,
};

use super::*;
use crate::wall::{Date, ManualWallClock};
use crate::{Price, PriceTable};

const MINUTE: Duration = Duration::from_secs(60);

/// A token in or out costs a dollar; an `x` is one token in and one out.
fn dear() -> PriceTable {
    let price = Price::new(1e6, 1e6);
    PriceTable::empty("2026-01-31").with_price("fake", "echo", price).with_price("fake", "named", price)
}

fn clock() -> ManualWallClock {
    ManualWallClock::at(Date::new(2026, 1, 30), 23 * 60 * MINUTE)
}

fn meter(clock: &ManualWallClock) -> (MemoryLedger, Meter) {
    let ledger = MemoryLedger::new();
    let meter = Meter::new(ledger.clone()).with_prices(dear()).with_wall_clock(Arc::new(clock.clone()));
    (ledger, meter)
}

fn ask(tenant: &str) -> ChatRequest {
    let labels = Labels::new().with("tenant", tenant);
    // Estimated at 5 tokens in (4 for the message, 1 for the text) and 1 out.
    ChatRequest::new([Message::user("x")]).with_max_tokens(1).with_context(Context::new().with_labels(labels))
}

fn dollars(n: u64) -> Cost {
    Cost::nanos(n * 1_000_000_000)
}

type Told = Arc<Mutex<Vec<(String, u32)>>>;

fn told(budget: Budget) -> (Told, Budget) {
    let told = Told::default();
    let seen = told.clone();
    let budget = budget.with_alert(move |a| {
        let of = a.label.as_ref().map_or(a.since.clone(), |(_, v)| format!("{} {v}", a.since));
        seen.lock().unwrap().push((of, a.threshold));
    });
    (told, budget)
}

#[tokio::test]
async fn a_call_is_written_with_its_labels_and_cost_streamed_or_not() {
    let (ledger, meter) = meter(&clock());
    let model = EchoChat::new().layer(meter);
    model.generate(&ask("a")).await.unwrap();
    let mut stream = model.stream(&ask("b")).await.unwrap();
    while let Some(event) = stream.next().await {
        let finished = matches!(event.unwrap(), katena_core::ChatEvent::Finished(_));
        assert_eq!(ledger.all().len(), if finished { 2 } else { 1 }, "there before the end is seen");
    }
    let entries = ledger.all();
    for (entry, tenant) in entries.iter().zip(["a", "b"]) {
        assert_eq!((entry.vendor.as_str(), entry.model.as_str()), ("fake", "echo"));
        assert_eq!((entry.labels.get("tenant"), entry.cost), (Some(tenant), Some(dollars(2))));
        assert_eq!((entry.usage, entry.outcome), (Usage::new(1, 1), Outcome::Finished));
    }
}

#[tokio::test]
async fn failed_cut_and_dropped_calls_are_written_too() {
    let (ledger, meter) = meter(&clock());
    let down = FlakyChat::new(EchoChat::new(), 2).layer(meter.clone());
    assert!(down.generate(&ask("a")).await.is_err() && down.stream(&ask("a")).await.is_err());
    let cut = FlakyChat::new(EchoChat::new(), 1).with_failures_mid_stream().layer(meter.clone());
    let items: Vec<_> = cut.stream(&ask("a")).await.unwrap().collect().await;
    assert!(items.last().unwrap().is_err());
    let mut half = EchoChat::new().layer(meter.clone()).stream(&ask("a")).await.unwrap();
    assert!(half.next().await.unwrap().is_ok());
    drop(half);
    drop(EchoChat::new().layer(meter.clone()).stream(&ask("a")).await.unwrap());
    let outcomes: Vec<_> = ledger.all().iter().map(|e| (e.outcome, e.cost, e.usage)).collect();
    let unknown = |outcome| (outcome, None, Usage::default());
    let kind = katena_core::ErrorKind::Unavailable;
    assert_eq!(
        outcomes,
        [
            unknown(Outcome::Failed(kind)),
            unknown(Outcome::Failed(kind)),
            unknown(Outcome::Cut(kind)),
            unknown(Outcome::Dropped),
            unknown(Outcome::Dropped)
        ]
    );
    let rows = report(&ledger.all(), &[GroupBy::Model]);
    assert_eq!((rows[0].calls, rows[0].failed, rows[0].unknown, rows[0].cost), (5, 2, 3, Cost::ZERO));
}

/// Never answers.
#[derive(Debug)]
struct Silent(katena_core::ModelInfo);

#[async_trait::async_trait]
impl katena_core::ChatModel for Silent {
    fn info(&self) -> &katena_core::ModelInfo {
        &self.0
    }
    async fn generate(&self, _: &ChatRequest) -> Result<ChatResponse> {
        std::future::pending().await
    }
    async fn stream(&self, _: &ChatRequest) -> Result<katena_core::ChatStream> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_call_given_up_while_it_waits_is_written_and_counts_as_its_estimate() {
    let clock = clock();
    let (ledger, meter) = meter(&clock);
    let meter = meter.with_budget(Budget::daily("day", dollars(100)));
    let model = Silent(katena_core::ModelInfo::new("fake", "echo")).layer(meter.clone());
    assert!(model.generate(&ask("a")).now_or_never().is_none());
    assert!(model.stream(&ask("a")).now_or_never().is_none());
    assert!(ledger.all().iter().all(|e| e.outcome == Outcome::Dropped));
    assert_eq!(ledger.all().len(), 2);
    let status = meter.status("day", "").unwrap();
    assert_eq!((status.spent, status.reserved), (dollars(12), Cost::ZERO));
}

#[tokio::test]
async fn the_model_that_answered_sets_the_price() {
    let (ledger, meter) = meter(&clock());
    let response = |model: &str, vendor: Option<&str>| {
        let r = ChatResponse::new(Message::assistant("x"), FinishReason::Stop).with_usage(Usage::new(1, 1));
        let r = r.with_model(model);
        Ok(vendor.map_or(r.clone(), |v| r.with_vendor(v)))
    };
    let script = [
        response("echo-2026-01-01", Some("fake")),
        response("other", Some("fake")),
        response("echo", None),
        response("echo", Some("elsewhere")),
    ];
    let model = ScriptedChat::new(script).layer(meter);
    for _ in 0..4 {
        model.generate(&ChatRequest::new([Message::user("x")])).await.unwrap();
    }
    let costs: Vec<_> = ledger.all().iter().map(|e| e.cost).collect();
    assert_eq!(costs, [Some(dollars(2)), None, Some(dollars(2)), None], "unknown is never 0");
}

#[derive(Debug)]
struct First;

#[async_trait::async_trait]
impl Reranker for First {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        Ok(request.documents.into_iter().take(1).map(|d| Scored::new(d, 1.0)).collect())
    }
}

#[tokio::test]
async fn embedders_and_rerankers_are_metered() {
    let (ledger, meter) = meter(&clock());
    let prices = PriceTable::empty("x")
        .with_price("cohere", "rerank-v3.5", Price::default().with_per_request(0.002))
        .with_price("fake", "hash", Price { output: None, ..Price::new(1.0, 0.0) });
    let meter = meter.with_prices(prices);
    let documents = vec![Document::new("a", Source::new("a"))];
    let reranker = First.layer(meter.named("cohere", "rerank-v3.5"));
    reranker.rerank(RerankRequest::new("q", documents.clone())).await.unwrap();
    First.layer(meter.clone()).rerank(RerankRequest::new("q", documents)).await.unwrap();
    let embedder = HashEmbedder::new(4).layer(meter.named("fake", "hash"));
    embedder.embed(&EmbedRequest::query("x")).await.unwrap();
    let entries = ledger.all();
    assert_eq!(entries[0].cost, Some(Cost::dollars(0.002)));
    assert_eq!((entries[1].cost, entries[1].vendor.as_str()), (None, ""));
    assert_eq!((entries[2].cost, entries[2].operation), (None, Operation::Embed), "it reports no tokens");
}

#[tokio::test]
async fn each_threshold_is_told_once_a_day_also_across_midnight() {
    let clock = clock();
    let (_, meter) = meter(&clock);
    let (told, budget) = told(Budget::daily("day", dollars(10)));
    let model = EchoChat::new().layer(meter.clone().with_budget(budget));
    for _ in 0..7 {
        model.generate(&ask("a")).await.unwrap();
    }
    let day = |d: &str, p: u32| (format!("2026-01-{d}"), p);
    assert_eq!(*told.lock().unwrap(), [day("30", 50), day("30", 80), day("30", 100)], "2 $ a call");
    clock.advance(59 * MINUTE);
    model.generate(&ask("a")).await.unwrap();
    assert_eq!(told.lock().unwrap().len(), 3);
    assert_eq!(meter.status("day", "").unwrap().spent, dollars(16));
    clock.advance(MINUTE);
    assert_eq!(meter.status("day", "").unwrap().spent, Cost::ZERO);
    for _ in 0..3 {
        model.generate(&ask("a")).await.unwrap();
    }
    assert_eq!(told.lock().unwrap()[3..], [day("31", 50)]);
    // A clock that goes back gives no new credit.
    clock.set(Date::new(2026, 1, 29).midnight(0));
    model.generate(&ask("a")).await.unwrap();
    assert_eq!(told.lock().unwrap()[4..], [day("31", 80)]);
}

#[tokio::test]
async fn months_end_when_they_do_and_where_they_do() {
    let clock = ManualWallClock::at(Date::new(2024, 2, 28), 23 * 60 * MINUTE);
    let (_, meter) = meter(&clock);
    let meter = meter
        .with_budget(Budget::monthly("utc", dollars(100)))
        .with_budget(Budget::monthly("east", dollars(100)).with_utc_offset(120));
    let model = EchoChat::new().layer(meter.clone());
    let spent = |name: &str| meter.status(name, "").unwrap().spent;
    model.generate(&ask("a")).await.unwrap();
    clock.advance(60 * MINUTE);
    model.generate(&ask("a")).await.unwrap();
    assert_eq!((spent("utc"), spent("east")), (dollars(4), dollars(4)), "2024-02-29");
    clock.advance(22 * 60 * MINUTE);
    model.generate(&ask("a")).await.unwrap();
    assert_eq!((spent("utc"), spent("east")), (dollars(6), dollars(2)), "midnight came in the east");
    clock.advance(2 * 60 * MINUTE);
    model.generate(&ask("a")).await.unwrap();
    assert_eq!((spent("utc"), spent("east")), (dollars(2), dollars(4)), "2024-03-01");
}

#[tokio::test]
async fn a_hard_stop_refuses_before_the_call_and_each_label_has_its_own() {
    let (ledger, meter) = meter(&clock());
    let (told, budget) = told(Budget::daily("tenants", dollars(10)).for_each("tenant").with_hard_stop());
    let model = EchoChat::new().layer(meter.clone().with_budget(budget));
    // Estimated at 6 $, costs 2 $.
    for _ in 0..3 {
        model.generate(&ask("a")).await.unwrap();
    }
    let error = model.generate(&ask("a")).await.unwrap_err();
    assert_eq!(error.kind(), katena_core::ErrorKind::Budget);
    assert_eq!(error.context("budget"), Some("tenants"));
    assert!(!error.is_temporary());
    assert!(model.stream(&ask("a")).await.is_err());
    assert_eq!(ledger.all().len(), 3, "what was not asked is no entry");
    let tenant = |p: u32| ("2026-01-30 a".to_owned(), p);
    assert_eq!(*told.lock().unwrap(), [tenant(50), tenant(80), tenant(100)], "a refusal counts as all of it");
    model.generate(&ask("b")).await.unwrap();
    model.generate(&ChatRequest::new([Message::user("x")])).await.unwrap();
    assert_eq!(meter.status("tenants", "b").unwrap().spent, dollars(2));
}

#[tokio::test]
async fn a_refused_call_holds_nothing_in_other_budgets() {
    let (_, meter) = meter(&clock());
    let meter = meter
        .with_budget(Budget::daily("wide", dollars(100)))
        .with_budget(Budget::daily("narrow", dollars(1)).with_hard_stop());
    let model = EchoChat::new().layer(meter.clone());
    assert!(model.generate(&ask("a")).await.is_err());
    assert_eq!(meter.status("wide", "").unwrap(), BudgetStatus::default());
}

#[tokio::test]
async fn models_of_unknown_price_pass_unless_refused() {
    let (_, meter) = meter(&clock());
    let unknown = ScriptedChat::texts(["a", "b"]);
    let meter_a = meter.clone().with_budget(Budget::daily("soft", dollars(1)).with_hard_stop());
    unknown.clone().layer(meter_a.clone()).generate(&ask("a")).await.unwrap();
    assert_eq!(meter_a.status("soft", "").unwrap().unknown, 1);
    let meter_b = meter.with_budget(Budget::daily("strict", dollars(1)).with_unknown_refused());
    let error = unknown.layer(meter_b).generate(&ask("a")).await.unwrap_err();
    assert_eq!(error.kind(), katena_core::ErrorKind::Budget);
}

#[tokio::test]
async fn a_new_process_counts_what_the_ledger_has() {
    let clock = clock();
    let (ledger, first) = meter(&clock);
    let (_, budget) = told(Budget::daily("day", dollars(10)));
    let model = EchoChat::new().layer(first.with_budget(budget));
    for _ in 0..3 {
        model.generate(&ask("a")).await.unwrap();
    }
    let (told, budget) = told(Budget::daily("day", dollars(10)));
    let second = Meter::new(ledger).with_prices(dear()).with_wall_clock(Arc::new(clock.clone()));
    let second = second.with_budget(budget).with_budget(Budget::monthly("month", dollars(99)));
    second.restore().await.unwrap();
    assert_eq!(second.status("day", "").unwrap().spent, dollars(6));
    assert_eq!(second.status("month", "").unwrap().spent, dollars(6));
    let model = EchoChat::new().layer(second);
    model.generate(&ask("a")).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [("2026-01-30".to_owned(), 80)], "50 % was told before");
}
