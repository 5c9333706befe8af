//! Unit tests of the cache; those through the public face alone are in `tests/cache.rs`.
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use katena_core::fake::{EchoChat, FlakyChat, HashEmbedder, ScriptedChat};
use katena_core::{
    Cancel, ChatEvent, ChatModel, ChatModelExt as _, ChatResponse, ChatStream, EmbedRequest, EmbedResponse,
    Embedder, EmbedderExt as _, EmbedderInfo, FinishReason, Labels, ManualClock, Message, ModelInfo, Part,
    PartKind, Tokenizer, ToolSpec,
};
use tokio::sync::Semaphore;

use super::*;
use crate::ManualWallClock;

/// Counts its calls and answers each only when a permit is there.
#[derive(Debug)]
struct Gated {
    info: ModelInfo,
    calls: AtomicUsize,
    gate: Arc<Semaphore>,
    fails: AtomicUsize,
}

impl Gated {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            info: ModelInfo::new("fake", "gated"),
            calls: AtomicUsize::new(0),
            gate: Arc::new(Semaphore::new(permits)),
            fails: AtomicUsize::new(0),
        })
    }

    fn failing(self: Arc<Self>, times: usize) -> Arc<Self> {
        self.fails.store(times, Ordering::SeqCst);
        self
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn fails_now(&self) -> bool {
        self.fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
    }
}

fn answer(n: usize) -> ChatResponse {
    ChatResponse::new(Message::assistant(format!("answer {n}")), FinishReason::Stop)
}

#[async_trait]
impl ChatModel for Gated {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        let pass = async {
            self.gate.acquire().await.unwrap().forget();
            Ok(())
        };
        request.context.cancel.guard(pass).await?;
        if self.fails_now() {
            return Err(Error::new(ErrorKind::Unavailable, "down"));
        }
        Ok(answer(n))
    }

    /// One event per permit.
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = self.fails_now();
        let (gate, cancel) = (self.gate.clone(), request.context.cancel.clone());
        let events = vec![
            ChatEvent::start(0, PartKind::Text),
            ChatEvent::delta(0, "answer "),
            ChatEvent::delta(0, n.to_string()),
            ChatEvent::end(0, Part::text(format!("answer {n}"))),
            ChatEvent::Finished(Box::new(answer(n))),
        ];
        let events = stream::iter(events).enumerate().then(move |(at, event)| {
            let (gate, cancel) = (gate.clone(), cancel.clone());
            async move {
                let pass = async {
                    gate.acquire().await.unwrap().forget();
                    Ok(())
                };
                cancel.guard(pass).await?;
                if fails && at == 0 { Err(Error::new(ErrorKind::Unavailable, "down")) } else { Ok(event) }
            }
        });
        Ok(events.boxed())
    }
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("question")])
}

async fn events(model: &dyn ChatModel, request: &ChatRequest) -> Vec<ChatEvent> {
    model.stream(request).await.unwrap().map(Result::unwrap).collect().await
}

#[tokio::test]
async fn every_field_of_the_request_is_part_of_the_key() {
    let script: Vec<String> = (0..99).map(|n| n.to_string()).collect();
    let model = ScriptedChat::texts(script);
    let cached = model.clone().layer(Cache::new());
    let tool = ToolSpec::new("t", "d", json!({"type": "object"}));
    let variants = [
        ask(),
        ChatRequest::new([Message::user("question ")]),
        ChatRequest::new([Message::system("question")]),
        ask().with_temperature(0.0),
        ask().with_temperature(0.5),
        ask().with_top_p(0.5),
        ask().with_top_k(5),
        ask().with_max_tokens(5),
        ask().with_logprobs(0),
        ask().with_tools([tool.clone()]),
        ask().with_tools([tool]).with_tool_choice(katena_core::ToolChoice::Required),
        ask().with_response_format(katena_core::ResponseFormat::JsonObject),
        ask().with_reasoning(katena_core::Reasoning::budget(5)),
        ask().with_prompt_cache(katena_core::PromptCache::new()),
        ask().with_extra("x", 1),
        ask().with_extra("x", 2),
    ];
    for request in &variants {
        let first = cached.generate(request).await.unwrap();
        assert_eq!(cached.generate(request).await.unwrap(), first);
    }
    assert_eq!(model.requests().len(), variants.len());
    // The context is none.
    let labelled = ask().with_context(Context::new().with_labels(Labels::new().with("tenant", "a")));
    assert_eq!(cached.generate(&labelled).await.unwrap().text(), "0");
    assert_eq!(model.requests().len(), variants.len());
}

