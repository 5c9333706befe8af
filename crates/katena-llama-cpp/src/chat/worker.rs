//! The thread that owns a chat model: a step loop over slots, one batch a step.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;

use katena_core::{Error, FinishReason, Result, TokenLogprob};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::slot::{Job, Outbox, Slot};
use crate::engine::{Engine, Output, Shape, Want};

/// Waiting requests that the thread has taken out of the queue, to see their cancel signals and deadlines.
const MAX_PENDING: usize = 64;

/// The way to the thread.
pub(super) struct Handle {
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) thread: JoinHandle<()>,
    /// Tokens that a slot really holds.
    pub(super) context_tokens: usize,
}

/// Starts the thread; returns once its context is made.
pub(super) fn start(model: Arc<LlamaModel>, shape: Shape, name: String, queue: usize) -> Result<Handle> {
    let (jobs, receiver) = mpsc::channel(queue);
    let (ready, made) = std_mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("katena-chat".into()).spawn(move || {
        let engine = match Engine::new(&model, shape) {
            Ok(engine) => engine,
            Err(e) => {
                let _ = ready.send(Err(e));
                return;
            }
        };
        if ready.send(Ok(engine.context_tokens())).is_ok() {
            let slots = (0..shape.sequences).map(|_| None).collect();
            let pending = VecDeque::new();
            Scheduler { engine, model: &model, name, slots, pending, leaving: Vec::new() }.run(receiver);
        }
    })?;
    let context_tokens =
        made.recv().map_err(|_| Error::unexpected("the model's thread died at its start"))??;
    Ok(Handle { jobs, thread, context_tokens })
}

/// Decides what is computed next. Each slot has a sequence of the context; all slots share each batch.
struct Scheduler<'m> {
    engine: Engine<'m>,
    model: &'m LlamaModel,
    name: String,
    slots: Vec<Option<Slot>>,
    pending: VecDeque<Job>,
    /// Answers that are complete but not yet read.
    leaving: Vec<Outbox>,
}

impl Scheduler<'_> {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut open = true;
        loop {
            while open && self.pending.len() < MAX_PENDING {
                match jobs.try_recv() {
                    Ok(job) => self.pending.push_back(job),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => open = false,
                }
            }
            self.tidy();
            self.admit();
            if self.fill() {
                self.step();
                continue;
            }
            let idle =
                self.pending.is_empty() && self.leaving.is_empty() && self.slots.iter().all(Option::is_none);
            if idle && !open {
                return;
            }
            // Woken by a new request, a reader that made room, a dropped stream or the last handle.
            std::thread::park();
        }
    }

    /// Drops what nobody waits for any more; ends what was cancelled or is too late; passes events on.
    fn tidy(&mut self) {
        self.leaving.retain_mut(|outbox| !outbox.closed() && !outbox.flush());
        let leaving = &mut self.leaving;
        self.pending.retain(|job| match job.context.check() {
            _ if job.events.is_closed() => false,
            Ok(()) => true,
            Err(e) => {
                let mut outbox = Outbox::new(job.events.clone());
                outbox.fail(e);
                leaving.push(outbox);
                false
            }
        });
        for n in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[n] else { continue };
            if slot.outbox.closed() {
                self.free(n);
            } else if let Err(e) = slot.context.check() {
                self.fail(n, e);
            } else {
                slot.outbox.flush();
            }
        }
        self.leaving.retain_mut(|outbox| !outbox.flush());
    }

    fn free(&mut self, n: usize) -> Option<Slot> {
        self.engine.clear(n);
        self.slots[n].take()
    }

    fn fail(&mut self, n: usize, error: Error) {
        if let Some(mut slot) = self.free(n) {
            slot.outbox.fail(error);
            self.leaving.push(slot.outbox);
        }
    }

    fn admit(&mut self) {
        for n in 0..self.slots.len() {
            if self.slots[n].is_none() {
                let Some(job) = self.pending.pop_front() else { return };
                self.engine.clear(n);
                self.slots[n] = Some(Slot::new(job, self.engine.context_tokens()));
            }
        }
    }

    /// Fills a batch: the next token of each answer, then prompts. True if there is something to compute.
    fn fill(&mut self) -> bool {
        let waited_for = !self.pending.is_empty();
        let mut failed = Vec::new();
        let mut any = false;
        for prompts in [false, true] {
            for (n, slot) in self.slots.iter_mut().enumerate() {
                let Some(slot) = slot else { continue };
                // An answer that nobody reads pauses, unless somebody waits for its slot.
                if slot.output.is_some() || (!slot.outbox.flush() && !waited_for) {
                    continue;
                }
                if prompts != slot.next.is_none() {
                    continue;
                }
                match feed(&mut self.engine, n, slot) {
                    Ok(fed) => any |= fed,
                    Err(e) => failed.push((n, e)),
                }
            }
        }
        for (n, e) in failed {
            self.fail(n, e);
        }
        any
    }

    /// Computes the batch and chooses the next tokens.
    fn step(&mut self) {
        if let Err(e) = self.engine.decode() {
            // The sequences of the batch are gone.
            for n in 0..self.slots.len() {
                if self.slots[n].as_ref().is_some_and(|s| s.fed > 0) {
                    self.fail(n, e.clone());
                }
            }
            return;
        }
        for n in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[n] else { continue };
            let Some(output) = slot.output.take() else { continue };
            match choose(&self.engine, self.model, slot, output) {
                Err(e) => self.fail(n, e),
                Ok(None) => {
                    slot.outbox.flush();
                }
                Ok(Some(reason)) => {
                    if let Some(slot) = self.free(n) {
                        let mut outbox = slot.finish(reason, &self.name);
                        if !outbox.flush() {
                            self.leaving.push(outbox);
                        }
                    }
                }
            }
        }
    }
}

