//! Many calls at once over the cache and the meter: nothing lost, nothing doubled, sums exact.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use katena_core::{
    ChatEvent, ChatModel, ChatModelExt as _, ChatRequest, ChatResponse, ChatStream, Context, Error,
    ErrorKind, FinishReason, Labels, Message, ModelInfo, Part, PartKind, Result, Usage,
};
use katena_layers::{
    Budget, Cache, Cost, Date, GroupBy, ManualWallClock, MemoryLedger, Meter, Outcome, Price, PriceTable,
    report,
};

const CALLS: usize = 10_000;

/// Yields now and then; costs as many tokens as the request's `max_tokens` says; fails where the message says so.
#[derive(Debug)]
struct Busy {
    info: ModelInfo,
    calls: AtomicUsize,
}

impl Busy {
    fn new() -> Arc<Self> {
        Arc::new(Self { info: ModelInfo::new("v", "m"), calls: AtomicUsize::new(0) })
    }

    async fn answer(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        for _ in 0..n % 4 {
            tokio::task::yield_now().await;
        }
        if request.messages[0].text() == "fail" {
            return Err(Error::new(ErrorKind::Unavailable, "down"));
        }
        let tokens = request.max_tokens.map_or(1, u64::from);
        let message = Message::assistant("answer");
        Ok(ChatResponse::new(message, FinishReason::Stop).with_usage(Usage::new(tokens, tokens)))
    }
}

#[async_trait]
impl ChatModel for Busy {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.answer(request).await
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let response = self.answer(request).await?;
        let mut events = vec![ChatEvent::start(0, PartKind::Text)];
        events.extend("answer".chars().map(|c| ChatEvent::delta(0, c)));
        events.push(ChatEvent::end(0, Part::text("answer")));
        events.push(ChatEvent::Finished(Box::new(response)));
        let slow = stream::iter(events).then(async |event| {
            tokio::task::yield_now().await;
            Ok(event)
        });
        Ok(slow.boxed())
    }
}

fn prices() -> PriceTable {
    PriceTable::empty("2026-01-31").with_price("v", "m", Price::new(0.1, 0.7))
}

/// A clock that stands: no period ends within a test.
fn noon() -> Arc<ManualWallClock> {
    Arc::new(ManualWallClock::at(Date::new(2026, 1, 30), std::time::Duration::from_secs(12 * 3600)))
}

fn request(n: usize) -> ChatRequest {
    let labels = Labels::new().with("tenant", (n % 7).to_string());
    let text = if n % 5 == 3 { "fail" } else { "hello" };
    ChatRequest::new([Message::user(text)])
        .with_max_tokens((n % 11) as u32 + 1)
        .with_context(Context::new().with_labels(labels))
}

