//! The thread that owns a chat model: it computes what the scheduler plans, one batch a step.

use std::collections::HashMap;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use katena_core::{Context, Error, ErrorKind, FinishReason, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::oneshot;

use super::choose::{Next, choose};
use super::session::{Session, unsupported};
use super::slot::{Job, Outbox, Slot};
use super::stats::{Place, Shared, Teller};
use crate::engine::{Decoded, Engine, Form, Output, Rows, Shape, Tuning, Want};
use crate::handover::{Receiver, Sender, channel};
use crate::lora::Adapter;
use crate::sched::{CacheOp, Id, Limits, New, Outcome, Refusal, Reuse, Scheduler, Step};

/// What callers want.
pub(super) enum Work {
    /// An answer.
    Answer(Box<Job>),
    /// These tokens' state.
    Save { tokens: Vec<i32>, context: Context, place: Place, reply: Reply<Session> },
    /// Tokens and state to be kept.
    Load { session: Session, reply: Reply<()> },
}

/// Where an outcome goes.
type Reply<T> = oneshot::Sender<Result<T>>;

/// A session that is being computed.
struct Saving {
    tokens: Vec<i32>,
    context: Context,
    _place: Place,
    reply: Reply<Session>,
}

/// The way to the thread.
pub(super) struct Handle {
    pub(super) jobs: Sender<Work>,
    pub(super) thread: JoinHandle<()>,
    /// Tokens of prompt and answer that one request may have.
    pub(super) context_tokens: usize,
    /// What states look like, if they are kept.
    pub(super) form: Option<Arc<Form>>,
}

/// Starts the thread; returns once its context is made. `limits` are corrected to what llama.cpp gives.
pub(super) fn start(
    model: Arc<LlamaModel>,
    shape: Shape,
    mut limits: Limits,
    name: String,
    shared: Arc<Shared>,
    (tuning, adapter): (Tuning, Option<Adapter>),
) -> Result<Handle> {
    // Callers take a place before they send, so this is never full.
    let (jobs, receiver) = channel(usize::MAX);
    let (ready, made) = std_mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("katena-chat".into()).spawn(move || {
        let mut engine = match Engine::tuned(&model, shape, tuning, adapter) {
            Ok(engine) => engine,
            Err(e) => {
                let _ = ready.send(Err(e));
                return;
            }
        };
        limits.cache_tokens = engine.cache_tokens();
        limits.batch_tokens = engine.batch_tokens();
        limits.context_tokens = limits.context_tokens.min(engine.context_tokens());
        let form = if limits.reuse == Reuse::Prefixes { engine.learn_form() } else { None };
        if limits.reuse == Reuse::Prefixes && form.is_none() {
            tracing::warn!(
                model = name,
                "states of this model have a form that is not known: nothing is kept"
            );
            limits.reuse = Reuse::Off;
        }
        shared.change(|s| {
            s.batch_tokens = limits.batch_tokens;
            s.cache_tokens = limits.cache_tokens;
        });
        if ready.send(Ok((limits.context_tokens.min(limits.cache_tokens), form))).is_ok() {
            let worker = Worker {
                engine,
                model: &model,
                name,
                limits,
                scheduler: Scheduler::new(limits),
                answers: HashMap::new(),
                saving: HashMap::new(),
                kept: HashMap::new(),
                leaving: Vec::new(),
                step: Step::default(),
                outputs: Vec::new(),
                next_id: 0,
                generated: 0,
                shared,
                teller: Teller::default(),
            };
            worker.run(receiver);
        }
    })?;
    let (context_tokens, form) =
        made.recv().map_err(|_| Error::unexpected("the model's thread died at its start"))??;
    Ok(Handle { jobs, thread, context_tokens, form })
}

/// The model, what is planned for it, and the answers under way.
struct Worker<'m> {
    engine: Engine<'m>,
    model: &'m LlamaModel,
    name: String,
    limits: Limits,
    scheduler: Scheduler,
    answers: HashMap<Id, Slot>,
    saving: HashMap<Id, Saving>,
    /// What was computed for requests that are gone, by the scheduler's numbers.
    kept: HashMap<usize, Rows>,
    /// Answers that are complete but not yet read.
    leaving: Vec<Outbox>,
    step: Step,
    /// Where the logits of this step are.
    outputs: Vec<(Id, Output)>,
    next_id: Id,
    /// Tokens of all answers.
    generated: u64,
    shared: Arc<Shared>,
    teller: Teller,
}

