//! What gives way when the cache is full, and what is kept of finished requests.

use super::admit::spared;
use super::prefix::{New, common};
use super::{CacheOp, Reuse, Scheduler};

impl Scheduler {
    /// Takes slots from the least important until the planned tokens fit.
    pub(super) fn make_room(&mut self) {
        loop {
            let planned: usize = self.running.iter().map(|r| r.planned).sum();
            let needed = (self.cells.used() + planned).saturating_sub(self.capacity);
            if needed == 0 || planned == 0 {
                return;
            }
            let unread = self.running.iter().rposition(|r| r.paused);
            let youngest = self.running.len() - 1;
            if self.running.len() > 1 {
                self.preempt(unread.unwrap_or(youngest));
                continue;
            }
            let only = &mut self.running[0];
            only.planned -= needed.min(only.planned);
            if only.planned == 0 {
                let request = self.running.remove(0);
                self.release(request.sequence);
                self.failed.push(request.id);
            }
            return;
        }
    }

    /// Takes a request's slot and lets it wait: in line, or for its reader.
    pub(super) fn preempt(&mut self, at: usize) {
        let mut request = self.running.remove(at);
        self.release(request.sequence);
        request.sequence = usize::MAX;
        request.computed = 0;
        request.planned = 0;
        request.leader = None;
        request.again = true;
        self.counts.preemptions += 1;
        if request.paused {
            self.parked.push(request);
        } else {
            self.wait(request);
        }
    }

    /// A request no longer uses its sequence: its state is kept in main memory, and the cells are free. Where there is one
    /// slot, it stays where it is until another request comes: often that one goes on from there.
    pub(super) fn release(&mut self, sequence: usize) {
        if self.limits.slots == 1 && self.limits.reuse == Reuse::Prefixes {
            self.idle = Some(sequence);
            return;
        }
        self.save(sequence);
        self.drop_sequence(sequence);
    }

    /// Keeps the state of a sequence's first tokens, as many as may be kept, where it isn't yet.
    fn save(&mut self, sequence: usize) {
        if self.limits.reuse == Reuse::Off {
            return;
        }
        let tokens = self.cells.tokens(sequence);
        let end = tokens.len().min(self.limits.kept_tokens);
        if let Some(New { node, start }) = self.tree.insert(&tokens[..end], &mut self.ops) {
            self.tree.shrink(self.limits.kept_tokens, &mut self.ops);
            self.ops.push(CacheOp::Save { sequence, start, end, node });
        }
    }

    /// The sequence of the request before, and how many of its tokens are those of the new one: if no more of them are
    /// kept, it is left with these, else with none.
    pub(super) fn take_idle(&mut self, tokens: &[i32]) -> Option<(usize, usize)> {
        let sequence = self.idle.take()?;
        let held = self.cells.tokens(sequence);
        let mut same = spared(common(tokens, held), tokens);
        if spared(self.tree.longest(tokens), tokens) > same {
            same = 0;
        }
        if same < held.len() {
            self.save(sequence);
            self.cells.trim(sequence, same);
            self.ops.push(CacheOp::Trim { sequence, length: same });
        }
        Some((sequence, same))
    }

    /// Takes tokens whose state is known from elsewhere, as many as may be kept; where the part that isn't kept yet belongs.
    /// Make the operations of [`Scheduler::take_ops`] first.
    pub(crate) fn learn(&mut self, tokens: &[i32]) -> Option<New> {
        let end = tokens.len().min(self.limits.kept_tokens);
        let new = self.tree.insert(&tokens[..end], &mut self.ops);
        self.tree.shrink(self.limits.kept_tokens, &mut self.ops);
        new
    }

    /// Operations to be made now, before the next plan.
    pub(crate) fn take_ops(&mut self, into: &mut Vec<CacheOp>) {
        into.append(&mut self.ops);
    }

    /// Empties a sequence that no request uses; its id is free.
    pub(super) fn drop_sequence(&mut self, sequence: usize) {
        self.cells.trim(sequence, 0);
        self.ops.push(CacheOp::Trim { sequence, length: 0 });
        self.free.push(sequence);
    }

    /// The lowest free sequence.
    pub(super) fn lowest_free(&self) -> Option<usize> {
        self.free.iter().copied().min()
    }

    /// In a split cache llama.cpp computes neighbours together and others one after the other: the last ones move to
    /// where sequences are free.
    pub(super) fn close_gaps(&mut self) {
        if self.limits.unified || self.limits.reuse == Reuse::Off {
            return;
        }
        while let Some(to) = self.lowest_free()
            && let Some(last) = self.running.iter_mut().max_by_key(|r| r.sequence)
            && to < last.sequence
        {
            let (from, end) = (std::mem::replace(&mut last.sequence, to), last.computed);
            self.free.retain(|s| *s != to);
            if end > 0 {
                self.ops.push(CacheOp::Copy { from, to, start: 0, end });
                self.cells.copy(from, to, end);
            }
            self.drop_sequence(from);
        }
    }
}
