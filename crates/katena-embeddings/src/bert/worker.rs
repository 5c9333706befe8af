//! The threads that compute: requests wait in a queue, some take turns, each batch takes texts of several.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use katena_core::{Context, EmbedRole, Error, ErrorKind, Result};
use pulp::Arch;
use tokio::sync::oneshot;

use super::encode::Encoder;
use super::forward::{Network, Work};

/// Requests that take turns; others wait in the queue.
const TURNS: usize = 32;
/// A request is not cut into batches smaller than this to keep all threads busy: weights are read once a batch.
const SHARE: usize = 96;

/// Vectors in the order of the texts, and how many tokens were read.
pub(super) type Answer = Result<(Vec<Vec<f32>>, u64)>;

/// One request.
pub(super) struct Job {
    pub(super) texts: Vec<String>,
    pub(super) role: EmbedRole,
    pub(super) context: Context,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// A request in work.
pub(super) struct Active {
    id: u64,
    reply: oneshot::Sender<Answer>,
    context: Context,
    texts: Vec<Vec<u32>>,
    /// Texts that no batch has taken yet, the longest last.
    todo: Vec<usize>,
    vectors: Vec<Vec<f32>>,
    /// Texts without a vector.
    left: usize,
    tokens: u64,
}

impl Active {
    pub(super) fn new(
        id: u64,
        reply: oneshot::Sender<Answer>,
        context: Context,
        texts: Vec<Vec<u32>>,
    ) -> Self {
        let mut todo: Vec<usize> = (0..texts.len()).collect();
        todo.sort_by_key(|n| texts[*n].len());
        let (left, tokens) = (texts.len(), texts.iter().map(|t| t.len() as u64).sum());
        Self { id, reply, context, texts, todo, vectors: vec![Vec::new(); left], left, tokens }
    }

    /// Tokens that no batch has taken yet.
    fn pending(&self) -> usize {
        self.todo.iter().map(|n| self.texts[*n].len()).sum()
    }

    #[cfg(test)]
    pub(super) fn context(&self) -> &Context {
        &self.context
    }
}

/// A text in a batch.
pub(super) struct Item {
    pub(super) request: u64,
    pub(super) text: usize,
    pub(super) tokens: Vec<u32>,
}

#[derive(Default)]
pub(super) struct State {
    waiting: VecDeque<Job>,
    /// Jobs whose texts are being cut into tokens.
    encoding: usize,
    active: VecDeque<Active>,
    /// Tokens of all texts in `todo`.
    pending: usize,
    next: u64,
    /// Seconds that a token takes, of the last batches; 0 before the first.
    pace: f64,
    closed: bool,
}

/// What callers and threads share.
pub(super) struct Shared {
    network: Network,
    encoder: Encoder,
    arch: Arch,
    threads: usize,
    batch_tokens: usize,
    queue: usize,
    state: Mutex<State>,
    work: Condvar,
}

/// Ends the threads when the last user of the embedder is gone.
pub(super) struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

impl Handle {
    /// Starts the threads.
    pub(super) fn start(
        network: Network,
        encoder: Encoder,
        threads: usize,
        batch_tokens: usize,
        queue: usize,
    ) -> Result<Self> {
        let (state, work, arch) = (Mutex::default(), Condvar::new(), Arch::new());
        let shared = Arc::new(Shared { network, encoder, arch, threads, batch_tokens, queue, state, work });
        // If a later thread can't be had, dropping this ends the earlier ones.
        let handle = Self(shared.clone());
        for n in 0..threads {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("katena-bert-{n}")).spawn(move || shared.run())?;
        }
        Ok(handle)
    }

    /// Puts a request into the queue.
    pub(super) fn push(&self, job: Job) -> Result<()> {
        let mut state = self.0.lock();
        if state.waiting.len() >= self.0.queue {
            // Those whose callers have gone hold no place.
            state.waiting.retain(|job| !job.reply.is_closed());
        }
        if state.waiting.len() >= self.0.queue {
            let seconds = state.pace * state.pending as f64 / self.0.threads.max(1) as f64;
            return Err(Error::new(ErrorKind::Unavailable, "the embedder's queue is full")
                .with_context("waiting", state.waiting.len().to_string())
                .with_retry_after(Duration::from_secs_f64(seconds.clamp(0.05, 30.0))));
        }
        state.waiting.push_back(job);
        drop(state);
        self.0.work.notify_one();
        Ok(())
    }

    pub(super) fn encoder(&self) -> &Encoder {
        &self.0.encoder
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("threads", &self.0.threads).finish_non_exhaustive()
    }
}