/// Adds to the batch what `slot` has to compute; true if that is anything.
fn feed(engine: &mut Engine<'_>, n: usize, slot: &mut Slot) -> Result<bool> {
    if let Some(token) = slot.next {
        if engine.room() == 0 {
            return Ok(false);
        }
        slot.output = engine.push(token, n, Want::Logits)?;
        slot.next = None;
        return Ok(true);
    }
    let chunk = (slot.prompt.len() - slot.fed).min(engine.room());
    for _ in 0..chunk {
        let last = slot.fed + 1 == slot.prompt.len();
        let want = if last { Want::Logits } else { Want::Nothing };
        slot.output = engine.push(slot.prompt[slot.fed], n, want)?;
        slot.fed += 1;
    }
    Ok(chunk > 0)
}

/// Chooses the token at `output`; says why the answer ends, if it does.
fn choose(
    engine: &Engine<'_>,
    model: &LlamaModel,
    slot: &mut Slot,
    output: Output,
) -> Result<Option<FinishReason>> {
    let vocab = model.vocab();
    let logits = engine.logits(output)?;
    let token = slot.chooser.choose(logits)?;
    if vocab.is_eog(token) {
        return Ok(Some(FinishReason::Stop));
    }
    let piece = vocab.token_to_piece(token, slot.special, None);
    let logprob = match slot.alternatives {
        None => None,
        Some(count) => Some(logprob(logits, token, count, |t| {
            String::from_utf8_lossy(&vocab.token_to_piece(t, true, None)).into_owned()
        })),
    };
    Ok(slot.take(token, &piece, logprob))
}

/// Log-probabilities of the model itself, before temperature and cut-offs.
fn logprob(
    logits: &[f32],
    token: LlamaToken,
    count: usize,
    text: impl Fn(LlamaToken) -> String,
) -> TokenLogprob {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - most).exp()).sum();
    let log = |n: usize| (f64::from(logits[n] - most) - sum.ln()).min(0.0) as f32;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let count = count.min(order.len());
    let likelier = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]);
    if count > 0 && count < order.len() {
        order.select_nth_unstable_by(count - 1, likelier);
    }
    order.truncate(count);
    order.sort_by(likelier);
    let top = order.iter().map(|n| (text(LlamaToken::new(*n as i32)), log(*n))).collect();
    TokenLogprob::new(text(token), log(token.0 as usize), top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_sum_to_one_and_are_ordered() {
        let logits = [1.0, 3.0, 2.0, -100.0];
        let entry = logprob(&logits, LlamaToken::new(2), 3, |t| t.0.to_string());
        let names: Vec<&str> = entry.top.iter().map(|t| t.0.as_str()).collect();
        assert_eq!(names, ["1", "2", "0"]);
        assert_eq!(entry.logprob, entry.top[1].1);
        let sum: f32 = entry.top.iter().map(|t| t.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!(logprob(&logits, LlamaToken::new(0), 0, |_| String::new()).top.is_empty());
    }
}
