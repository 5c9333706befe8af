//! Each layer, and all of them in the recommended order, around a flaky server (a double): 10,000 calls of all kinds on a
//! virtual clock. Nothing is lost, nothing is doubled, and retries do not bunch.

#![allow(missing_docs, clippy::unwrap_used, clippy::unchecked_time_subtraction, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatModel, ChatRequest, Clock as _, Document, EmbedRequest, Embedder, Error, ErrorKind,
    Layer, Message, Query, RerankRequest, Reranker, Result, Retriever, Run, Source, Tool, ToolCall,
    VectorQuery, VectorStore,
};
use katena_layers::{
    Cache, CircuitBreaker, Concurrency, DenyWords, Fallback, Guard, MaxLength, MemoryLedger, Meter,
    PerMinute, RateLimit, Record, Retry, Timeout, Trace,
};
use support::SimClock;
use support::server::{Arrival, Faults, Outcome, Server, answer_to};

const CALLS: u32 = 10_000;
const SECOND: Duration = Duration::from_secs(1);

/// One of each kind, under the same layers.
struct Kinds {
    chat: Arc<dyn ChatModel>,
    embedder: Arc<dyn Embedder>,
    reranker: Arc<dyn Reranker>,
    store: Arc<dyn VectorStore>,
    retriever: Arc<dyn Retriever>,
    tool: Arc<dyn Tool>,
}

macro_rules! all_kinds {
    ($($name:ident: $kind:ident),+) => {
        impl Kinds {
            fn of(server: &Server) -> Self {
                Self { $($name: Arc::new(server.clone())),+ }
            }

            fn layer<L>(self, layer: &L) -> Self
            where
                L: $(Layer<dyn $kind> +)+
            {
                Self { $($name: layer.layer(self.$name)),+ }
            }
        }
    };
}
all_kinds!(chat: ChatModel, embedder: Embedder, reranker: Reranker, store: VectorStore, retriever: Retriever, tool: Tool);

impl Kinds {
    /// Tools have no fallback: a call may have had its effect.
    fn or(self, backup: Kinds, clock: &SimClock) -> Self {
        Self {
            chat: Fallback::chat(backup.chat).with_clock(clock.shared()).layer(self.chat),
            embedder: Fallback::embedder(backup.embedder).with_clock(clock.shared()).layer(self.embedder),
            reranker: Fallback::reranker(backup.reranker).with_clock(clock.shared()).layer(self.reranker),
            store: Fallback::store(backup.store).with_clock(clock.shared()).layer(self.store),
            retriever: Fallback::retriever(backup.retriever).with_clock(clock.shared()).layer(self.retriever),
            tool: self.tool,
        }
    }

    /// Makes call `id`, of the kind that its number says; gives the answer's text and the attempts if they are told.
    async fn call(&self, id: u32) -> Result<(String, Option<u32>)> {
        let text = format!("call {id}");
        let scored = |found: Vec<katena_core::Scored<Document>>| (found[0].item.text.clone(), None);
        match id % 7 {
            0 => {
                let answer = self.chat.generate(&ChatRequest::new([Message::user(text)])).await?;
                Ok((answer.text(), answer.attempts))
            }
            1 | 2 => {
                let mut stream = self.chat.stream(&ChatRequest::new([Message::user(text)])).await?;
                let mut answer = Accumulator::new();
                while let Some(event) = stream.next().await {
                    answer.push(&event?)?;
                }
                let answer = answer.finish()?;
                Ok((answer.text(), answer.attempts))
            }
            3 => {
                let answer = self.embedder.embed(&EmbedRequest::documents([text])).await?;
                Ok((answer_to(answer.vectors[0][0] as u32), None))
            }
            4 => {
                let documents = vec![Document::new("candidate", Source::default())];
                Ok(scored(self.reranker.rerank(RerankRequest::new(text, documents)).await?))
            }
            5 if id.is_multiple_of(2) => Ok(scored(self.store.search(&VectorQuery::lexical(text, 1)).await?)),
            5 => {
                let record = katena_core::Record::new(Document::new(text, Source::default()), vec![1.0]);
                self.store.upsert(katena_core::UpsertRequest::new(vec![record])).await?;
                Ok((answer_to(id), None))
            }
            _ if id.is_multiple_of(2) => Ok(scored(self.retriever.retrieve(&Query::new(text)).await?)),
            _ => {
                let call = ToolCall::new(text, "flaky", format!("{{\"id\":{id}}}"));
                Ok((self.tool.call(call, &Run::new()).await?.text(), None))
            }
        }
    }
}

