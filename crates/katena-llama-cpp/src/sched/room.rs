//! What gives way when the cache is full, and what is kept.

use super::{CacheOp, Kept, Reuse, Scheduler};

/// Tokens that are dropped together from what is kept: dropping one at a time costs more than computing a few again.
const DROP: usize = 32;

impl Scheduler {
    /// Takes from the least important until the planned tokens fit.
    pub(super) fn make_room(&mut self) {
        loop {
            let planned: usize = self.running.iter().map(|r| r.planned).sum();
            let needed = (self.cells.used() + planned).saturating_sub(self.capacity);
            if needed == 0 || planned == 0 {
                return;
            }
            if self.evict(needed) {
                continue;
            }
            let unread = self.running.iter().rposition(|r| r.paused);
            let youngest = self.running.len() - 1;
            match unread {
                Some(at) if self.running.len() > 1 => self.preempt(at),
                _ if self.running.len() > 1 => self.preempt(youngest),
                _ => {
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

    /// A request no longer uses its sequence: it is kept, if it holds what no other kept one does.
    pub(super) fn release(&mut self, sequence: usize) {
        self.cells.set_live(sequence, false);
        let tokens = self.cells.tokens(sequence);
        if self.limits.reuse == Reuse::Off || tokens.is_empty() {
            self.drop_sequence(sequence);
            return;
        }
        if let Some((length, other)) = self.tree.longest(tokens)
            && length == tokens.len()
        {
            self.touch(other);
            self.drop_sequence(sequence);
            return;
        }
        for shorter in self.tree.beginnings(tokens) {
            self.forget(shorter);
        }
        self.tree.insert(sequence, self.cells.tokens(sequence));
        self.kept.push(Kept { sequence, used: self.clock });
        self.touch(sequence);
        while self.kept.len() > 1 && self.cells.idle() > self.limits.kept_tokens {
            let over = self.cells.idle() - self.limits.kept_tokens;
            if self.oldest_kept() == Some(sequence) || !self.evict(over) {
                break;
            }
        }
    }

    /// Takes tokens that are computed elsewhere: an empty sequence with room for them. [`Scheduler::keep`] or
    /// [`Scheduler::discard`] it. `None` if there is no room now, or nothing is kept.
    pub(crate) fn adopt(&mut self, tokens: &[i32]) -> Option<usize> {
        if self.limits.reuse == Reuse::Off || self.cells.live() + tokens.len() > self.capacity {
            return None;
        }
        while self.cells.used() + tokens.len() > self.capacity {
            if !self.evict(tokens.len()) {
                return None;
            }
        }
        let sequence = self.free_sequence()?;
        self.cells.set_live(sequence, true);
        for token in tokens {
            self.cells.push(sequence, *token);
        }
        Some(sequence)
    }

    /// An adopted sequence has its tokens.
    pub(crate) fn keep(&mut self, sequence: usize) {
        self.release(sequence);
    }

    /// An adopted sequence has nothing.
    pub(crate) fn discard(&mut self, sequence: usize) {
        self.cells.set_live(sequence, false);
        self.drop_sequence(sequence);
    }

    /// Changes of the cache to be made now, before the next plan.
    pub(crate) fn take_ops(&mut self, into: &mut Vec<CacheOp>) {
        into.append(&mut self.ops);
    }

    /// Says that a kept sequence was of use.
    pub(super) fn touch(&mut self, sequence: usize) {
        self.clock += 1;
        if let Some(kept) = self.kept.iter_mut().find(|k| k.sequence == sequence) {
            kept.used = self.clock;
        }
    }

    /// The least recently used kept sequence of which something can be dropped.
    fn oldest_kept(&self) -> Option<usize> {
        let idle = self.kept.iter().filter(|k| self.cells.end_is_idle(k.sequence));
        idle.min_by_key(|k| k.used).map(|k| k.sequence)
    }

    /// Drops some of what is kept; false if there is nothing to drop. Call again until there is enough room.
    fn evict(&mut self, wanted: usize) -> bool {
        let Some(sequence) = self.oldest_kept() else { return false };
        let length = self.cells.length_to_free(sequence, wanted.max(DROP));
        self.tree.remove(sequence, self.cells.tokens(sequence));
        self.cells.trim(sequence, length);
        self.ops.push(CacheOp::Trim { sequence, length });
        let tokens = self.cells.tokens(sequence);
        let covered = self.tree.longest(tokens).is_some_and(|(n, _)| n == tokens.len());
        if tokens.is_empty() || covered {
            self.kept.retain(|k| k.sequence != sequence);
            self.drop_sequence(sequence);
        } else {
            self.tree.insert(sequence, self.cells.tokens(sequence));
        }
        true
    }

    /// Drops a kept sequence.
    fn forget(&mut self, sequence: usize) {
        self.tree.remove(sequence, self.cells.tokens(sequence));
        self.kept.retain(|k| k.sequence != sequence);
        self.drop_sequence(sequence);
    }

    /// Empties a sequence that is neither running nor kept; its id is free.
    pub(super) fn drop_sequence(&mut self, sequence: usize) {
        self.cells.trim(sequence, 0);
        self.ops.push(CacheOp::Trim { sequence, length: 0 });
        self.free.push(sequence);
    }

    /// The id of an empty sequence; for it the least recently used kept one may go.
    pub(super) fn free_sequence(&mut self) -> Option<usize> {
        if self.free.is_empty() {
            let oldest = self.kept.iter().min_by_key(|k| k.used).map(|k| k.sequence);
            self.forget(oldest?);
        }
        self.free.pop()
    }
}
