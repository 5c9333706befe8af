//! One request in work: its prompt, its sampler, its answer so far.

use std::collections::VecDeque;

use katena_core::{ChatEvent, Context, Error, FinishReason, Result, TokenLogprob, Usage};
use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::emit::Emitter;
use super::plan::Plan;
use super::prompt::Prompt;
use super::stats::Place;
use crate::sample::Chooser;

/// A request on its way to a slot.
pub(super) struct Job {
    pub(super) prompt: Prompt,
    pub(super) plan: Plan,
    /// Made on the caller's side, where it may fail.
    pub(super) chooser: Chooser,
    pub(super) context: Context,
    pub(super) events: mpsc::Sender<Result<ChatEvent>>,
    pub(super) place: Place,
}

/// Events on their way to the caller: what the channel has no room for waits here.
pub(super) struct Outbox {
    events: mpsc::Sender<Result<ChatEvent>>,
    waiting: VecDeque<Result<ChatEvent>>,
}

impl Outbox {
    pub(super) fn new(events: mpsc::Sender<Result<ChatEvent>>) -> Self {
        Self { events, waiting: VecDeque::new() }
    }

    /// True once nobody listens.
    pub(super) fn closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Sends what fits; true if nothing waits any more.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(event) = self.waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return false;
                }
                Err(TrySendError::Closed(_)) => {
                    self.waiting.clear();
                    return true;
                }
            }
        }
        true
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.waiting.push_back(Err(error));
    }
}

impl Extend<ChatEvent> for Outbox {
    fn extend<I: IntoIterator<Item = ChatEvent>>(&mut self, events: I) {
        self.waiting.extend(events.into_iter().map(Ok));
    }
}

/// A request in work.
pub(super) struct Slot {
    pub(super) chooser: Chooser,
    pub(super) context: Context,
    pub(super) outbox: Outbox,
    /// Its reader does not read.
    pub(super) paused: bool,
    /// Given back while nobody reads.
    pub(super) place: Option<Place>,
    pub(super) alternatives: Option<usize>,
    emitter: Emitter,
    prompt_tokens: usize,
    generated: usize,
    most: usize,
}

impl Slot {
    /// The slot, its prompt, and how many tokens it may generate, if prompt and answer may have `context_tokens`.
    pub(super) fn new(job: Job, context_tokens: usize) -> (Self, Vec<i32>, usize) {
        let Job { prompt: Prompt { tokens: prompt, reading }, plan, chooser, context, events, place } = job;
        let room = context_tokens.saturating_sub(prompt.len());
        let most = plan.max_tokens.unwrap_or(room).min(room);
        let slot = Self {
            chooser,
            context,
            outbox: Outbox::new(events),
            paused: false,
            place: Some(place),
            alternatives: plan.alternatives,
            emitter: Emitter::new(plan.stop, reading, plan.past_calls, plan.alternatives.is_some()),
            prompt_tokens: prompt.len(),
            generated: 0,
            most,
        };
        (slot, prompt.iter().map(|t| t.0).collect(), most)
    }

    /// True if the text of this control token matters.
    pub(super) fn shows(&self, token: LlamaToken) -> bool {
        self.emitter.shows(token.0)
    }

    /// Tokens of the answer so far.
    pub(super) fn generated(&self) -> usize {
        self.generated
    }

    /// Takes a chosen token that does not end the answer; says why the answer ends after it, if it does.
    pub(super) fn take(&mut self, piece: &[u8], logprob: Option<TokenLogprob>) -> Option<FinishReason> {
        self.generated += 1;
        if let Some(entry) = logprob {
            self.emitter.logprob(entry);
        }
        self.emitter.push(piece, &mut self.outbox);
        if self.emitter.stopped() || self.chooser.ended() {
            return Some(FinishReason::Stop);
        }
        if self.generated >= self.most {
            return Some(FinishReason::Length);
        }
        None
    }

    /// Ends the answer; what is left are events on their way. `reused`: prompt tokens that were in the cache.
    pub(super) fn finish(self, reason: FinishReason, reused: usize, model: &str) -> Outbox {
        if let Some(place) = &self.place {
            place.done();
        }
        let usage =
            Usage::new(self.prompt_tokens as u64, self.generated as u64).with_cached_tokens(reused as u64);
        let mut outbox = self.outbox;
        let mut events = Vec::new();
        let whole = reason != FinishReason::Length;
        let forced = self.emitter.forced();
        self.emitter.finish(reason, usage, model, &mut events);
        let called =
            events.iter().any(|e| matches!(e, ChatEvent::Finished(r) if r.tool_calls().next().is_some()));
        if forced && whole && !called {
            outbox.fail(Error::invalid_output(
                "the model was made to call a tool, but what it wrote is no call",
            ));
        } else {
            outbox.extend(events);
        }
        outbox
    }
}