/// Puts a layer around those kinds that it is for.
macro_rules! around {
    ($kinds:ident, $layer:expr, $($name:ident)+) => {
        { $($kinds.$name = $layer.layer($kinds.$name.clone());)+ }
    };
}

fn guard() -> Guard {
    Guard::new().with_input(MaxLength::new(1000)).with_output(DenyWords::new(["forbidden"]))
}

fn is_tool(id: u32) -> bool {
    id % 7 == 6 && id % 2 == 1
}

/// Kinds that no fallback moves on for: what was asked may have had its effect.
fn writes(id: u32) -> bool {
    is_tool(id) || (id % 7 == 5 && id % 2 == 1)
}

struct Results {
    ok: usize,
    failed: Vec<(u32, Error)>,
}

impl Results {
    fn count(&self, kind: ErrorKind) -> usize {
        self.failed.iter().filter(|(_, e)| e.kind() == kind).count()
    }
}

/// Makes all calls, one every few milliseconds, and checks what holds for any layers: each call is answered once, with its own
/// answer or a typed error; the server gave at most one answer to it, and was not asked again after that or after a stream
/// had begun.
fn call_all(clock: &SimClock, kinds: &Kinds, servers: &[&Server]) -> Results {
    let answered: Vec<_> = (0..CALLS).map(|_| AtomicUsize::new(0)).collect();
    let results = clock.run((0..CALLS).map(|id| {
        let answered = &answered;
        async move {
            clock.sleep(Duration::from_millis(7) * id).await;
            let result = kinds.call(id).await;
            answered[id as usize].fetch_add(1, Ordering::SeqCst);
            result
        }
    }));
    assert!(answered.iter().all(|n| n.load(Ordering::SeqCst) == 1), "nothing lost, nothing doubled");

    let by_id: Vec<_> = servers.iter().map(|server| server.by_id()).collect();
    let mut counted = Results { ok: 0, failed: Vec::new() };
    for (id, result) in (0_u32..).zip(&results) {
        let mut arrivals: Vec<Arrival> = by_id.iter().filter_map(|s| s.get(&id)).flatten().copied().collect();
        arrivals.sort_by_key(|a| a.at);
        let delivered = arrivals.iter().filter(|a| a.outcome == Outcome::Delivered).count();
        match result {
            Ok((text, attempts)) => {
                assert_eq!(*text, answer_to(id), "each its own answer");
                assert_eq!(delivered, 1, "call {id}: {arrivals:?}");
                assert_eq!(arrivals.last().unwrap().outcome, Outcome::Delivered, "call {id}: {arrivals:?}");
                if let (Some(attempts), 1) = (attempts, servers.len()) {
                    assert_eq!(*attempts as usize, arrivals.len(), "call {id}");
                }
                counted.ok += 1;
            }
            Err(error) => {
                assert_eq!(delivered, 0, "call {id} was answered, but: {error:?}");
                counted.failed.push((id, error.clone()));
            }
        }
        let last = arrivals.len().saturating_sub(1);
        assert!(arrivals[..last].iter().all(|a| !a.begun), "call {id}: again after a stream had begun");
        if is_tool(id) {
            assert!(arrivals.len() <= 1, "a tool was called again");
        }
    }
    counted
}

fn flaky(seed: u64) -> (SimClock, Server) {
    let clock = SimClock::new();
    let server = Server::new("flaky", &clock, Faults::MANY, seed);
    (clock, server)
}

fn most_in_a_minute(server: &Server) -> usize {
    let at: Vec<Duration> = server.arrivals().iter().map(|a| a.at).collect();
    (0..at.len()).map(|n| at[n..].iter().take_while(|t| **t < at[n] + SECOND * 60).count()).max().unwrap_or(0)
}