/// Runs all calls at once: every third streams, every sixth of all gives its stream up after two events.
async fn storm(model: Arc<dyn ChatModel>) {
    let tasks: Vec<_> = (0..CALLS)
        .map(|n| {
            let model = model.clone();
            tokio::spawn(async move {
                let request = request(n);
                if n % 3 != 0 {
                    return drop(model.generate(&request).await);
                }
                if let Ok(stream) = model.stream(&request).await {
                    let read = if n % 6 == 0 { 2 } else { usize::MAX };
                    stream.take(read).for_each(async |event| drop(event)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

fn check(entries: &[katena_layers::LedgerEntry], meter: &Meter) {
    assert_eq!(entries.len(), CALLS, "each call once");
    let all = 0..CALLS;
    let failed = all.clone().filter(|n| n % 5 == 3);
    let dropped = all.clone().filter(|n| n % 5 != 3 && n % 6 == 0);
    let of = |outcome: Outcome| entries.iter().filter(|e| e.outcome == outcome).count();
    assert_eq!(of(Outcome::Failed(ErrorKind::Unavailable)), failed.count());
    assert_eq!(of(Outcome::Dropped), dropped.count());
    // 0.1 + 0.7 dollars per million: 800 nano-dollars for a token in and one out.
    for tenant in 0..7 {
        let mine = all.clone().filter(|n| n % 7 == tenant && n % 5 != 3 && n % 6 != 0);
        let tokens: u64 = mine.clone().map(|n| (n % 11) as u64 + 1).sum();
        let rows = report(entries, &[GroupBy::Label("tenant".into())]);
        let row = &rows[tenant];
        assert_eq!((row.cost, row.usage.input_tokens), (Cost::nanos(tokens * 800), Some(tokens)));
        assert_eq!(row.calls as usize, all.clone().filter(|n| n % 7 == tenant).count());
    }
    let status = meter.status("all", "").unwrap();
    let known: Cost = entries.iter().filter_map(|e| e.cost).sum();
    let guessed: Cost =
        entries.iter().filter(|e| e.outcome == Outcome::Dropped).filter_map(|e| e.estimate).sum();
    assert_eq!((status.spent, status.reserved), (known + guessed, Cost::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_calls_are_counted_once_each() {
    let ledger = MemoryLedger::new();
    let meter = Meter::new(ledger.clone())
        .with_prices(prices())
        .with_wall_clock(noon())
        .with_budget(Budget::monthly("all", Cost::dollars(1e6)));
    storm(Busy::new().layer(meter.clone())).await;
    check(&ledger.all(), &meter);
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_calls_are_in_the_file_and_survive_the_process() {
    use katena_layers::{Ledger as _, SqliteLedger};
    use katena_sqlite::Database;
    use std::time::SystemTime;
    let dir = tempfile::tempdir().unwrap();
    let open = || SqliteLedger::new(Database::open(dir.path().join("l.katena")).unwrap()).unwrap();
    let end = Date::new(2026, 1, 31).midnight(0);
    let metered = |ledger: &SqliteLedger| {
        Meter::new(ledger.clone())
            .with_prices(prices())
            .with_wall_clock(noon())
            .with_budget(Budget::monthly("all", Cost::dollars(1e6)))
    };
    let ledger = open();
    let meter = metered(&ledger);
    storm(Busy::new().layer(meter.clone())).await;
    check(&ledger.entries(SystemTime::UNIX_EPOCH, end).await.unwrap(), &meter);
    let spent = meter.status("all", "").unwrap();
    // Unflushed, and dropped at once.
    Busy::new().layer(meter.clone()).generate(&request(0)).await.unwrap();
    drop((ledger, meter));
    // A writer that was at work keeps the ledger until it is done.
    let ledger = open();
    let meter = metered(&ledger);
    for _ in 0..200 {
        if ledger.entries(SystemTime::UNIX_EPOCH, end).await.unwrap().len() == CALLS + 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    meter.restore().await.unwrap();
    assert_eq!(meter.status("all", "").unwrap().spent, spent.spent + Cost::nanos(800));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_parallel_calls_on_a_budget_of_ten() {
    let reserve = Cost::nanos(11 * 800);
    let ledger = MemoryLedger::new();
    let budget =
        Budget::daily("ten", Cost::nanos(reserve.as_nanos() * 10)).with_hard_stop().with_reserve(reserve);
    let meter = Meter::new(ledger.clone()).with_prices(prices()).with_wall_clock(noon()).with_budget(budget);
    let model = Busy::new();
    let metered = model.clone().layer(meter.clone());
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let metered = metered.clone();
            tokio::spawn(async move { metered.generate(&request(10)).await.is_ok() })
        })
        .collect();
    let mut passed = 0;
    for task in tasks {
        passed += usize::from(task.await.unwrap());
    }
    assert_eq!((passed, model.calls.load(Ordering::SeqCst), ledger.all().len()), (10, 10, 10));
    let status = meter.status("ten", "").unwrap();
    assert_eq!((status.spent, status.reserved), (Cost::nanos(reserve.as_nanos() * 10), Cost::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_calls_are_made_once_by_threads_too() {
    let model = Busy::new();
    let cache = Cache::new();
    let cached = model.clone().layer(cache.clone());
    let asked = |n: usize| ChatRequest::new([Message::user("hello")]).with_max_tokens((n % 5) as u32 + 1);
    let tasks: Vec<_> = (0..CALLS)
        .map(|n| {
            let (cached, request) = (cached.clone(), asked(n));
            tokio::spawn(async move {
                if n % 13 == 0 {
                    // Goes away before the answer, or after two events.
                    tokio::select! {
                        biased;
                        answer = cached.generate(&request) => drop(answer),
                        () = tokio::task::yield_now() => {}
                    }
                    return;
                }
                if n % 2 == 0 {
                    let tokens = cached.generate(&request).await.unwrap().usage.output_tokens;
                    assert_eq!(tokens, request.max_tokens.map(u64::from));
                    return;
                }
                let mut stream = cached.stream(&request).await.unwrap();
                let mut accumulator = katena_core::Accumulator::new();
                let mut read = 0;
                while let Some(event) = stream.next().await {
                    accumulator.push(&event.unwrap()).unwrap();
                    read += 1;
                    if n % 17 == 0 && read == 2 {
                        return;
                    }
                }
                let tokens = accumulator.finish().unwrap().usage.output_tokens;
                assert_eq!(tokens, request.max_tokens.map(u64::from));
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = cache.stats();
    // A call and a stream of each of five requests, and again only where all who waited went away.
    assert_eq!(stats.misses as usize, model.calls.load(Ordering::SeqCst));
    assert!(stats.misses <= 100, "{stats:?}");
    assert_eq!(stats.store_failures, 0);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn answers_in_a_file_outlive_the_process() {
    use katena_core::fake::HashEmbedder;
    use katena_layers::{CacheEntry, CacheStore as _, SemanticCache, SqliteCache, SqliteSemanticStore};
    use katena_sqlite::Database;
    let dir = tempfile::tempdir().unwrap();
    let open = || Database::open(dir.path().join("c.katena")).unwrap();
    let secret = "planted-question";
    let ask = ChatRequest::new([Message::user(secret)]);
    let model = Busy::new();
    for _ in 0..2 {
        let cache = Cache::with_store(SqliteCache::new(open(), 100).unwrap());
        assert_eq!(model.clone().layer(cache).generate(&ask).await.unwrap().text(), "answer");
        let semantic = SqliteSemanticStore::new(open(), 100).unwrap();
        let semantic = SemanticCache::new(HashEmbedder::new(16)).with_store(semantic);
        assert_eq!(model.clone().layer(semantic).generate(&ask).await.unwrap().text(), "answer");
    }
    assert_eq!(model.calls.load(Ordering::SeqCst), 2);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "only hashes of requests");
    }
    let store = SqliteCache::new(open(), 3).unwrap();
    store.clear().await.unwrap();
    let at = |s: u64| std::time::UNIX_EPOCH + std::time::Duration::from_secs(s);
    for n in 0..5 {
        store.put(&n.to_string(), CacheEntry::new(vec![1], at(n))).await.unwrap();
    }
    assert!(store.get("1").await.unwrap().is_none() && store.get("4").await.unwrap().is_some());
}
