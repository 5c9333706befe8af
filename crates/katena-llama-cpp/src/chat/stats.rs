//! What the engine did and does: a snapshot for callers, and the limit on requests under way.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use katena_core::{Error, ErrorKind, Result};

use crate::sched::Counts;

/// How often the numbers go to `tracing` while there is work.
const EVERY: Duration = Duration::from_secs(1);

/// What a chat model's engine did since it was loaded, and what it does now.
///
/// ```
/// let stats = katena_llama_cpp::EngineStats::default();
/// assert_eq!(stats.batch_fill(), 0.0);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct EngineStats {
    /// Requests that wait for a slot.
    pub waiting: usize,
    /// Requests in a slot.
    pub running: usize,
    /// Answers that gave their slot away because nobody reads them.
    pub parked: usize,
    /// Steps computed.
    pub steps: u64,
    /// Tokens of all steps.
    pub step_tokens: u64,
    /// Tokens that one step can hold.
    pub batch_tokens: usize,
    /// Prompt tokens computed; those computed again after preemption count again.
    pub prompt_tokens: u64,
    /// Prompt tokens that were computed before.
    pub reused_tokens: u64,
    /// Tokens generated: those of [`Usage::output_tokens`](katena_core::Usage::output_tokens), and those of answers that were not finished.
    pub generated_tokens: u64,
    /// Tokens in the cache, those of several sequences counted once.
    pub cache_used: usize,
    /// Tokens of finished requests that are kept in main memory.
    pub cache_kept: usize,
    /// Tokens that the cache holds.
    pub cache_tokens: usize,
    /// How often a request lost its slot: the cache was full, or nobody read its answer while others waited.
    pub preemptions: u64,
    /// Requests that were dropped, cancelled or too late.
    pub cancels: u64,
    /// Answers that were complete.
    pub finished: u64,
    /// Requests that were refused because too many waited.
    pub refused: u64,
}

impl EngineStats {
    /// Tokens of an average step, as a share of those that a step can hold, 0 to 1.
    pub fn batch_fill(&self) -> f64 {
        let most = self.steps as f64 * self.batch_tokens as f64;
        if most > 0.0 { self.step_tokens as f64 / most } else { 0.0 }
    }

    pub(super) fn set(&mut self, counts: Counts, generated_tokens: u64) {
        self.waiting = counts.waiting;
        self.running = counts.running;
        self.parked = counts.parked;
        self.steps = counts.steps;
        self.step_tokens = counts.step_tokens;
        self.prompt_tokens = counts.prompt_tokens;
        self.reused_tokens = counts.reused_tokens;
        self.generated_tokens = generated_tokens;
        self.cache_used = counts.cache_used;
        self.cache_kept = counts.cache_kept;
        self.preemptions = counts.preemptions;
        self.cancels = counts.cancels;
    }
}

/// What callers and the thread both see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    stats: Mutex<EngineStats>,
    /// Requests that run or wait.
    under_way: AtomicUsize,
    refused: AtomicU64,
    /// An answer's usual time, in microseconds.
    usual: AtomicU64,
}

/// A place among the requests under way; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    since: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Place {
    /// Notes how long the answer took.
    pub(super) fn done(&self) {
        let took = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let old = self.shared.usual.load(Ordering::Relaxed);
        let new = if old == 0 { took } else { old - old / 8 + took / 8 };
        self.shared.usual.store(new, Ordering::Relaxed);
    }
}

impl Shared {
    /// Takes a place.
    ///
    /// # Errors
    /// `Unavailable` with a time to try again, if `slots` and `queue` are full.
    pub(super) fn enter(self: &Arc<Self>, slots: usize, queue: usize) -> Result<Place> {
        let most = slots.saturating_add(queue);
        let taken =
            self.under_way.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < most).then_some(n + 1));
        if taken.is_ok() {
            return Ok(Place { shared: self.clone(), since: Instant::now() });
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        // After this time a slot will likely have become free.
        let usual = Duration::from_micros(self.usual.load(Ordering::Relaxed));
        let wait = (usual / u32::try_from(slots.max(1)).unwrap_or(u32::MAX))
            .clamp(Duration::from_millis(100), Duration::from_secs(60));
        Err(Error::new(ErrorKind::Unavailable, "too many requests wait for the local model")
            .with_retry_after(wait)
            .with_context("slots", slots.to_string())
            .with_context("queue", queue.to_string()))
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut EngineStats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn stats(&self) -> EngineStats {
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stats.refused = self.refused.load(Ordering::Relaxed);
        stats
    }
}

/// Tells `tracing` the numbers now and then, in fields that `tracing-opentelemetry`'s metrics layer takes as gauges.
#[derive(Debug, Default)]
pub(super) struct Teller {
    last: Option<Instant>,
}

impl Teller {
    pub(super) fn tell(&mut self, model: &str, shared: &Shared) {
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last < EVERY) {
            return;
        }
        self.last = Some(now);
        let s = shared.stats();
        tracing::debug!(
            target: "katena_llama_cpp::metrics",
            model,
            gauge.katena.local.waiting = s.waiting as u64,
            gauge.katena.local.running = s.running as u64,
            gauge.katena.local.parked = s.parked as u64,
            gauge.katena.local.batch_fill = s.batch_fill(),
            gauge.katena.local.prompt_tokens = s.prompt_tokens,
            gauge.katena.local.reused_tokens = s.reused_tokens,
            gauge.katena.local.generated_tokens = s.generated_tokens,
            gauge.katena.local.cache_used = s.cache_used as u64,
            gauge.katena.local.cache_kept = s.cache_kept as u64,
            gauge.katena.local.preemptions = s.preemptions,
            gauge.katena.local.cancels = s.cancels,
            gauge.katena.local.refused = s.refused,
        );
    }
}