impl Worker<'_> {
    fn run(mut self, mut jobs: Receiver<Work>) {
        let mut incoming = Vec::new();
        // Each answer's reader holds a sender: when all are gone, nobody listens.
        while !jobs.closed() {
            jobs.take(&mut incoming, usize::MAX);
            for work in incoming.drain(..) {
                self.take(work);
            }
            self.tidy();
            self.scheduler.plan(&mut self.step);
            let worked = !self.step.items.is_empty();
            if let Err(e) = self.step() {
                self.reset(&e);
            }
            let counts = self.scheduler.counts();
            self.shared.change(|s| s.set(counts, self.generated));
            if worked || !self.step.failed.is_empty() {
                self.teller.tell(&self.name, &self.shared);
            } else {
                // Until a new request, a reader that made room, a dropped stream, the last handle, or a deadline.
                jobs.wait(self.deadline());
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let answers = self.answers.values().map(|s| &s.context);
        answers.chain(self.saving.values().map(|s| &s.context)).filter_map(|c| c.deadline).min()
    }

    fn take(&mut self, work: Work) {
        let id = self.next_id;
        self.next_id += 1;
        let (prompt, most) = match work {
            Work::Answer(job) => {
                let (slot, prompt, most) = Slot::new(*job, self.scheduler.longest());
                self.answers.insert(id, slot);
                (prompt, most)
            }
            Work::Save { tokens, context, place, reply } => {
                self.saving.insert(id, Saving { tokens: tokens.clone(), context, _place: place, reply });
                (tokens, 1)
            }
            Work::Load { session, reply } => {
                // Nobody may be waiting any more.
                drop(reply.send(self.load(&session)));
                return;
            }
        };
        let length = prompt.len();
        if let Err(refusal) = self.scheduler.submit(id, prompt, most) {
            let error = match refusal {
                Refusal::Empty => Error::invalid_input("there is nothing to compute"),
                Refusal::TooLong(fits) => {
                    Error::new(ErrorKind::ContextTooLong, "the prompt doesn't fit into the model's context")
                        .with_context("prompt_tokens", length.to_string())
                        .with_context("context_tokens", fits.to_string())
                }
            };
            self.fail(id, error);
        }
    }

    /// Drops what nobody waits for any more; ends what was cancelled or is too late; passes events on.
    fn tidy(&mut self) {
        self.leaving.retain_mut(|outbox| !outbox.closed() && !outbox.flush());
        let mut ended: Vec<(Id, Option<Error>)> = Vec::new();
        for (id, slot) in &mut self.answers {
            if slot.outbox.closed() {
                ended.push((*id, None));
            } else if let Err(e) = slot.context.check() {
                ended.push((*id, Some(e)));
            } else if slot.outbox.flush() == slot.paused {
                slot.paused = !slot.paused;
                if slot.paused {
                    // It gives way to others, and does not count among those who wait.
                    slot.place = None;
                    self.scheduler.pause(*id);
                } else {
                    self.scheduler.resume(*id);
                }
            }
        }
        for (id, saving) in &self.saving {
            if saving.reply.is_closed() {
                ended.push((*id, None));
            } else if let Err(e) = saving.context.check() {
                ended.push((*id, Some(e)));
            }
        }
        for (id, error) in ended {
            self.scheduler.cancel(id);
            match error {
                Some(error) => self.fail(id, error),
                None => drop((self.answers.remove(&id), self.saving.remove(&id))),
            }
        }
    }

    /// Ends an answer that the scheduler has forgotten.
    fn fail(&mut self, id: Id, error: Error) {
        if let Some(mut slot) = self.answers.remove(&id) {
            slot.outbox.fail(error);
            self.leave(slot.outbox);
        } else if let Some(saving) = self.saving.remove(&id) {
            drop(saving.reply.send(Err(error)));
        }
    }

    /// Keeps a session.
    fn load(&mut self, session: &Session) -> Result<()> {
        // After a reset nothing is kept any more.
        if self.limits.reuse == Reuse::Off {
            return Err(unsupported());
        }
        let new = self.scheduler.learn(&session.tokens);
        self.step.ops.clear();
        self.scheduler.take_ops(&mut self.step.ops);
        self.change_cache().inspect_err(|e| self.reset(e))?;
        if let Some(New { node, start }) = new {
            let end = session.tokens.len().min(self.limits.kept_tokens);
            self.kept.insert(node, session.rows.part(start..end));
        }
        Ok(())
    }

    /// Gives the state of a prompt that is computed.
    fn save(&mut self, id: Id) {
        let Some(Saving { tokens, reply, .. }) = self.saving.remove(&id) else { return };
        let sequence = self.scheduler.sequence(id).unwrap_or(usize::MAX);
        let rows = self.engine.rows(sequence, 0..tokens.len());
        self.scheduler.finished(id);
        // Nobody may be waiting any more.
        drop(reply.send(rows.map(|rows| Session { tokens, rows })));
    }

    fn change_cache(&mut self) -> Result<()> {
        let gone = || Error::unexpected("what was kept is not there");
        for op in &self.step.ops {
            match *op {
                CacheOp::Copy { from, to, end, .. } => self.engine.share(from, to, end)?,
                CacheOp::Trim { sequence, length } => self.engine.trim(sequence, length)?,
                CacheOp::Save { sequence, start, end, node } => {
                    self.kept.insert(node, self.engine.rows(sequence, start..end)?);
                }
                CacheOp::Split { node, length, tail } => {
                    let rows = self.kept.remove(&node).ok_or_else(gone)?;
                    self.kept.insert(tail, rows.part(length..rows.tokens()));
                    self.kept.insert(node, rows.part(0..length));
                }
                CacheOp::Forget { node } => drop(self.kept.remove(&node)),
                CacheOp::Restore { sequence, ref nodes, end } => {
                    let parts: Option<Vec<&Rows>> = nodes.iter().map(|n| self.kept.get(n)).collect();
                    self.engine.restore(sequence, &parts.ok_or_else(gone)?, end)?;
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self, mut outbox: Outbox) {
        if !outbox.flush() {
            self.leaving.push(outbox);
        }
    }

    /// Computes the planned step and chooses the next tokens.
    ///
    /// # Errors
    /// If the plan and the engine do not agree: then nothing is known about the cache.
    fn step(&mut self) -> Result<()> {
        self.change_cache()?;
        for n in 0..self.step.failed.len() {
            let error = Error::new(ErrorKind::Unavailable, "the cache has no room for this request");
            self.fail(self.step.failed[n], error);
        }
        if self.step.items.is_empty() {
            return Ok(());
        }
        self.outputs.clear();
        for item in &self.step.items {
            let want = if item.logits { Want::Logits } else { Want::Nothing };
            if let Some(output) = self.engine.push(LlamaToken::new(item.token), item.sequence, want)? {
                self.outputs.push((item.id, output));
            }
        }
        match self.engine.try_decode() {
            Ok(Decoded::Done) => {
                self.scheduler.computed(Outcome::Done);
                self.answer();
            }
            Ok(Decoded::NoRoom) => {
                self.scheduler.computed(Outcome::NoRoom);
            }
            Err(e) => {
                for id in self.scheduler.computed(Outcome::Failed) {
                    self.fail(id, e.clone());
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self) {
        for n in 0..self.outputs.len() {
            let (id, output) = self.outputs[n];
            let Some(slot) = self.answers.get_mut(&id) else {
                self.save(id);
                continue;
            };
            let before = slot.generated();
            let next = self.engine.logits(output).and_then(|logits| choose(self.model, slot, logits));
            self.generated += (slot.generated() - before) as u64;
            match next {
                Ok(Next::Token(token)) => self.scheduler.generated(id, token.0),
                Ok(Next::End(reason)) => self.finish(id, reason),
                Err(e) => {
                    self.scheduler.finished(id);
                    self.fail(id, e);
                }
            }
        }
        // Readers are woken when all choices are made.
        for (id, _) in &self.outputs {
            if let Some(slot) = self.answers.get_mut(id) {
                slot.outbox.flush();
            }
        }
    }

    fn finish(&mut self, id: Id, reason: FinishReason) {
        let reused = self.scheduler.reused(id);
        self.scheduler.finished(id);
        if let Some(slot) = self.answers.remove(&id) {
            // Who has the answer finds it counted.
            let counts = self.scheduler.counts();
            self.shared.change(|s| {
                s.set(counts, self.generated);
                s.finished += 1;
            });
            let outbox = slot.finish(reason, reused, &self.name);
            self.leave(outbox);
        }
    }

    /// Begins again with nothing, and keeps nothing any more: every answer under way has failed.
    fn reset(&mut self, error: &Error) {
        tracing::error!(%error, "the local engine lost track of its cache and begins again");
        self.limits.reuse = Reuse::Off;
        self.kept.clear();
        let ids: Vec<Id> = self.answers.keys().chain(self.saving.keys()).copied().collect();
        for id in ids {
            self.fail(id, error.clone());
        }
        self.engine.clear_all();
        self.scheduler.begin_again(self.limits);
    }
}
