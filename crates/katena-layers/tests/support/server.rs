//! A double of a flaky vendor that offers every kind of component and writes down each call.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use katena_core::{
    ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Clock as _, CountRequest,
    DeleteRequest, Document, EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Error, ErrorKind,
    FinishReason, GetRequest, Message, Metric, ModelInfo, Part, PartKind, Query, Record, RecordStore,
    RerankRequest, Reranker, Result, Retriever, Run, Scored, Source, StoreInfo, Tokenizer, Tool, ToolCall,
    ToolOutput, ToolSpec, UpsertRequest, Usage, VectorQuery, VectorStore,
};

use super::SimClock;

/// How a call ended, as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The caller went away.
    Left,
    Failed,
    Delivered,
}

/// One call that reached the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) id: u32,
    /// Since the clock was made.
    pub(crate) at: Duration,
    pub(crate) outcome: Outcome,
    /// Of a stream: an event was sent.
    pub(crate) begun: bool,
}

/// What goes wrong, in calls of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) refused: u32,
    pub(crate) rate_limited: u32,
    pub(crate) reply_lost: u32,
    pub(crate) stalled: u32,
    pub(crate) bad_request: u32,
    /// Streams only: cut after the first event, or ended without `Finished`.
    pub(crate) cut: u32,
}

impl Faults {
    pub(crate) const MANY: Faults =
        Faults { refused: 80, rate_limited: 60, reply_lost: 40, stalled: 20, bad_request: 10, cut: 60 };
}

#[derive(Default)]
struct Log {
    arrivals: Vec<Arrival>,
    tries: HashMap<u32, u64>,
    running: usize,
    most: usize,
}

#[derive(Clone)]
pub(crate) struct Server {
    clock: SimClock,
    faults: Faults,
    seed: u64,
    info: ModelInfo,
    embedder: EmbedderInfo,
    store: StoreInfo,
    tool: ToolSpec,
    log: Arc<Mutex<Log>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

/// A call under way.
struct Visit {
    log: Arc<Mutex<Log>>,
    number: usize,
}

impl Visit {
    fn outcome(&self, outcome: Outcome) {
        self.log.lock().unwrap().arrivals[self.number].outcome = outcome;
    }
    fn begun(&self) {
        self.log.lock().unwrap().arrivals[self.number].begun = true;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.log.lock().unwrap().running -= 1;
    }
}

enum Luck {
    Fine,
    Fails(Error),
    Stalls,
    /// Cut with an error, or silently.
    Cut(bool),
}

impl Server {
    pub(crate) fn new(vendor: &str, clock: &SimClock, faults: Faults, seed: u64) -> Self {
        let can = ChatCapabilities::none().with_usage();
        Self {
            clock: clock.clone(),
            faults,
            seed,
            info: ModelInfo::new(vendor, "flaky").with_capabilities(can),
            embedder: EmbedderInfo::new("flaky", 1).with_raw_vectors(),
            store: StoreInfo::new("flaky", Metric::Cosine),
            tool: ToolSpec::new("flaky", "Flaky.", serde_json::json!({"type": "object"})),
            log: Arc::default(),
        }
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.log.lock().unwrap().arrivals.clone()
    }

    /// The most calls that ran at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.log.lock().unwrap().most
    }

    /// The calls that reached it, by id, in their order.
    pub(crate) fn by_id(&self) -> HashMap<u32, Vec<Arrival>> {
        let mut by_id: HashMap<u32, Vec<Arrival>> = HashMap::new();
        for arrival in self.arrivals() {
            by_id.entry(arrival.id).or_default().push(arrival);
        }
        by_id
    }

    /// Takes a call in, and says how it will go: the same for the same seed, whatever the order of calls.
    fn arrive(&self, id: u32, streams: bool) -> (Visit, Duration, Luck) {
        let mut log = self.log.lock().unwrap();
        let tries = log.tries.entry(id).or_default();
        let before = *tries;
        *tries += 1;
        log.arrivals.push(Arrival { id, at: self.clock.elapsed(), outcome: Outcome::Left, begun: false });
        log.running += 1;
        log.most = log.most.max(log.running);
        let number = log.arrivals.len() - 1;
        drop(log);
        let mut random = fastrand::Rng::with_seed(self.seed ^ (u64::from(id) << 20) ^ (before << 56));
        let latency = Duration::from_millis(random.u64(10..2000));
        let mut at = random.u32(0..1000);
        let mut hit = |share: u32| {
            let hit = at < share;
            at = at.wrapping_sub(share);
            hit
        };
        let faults = self.faults;
        let status = |kind, status| Error::new(kind, "the double fails").with_status(status);
        let luck = if hit(faults.refused) {
            Luck::Fails(status(ErrorKind::Unavailable, 503))
        } else if hit(faults.rate_limited) {
            Luck::Fails(
                status(ErrorKind::RateLimited, 429).with_retry_after(Duration::from_secs(random.u64(0..5))),
            )
        } else if hit(faults.reply_lost) {
            Luck::Fails(Error::new(ErrorKind::Unavailable, "the connection was cut"))
        } else if hit(faults.stalled) {
            Luck::Stalls
        } else if hit(faults.bad_request) {
            Luck::Fails(status(ErrorKind::InvalidInput, 400))
        } else if streams && hit(faults.cut) {
            Luck::Cut(random.bool())
        } else {
            Luck::Fine
        };
        (Visit { log: self.log.clone(), number }, latency, luck)
    }

