//! Who gets a slot, and what it shares with others.

use super::prefix::common;
use super::{CacheOp, Request, Reuse, Scheduler};

/// Tokens that are left free for each request that runs, so that a newcomer is not preempted at once.
const RESERVE: usize = 16;

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

    /// The longest beginning of the request's tokens that a sequence holds, short of the last token, and that sequence.
    fn best(&self, tokens: &[i32]) -> Option<(usize, usize)> {
        if self.limits.reuse == Reuse::Off {
            return None;
        }
        let most = tokens.len() - 1;
        let running =
            self.running.iter().map(|r| (common(tokens, self.cells.tokens(r.sequence)), r.sequence));
        self.tree
            .longest(tokens)
            .into_iter()
            .chain(running)
            .map(|(length, sequence)| (length.min(most), sequence))
            .filter(|(length, _)| *length > 0)
            .max_by_key(|(length, _)| *length)
    }

    /// An older request that is about to compute a longer beginning of `tokens` than `have`.
    fn leader(&self, order: u64, tokens: &[i32], have: usize) -> Option<(u64, usize)> {
        if self.limits.reuse == Reuse::Off {
            return None;
        }
        let most = tokens.len() - 1;
        self.running
            .iter()
            .filter(|r| r.order < order && !r.paused && r.remaining() > 0)
            .map(|r| (r.id, common(tokens, &r.tokens).min(most)))
            .filter(|(_, length)| *length > have)
            .max_by_key(|(_, length)| *length)
    }

    /// True if the request's tokens and some more fit beside those that run.
    fn fits(&self, request: &Request) -> bool {
        let (shared, idle) = match self.best(&request.tokens) {
            Some((length, sequence)) => (length, self.cells.idle_in(sequence, length)),
            None => (0, 0),
        };
        let led = self.leader(request.order, &request.tokens, shared).map_or(shared, |(_, length)| length);
        let pending: usize = self.running.iter().map(|r| r.remaining() - self.led(r)).sum();
        let left = (request.prompt + request.most).saturating_sub(request.tokens.len());
        let reserve = left.min(RESERVE) + RESERVE * self.running.len();
        self.cells.live() + idle + pending + (request.tokens.len() - led) + reserve <= self.capacity
    }

    /// Tokens that a running request will share instead of computing.
    #[expect(clippy::unused_self, reason = "reads as a question to the scheduler")]
    fn led(&self, request: &Request) -> usize {
        request.leader.map_or(0, |(_, length)| length.saturating_sub(request.computed))
    }

    fn enter(&mut self, mut request: Request) {
        let best = self.best(&request.tokens);
        // The sequence that is to be shared is the most recently used one now.
        if let Some((_, sequence)) = best {
            self.touch(sequence);
        }
        let Some(sequence) = self.free_sequence() else {
            // There are at least as many sequences as slots, and all that are not running can be freed.
            self.wait(request);
            return;
        };
        self.cells.set_live(sequence, true);
        request.sequence = sequence;
        request.computed = 0;
        // It may have been dropped for its id.
        if let Some((length, from)) = best.filter(|(n, from)| self.cells.tokens(*from).len() >= *n) {
            self.share(&mut request, from, length);
        }
        request.leader = self.leader(request.order, &request.tokens, request.computed);
        request.started = true;
        let at = self.running.partition_point(|r| r.order < request.order);
        self.running.insert(at, request);
    }

    fn share(&mut self, request: &mut Request, from: usize, end: usize) {
        let start = request.computed;
        self.ops.push(CacheOp::Copy { from, to: request.sequence, start, end });
        self.cells.copy(from, request.sequence, end);
        if !request.again {
            let saved = end.min(request.prompt) - start.min(request.prompt);
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
                Some(r) if r.computed >= length => Some((length, r.sequence)),
                // It is gone or stands still; what it computed may be there.
                _ => self.best(&self.running[at].tokens),
            };
            let mut request = self.running.remove(at);
            request.leader = None;
            if let Some((length, from)) = ready.filter(|(n, _)| *n > request.computed) {
                self.touch(from);
                self.share(&mut request, from, length);
            }
            request.leader = self.leader(request.order, &request.tokens, request.computed);
            self.running.insert(at, request);
        }
    }
}
