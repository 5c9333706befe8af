//! Who gets a slot, and what it shares with others.

use super::prefix::common;
use super::{CacheOp, Request, Reuse, Scheduler};

/// Tokens that are left free for each request that runs, so that a newcomer is not preempted at once.
const RESERVE: usize = 16;

/// A beginning counts if it is at least this part of a request: attention is computed in tiles of positions, and a prompt of 512
/// tokens that begins inside of one takes 2 % longer (`docs/measurements.md`).
const PART: usize = 32;

/// How much of a request a beginning of `length` tokens spares; its last token is always computed.
pub(super) fn spared(length: usize, tokens: &[i32]) -> usize {
    let length = length.min(tokens.len() - 1);
    if length * PART < tokens.len() { 0 } else { length }
}

/// Where a beginning is.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// In the sequence of a running request.
    Sequence(usize),
    /// In main memory.
    Kept,
}

impl Scheduler {
    /// Puts a request among the waiting, by age.
    pub(super) fn wait(&mut self, request: Request) {
        let at = self.waiting.partition_point(|r| r.order < request.order);
        self.waiting.insert(at, request);
    }

    /// Gives slots to the first in line.
    pub(super) fn admit(&mut self) {
        loop {
            self.park_unread_waiters();
            let Some(first) = self.waiting.front() else { return };
            let slot = self.running.len() < self.limits.slots;
            if !slot || !(self.running.is_empty() || self.fits(first)) {
                // One that nobody reads gives way.
                let Some(at) = self.running.iter().rposition(|r| r.paused) else { return };
                self.preempt(at);
                continue;
            }
            let Some(request) = self.waiting.pop_front() else { return };
            self.enter(request);
        }
    }

    /// A waiting request whose reader does not read is not in line.
    fn park_unread_waiters(&mut self) {
        while self.waiting.front().is_some_and(|r| r.paused) {
            self.parked.extend(self.waiting.pop_front());
        }
    }

    /// The longest beginning of the tokens that is there, short of the last token, and where.
    fn best(&self, tokens: &[i32]) -> Option<(usize, Source)> {
        if self.limits.reuse == Reuse::Off {
            return None;
        }
        let most = tokens.len() - 1;
        let running = self
            .running
            .iter()
            .map(|r| (common(tokens, self.cells.tokens(r.sequence)).min(most), Source::Sequence(r.sequence)));
        let running = running.max_by_key(|(length, _)| *length);
        let kept = Some((spared(self.tree.longest(tokens), tokens), Source::Kept));
        // A unified cache shares cells of a sequence and copies nothing; from a split one two copies are made.
        let both = if self.limits.unified { [kept, running] } else { [running, kept] };
        both.into_iter().flatten().filter(|(length, _)| *length > 0).max_by_key(|(length, _)| *length)
    }

    /// An older request that is about to compute a longer beginning of `tokens` than `have`.
    fn leader(&self, order: u64, tokens: &[i32], have: usize) -> Option<(u64, usize)> {
        if self.limits.reuse == Reuse::Off {
            return None;
        }
        self.running
            .iter()
            .filter(|r| r.order < order && !r.paused && r.remaining() > 0)
            .map(|r| (r.id, spared(common(tokens, &r.tokens), tokens)))
            .filter(|(_, length)| *length > have)
            .max_by_key(|(_, length)| *length)
    }

    /// True if the request's tokens and some more fit beside those that run. In a split cache each slot has its room.
    fn fits(&self, request: &Request) -> bool {
        if !self.limits.unified {
            return true;
        }
        let (have, shared) = match self.best(&request.tokens) {
            Some((length, Source::Sequence(_))) => (length, length),
            Some((length, Source::Kept)) => (length, 0),
            None => (0, 0),
        };
        let led = self.leader(request.order, &request.tokens, have).map_or(0, |(_, length)| length - have);
        let pending: usize = self.running.iter().map(|r| r.remaining() - self.led(r)).sum();
        let left = (request.prompt + request.most).saturating_sub(request.tokens.len());
        let reserve = left.min(RESERVE) + RESERVE * self.running.len();
        self.cells.used() + pending + (request.tokens.len() - shared - led) + reserve <= self.capacity
    }

    /// Tokens that a running request will share instead of computing.
    #[expect(clippy::unused_self, reason = "reads as a question to the scheduler")]
    fn led(&self, request: &Request) -> usize {
        request.leader.map_or(0, |(_, length)| length.saturating_sub(request.computed))
    }

    fn enter(&mut self, mut request: Request) {
        let (sequence, computed) = match self.take_idle(&request.tokens) {
            Some(found) => found,
            None => {
                let Some(sequence) = self.lowest_free() else {
                    // There are as many sequences as slots.
                    self.wait(request);
                    return;
                };
                self.free.retain(|s| *s != sequence);
                (sequence, 0)
            }
        };
        request.sequence = sequence;
        request.computed = 0;
        self.count_reused(&mut request, computed);
        if let Some((length, from)) = self.best(&request.tokens) {
            self.share(&mut request, from, length);
        }
        request.leader = self.leader(request.order, &request.tokens, request.computed);
        let at = self.running.partition_point(|r| r.order < request.order);
        self.running.insert(at, request);
    }

    /// Gives a request a beginning that is there, if it has less and there is room.
    fn share(&mut self, request: &mut Request, from: Source, end: usize) {
        let (start, to) = (request.computed, request.sequence);
        let copied = match from {
            Source::Sequence(_) if self.limits.unified => 0,
            Source::Sequence(_) => end.saturating_sub(start),
            Source::Kept => end,
        };
        if end <= start || self.cells.used() + copied > self.capacity {
            return;
        }
        match from {
            Source::Sequence(from) => {
                self.ops.push(CacheOp::Copy { from, to, start, end });
                self.cells.copy(from, to, end);
            }
            Source::Kept => {
                let nodes = self.tree.path(&request.tokens[..end]);
                self.ops.push(CacheOp::Restore { sequence: to, nodes, end });
                self.cells.trim(to, 0);
                request.tokens[..end].iter().for_each(|token| self.cells.push(to, *token));
            }
        }
        self.count_reused(request, end);
    }

    /// The request has its first `end` tokens now, without computing them.
    fn count_reused(&mut self, request: &mut Request, end: usize) {
        if !request.again {
            let saved = end.min(request.prompt) - request.computed.min(request.prompt);
            request.reused += saved;
            self.counts.reused_tokens += saved as u64;
        }
        request.computed = end;
    }

    /// Lets requests share what their leaders have computed by now.
    pub(super) fn follow(&mut self) {
        for at in 0..self.running.len() {
            let Some((leader, length)) = self.running[at].leader else { continue };
            let ready = match self.running.iter().find(|r| r.id == leader) {
                Some(r) if r.computed < length && !r.paused => continue,
                Some(r) if r.computed >= length => Some((length, Source::Sequence(r.sequence))),
                // It is gone or stands still; what it computed may be there.
                _ => self.best(&self.running[at].tokens),
            };
            let mut request = self.running.remove(at);
            request.leader = None;
            if let Some((length, from)) = ready {
                self.share(&mut request, from, length);
            }
            request.leader = self.leader(request.order, &request.tokens, request.computed);
            self.running.insert(at, request);
        }
    }
}