#[tokio::test]
async fn vendor_model_and_scope_keep_answers_apart() {
    let cache = Cache::new().with_scope(["tenant"]);
    let (a, b) = (ScriptedChat::texts(["a", "a2"]), EchoChat::new());
    let (a, b) = (a.layer(cache.clone()), b.layer(cache.clone()));
    assert_eq!(a.generate(&ask()).await.unwrap().text(), "a");
    assert_eq!(b.generate(&ask()).await.unwrap().text(), "question");
    let of =
        |tenant: &str| ask().with_context(Context::new().with_labels(Labels::new().with("tenant", tenant)));
    assert_eq!(a.generate(&of("")).await.unwrap().text(), "a2", "no label is not an empty one");
    assert_eq!(a.generate(&of("")).await.unwrap().text(), "a2");
    assert!(a.generate(&of("x")).await.is_err(), "the script is over");
}

#[tokio::test]
async fn a_stream_comes_again_as_it_came_and_serves_generate() {
    let model = Gated::new(1000);
    let cached = model.clone().layer(Cache::new());
    let first = events(&cached, &ask()).await;
    assert_eq!(first.len(), 5, "both deltas are there");
    assert_eq!(events(&cached, &ask()).await, first);
    assert_eq!(cached.generate(&ask()).await.unwrap(), answer(0));
    assert_eq!(model.calls(), 1);
    // And the other way round.
    let other = ask().with_max_tokens(9);
    let whole = cached.generate(&other).await.unwrap();
    assert_eq!(events(&cached, &other).await, ChatEvent::of_response(whole));
    assert_eq!(model.calls(), 2);
}

#[tokio::test]
async fn only_what_ended_well_is_kept() {
    let cut = ChatResponse::new(Message::assistant("cu"), FinishReason::Length);
    let filtered = ChatResponse::new(Message::assistant(""), FinishReason::ContentFilter);
    let refusal = Message::new(katena_core::Role::Assistant, vec![Part::Refusal { text: "no".into() }]);
    let refused = ChatResponse::new(refusal, FinishReason::Stop);
    let broken = Error::new(ErrorKind::Unavailable, "down");
    let script = vec![Ok(cut), Err(broken), Ok(filtered), Ok(refused), Ok(answer(7))];
    let cached = ScriptedChat::new(script).layer(Cache::new());
    assert_eq!(cached.generate(&ask()).await.unwrap().finish, FinishReason::Length);
    assert!(cached.generate(&ask()).await.is_err());
    assert_eq!(cached.generate(&ask()).await.unwrap().finish, FinishReason::ContentFilter);
    assert_eq!(cached.generate(&ask()).await.unwrap().refusal(), Some("no"));
    assert_eq!(cached.generate(&ask()).await.unwrap(), answer(7));
    assert_eq!(cached.generate(&ask()).await.unwrap(), answer(7), "this one is kept");
}

#[tokio::test]
async fn a_cut_stream_is_not_kept() {
    let flaky = FlakyChat::new(ScriptedChat::texts(["one two", "three"]), 1).with_failures_mid_stream();
    let cached = flaky.layer(Cache::new());
    let cut: Vec<_> = cached.stream(&ask()).await.unwrap().collect().await;
    assert!(cut.last().unwrap().is_err());
    let whole = events(&cached, &ask()).await;
    assert_eq!(whole, events(&cached, &ask()).await);
    assert!(matches!(whole.last(), Some(ChatEvent::Finished(r)) if r.text() == "three"));
    // A reader that goes away in the midst leaves nothing either.
    let cache = Cache::new();
    let model = Gated::new(2);
    let cached = model.clone().layer(cache.clone());
    let mut half = cached.stream(&ask()).await.unwrap();
    assert!(half.next().await.unwrap().is_ok());
    drop(half);
    assert_eq!((cache.shared.hubs.len(), cache.stats().hits), (0, 0));
    model.gate.add_permits(1000);
    assert_eq!(events(&cached, &ask()).await.len(), 5);
    assert_eq!(model.calls(), 2);
}

