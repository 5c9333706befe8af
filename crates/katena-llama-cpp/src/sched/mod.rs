//! Decides what each step of the model computes. Pure: no llama.cpp in here, tokens are numbers.
//!
//! A request is a list of tokens, its prompt and what was generated, and how many of them are computed. One that lacks a
//! single token is generating, one that lacks more has a prompt to read; after preemption it reads its own answer too.
//!
//! A step: the next token of each generating request, then pieces of prompts, oldest request first. Requests enter in the
//! order in which they came; the first in line is never passed by. When the cache is full, requests whose reader does not
//! read give way, then the youngest. The oldest is never preempted, and it fits alone: so there is always progress.
//!
//! What a request computed is kept in main memory when it gives its cells back, within a budget, least recently used ends
//! first out: in the cache it would cost the attention of all others. A new request gets the longest beginning that is kept or
//! that a running one holds, and waits for an older request that is just reading the same beginning: it is computed once.

mod admit;
mod cells;
mod prefix;
mod room;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod rule_tests;

use std::collections::VecDeque;

use cells::Cells;
pub(crate) use prefix::New;
use prefix::Tree;

/// Names a request.
pub(crate) type Id = u64;

/// Whether sequences may share their beginnings. Some models keep a state that can't be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Any beginning of a sequence may be copied.
    Prefixes,
    /// Nothing is kept or copied.
    Off,
}

/// What there is to share out. All numbers are at least 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Requests that run side by side, each in a sequence of the cache.
    pub(crate) slots: usize,
    /// Tokens that the cache holds.
    pub(crate) cache_tokens: usize,
    /// Whether the sequences share the cache's cells; else each has `context_tokens` of its own.
    pub(crate) unified: bool,
    /// Tokens of prompt and answer of one request.
    pub(crate) context_tokens: usize,
    /// Tokens of one step.
    pub(crate) batch_tokens: usize,
    /// Prompt tokens of a step in which a request generates.
    pub(crate) prefill_cap: usize,
    /// Tokens that are kept for reuse at most.
    pub(crate) kept_tokens: usize,
    pub(crate) reuse: Reuse,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Prompt and answer never fit; so many tokens would.
    TooLong(usize),
    /// There is nothing to compute or to generate.
    Empty,
}

/// A change of the cache or of what is kept, to be made before the step, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheOp {
    /// Sequence `to`, which holds the same `start` tokens, gets tokens `start..end` of `from`: shares them in a unified
    /// cache, copies them in a split one.
    Copy { from: usize, to: usize, start: usize, end: usize },
    /// A sequence keeps its first `length` tokens.
    Trim { sequence: usize, length: usize },
    /// The state of tokens `start..end` of a sequence is kept under a new number.
    Save { sequence: usize, start: usize, end: usize, node: usize },
    /// What is kept under a number is kept under two: the first `length` tokens, and under a new one the rest.
    Split { node: usize, length: usize, tail: usize },
    /// What is kept under a number is dropped; the number is free.
    Forget { node: usize },
    /// A sequence holds the first `end` tokens of what these numbers have together, and nothing else.
    Restore { sequence: usize, nodes: Vec<usize>, end: usize },
}

/// A token to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: Id,
    pub(crate) sequence: usize,
    pub(crate) position: usize,
    pub(crate) token: i32,
    /// The next token is chosen after it.
    pub(crate) logits: bool,
}

/// What a step does.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) ops: Vec<CacheOp>,
    pub(crate) items: Vec<Item>,
    /// Requests that were given up: the cache turned out too small even for them alone.
    pub(crate) failed: Vec<Id>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Computed.
    Done,
    /// The cache had less room than thought; nothing was computed.
    NoRoom,
    /// It failed; what the sequences of the step hold is unknown.
    Failed,
}

/// Counts since the start, and how things are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) steps: u64,
    /// Tokens of all steps.
    pub(crate) step_tokens: u64,
    /// Prompt tokens computed, those again after preemption too.
    pub(crate) prompt_tokens: u64,
    /// Prompt tokens that were shared instead.
    pub(crate) reused_tokens: u64,
    pub(crate) preemptions: u64,
    pub(crate) cancels: u64,
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    /// Requests that wait for their reader, without a slot.
    pub(crate) parked: usize,
    pub(crate) cache_used: usize,
    /// Tokens kept in main memory.
    pub(crate) cache_kept: usize,
}

