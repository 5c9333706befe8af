//! Which texts are computed together: from many requests, of similar length, each request getting its share. Pure.
//!
//! Fair queueing by tokens: each request has a tag, which rises by the tokens that were computed for it; a new one starts
//! at the virtual time, which rises by each batch's tokens divided among the requests that wait. The request with the
//! lowest tag is served first, so that a short request passes a long one, and nobody waits for ever: newcomers start
//! ever later (Demers, Keshav, Shenker 1989, "Analysis and simulation of a fair queueing algorithm").

/// Texts up to this length are of similar length: their attention over each other costs little.
const SHORT: usize = 64;

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tokens that a batch never exceeds.
    pub(crate) most_tokens: usize,
    /// Tokens at which a batch of several texts is full.
    pub(crate) full_tokens: usize,
    /// Texts that a batch never exceeds.
    pub(crate) texts: usize,
}

/// A text of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pick {
    /// The request, as given by [`Batcher::add`].
    pub(crate) request: u64,
    /// The text's place in it.
    pub(crate) text: usize,
}

struct Waiting {
    id: u64,
    /// Tokens of service, from the virtual time at its start.
    tag: u64,
    /// Length and place of each text, the longest last.
    texts: Vec<(usize, usize)>,
}

/// The texts that wait.
#[derive(Default)]
pub(crate) struct Batcher {
    waiting: Vec<Waiting>,
    next: u64,
    time: u64,
}

impl Batcher {
    /// Lets a request in, without texts yet.
    pub(crate) fn add(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.waiting.push(Waiting { id, tag: self.time, texts: Vec::new() });
        id
    }

    /// Adds texts of a request: length in tokens and place.
    pub(crate) fn extend(&mut self, id: u64, texts: impl IntoIterator<Item = (usize, usize)>) {
        if let Some(waiting) = self.waiting.iter_mut().find(|w| w.id == id) {
            waiting.texts.extend(texts);
            // Among equal lengths the first is taken first.
            waiting.texts.sort_unstable_by_key(|(len, place)| (*len, std::cmp::Reverse(*place)));
        }
    }

    /// Texts of a request that wait here.
    pub(crate) fn left(&self, id: u64) -> usize {
        self.waiting.iter().find(|w| w.id == id).map_or(0, |w| w.texts.len())
    }

    /// Forgets a request.
    pub(crate) fn remove(&mut self, id: u64) {
        self.waiting.retain(|w| w.id != id);
    }

    /// The next batch; empty if nothing waits. Each text has at most `limits.most_tokens` tokens.
    pub(crate) fn pick(&mut self, limits: Limits) -> Vec<Pick> {
        self.waiting.sort_unstable_by_key(|w| (w.tag, w.id));
        let Some(longest) = self.waiting.iter().find_map(|w| w.texts.last()).map(|(len, _)| *len) else {
            return Vec::new();
        };
        let active = self.waiting.iter().filter(|w| !w.texts.is_empty()).count();
        let (least, most) = if longest <= SHORT { (0, SHORT) } else { (longest / 2, longest) };
        let budget = limits.full_tokens.max(longest).min(limits.most_tokens);
        let mut room = budget;
        let mut picks = Vec::new();
        for waiting in &mut self.waiting {
            while picks.len() < limits.texts.max(1) {
                // The longest that fits, if it is long enough.
                let fits = waiting.texts.partition_point(|(len, _)| *len <= room.min(most));
                let Some(&(len, text)) = fits.checked_sub(1).and_then(|n| waiting.texts.get(n)) else {
                    break;
                };
                if len < least {
                    break;
                }
                waiting.texts.remove(fits - 1);
                waiting.tag += len as u64;
                room -= len;
                picks.push(Pick { request: waiting.id, text });
            }
        }
        self.time += ((budget - room) as u64).div_ceil(active.max(1) as u64);
        picks
    }
}

#[cfg(test)]
#[path = "batcher_tests.rs"]
mod tests;
