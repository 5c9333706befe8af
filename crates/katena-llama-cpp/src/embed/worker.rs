//! The thread that owns an embedding or reranking model: texts of many requests are computed together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use katena_core::{Context, Error, ErrorKind, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::oneshot;

use super::batcher::{Batcher, Limits, Pick};
use crate::engine::{Engine, Shape, Want};
use crate::handover::{self, Receiver, Sender, TrySend};

/// Requests in work; others wait in the queue.
const ACTIVE: usize = 64;
/// Texts of a request that are made into tokens ahead.
const AHEAD: usize = 512;
/// After which time a refused caller may try again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Vectors in the order of the texts, and how many tokens were read.
pub(crate) type Answer = Result<(Vec<Vec<f32>>, u64)>;
/// The tokens of the text at a place, at least one and at most as many as a batch holds.
pub(crate) type Encode = Box<dyn FnMut(usize) -> Result<Vec<LlamaToken>> + Send>;
/// What is done with what the model gives for a text.
pub(crate) type Finish = fn(&[f32]) -> Result<Vec<f32>>;

/// What a thread has done so far, and what waits.
///
/// ```no_run
/// # async fn f(embedder: katena_llama_cpp::LlamaEmbedder) {
/// let stats = embedder.stats();
/// println!("{} texts in {} batches, {} requests wait", stats.texts, stats.batches, stats.waiting);
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct BatchStats {
    /// Requests that wait or are in work.
    pub waiting: u64,
    /// Requests that were answered, with vectors or an error.
    pub answered: u64,
    /// Requests that were refused because the queue was full.
    pub refused: u64,
    /// Batches that were computed.
    pub batches: u64,
    /// Texts in them.
    pub texts: u64,
    /// Tokens in them.
    pub tokens: u64,
}

#[derive(Default)]
struct Counters {
    waiting: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    batches: AtomicU64,
    texts: AtomicU64,
    tokens: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// One request.
struct Job {
    texts: usize,
    encode: Encode,
    context: Context,
    reply: oneshot::Sender<Answer>,
}

/// The way to the thread. Dropping it waits until the model is put away, one batch later at most: a program that ends now
/// must not tear C++'s statics down under a thread that still uses them.
pub(crate) struct Handle {
    /// Taken when dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            // A panic of the thread has shown in its answers.
            drop(thread.join());
        }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "the model's thread has ended")
}

impl Handle {
    /// Has `texts` texts computed.
    ///
    /// # Errors
    /// `Unavailable` with a time to wait if the queue is full; `Cancelled` or `Timeout` as the context says; else what a
    /// text's tokens or llama.cpp gave.
    pub(crate) async fn compute(&self, texts: usize, context: &Context, encode: Encode) -> Answer {
        let (reply, answer) = oneshot::channel();
        let job = Job { texts, encode, context: context.clone(), reply };
        // Counted before the thread can answer.
        count(&self.counters.waiting, 1);
        if let Err(refused) = self.jobs.as_ref().ok_or_else(ended)?.try_send(job) {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(match refused {
                TrySend::Closed(_) => ended(),
                TrySend::Full(_) => {
                    count(&self.counters.refused, 1);
                    Error::new(ErrorKind::Unavailable, "too many requests wait for the model")
                        .with_retry_after(RETRY_AFTER)
                }
            });
        }
        context.cancel.guard(async { answer.await.map_err(|_| ended())? }).await
    }

    /// A snapshot.
    pub(crate) fn stats(&self) -> BatchStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &*self.counters;
        BatchStats {
            waiting: get(&c.waiting),
            answered: get(&c.answered),
            refused: get(&c.refused),
            batches: get(&c.batches),
            texts: get(&c.texts),
            tokens: get(&c.tokens),
        }
    }
}

/// Starts the thread; returns once its context is made.
pub(crate) fn start(
    model: Arc<LlamaModel>,
    shape: Shape,
    full_tokens: usize,
    finish: Finish,
    queue: usize,
) -> Result<Handle> {
    let (jobs, receiver) = handover::channel(queue);
    let (ready, made) = std_mpsc::sync_channel(1);
    let counters = Arc::new(Counters::default());
    let counted = counters.clone();
    let thread = std::thread::Builder::new().name("katena-embedder".into()).spawn(move || {
        let engine = match Engine::new(&model, shape) {
            Ok(engine) => engine,
            Err(e) => {
                let _ = ready.send(Err(e));
                return;
            }
        };
        if ready.send(Ok(())).is_ok() {
            let limits =
                Limits { most_tokens: engine.batch_tokens(), full_tokens, texts: shape.sequences as usize };
            let (batcher, active) = (Batcher::default(), HashMap::new());
            Worker { engine, limits, finish, counters: counted, batcher, active }.run(receiver);
        }
    })?;
    made.recv().map_err(|_| Error::unexpected("the model's thread died at its start"))??;
    Ok(Handle { jobs: Some(jobs), thread: Some(thread), counters })
}

/// A request in work.
struct Active {
    job: Job,
    /// Texts that were made into tokens so far.
    encoded: usize,
    /// Tokens of texts that wait.
    tokens: HashMap<usize, Vec<LlamaToken>>,
    vectors: Vec<Vec<f32>>,
    done: usize,
    read: u64,
}