    /// A call with one answer.
    async fn serve(&self, id: u32) -> Result<()> {
        let (visit, latency, luck) = self.arrive(id, false);
        self.clock.sleep(latency).await;
        match luck {
            Luck::Fails(error) => {
                visit.outcome(Outcome::Failed);
                return Err(error);
            }
            Luck::Stalls => self.clock.sleep(Duration::from_secs(3600)).await,
            Luck::Fine | Luck::Cut(_) => {}
        }
        visit.outcome(Outcome::Delivered);
        Ok(())
    }
}

pub(crate) fn answer_to(id: u32) -> String {
    format!("answer to {id}")
}

fn document(id: u32) -> Document {
    Document::new(answer_to(id), Source::default())
}

fn id_of(text: &str) -> u32 {
    text.rsplit(' ').next().unwrap().parse().unwrap()
}

fn response(id: u32) -> ChatResponse {
    let usage = Usage::new(10, 3);
    ChatResponse::new(Message::assistant(answer_to(id)), FinishReason::Stop).with_usage(usage)
}

#[async_trait]
impl ChatModel for Server {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let id = id_of(&request.messages[0].text());
        self.serve(id).await?;
        Ok(response(id))
    }

    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let id = id_of(&request.messages[0].text());
        let (visit, latency, luck) = self.arrive(id, true);
        self.clock.sleep(latency).await;
        // Half of the errors come instead of a stream, half as its first item.
        let mut items: Vec<Result<ChatEvent>> = vec![
            Ok(ChatEvent::start(0, PartKind::Text)),
            Ok(ChatEvent::delta(0, answer_to(id))),
            Ok(ChatEvent::end(0, Part::text(answer_to(id)))),
            Ok(ChatEvent::Finished(Box::new(response(id)))),
            // What a server repeats after the end must not be seen.
            Ok(ChatEvent::Finished(Box::new(response(id)))),
        ];
        let mut stall = false;
        match luck {
            Luck::Fails(error) if id.is_multiple_of(2) => {
                visit.outcome(Outcome::Failed);
                return Err(error);
            }
            Luck::Fails(error) => items = vec![Err(error)],
            Luck::Stalls => stall = true,
            Luck::Cut(told) => {
                items.truncate(2);
                items.extend(told.then(|| Err(Error::new(ErrorKind::Unavailable, "cut"))));
            }
            Luck::Fine => {}
        }
        let clock = self.clock.clone();
        let silent = !matches!(items.last(), Some(Err(_) | Ok(ChatEvent::Finished(_))));
        let items = items.into_iter();
        let events = stream::unfold((items, visit), move |(mut items, visit)| {
            let clock = clock.clone();
            async move {
                if stall {
                    clock.sleep(Duration::from_secs(3600)).await;
                }
                clock.sleep(Duration::from_millis(20)).await;
                let Some(item) = items.next() else {
                    if silent {
                        visit.outcome(Outcome::Failed);
                    }
                    return None;
                };
                match &item {
                    Ok(ChatEvent::Finished(_)) => visit.outcome(Outcome::Delivered),
                    Ok(_) => visit.begun(),
                    Err(_) => visit.outcome(Outcome::Failed),
                }
                Some((item, (items, visit)))
            }
        });
        Ok(events.boxed())
    }
}

#[async_trait]
impl Embedder for Server {
    fn info(&self) -> &EmbedderInfo {
        &self.embedder
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        None
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        let id = id_of(&request.texts[0]);
        self.serve(id).await?;
        Ok(EmbedResponse::new(vec![vec![id as f32]]))
    }
}

#[async_trait]
impl Reranker for Server {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        let id = id_of(&request.query);
        self.serve(id).await?;
        assert_eq!(request.documents.len(), 1, "the request came whole");
        Ok(vec![Scored::new(document(id), 1.0)])
    }
}

#[async_trait]
impl VectorStore for Server {
    fn info(&self) -> &StoreInfo {
        &self.store
    }
    async fn upsert(&self, request: UpsertRequest) -> Result<()> {
        assert_eq!(request.records.len(), 1, "the request came whole");
        self.serve(id_of(&request.records[0].document.text)).await
    }
    async fn search(&self, query: &VectorQuery) -> Result<Vec<Scored<Document>>> {
        let id = id_of(query.text.as_deref().unwrap());
        self.serve(id).await?;
        Ok(vec![Scored::new(document(id), 1.0)])
    }
    async fn get(&self, _: &GetRequest) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }
    async fn delete(&self, _: &DeleteRequest) -> Result<u64> {
        Ok(0)
    }
    async fn count(&self, _: &CountRequest) -> Result<u64> {
        Ok(0)
    }
    fn records(&self) -> Option<Arc<dyn RecordStore>> {
        None
    }
}

#[async_trait]
impl Retriever for Server {
    async fn retrieve(&self, query: &Query) -> Result<Vec<Scored<Document>>> {
        let id = id_of(&query.text);
        self.serve(id).await?;
        Ok(vec![Scored::new(document(id), 1.0)])
    }
}

#[async_trait]
impl Tool for Server {
    fn spec(&self) -> &ToolSpec {
        &self.tool
    }
    async fn call(&self, call: ToolCall, _: &Run) -> Result<ToolOutput> {
        let id = id_of(&call.id);
        self.serve(id).await?;
        Ok(answer_to(id).into())
    }
}