#[test]
fn retry_asks_until_it_has_an_answer() {
    let (clock, server) = flaky(1);
    let kinds = Kinds::of(&server).layer(&Retry::default().with_clock(clock.shared()));
    let results = call_all(&clock, &kinds, &[&server]);
    let arrivals = server.by_id();
    assert!(arrivals.values().all(|a| a.len() <= 3));
    for (id, error) in &results.failed {
        let arrivals = &arrivals[id];
        let gave_up = arrivals.len() == 3 || arrivals.last().unwrap().begun || is_tool(*id);
        assert!(gave_up || !error.is_temporary(), "call {id}: {error:?}, {arrivals:?}");
    }
    // 18 % of the tries fail for a while: 0.6 % of the calls fail three times; 1 % are bad requests; of the streams (2 in 7),
    // 6 % are cut; of the tools (1 in 14), which are called once, 18 % fail.
    assert!(results.ok > 9450 && results.count(ErrorKind::InvalidInput) > 80, "{} are answered", results.ok);
}

#[test]
fn timeout_ends_what_stalls_and_nothing_else() {
    let (clock, server) = flaky(2);
    let timeout = Timeout::total(SECOND * 30).with_idle(SECOND * 30).with_clock(clock.shared());
    let results = call_all(&clock, &Kinds::of(&server).layer(&timeout), &[&server]);
    let stalled = server.arrivals().iter().filter(|a| a.outcome == Outcome::Left).count();
    assert!(stalled > 100 && results.count(ErrorKind::Timeout) == stalled, "{stalled}");
    assert!(clock.elapsed() < SECOND * 200, "the server's hour was not waited for");
}

#[test]
fn concurrency_is_never_exceeded_and_all_permits_come_back() {
    let (clock, server) = flaky(3);
    let limit = Concurrency::new(40).with_clock(clock.shared());
    call_all(&clock, &Kinds::of(&server).layer(&limit), &[&server]);
    assert_eq!((server.most_at_once(), limit.free()), (40, 40));
    assert_eq!(server.arrivals().len(), CALLS as usize);
}

#[test]
fn the_rate_is_never_exceeded_and_all_calls_get_their_turn() {
    let (clock, server) = flaky(4);
    let limit = RateLimit::new(PerMinute::requests(2000)).with_clock(clock.shared());
    call_all(&clock, &Kinds::of(&server).layer(&limit), &[&server]);
    assert_eq!(most_in_a_minute(&server), 2000);
    let ids: Vec<u32> = server.arrivals().iter().map(|a| a.id).collect();
    assert!(ids.is_sorted() && ids.len() == CALLS as usize, "in the order of asking");
}

#[test]
fn the_breaker_spares_a_server_that_is_down_and_finds_it_when_it_is_back() {
    let clock = SimClock::new();
    let down = Faults { refused: 1000, ..Faults::default() };
    let server = Server::new("down", &clock, down, 5);
    let breaker = CircuitBreaker::default().with_clock(clock.shared());
    let results = call_all(&clock, &Kinds::of(&server).layer(&breaker), &[&server]);
    // 70 s at 143 calls a second: what had begun before the first errors came, and two probes, for six components.
    let reached = server.arrivals().len();
    assert!(results.ok == 0 && reached < 600, "{reached} calls reached it");
    let late = server.arrivals().iter().filter(|a| a.at > SECOND * 5).count();
    assert!((6..=18).contains(&late), "{late} probes");

    let (clock, server) = flaky(5);
    let breaker = CircuitBreaker::default().with_clock(clock.shared());
    let results = call_all(&clock, &Kinds::of(&server).layer(&breaker), &[&server]);
    assert!(results.ok > 7000, "a fifth of errors is no reason to open: {}", results.ok);
}

#[test]
fn fallback_asks_the_second_only_where_the_first_failed() {
    let (clock, first) = flaky(6);
    let second = Server::new("second", &clock, Faults::default(), 7);
    let kinds = Kinds::of(&first).or(Kinds::of(&second), &clock);
    let results = call_all(&clock, &kinds, &[&first, &second]);
    assert_eq!(first.arrivals().len(), CALLS as usize);
    let first = first.by_id();
    for id in second.by_id().keys() {
        assert_eq!(first[id][0].outcome, Outcome::Failed, "call {id} went on without need");
    }
    let begun = |id: &u32| first[id].last().unwrap().begun;
    let expected = |(id, error): &(u32, Error)| !error.is_temporary() || writes(*id) || begun(id);
    assert!(results.failed.iter().all(expected), "all others were answered by the second");
    assert!(results.count(ErrorKind::InvalidInput) > 50, "a bad request does not move on");
}

