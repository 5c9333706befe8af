//! The thread that owns a model with eyes: one request at a time.

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;

use katena_core::{Error, ErrorKind, FinishReason, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::mtmd::{MtmdBitmap, MtmdContext, MtmdContextParams, MtmdInputText};
use llama_cpp_2::token::LlamaToken;

use super::super::choose::{Next, choose};
use super::super::slot::{Job, Outbox, Slot};
use super::image::Picture;
use crate::engine::{Engine, Output, Shape, Tuning, Want};
use crate::handover::{Receiver, Sender, channel};
use crate::lora::Adapter;

/// Stands for an image where llama.cpp is told of one. Text of a request never gets there.
const MARK: &str = "<__media__>";

/// A piece of a prompt.
pub(super) enum Piece {
    Text(Vec<LlamaToken>),
    Image(Picture),
}

/// A request. The tokens of its job's prompt only say how many there are.
pub(super) struct Look {
    pub(super) job: Job,
    pub(super) pieces: Vec<Piece>,
}

/// What the projector is, and where.
pub(super) struct Eyes {
    pub(super) path: String,
    /// Tokens of an image.
    pub(super) tokens: usize,
    pub(super) threads: u32,
    pub(super) gpu: Gpu,
}

/// Where images are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gpu {
    Used,
    Unused,
}

/// The way to the thread.
pub(super) struct Handle {
    pub(super) jobs: Sender<Box<Look>>,
    pub(super) thread: JoinHandle<()>,
    pub(super) context_tokens: usize,
}

/// Opens the projector; its head has been checked.
fn open(model: &LlamaModel, eyes: &Eyes) -> Result<MtmdContext> {
    let params = MtmdContextParams {
        use_gpu: eyes.gpu == Gpu::Used,
        print_timings: false,
        n_threads: eyes.threads as i32,
        media_marker: CString::from(c"<__media__>"),
        ..MtmdContextParams::default()
    };
    let context = MtmdContext::init_from_file(&eyes.path, model, &params).map_err(|e| {
        Error::invalid_input("llama.cpp can't use this projector with this model").with_source(e)
    })?;
    if !context.support_vision() {
        return Err(Error::unsupported("the projector reads no images"));
    }
    if context.decode_use_mrope() || context.decode_use_non_causal() {
        return Err(Error::unsupported("the model reads images in a way that is not understood here"));
    }
    Ok(context)
}

/// Starts the thread; returns once model and projector are ready.
pub(super) fn start(
    model: Arc<LlamaModel>,
    shape: Shape,
    name: String,
    eyes: Eyes,
    (tuning, adapter): (Tuning, Option<Adapter>),
) -> Result<Handle> {
    // Callers take a place before they send, so this is never full.
    let (jobs, receiver) = channel(usize::MAX);
    let (ready, made) = std_mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("katena-vision".into()).spawn(move || {
        let both = Engine::tuned(&model, shape, tuning, adapter).and_then(|e| Ok((e, open(&model, &eyes)?)));
        let (engine, context) = match both {
            Ok(both) => both,
            Err(e) => {
                drop(ready.send(Err(e)));
                return;
            }
        };
        let tokens = engine.context_tokens().min(engine.cache_tokens());
        if ready.send(Ok(tokens)).is_ok() {
            let queue = VecDeque::new();
            let worker =
                Worker { engine, context, model: &model, name, eyes, tokens, queue, leaving: Vec::new() };
            worker.run(receiver);
        }
    })?;
    let context_tokens =
        made.recv().map_err(|_| Error::unexpected("the model's thread died at its start"))??;
    Ok(Handle { jobs, thread, context_tokens })
}

struct Worker<'m> {
    engine: Engine<'m>,
    context: MtmdContext,
    model: &'m LlamaModel,
    name: String,
    eyes: Eyes,
    /// Tokens of prompt and answer.
    tokens: usize,
    queue: VecDeque<Box<Look>>,
    /// Answers that are complete but not yet read.
    leaving: Vec<Outbox>,
}