#[derive(Debug)]
struct Request {
    id: Id,
    /// Smaller came earlier.
    order: u64,
    /// The prompt and what was generated.
    tokens: Vec<i32>,
    prompt: usize,
    /// Tokens that it may generate.
    most: usize,
    /// Of a running request.
    sequence: usize,
    computed: usize,
    /// Tokens of the step under way.
    planned: usize,
    paused: bool,
    /// Lost its slot before.
    again: bool,
    /// Prompt tokens that it did not have to compute.
    reused: usize,
    /// An older request that is computing a longer common beginning, and that one's length.
    leader: Option<(Id, usize)>,
}

impl Request {
    fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }

    fn generates(&self) -> bool {
        self.remaining() == 1 && self.computed >= self.prompt
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Scheduler {
    limits: Limits,
    /// Cells that there are, as far as is known.
    capacity: usize,
    cells: Cells,
    tree: Tree,
    free: Vec<usize>,
    /// The sequence of the last request, of the one slot that there is.
    idle: Option<usize>,
    /// Oldest first, as are the waiting.
    running: Vec<Request>,
    waiting: VecDeque<Request>,
    parked: Vec<Request>,
    ops: Vec<CacheOp>,
    failed: Vec<Id>,
    next_order: u64,
    counts: Counts,
}

impl Scheduler {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            capacity: limits.cache_tokens,
            cells: Cells::new(limits.slots, limits.unified),
            tree: Tree::new(),
            free: (0..limits.slots).collect(),
            idle: None,
            running: Vec::new(),
            waiting: VecDeque::new(),
            parked: Vec::new(),
            ops: Vec::new(),
            failed: Vec::new(),
            next_order: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a request that generates at most `most` tokens. `id` is new.
    pub(crate) fn submit(&mut self, id: Id, prompt: Vec<i32>, most: usize) -> Result<(), Refusal> {
        let fits = self.limits.context_tokens.min(self.capacity);
        if prompt.len().saturating_add(most.max(1)) > fits {
            return Err(Refusal::TooLong(fits));
        }
        if prompt.is_empty() || most == 0 {
            return Err(Refusal::Empty);
        }
        self.waiting.push_back(Request {
            id,
            order: self.next_order,
            prompt: prompt.len(),
            tokens: prompt,
            most,
            sequence: usize::MAX,
            computed: 0,
            planned: 0,
            paused: false,
            again: false,
            reused: 0,
            leader: None,
        });
        self.next_order += 1;
        Ok(())
    }

    /// Ends a request, wherever it is; what it computed is kept for reuse.
    pub(crate) fn cancel(&mut self, id: Id) {
        if self.remove(id) {
            self.counts.cancels += 1;
        }
    }

    /// Ends a request whose answer is complete.
    pub(crate) fn finished(&mut self, id: Id) {
        self.remove(id);
    }

    fn remove(&mut self, id: Id) -> bool {
        if let Some(at) = self.running.iter().position(|r| r.id == id) {
            let request = self.running.remove(at);
            self.release(request.sequence);
            return true;
        }
        let before = self.waiting.len() + self.parked.len();
        self.waiting.retain(|r| r.id != id);
        self.parked.retain(|r| r.id != id);
        before > self.waiting.len() + self.parked.len()
    }

    /// A request's reader does not read: it computes nothing until [`Scheduler::resume`], and gives way to others.
    pub(crate) fn pause(&mut self, id: Id) {
        if let Some(request) = self.running.iter_mut().chain(&mut self.waiting).find(|r| r.id == id) {
            request.paused = true;
        }
    }

    /// A request's reader reads again.
    pub(crate) fn resume(&mut self, id: Id) {
        if let Some(at) = self.parked.iter().position(|r| r.id == id) {
            let mut request = self.parked.remove(at);
            request.paused = false;
            self.wait(request);
        } else if let Some(request) = self.running.iter_mut().chain(&mut self.waiting).find(|r| r.id == id) {
            request.paused = false;
        }
    }

    /// Forgets all requests and what is kept; the counts go on.
    pub(crate) fn begin_again(&mut self, limits: Limits) {
        *self = Self { counts: self.counts, ..Self::new(limits) };
    }

    /// Takes the token that was chosen after a request's last one.
    pub(crate) fn generated(&mut self, id: Id, token: i32) {
        if let Some(request) = self.running.iter_mut().find(|r| r.id == id) {
            request.tokens.push(token);
        }
    }

    /// The sequence of a running request.
    pub(crate) fn sequence(&self, id: Id) -> Option<usize> {
        self.running.iter().find(|r| r.id == id).map(|r| r.sequence)
    }

    /// Prompt tokens that a running request did not have to compute.
    pub(crate) fn reused(&self, id: Id) -> usize {
        self.running.iter().find(|r| r.id == id).map_or(0, |r| r.reused)
    }

    /// Plans a step; an empty one if there is nothing to compute.
    pub(crate) fn plan(&mut self, step: &mut Step) {
        step.ops.clear();
        step.items.clear();
        step.failed.clear();
        self.admit();
        self.follow();
        self.share_out();
        self.make_room();
        self.close_gaps();
        for request in &self.running {
            let end = request.computed + request.planned;
            for position in request.computed..end {
                step.items.push(Item {
                    id: request.id,
                    sequence: request.sequence,
                    position,
                    token: request.tokens[position],
                    logits: position + 1 == request.tokens.len(),
                });
            }
        }
        // llama.cpp computes sequences of a split cache together where they follow each other.
        step.items.sort_by_key(|item| item.sequence);
        step.ops.append(&mut self.ops);
        step.failed.append(&mut self.failed);
    }

    /// Says how many tokens each request computes in this step, as if the cache had room.
    fn share_out(&mut self) {
        let mut room = self.limits.batch_tokens;
        let mut streams = false;
        for request in &mut self.running {
            let now = !request.paused && request.generates() && room > 0;
            request.planned = usize::from(now);
            room -= usize::from(now);
            streams |= now;
        }
        let mut room = if streams { room.min(self.limits.prefill_cap) } else { room };
        for request in &mut self.running {
            if !request.paused && !request.generates() && request.leader.is_none() {
                request.planned = request.remaining().min(room);
                room -= request.planned;
            }
        }
    }

    /// Says how the planned step went. After a failure the requests of the step are gone; their ids come back.
    pub(crate) fn computed(&mut self, outcome: Outcome) -> Vec<Id> {
        match outcome {
            Outcome::Done => {
                self.counts.steps += 1;
                for request in &mut self.running {
                    let end = request.computed + request.planned;
                    for position in request.computed..end {
                        self.cells.push(request.sequence, request.tokens[position]);
                    }
                    self.counts.step_tokens += request.planned as u64;
                    if !request.generates() {
                        self.counts.prompt_tokens += request.planned as u64;
                    }
                    request.computed = end;
                    request.planned = 0;
                }
                Vec::new()
            }
            Outcome::NoRoom => {
                let planned: usize = self.running.iter().map(|r| r.planned).sum();
                self.capacity = self.capacity.min(self.cells.used() + planned / 2);
                self.running.iter_mut().for_each(|r| r.planned = 0);
                Vec::new()
            }
            Outcome::Failed => {
                let mut failed = Vec::new();
                while let Some(at) = self.running.iter().position(|r| r.planned > 0) {
                    let request = self.running.remove(at);
                    self.drop_sequence(request.sequence);
                    failed.push(request.id);
                }
                failed
            }
        }
    }

    /// Counts and gauges.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            waiting: self.waiting.len(),
            running: self.running.len(),
            parked: self.parked.len(),
            cache_used: self.cells.used(),
            cache_kept: self.tree.tokens(),
            ..self.counts
        }
    }

    /// True if no request is left.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty() && self.parked.is_empty()
    }

    /// Tokens of prompt and answer that one request may have.
    pub(crate) fn longest(&self) -> usize {
        self.limits.context_tokens.min(self.capacity)
    }
}