#[test]
fn all_layers_together() {
    let (clock, first) = flaky(8);
    let second = Server::new("second", &clock, Faults { refused: 100, ..Faults::default() }, 9);
    let limit = Concurrency::new(200).with_clock(clock.shared());
    let rate = RateLimit::new(PerMinute::requests(9_000)).with_clock(clock.shared());
    let retry = Retry::default().with_clock(clock.shared());
    let timeout = Timeout::total(SECOND * 30).with_idle(SECOND * 30).with_clock(clock.shared());
    let breaker = CircuitBreaker::default().with_clock(clock.shared());
    let stack = |server: &Server| {
        Kinds::of(server).layer(&timeout).layer(&limit).layer(&rate).layer(&retry).layer(&breaker)
    };
    let mut kinds = stack(&first).or(stack(&second), &clock);
    let ledger = MemoryLedger::new();
    around!(kinds, Meter::new(ledger.clone()), chat embedder reranker);
    around!(kinds, Cache::new().with_clock(clock.shared()), chat embedder reranker retriever);
    around!(kinds, guard(), chat embedder retriever tool);
    around!(kinds, Trace::new().with_clock(clock.shared()), chat embedder reranker store retriever tool);
    let results = call_all(&clock, &kinds, &[&first, &second]);
    assert!(first.most_at_once() + second.most_at_once() <= 400 && limit.free() == 200);
    let metered = (0..CALLS).filter(|id| id % 7 <= 4).count();
    assert_eq!(ledger.all().len(), metered, "one entry a call, not one a try");
    // What is left: bad requests (1 %), streams cut after they had begun (1.7 %), tools, which are called once (1.3 %).
    assert!(results.ok > 9500, "{} are answered", results.ok);
    assert!(results.failed.iter().all(|(_, e)| e.is_temporary() || e.kind() == ErrorKind::InvalidInput));
}

#[test]
fn cache_guard_trace_meter_and_record_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for layer in ["cache", "guard", "trace", "meter", "record"] {
        let (clock, server) = flaky(10);
        let ledger = MemoryLedger::new();
        let meter = Meter::new(ledger.clone());
        let record = Record::new(dir.path().join("calls.jsonl"));
        let mut kinds = Kinds::of(&server);
        match layer {
            "cache" => {
                let cache = Cache::new().with_clock(clock.shared());
                around!(kinds, cache, chat embedder reranker retriever tool);
            }
            "guard" => around!(kinds, guard(), chat embedder retriever tool),
            "trace" => {
                let trace = Trace::new().with_clock(clock.shared());
                around!(kinds, trace, chat embedder reranker store retriever tool);
            }
            "meter" => around!(kinds, meter.named("flaky", "flaky"), chat embedder reranker),
            _ => around!(kinds, record, chat embedder reranker retriever tool),
        }
        let results = call_all(&clock, &kinds, &[&server]);
        let by_id = server.by_id();
        let none_again = results.failed.iter().all(|(id, _)| by_id[id].len() <= 2);
        assert!(none_again && results.ok > 7500, "{layer}: {} are answered", results.ok);
        if layer == "meter" {
            let metered = (0..CALLS).filter(|id| id % 7 <= 4).count();
            assert_eq!(ledger.all().len(), metered, "one entry a call, whatever became of it");
        }
    }
}