impl Worker<'_> {
    fn run(mut self, mut jobs: Receiver<Box<Look>>) {
        while !jobs.closed() {
            self.tidy(&mut jobs);
            match self.queue.pop_front() {
                Some(look) => self.answer(*look, &mut jobs),
                None => jobs.wait(None),
            }
        }
    }

    /// Takes what came in, and lets go of what nobody waits for any more.
    fn tidy(&mut self, jobs: &mut Receiver<Box<Look>>) {
        jobs.take(&mut self.queue, usize::MAX);
        self.leaving.retain_mut(|outbox| !outbox.closed() && !outbox.flush());
        for look in std::mem::take(&mut self.queue) {
            if look.job.events.is_closed() {
                continue;
            }
            match look.job.context.check() {
                Ok(()) => self.queue.push_back(look),
                Err(e) => {
                    let mut outbox = Outbox::new(look.job.events);
                    outbox.fail(e);
                    self.leave(outbox);
                }
            }
        }
    }

    fn leave(&mut self, mut outbox: Outbox) {
        if !outbox.flush() {
            self.leaving.push(outbox);
        }
    }

    fn answer(&mut self, look: Look, jobs: &mut Receiver<Box<Look>>) {
        let Look { job, pieces } = look;
        let (mut slot, _, _) = Slot::new(job, self.tokens);
        self.engine.clear(0);
        match self.whole(&mut slot, &pieces, jobs) {
            Ok(Some(reason)) => {
                let outbox = slot.finish(reason, 0, &self.name);
                self.leave(outbox);
            }
            Ok(None) => {}
            Err(e) => {
                slot.outbox.fail(e);
                self.leave(slot.outbox);
            }
        }
    }

    /// Reads the prompt and writes the answer; `None` if nobody listens any more.
    fn whole(
        &mut self,
        slot: &mut Slot,
        pieces: &[Piece],
        jobs: &mut Receiver<Box<Look>>,
    ) -> Result<Option<FinishReason>> {
        let mut output = None;
        for (n, piece) in pieces.iter().enumerate() {
            match piece {
                Piece::Text(tokens) => {
                    let last = n + 1 == pieces.len();
                    output = self.read(tokens, last, slot, jobs)?;
                }
                Piece::Image(picture) => {
                    self.tidy(jobs);
                    if slot.outbox.closed() {
                        return Ok(None);
                    }
                    slot.context.check()?;
                    self.see(picture)?;
                }
            }
            if slot.outbox.closed() {
                return Ok(None);
            }
        }
        loop {
            let place = output.ok_or_else(|| Error::unexpected("the prompt gave no logits"))?;
            let next = choose(self.model, slot, self.engine.logits(place)?)?;
            // What a slow reader has not taken waits; the context bounds it.
            slot.outbox.flush();
            match next {
                Next::End(reason) => return Ok(Some(reason)),
                Next::Token(token) => {
                    output = self.engine.push(token, 0, Want::Logits)?;
                    self.engine.decode()?;
                }
            }
            self.tidy(jobs);
            if slot.outbox.closed() {
                return Ok(None);
            }
            slot.context.check()?;
        }
    }

    /// Reads text, a batch at a time; the place of its last logits if they are `wanted`.
    fn read(
        &mut self,
        tokens: &[LlamaToken],
        wanted: bool,
        slot: &Slot,
        jobs: &mut Receiver<Box<Look>>,
    ) -> Result<Option<Output>> {
        let mut output = None;
        let batch = self.engine.batch_tokens().max(1);
        let batches = tokens.len().div_ceil(batch);
        for (n, part) in tokens.chunks(batch).enumerate() {
            self.tidy(jobs);
            slot.context.check()?;
            for (m, token) in part.iter().enumerate() {
                let last = wanted && n + 1 == batches && m + 1 == part.len();
                output = self.engine.push(*token, 0, if last { Want::Logits } else { Want::Nothing })?;
            }
            self.engine.decode()?;
        }
        Ok(output)
    }

    fn see(&mut self, picture: &Picture) -> Result<()> {
        let bitmap = MtmdBitmap::from_buffer(&self.context, &picture.bytes, false)
            .map_err(|e| Error::invalid_input("an image is broken: it can't be decoded").with_source(e))?;
        if bitmap.is_audio() || (bitmap.nx(), bitmap.ny()) != (picture.width, picture.height) {
            return Err(Error::invalid_input("an image is not what its head says"));
        }
        let text = MtmdInputText { text: MARK.into(), add_special: false, parse_special: true };
        let chunks = self
            .context
            .tokenize(text, &[&bitmap])
            .map_err(|e| Error::invalid_input("llama.cpp can't prepare an image").with_source(e))?;
        if chunks.total_tokens() != self.eyes.tokens {
            return Err(Error::unexpected("an image has another number of tokens than was counted")
                .with_context("tokens", chunks.total_tokens().to_string()));
        }
        self.engine.look(0, &mut self.context, &chunks)
    }
}

/// The prompt does not fit.
pub(super) fn too_long(tokens: usize, context: usize) -> Error {
    Error::new(ErrorKind::ContextTooLong, "text and images don't fit into the model's context")
        .with_context("prompt_tokens", tokens.to_string())
        .with_context("context_tokens", context.to_string())
}