struct Worker<'m> {
    engine: Engine<'m>,
    limits: Limits,
    finish: Finish,
    counters: Arc<Counters>,
    batcher: Batcher,
    active: HashMap<u64, Active>,
}

impl Worker<'_> {
    fn run(mut self, mut jobs: Receiver<Job>) {
        let mut incoming = Vec::new();
        loop {
            if self.active.is_empty() {
                jobs.wait(None);
            }
            jobs.take(&mut incoming, ACTIVE.saturating_sub(self.active.len()));
            if incoming.is_empty() && self.active.is_empty() && jobs.closed() {
                return;
            }
            for job in incoming.drain(..) {
                self.admit(job);
            }
            self.drop_unwanted();
            let picks = self.batcher.pick(self.limits);
            if !picks.is_empty() {
                self.compute(&picks);
            }
        }
    }

    fn admit(&mut self, job: Job) {
        let id = self.batcher.add();
        let vectors = vec![Vec::new(); job.texts];
        let active = Active { job, encoded: 0, tokens: HashMap::new(), vectors, done: 0, read: 0 };
        self.active.insert(id, active);
        self.encode(id);
    }

    /// Makes more texts of a request into tokens, if few of them wait.
    fn encode(&mut self, id: u64) {
        let Some(active) = self.active.get_mut(&id) else { return };
        if active.encoded == active.job.texts || self.batcher.left(id) > AHEAD / 2 {
            return;
        }
        let end = active.job.texts.min(active.encoded + AHEAD);
        let mut lengths = Vec::new();
        for text in active.encoded..end {
            let tokens = active.job.context.check().and_then(|()| (active.job.encode)(text));
            match tokens {
                Ok(tokens) if tokens.is_empty() || tokens.len() > self.limits.most_tokens => {
                    return self.answer(id, Err(Error::unexpected("a text's tokens don't fit a batch")));
                }
                Ok(tokens) => {
                    lengths.push((tokens.len(), text));
                    active.tokens.insert(text, tokens);
                }
                Err(e) => return self.answer(id, Err(e)),
            }
        }
        active.encoded = end;
        self.batcher.extend(id, lengths);
    }

    /// Ends requests that nobody waits for, or whose time is over.
    fn drop_unwanted(&mut self) {
        let unwanted: Vec<(u64, Result<()>)> = self
            .active
            .iter()
            .map(|(id, a)| {
                (*id, if a.job.reply.is_closed() { Err(Error::cancelled()) } else { a.job.context.check() })
            })
            .filter(|(_, wanted)| wanted.is_err())
            .collect();
        for (id, reason) in unwanted {
            if let Err(reason) = reason {
                self.answer(id, Err(reason));
            }
        }
    }

    fn answer(&mut self, id: u64, result: Result<()>) {
        self.batcher.remove(id);
        if let Some(active) = self.active.remove(&id) {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            count(&self.counters.answered, 1);
            // Nobody may be waiting any more.
            let _ = active.job.reply.send(result.map(|()| (active.vectors, active.read)));
        }
    }

    /// Computes a batch. If it fails, each request's texts are computed alone, so that one request's trouble is its own.
    fn compute(&mut self, picks: &[Pick]) {
        if let Err(e) = self.decode(picks) {
            let mut requests: Vec<u64> = picks.iter().map(|p| p.request).collect();
            requests.sort_unstable();
            requests.dedup();
            for id in &requests {
                let own: Vec<Pick> = picks.iter().filter(|p| p.request == *id).copied().collect();
                let result = if requests.len() == 1 { Err(e.clone()) } else { self.decode(&own) };
                if let Err(e) = result {
                    self.answer(*id, Err(e));
                } else {
                    self.collect(&own);
                }
            }
            return;
        }
        self.collect(picks);
    }

    fn decode(&mut self, picks: &[Pick]) -> Result<()> {
        self.engine.clear_all();
        let mut read = 0;
        for (sequence, pick) in picks.iter().enumerate() {
            let tokens = self.active.get(&pick.request).and_then(|a| a.tokens.get(&pick.text));
            for token in tokens.into_iter().flatten() {
                self.engine.push(*token, sequence, Want::Logits)?;
                read += 1;
            }
        }
        self.engine.decode()?;
        count(&self.counters.batches, 1);
        count(&self.counters.texts, picks.len() as u64);
        count(&self.counters.tokens, read);
        Ok(())
    }

    /// Takes the vectors of the batch that was computed last; its texts are `picks`.
    fn collect(&mut self, picks: &[Pick]) {
        for (sequence, pick) in picks.iter().enumerate() {
            let vector = self.engine.embedding(sequence).and_then(self.finish);
            let Some(active) = self.active.get_mut(&pick.request) else { continue };
            match vector {
                Ok(vector) => {
                    active.vectors[pick.text] = vector;
                    active.read += active.tokens.remove(&pick.text).map_or(0, |t| t.len() as u64);
                    active.done += 1;
                    if active.done == active.job.texts {
                        self.answer(pick.request, Ok(()));
                    }
                }
                Err(e) => {
                    let text = pick.text.to_string();
                    self.answer(pick.request, Err(e.with_context("text", text)));
                }
            }
        }
        let requests: Vec<u64> = picks.iter().map(|p| p.request).collect();
        for id in requests {
            self.encode(id);
        }
    }
}