#[tokio::test]
async fn equal_calls_ask_once_and_a_vanished_caller_stops_nobody() {
    let model = Gated::new(0);
    let cache = Cache::new();
    let cached = model.clone().layer(cache.clone());
    let request = ask();
    let mut first = cached.generate(&request);
    assert!((&mut first).now_or_never().is_none());
    let mut others: Vec<_> = (0..50).map(|_| cached.generate(&request)).collect();
    for other in &mut others {
        assert!(other.now_or_never().is_none());
    }
    drop(first);
    model.gate.add_permits(1);
    for other in others {
        assert_eq!(other.await.unwrap(), answer(0));
    }
    assert_eq!((model.calls(), cache.shared.flights.len()), (1, 0));
    assert_eq!((cache.stats().misses, cache.stats().joined), (1, 50));
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_ends() {
    let model = Gated::new(0);
    let cache = Cache::new();
    let cached = model.clone().layer(cache.clone());
    let request = ask();
    for n in 1..4 {
        let mut call = cached.generate(&request);
        assert!((&mut call).now_or_never().is_none());
        drop(call);
        assert_eq!((model.calls(), cache.shared.flights.len()), (n, 0));
    }
}

#[tokio::test]
async fn failure_is_passed_on_to_one_that_asks_again() {
    let model = Gated::new(0).failing(1);
    let cached = model.clone().layer(Cache::new());
    let request = ask();
    let calls = futures_util::future::join_all((0..20).map(|_| cached.generate(&request)));
    model.gate.add_permits(2);
    let results = calls.await;
    assert_eq!(results.iter().filter(|r| r.is_err()).count(), 1, "only the one who asked");
    assert_eq!(model.calls(), 2);
    // A second failure is everybody's: a vendor that is down is not asked twenty times.
    let model = Gated::new(1000).failing(1000);
    let cached = model.clone().layer(Cache::new());
    let results = futures_util::future::join_all((0..20).map(|_| cached.generate(&request))).await;
    assert!(results.iter().all(Result::is_err));
    assert!(model.calls() <= 20);
}

#[tokio::test]
async fn another_callers_cancel_or_deadline_is_not_ours() {
    let (model, clock) = (Gated::new(0), ManualClock::new());
    let cached = model.clone().layer(Cache::new().with_clock(Arc::new(clock.clone())));
    let cancel = Cancel::new();
    let theirs = ask().with_context(Context::new().with_cancel(cancel.clone()));
    let until = clock.now() + Duration::from_secs(60);
    let hurried = ask().with_context(Context::new().with_deadline(until));
    let ours = ask();
    let (mut a, mut b, mut c) = (cached.generate(&theirs), cached.generate(&hurried), cached.generate(&ours));
    assert!((&mut a).now_or_never().is_none() && (&mut b).now_or_never().is_none());
    assert!((&mut c).now_or_never().is_none());
    cancel.cancel();
    assert_eq!(a.now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    clock.advance(Duration::from_secs(60));
    assert_eq!(b.now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    model.gate.add_permits(1);
    assert_eq!(c.await.unwrap(), answer(0));
    assert_eq!(model.calls(), 1);
}

#[tokio::test]
async fn streams_are_read_together_and_neither_a_slow_nor_a_vanished_reader_stops_the_others() {
    let model = Gated::new(1);
    let cache = Cache::new();
    let cached = model.clone().layer(cache.clone());
    let request = ask();
    // The first reads one event and then rests.
    let mut slow = cached.stream(&request).await.unwrap();
    assert!(slow.next().await.unwrap().is_ok());
    let mut gone = cached.stream(&request).await.unwrap();
    let mut quick = cached.stream(&request).await.unwrap();
    assert!(gone.next().await.unwrap().is_ok() && quick.next().await.unwrap().is_ok());
    assert!(gone.next().now_or_never().is_none() && quick.next().now_or_never().is_none());
    drop(gone);
    model.gate.add_permits(4);
    let rest: Vec<_> = quick.map(Result::unwrap).collect().await;
    assert_eq!(rest.len(), 4);
    assert_eq!(slow.map(Result::unwrap).collect::<Vec<_>>().await, rest);
    assert_eq!((model.calls(), cache.shared.hubs.len()), (1, 0));
    assert_eq!(events(&cached, &request).await.len(), 5);
    assert_eq!(model.calls(), 1);
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_event_is_asked_for_again() {
    let model = Gated::new(1000).failing(1);
    let cached = model.clone().layer(Cache::new());
    let request = ask();
    let (a, b) = tokio::join!(cached.stream(&request), cached.stream(&request));
    let results = [a, b];
    assert_eq!(results.iter().filter(|r| r.is_err()).count(), 1);
    for stream in results.into_iter().flatten() {
        assert_eq!(stream.map(Result::unwrap).collect::<Vec<_>>().await.len(), 5);
    }
    assert_eq!(model.calls(), 2);
}

#[tokio::test]
async fn a_readers_cancel_ends_its_own_stream_only() {
    let model = Gated::new(1);
    let cached = model.clone().layer(Cache::new());
    let cancel = Cancel::new();
    let theirs = ask().with_context(Context::new().with_cancel(cancel.clone()));
    let mut a = cached.stream(&theirs).await.unwrap();
    let mut b = cached.stream(&ask()).await.unwrap();
    assert!(a.next().await.unwrap().is_ok() && b.next().await.unwrap().is_ok());
    assert!(a.next().now_or_never().is_none());
    cancel.cancel();
    assert_eq!(a.next().await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(a.next().await.is_none());
    model.gate.add_permits(4);
    assert_eq!(b.map(Result::unwrap).collect::<Vec<_>>().await.len(), 4);
}

#[tokio::test]
async fn answers_end_by_time_and_by_number() {
    let clock = ManualWallClock::new(std::time::UNIX_EPOCH);
    let cache = Cache::with_store(MemoryCache::new(2))
        .with_ttl(Duration::from_secs(60))
        .with_wall_clock(Arc::new(clock.clone()));
    let model = Gated::new(1000);
    let cached = model.clone().layer(cache.clone());
    let nth = |n: u32| ask().with_max_tokens(n);
    cached.generate(&nth(1)).await.unwrap();
    clock.advance(Duration::from_secs(59));
    cached.generate(&nth(1)).await.unwrap();
    assert_eq!(model.calls(), 1);
    clock.advance(Duration::from_secs(1));
    cached.generate(&nth(1)).await.unwrap();
    assert_eq!(model.calls(), 2, "60 s are over");
    cached.generate(&nth(2)).await.unwrap();
    cached.generate(&nth(1)).await.unwrap();
    cached.generate(&nth(3)).await.unwrap();
    assert_eq!(model.calls(), 4);
    cached.generate(&nth(1)).await.unwrap();
    assert_eq!(model.calls(), 4, "2 went, it was not used for longer");
    cached.generate(&nth(2)).await.unwrap();
    assert_eq!(model.calls(), 5);
    cache.clear().await.unwrap();
    cached.generate(&nth(2)).await.unwrap();
    assert_eq!(model.calls(), 6);
}

#[tokio::test]
async fn the_memory_is_bounded_in_bytes() {
    let store = MemoryCache::new(1_000).with_max_bytes(1_000);
    let entry = |n: usize| CacheEntry::new(vec![0; n], std::time::UNIX_EPOCH);
    for n in 0..50 {
        store.put(&format!("key {n:02}"), entry(94)).await.unwrap();
    }
    assert_eq!(store.len(), 10);
    store.put("key 49", entry(2_000)).await.unwrap();
    assert_eq!(store.len(), 9, "too large: the old one is gone, the new one is not kept");
    store.put("key 48", entry(800)).await.unwrap();
    assert!(store.get("key 48").await.unwrap().is_some() && store.len() <= 3);
}

#[tokio::test]
async fn policies_let_requests_pass() {
    let model = Gated::new(1000);
    let cache = Cache::new().with_policy(CachePolicy::Repeatable).with_bypass(|r| r.max_tokens == Some(1));
    let cached = model.clone().layer(cache.clone());
    let tool = ToolSpec::new("t", "d", json!({"type": "object"}));
    for request in [
        ask(),
        ask().with_temperature(1.0),
        ask().with_temperature(0.0).with_tools([tool]),
        ask().with_temperature(0.0).with_max_tokens(1),
    ] {
        let before = model.calls();
        cached.generate(&request).await.unwrap();
        events(&cached, &request).await;
        assert_eq!(model.calls(), before + 2);
    }
    assert_eq!(cache.stats().bypassed, 8);
    let before = model.calls();
    for request in [ask().with_temperature(0.0), ask().with_seed(3)] {
        cached.generate(&request).await.unwrap();
        events(&cached, &request).await;
    }
    assert_eq!(model.calls(), before + 2);
}

#[derive(Debug)]
struct Broken;

#[async_trait]
impl CacheStore for Broken {
    async fn get(&self, _: &str) -> Result<Option<CacheEntry>> {
        Err(Error::unexpected("no disk"))
    }
    async fn put(&self, _: &str, _: CacheEntry) -> Result<()> {
        Err(Error::unexpected("no disk"))
    }
    async fn clear(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_broken_store_costs_calls_and_nothing_else() {
    let (cache, model) = (Cache::with_store(Broken), Gated::new(1000));
    let cached = model.clone().layer(cache.clone());
    assert_eq!(cached.generate(&ask()).await.unwrap(), answer(0));
    assert_eq!(events(&cached, &ask()).await.len(), 5);
    assert!(cache.stats().store_failures >= 4);
    let store = MemoryCache::new(5);
    let cache = Cache::with_store(store.clone());
    let cached = Gated::new(1000).layer(cache.clone());
    cached.generate(&ask()).await.unwrap();
    let key = store_key(&cache);
    store.put(&key, CacheEntry::new(*b"{damaged", std::time::UNIX_EPOCH)).await.unwrap();
    assert_eq!(cached.generate(&ask()).await.unwrap(), answer(1));
}

fn store_key(cache: &Cache) -> String {
    cache.key("chat", &json!(["fake", "gated"]), &crate::stored::to_value(&ask()).unwrap(), &Context::new())
}

/// Counts the texts that it is asked for.
#[derive(Debug)]
struct Counting(HashEmbedder, AtomicUsize);

#[async_trait]
impl Embedder for Counting {
    fn info(&self) -> &EmbedderInfo {
        self.0.info()
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        None
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        self.1.fetch_add(request.texts.len(), Ordering::SeqCst);
        self.0.embed(request).await
    }
}

#[tokio::test]
async fn texts_are_embedded_once_each() {
    let inner = Arc::new(Counting(HashEmbedder::new(16), AtomicUsize::new(0)));
    let cached = inner.clone().layer(Cache::new());
    let asked = || inner.1.load(Ordering::SeqCst);
    let first = cached.embed(&EmbedRequest::documents(["a", "b", "a"])).await.unwrap();
    assert_eq!(asked(), 2);
    let second = cached.embed(&EmbedRequest::documents(["c", "a", "b", "c"])).await.unwrap();
    assert_eq!(asked(), 3);
    assert_eq!(second.vectors[1], first.vectors[0]);
    assert_eq!(
        second.vectors,
        inner.0.embed(&EmbedRequest::documents(["c", "a", "b", "c"])).await.unwrap().vectors
    );
    cached.embed(&EmbedRequest::query("a")).await.unwrap();
    assert_eq!(asked(), 4, "another role");
}

#[test]
fn debug_shows_no_contents() {
    let shown = format!("{:?} {:?}", Cache::new(), EchoChat::new().layer(Cache::new()));
    assert!(shown.contains("Cache") && !shown.contains("question"), "{shown}");
}
