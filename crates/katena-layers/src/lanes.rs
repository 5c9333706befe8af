//! The accounts of [`RateLimit`](crate::RateLimit): what began within the last minute, and who waits.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::select;
use tokio::sync::{Mutex as Turn, Notify};

use crate::clock::{Stopped, Time};
use crate::rate_limit::PerMinute;

const MINUTE: Duration = Duration::from_secs(60);

/// No call counts more, whatever a server says it used: sums must not overflow.
const MOST_TOKENS: u64 = 1 << 40;

/// Below so many accounts nothing is swept out.
const FEW: usize = 1024;

#[derive(Default)]
pub(crate) struct Lanes {
    only: Arc<Lane>,
    by_key: Mutex<ByKey>,
}

#[derive(Default)]
struct ByKey {
    lanes: HashMap<String, Arc<Lane>>,
    sweep_at: usize,
}

impl Lanes {
    /// The account of calls without a key.
    pub(crate) fn only(&self) -> Arc<Lane> {
        self.only.clone()
    }

    pub(crate) fn of(&self, key: String, time: &Time) -> Arc<Lane> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = by_key.lanes.get(&key) {
            return lane.clone();
        }
        if by_key.lanes.len() >= by_key.sweep_at.max(FEW) {
            // Keys come from outside: accounts in which nothing happened for a minute must not pile up.
            let now = time.now();
            by_key.lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_empty(now));
            by_key.sweep_at = by_key.lanes.len() * 2;
        }
        by_key.lanes.entry(key).or_default().clone()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner).lanes.len()
    }
}

/// One account.
#[derive(Default)]
pub(crate) struct Lane {
    state: Mutex<State>,
    /// Who holds it is next; tokio's mutex is handed on in the order of asking.
    turn: Turn<()>,
    /// Tokens were given back.
    freed: Notify,
}

struct Entry {
    at: Instant,
    tokens: u64,
}

/// The calls that began within the last minute, oldest first.
#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Number of the oldest entry, counted from the first call ever.
    first: u64,
    tokens: u64,
    waiting: u64,
}

impl State {
    fn forget(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|e| now.saturating_duration_since(e.at) >= MINUTE) {
            let old = self.entries.pop_front().map_or(0, |e| e.tokens);
            self.tokens -= old;
            self.first += 1;
        }
    }

    /// How long until a call of so many tokens fits, if nobody else comes; zero if it fits now.
    fn until_it_fits(&self, now: Instant, limit: PerMinute, tokens: u64) -> Duration {
        let until = |entry: Option<&Entry>| {
            entry.map_or(Duration::ZERO, |e| (e.at + MINUTE).saturating_duration_since(now))
        };
        let by_requests = match limit.requests {
            Some(most) if self.entries.len() as u64 >= most => {
                until(self.entries.get(self.entries.len() - most as usize))
            }
            _ => Duration::ZERO,
        };
        let by_tokens = match limit.tokens {
            Some(most) => {
                let room = most - tokens.min(most);
                let mut left = self.tokens;
                let mut last = None;
                for entry in &self.entries {
                    if left <= room {
                        break;
                    }
                    left -= entry.tokens;
                    last = Some(entry);
                }
                until(last)
            }
            None => Duration::ZERO,
        };
        by_requests.max(by_tokens)
    }

    /// At least so long until a call that comes now has its turn: those that wait already go first.
    fn until_turn(&self, now: Instant, limit: PerMinute, tokens: u64) -> Duration {
        let own = self.until_it_fits(now, limit, tokens);
        let Some(most) = limit.requests else { return own };
        let (begun, place) = (self.entries.len() as u64, self.entries.len() as u64 + self.waiting);
        let Some(mut after) = place.checked_sub(most) else { return own };
        // It begins a minute after the call that is `most` places before it, which may itself be waiting.
        let mut minutes = 1;
        while after >= begun {
            let Some(before) = after.checked_sub(most) else {
                return own.max(MINUTE * minutes);
            };
            after = before;
            minutes += 1;
        }
        let at = self.entries.get(after as usize).map_or(now, |e| e.at);
        own.max((at + MINUTE * minutes).saturating_duration_since(now))
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self, now: Instant) -> bool {
        let mut state = self.state();
        state.forget(now);
        state.entries.is_empty() && state.waiting == 0
    }

    /// Begins a call if it fits now and nobody waits. Else says how long it would have to wait if that is too long.
    pub(crate) fn enter(
        self: &Arc<Self>,
        limit: PerMinute,
        tokens: u64,
        longest: Option<Duration>,
        time: &Time,
    ) -> std::result::Result<Grant, Option<Duration>> {
        let mut state = self.state();
        let now = time.now();
        state.forget(now);
        let wait = state.until_turn(now, limit, tokens);
        if wait.is_zero() && state.waiting == 0 {
            return Ok(self.begin(&mut state, now, tokens));
        }
        Err(longest.filter(|longest| wait >= *longest).map(|_| wait.max(Duration::from_millis(1))))
    }

    fn begin(self: &Arc<Self>, state: &mut State, now: Instant, tokens: u64) -> Grant {
        let tokens = tokens.min(MOST_TOKENS);
        let number = state.first + state.entries.len() as u64;
        state.entries.push_back(Entry { at: now, tokens });
        state.tokens += tokens;
        Grant { lane: self.clone(), number }
    }

    /// Takes a place among those that wait.
    pub(crate) fn queue(self: Arc<Self>) -> Place {
        self.state().waiting += 1;
        Place(self)
    }
}

/// A place among those that wait; given up when dropped.
pub(crate) struct Place(Arc<Lane>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl Place {
    /// Waits until it is this one's turn and the call fits.
    pub(crate) async fn turn(
        &self,
        limit: PerMinute,
        tokens: u64,
        longest: Option<Duration>,
        time: &Time,
    ) -> std::result::Result<Grant, Stopped> {
        let lane = &self.0;
        let start = time.now();
        let _turn = lane.turn.lock().await;
        loop {
            let freed = pin!(lane.freed.notified());
            let wait = {
                let mut state = lane.state();
                let now = time.now();
                state.forget(now);
                let wait = state.until_it_fits(now, limit, tokens);
                if wait.is_zero() {
                    return Ok(lane.begin(&mut state, now, tokens));
                }
                if longest.is_some_and(|most| now.saturating_duration_since(start) + wait >= most) {
                    return Err(Stopped::Limit);
                }
                wait
            };
            select(time.nap(wait).map_err(Stopped::Failed)?, freed).await;
        }
    }
}

/// A call that has begun.
pub(crate) struct Grant {
    lane: Arc<Lane>,
    number: u64,
}

impl Grant {
    /// Puts its tokens right.
    pub(crate) fn settle(self, tokens: u64) {
        let tokens = tokens.min(MOST_TOKENS);
        let mut state = self.lane.state();
        let Some(index) = self.number.checked_sub(state.first) else { return };
        let Some(entry) = state.entries.get_mut(index as usize) else { return };
        let before = std::mem::replace(&mut entry.tokens, tokens);
        state.tokens = state.tokens - before + tokens;
        drop(state);
        if tokens < before {
            self.lane.freed.notify_one();
        }
    }
}
