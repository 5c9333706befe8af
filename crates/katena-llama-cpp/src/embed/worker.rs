//! The thread that owns an embedding model: requests take turns, one batch each.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;

use katena_core::{Context, EmbedRole, Error, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::{mpsc, oneshot};

use super::encode::Encoder;
use crate::engine::{Engine, Shape, Want};

/// Requests that take turns; others wait in the queue.
const TURNS: usize = 32;

/// Vectors in the order of the texts, and how many tokens were read.
pub(super) type Answer = Result<(Vec<Vec<f32>>, u64)>;

/// One request.
pub(super) struct Job {
    pub(super) texts: Vec<String>,
    pub(super) role: EmbedRole,
    pub(super) context: Context,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// The way to the thread. Dropping it waits until the model is put away, one batch later at most: a program that ends now
/// must not tear C++'s statics down under a thread that still uses them.
pub(super) struct Handle {
    /// Taken when dropped.
    pub(super) jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
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

/// A request in work.
struct Active {
    reply: oneshot::Sender<Answer>,
    context: Context,
    texts: Vec<Vec<LlamaToken>>,
    /// Texts still to do, longest last, so that a batch holds texts of similar length.
    todo: Vec<usize>,
    vectors: Vec<Vec<f32>>,
    tokens: u64,
}

impl Active {
    fn new(job: Job, encoder: &Encoder) -> Option<Self> {
        let Job { texts, role, context, reply } = job;
        let encode = || -> Result<Vec<Vec<LlamaToken>>> {
            context.check()?;
            texts.iter().enumerate().map(|(n, text)| encoder.encode(n, text, role)).collect()
        };
        match encode() {
            Ok(texts) => {
                let mut todo: Vec<usize> = (0..texts.len()).collect();
                todo.sort_by_key(|n| texts[*n].len());
                let tokens = texts.iter().map(|t| t.len() as u64).sum();
                let vectors = vec![Vec::new(); texts.len()];
                Some(Self { reply, context, texts, todo, vectors, tokens })
            }
            Err(e) => {
                // Nobody may be waiting any more.
                let _ = reply.send(Err(e));
                None
            }
        }
    }

    /// Computes one batch.
    fn step(&mut self, engine: &mut Engine<'_>, sequences: usize) -> Result<()> {
        let mut batch = Vec::new();
        let mut room = engine.batch_tokens();
        while batch.len() < sequences {
            let Some(&next) = self.todo.last() else { break };
            let len = self.texts[next].len();
            if len > room {
                break;
            }
            room -= len;
            batch.push(next);
            self.todo.pop();
        }
        engine.clear_all();
        for (sequence, text) in batch.iter().enumerate() {
            for token in &self.texts[*text] {
                engine.push(*token, sequence, Want::Logits)?;
            }
        }
        engine.decode()?;
        for (sequence, text) in batch.iter().enumerate() {
            self.vectors[*text] = normalized(engine.embedding(sequence)?)?;
        }
        Ok(())
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

/// Starts the thread; returns once its context is made.
pub(super) fn start(model: Arc<LlamaModel>, shape: Shape, encoder: Encoder, queue: usize) -> Result<Handle> {
    let (jobs, receiver) = mpsc::channel(queue);
    let (ready, made) = std_mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("katena-embedder".into()).spawn(move || {
        let engine = match Engine::new(&model, shape) {
            Ok(engine) => engine,
            Err(e) => {
                let _ = ready.send(Err(e));
                return;
            }
        };
        if ready.send(Ok(())).is_ok() {
            run(engine, &encoder, receiver, shape.sequences as usize);
        }
    })?;
    made.recv().map_err(|_| Error::unexpected("the embedder's thread died at its start"))??;
    Ok(Handle { jobs: Some(jobs), thread: Some(thread) })
}

fn run(mut engine: Engine<'_>, encoder: &Encoder, mut jobs: mpsc::Receiver<Job>, sequences: usize) {
    let mut active: VecDeque<Active> = VecDeque::new();
    loop {
        if active.is_empty() {
            let Some(job) = jobs.blocking_recv() else { return };
            active.extend(Active::new(job, encoder));
        }
        while active.len() < TURNS {
            let Ok(job) = jobs.try_recv() else { break };
            active.extend(Active::new(job, encoder));
        }
        let Some(mut turn) = active.pop_front() else { continue };
        if turn.reply.is_closed() {
            continue;
        }
        let result = turn.context.check().and_then(|()| turn.step(&mut engine, sequences));
        match result {
            Err(e) => {
                let _ = turn.reply.send(Err(e));
            }
            Ok(()) if turn.todo.is_empty() => {
                let _ = turn.reply.send(Ok((turn.vectors, turn.tokens)));
            }
            Ok(()) => active.push_back(turn),
        }
    }
}