enum Task {
    Encode(Job),
    Compute(Vec<Item>),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut work = Work::default();
        while let Some(task) = self.next() {
            match task {
                Task::Encode(job) => self.encode(job),
                Task::Compute(items) => self.compute(&items, &mut work),
            }
        }
    }

    /// Waits for something to do; `None` at the end.
    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.closed {
                // Dropping the requests tells their callers.
                *state = State { closed: true, ..State::default() };
                return None;
            }
            if state.active.len() + state.encoding < TURNS
                && let Some(job) = state.waiting.pop_front()
            {
                state.encoding += 1;
                return Some(Task::Encode(job));
            }
            let items = state.batch(self.batch_tokens, self.threads);
            if !items.is_empty() {
                if state.pending > 0 {
                    self.work.notify_one();
                }
                return Some(Task::Compute(items));
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Cuts a request's texts into tokens; it takes turns from then on.
    fn encode(&self, job: Job) {
        let Job { texts, role, context, reply } = job;
        let made = catch_unwind(AssertUnwindSafe(|| {
            let mut tokens = Vec::with_capacity(texts.len());
            for (n, text) in texts.iter().enumerate() {
                if n % 64 == 0 {
                    context.check()?;
                    if reply.is_closed() {
                        return Err(Error::cancelled());
                    }
                }
                tokens.push(self.encoder.encode(n, text, role)?);
            }
            Ok(tokens)
        }));
        let made = made.unwrap_or_else(|_| Err(Error::unexpected("the embedder's tokenizer panicked")));
        let mut state = self.lock();
        state.encoding -= 1;
        match made {
            Err(e) => {
                // Nobody may be waiting any more.
                let _ = reply.send(Err(e));
            }
            Ok(texts) => {
                let id = state.next;
                state.next += 1;
                state.add(Active::new(id, reply, context, texts));
            }
        }
        drop(state);
        self.work.notify_one();
    }

    fn compute(&self, items: &[Item], work: &mut Work) {
        let texts: Vec<&[u32]> = items.iter().map(|item| item.tokens.as_slice()).collect();
        let start = Instant::now();
        let made = catch_unwind(AssertUnwindSafe(|| self.network.run(self.arch, &texts, work)));
        let made = made.map_err(|_| Error::unexpected("the embedder's network panicked"));
        let seconds = start.elapsed().as_secs_f64();
        let mut state = self.lock();
        let tokens: usize = texts.iter().map(|t| t.len()).sum();
        let pace = seconds / tokens as f64;
        state.pace = if state.pace == 0.0 { pace } else { 0.8 * state.pace + 0.2 * pace };
        match made {
            Ok(vectors) => {
                for (item, vector) in items.iter().zip(vectors) {
                    state.done(item, normalized(&vector));
                }
            }
            Err(e) => items.iter().for_each(|item| state.done(item, Err(e.clone()))),
        }
        drop(state);
        self.work.notify_one();
    }
}

impl State {
    /// Lets a request take turns.
    pub(super) fn add(&mut self, request: Active) {
        self.pending += request.pending();
        self.active.push_back(request);
    }

    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// The next texts to compute together, `budget` tokens at most. The request whose turn it is gives as many as fit, then
    /// the others; nothing is padded, so texts of any lengths go well together.
    pub(super) fn batch(&mut self, budget: usize, threads: usize) -> Vec<Item> {
        self.forget();
        let mut room = self.pending.div_ceil(threads).max(SHARE).min(budget);
        let mut items = Vec::new();
        for request in &mut self.active {
            while let Some(&text) = request.todo.last() {
                let len = request.texts[text].len();
                // The first text always goes: the budget allows for the longest.
                if len > room && !items.is_empty() {
                    break;
                }
                room = room.saturating_sub(len);
                self.pending -= len;
                request.todo.pop();
                let tokens = std::mem::take(&mut request.texts[text]);
                items.push(Item { request: request.id, text, tokens });
            }
            if room == 0 {
                break;
            }
        }
        if self.active.len() > 1 {
            self.active.rotate_left(1);
        }
        items
    }

    /// Ends requests that nobody waits for, or whose time is over.
    fn forget(&mut self) {
        let pending = &mut self.pending;
        let mut kept = VecDeque::with_capacity(self.active.len());
        for request in self.active.drain(..) {
            let ended =
                if request.reply.is_closed() { Err(Error::cancelled()) } else { request.context.check() };
            match ended {
                Ok(()) => kept.push_back(request),
                Err(e) => {
                    *pending -= request.pending();
                    let _ = request.reply.send(Err(e));
                }
            }
        }
        self.active = kept;
    }

    /// Stores a text's vector; answers the request when it was the last.
    pub(super) fn done(&mut self, item: &Item, vector: Result<Vec<f32>>) {
        // A request that was given up is gone.
        let Some(at) = self.active.iter().position(|request| request.id == item.request) else { return };
        let request = &mut self.active[at];
        let failed = match vector {
            Ok(vector) => {
                request.vectors[item.text] = vector;
                request.left -= 1;
                None
            }
            Err(e) => Some(e.with_context("text", item.text.to_string())),
        };
        if failed.is_none() && request.left > 0 {
            return;
        }
        let Some(request) = self.active.remove(at) else { return };
        self.pending -= request.pending();
        let answer = failed.map_or(Ok((request.vectors, request.tokens)), Err);
        let _ = request.reply.send(answer);
    }
}

/// The vector at length 1.
fn normalized(vector: &[f32]) -> Result<Vec<f32>> {
    let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return Err(Error::invalid_output("the embedder gave a vector without a direction"));
    }
    Ok(vector.iter().map(|x| (f64::from(*x) / norm) as f32).collect())
}