#[test]
fn the_cache_asks_once_for_equal_calls() {
    let (clock, server) = flaky(11);
    let mut kinds = Kinds::of(&server);
    let cache = Cache::new().with_clock(clock.shared());
    around!(kinds, cache, chat);
    // Four clients ask the same within a few milliseconds; ids of chats only.
    let results = clock.run((0..CALLS).map(|n| {
        let (kinds, clock, id) = (&kinds, &clock, n / 4 * 7 + 1 - n / 4 % 2);
        async move {
            clock.sleep(Duration::from_millis(7) * n).await;
            (id, kinds.call(id).await)
        }
    }));
    let by_id = server.by_id();
    let delivered = |id| by_id[id].iter().filter(|a| a.outcome == Outcome::Delivered).count();
    assert!(by_id.keys().all(|id| delivered(id) <= 1), "no answer was asked for twice");
    for (id, result) in &results {
        match result {
            Ok((text, _)) => assert!(*text == answer_to(*id) && delivered(id) == 1),
            Err(error) => assert!(by_id[id].iter().any(|a| a.outcome == Outcome::Failed), "{error:?}"),
        }
    }
    let answered = results.iter().filter(|(_, result)| result.is_ok()).count();
    assert!(answered > 9000 && server.arrivals().len() < 3500, "{answered}, {}", server.arrivals().len());
}

/// A server that fails for all of 1,000 clients at once.
fn retry_instants(hint: Option<Duration>, retry: impl Fn() -> Retry) -> Vec<Vec<Duration>> {
    #[derive(Debug)]
    struct Down(SimClock, Option<Duration>, std::sync::Mutex<HashMap<u32, Vec<Duration>>>);
    #[async_trait::async_trait]
    impl Retriever for Down {
        async fn retrieve(&self, query: &Query) -> Result<Vec<katena_core::Scored<Document>>> {
            let id = query.text.parse().unwrap();
            self.2.lock().unwrap().entry(id).or_default().push(self.0.elapsed());
            let error = Error::new(ErrorKind::Unavailable, "down");
            Err(if let Some(hint) = self.1 { error.with_retry_after(hint) } else { error })
        }
    }
    let clock = SimClock::new();
    let down = Arc::new(Down(clock.clone(), hint, std::sync::Mutex::default()));
    let failed = clock.run((0..1000).map(|id| {
        // Each client is a process of its own.
        let retriever: Arc<dyn Retriever> = retry().with_clock(clock.shared()).layer(down.clone());
        async move { retriever.retrieve(&Query::new(id.to_string())).await.is_err() }
    }));
    assert!(failed.iter().all(|failed| *failed));
    let calls = down.2.lock().unwrap();
    assert!(calls.len() == 1000 && calls.values().all(|at| at.len() == 3), "two retries each");
    (1..3)
        .map(|n| {
            let mut instants: Vec<Duration> = calls.values().map(|at| at[n]).collect();
            instants.sort();
            instants
        })
        .collect()
}

/// The most instants that fall into any window of this length.
fn most_within(instants: &[Duration], window: Duration) -> usize {
    (0..instants.len()).map(|n| instants[n..].partition_point(|t| *t < instants[n] + window)).max().unwrap()
}

#[test]
fn the_retries_of_a_thousand_clients_do_not_bunch() {
    let seeds = std::sync::atomic::AtomicU64::new(0);
    let seeded = || Retry::default().with_seed(seeds.fetch_add(1, Ordering::SeqCst));
    // The wait before a retry is uniform over this range; a fortieth of it holds 25 of 1,000 on average. The fullest of about
    // 1,000 such windows holds less than 25 + 6 · √25 = 55, but for one chance in a million.
    let cases = [
        (None, Duration::from_millis(375), Duration::from_millis(500)),
        (Some(SECOND * 20), SECOND * 20, SECOND * 25),
        (Some(SECOND * 100), SECOND * 100, SECOND * 108),
    ];
    for (hint, shortest, longest) in cases {
        let retries = retry_instants(hint, seeded);
        let (first, range) = (&retries[0], longest - shortest);
        assert!(first[0] >= shortest && first[999] <= longest, "{:?} to {:?}", first[0], first[999]);
        assert!(first[999] - first[0] >= range * 9 / 10, "they use the range");
        let most = most_within(first, range / 40);
        assert!(most <= 55, "{most} of 1,000 retries within {:?}", range / 40);
        // The second retry adds a spread of its own: no denser than the first.
        let most = most_within(&retries[1], range / 40);
        assert!(most <= 55, "{most} of 1,000 second retries within {:?}", range / 40);
    }
    let default = retry_instants(None, Retry::default);
    assert!(default[0][999] - default[0][0] > Duration::from_millis(100), "without a seed too");
}
