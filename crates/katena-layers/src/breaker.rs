//! No calls to what is known to be down.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use katena_core::{
    ChatEvent, ChatHistory, ChatModel, ChatStream, Context, Embedder, Error, ErrorKind, Layer, Memory,
    RecordStore, Reranker, Result, Retriever, Tool, VectorStore,
};

use crate::around::{Answer, Around, Call, Wrapped, is_own_refusal};
use crate::clock::{Time, with_clock};
use crate::watch::{Watch, watch};

/// Whether a [`CircuitBreaker`] lets calls through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// All calls go through.
    Closed,
    /// None does.
    Open,
    /// One does, to see.
    HalfOpen,
}

type Listener = dyn Fn(CircuitState) + Send + Sync;

/// Stops calling a component that keeps failing, and looks again after a while.
///
/// Closed: calls go through and are counted. If at least half of at least 10 calls within 30 s failed, it opens. Open: calls
/// fail at once as `Unavailable`, with the time until the next look in [`Error::retry_after`]. After 30 s it is half open:
/// one call goes through as a probe, the others still fail. If the probe succeeds, all is forgotten and it is closed; if it
/// fails, it is open again. A probe that is cancelled or dropped leaves its place to the next call.
///
/// Only temporary errors count as failures. Errors that the other side answered with (a bad key, a bad request) show that it
/// is there; cancelled calls, passed deadlines and refusals of other layers show nothing. Each component that is wrapped has
/// a circuit of its own, clones of the layer or not.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::{EchoChat, FlakyChat}};
/// use katena_layers::CircuitBreaker;
/// let model = FlakyChat::new(EchoChat::new(), 1000).layer(CircuitBreaker::default().with_min_calls(2));
/// let request = ChatRequest::new([Message::user("hello")]);
/// for refused in [false, false, true, true] {
///     let error = model.generate(&request).await.unwrap_err();
///     assert_eq!(error.context("layer") == Some("circuit_breaker"), refused);
/// }
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    ratio: f64,
    min_calls: u32,
    window: Duration,
    open_for: Duration,
    listener: Option<Arc<Listener>>,
    time: Time,
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("ratio", &self.ratio)
            .field("min_calls", &self.min_calls)
            .field("window", &self.window)
            .field("open_for", &self.open_for)
            .finish_non_exhaustive()
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            ratio: 0.5,
            min_calls: 10,
            window: Duration::from_secs(30),
            open_for: Duration::from_secs(30),
            listener: None,
            time: Time::default(),
        }
    }
}

impl CircuitBreaker {
    /// Opens when this share of the calls failed, above 0 to 1.
    pub fn new(ratio: f64) -> Self {
        Self { ratio, ..Self::default() }
    }

    /// Sets how many calls there must be in the window before the share counts.
    pub fn with_min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// Sets the time over which calls are counted. It moves in tenths.
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets how long it stays open before a probe.
    pub fn with_open_for(mut self, open_for: Duration) -> Self {
        self.open_for = open_for;
        self
    }

    /// Calls this at each change of state. It must not block.
    pub fn with_listener(mut self, listener: impl Fn(CircuitState) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }
}

with_clock!(CircuitBreaker);

macro_rules! breaks {
    ($($kind:ident),+) => {$(
        impl Layer<dyn $kind> for CircuitBreaker {
            fn layer(&self, inner: Arc<dyn $kind>) -> Arc<dyn $kind> {
                Arc::new(Wrapped::new(Circuit::new(self.clone()), inner))
            }
        }
    )+};
}
breaks!(ChatModel, Embedder, Reranker, VectorStore, Retriever, Tool, ChatHistory, Memory, RecordStore);

const SLOTS: usize = 10;

#[derive(Clone, Copy, Default)]
struct Slot {
    number: u64,
    calls: u32,
    failures: u32,
}

#[derive(Clone, Copy)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool },
}

struct State {
    phase: Phase,
    /// Grows with each change, so that calls of an earlier phase decide nothing.
    era: u64,
    slots: [Slot; SLOTS],
}

/// The circuit of one component.
struct Circuit {
    settings: CircuitBreaker,
    start: Instant,
    state: Mutex<State>,
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// What a call says about its component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    Nothing,
}

impl Circuit {
    fn new(settings: CircuitBreaker) -> Arc<Self> {
        let start = settings.time.now();
        let state = State { phase: Phase::Closed, era: 0, slots: [Slot::default(); SLOTS] };
        Arc::new(Self { settings, start, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, mut state: MutexGuard<'_, State>, phase: Phase) -> u64 {
        state.phase = phase;
        state.era += 1;
        let era = state.era;
        if matches!(phase, Phase::Closed) {
            state.slots = [Slot::default(); SLOTS];
        }
        drop(state);
        let now = match phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        };
        tracing::info!(state = ?now, "circuit breaker");
        if let Some(listener) = &self.settings.listener {
            listener(now);
        }
        era
    }

    /// Lets a call through, or refuses it.
    fn admit(self: &Arc<Self>, context: &Context) -> Result<Trial> {
        if context.cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        let mut state = self.state();
        let era = match state.phase {
            Phase::Closed => state.era,
            Phase::Open { until } => {
                let now = self.settings.time.now();
                if now < until {
                    return Err(open().with_retry_after(until - now));
                }
                self.change(state, Phase::HalfOpen { probing: true })
            }
            Phase::HalfOpen { probing: true } => return Err(open()),
            Phase::HalfOpen { probing: false } => {
                state.phase = Phase::HalfOpen { probing: true };
                state.era
            }
        };
        Ok(Trial { circuit: self.clone(), era, deadline: context.deadline, begun: false, over: false })
    }

    fn judge(&self, era: u64, verdict: Verdict) {
        let mut state = self.state();
        if state.era != era {
            return;
        }
        let now = self.settings.time.now();
        let open = Phase::Open { until: now + self.settings.open_for.min(Duration::from_secs(1 << 31)) };
        match (state.phase, verdict) {
            (Phase::HalfOpen { .. }, Verdict::Good) => {
                self.change(state, Phase::Closed);
            }
            (Phase::HalfOpen { .. }, Verdict::Bad) => {
                self.change(state, open);
            }
            (Phase::HalfOpen { .. }, Verdict::Nothing) => state.phase = Phase::HalfOpen { probing: false },
            (Phase::Closed, Verdict::Good | Verdict::Bad) => {
                if self.count(&mut state, now, verdict == Verdict::Bad) {
                    self.change(state, open);
                }
            }
            (Phase::Closed, Verdict::Nothing) | (Phase::Open { .. }, _) => {}
        }
    }

    /// Counts a call; true if too many have failed.
    fn count(&self, state: &mut State, now: Instant, failed: bool) -> bool {
        let slot_time = (self.settings.window / SLOTS as u32).max(Duration::from_nanos(1));
        let elapsed = now.saturating_duration_since(self.start);
        let number = (elapsed.as_nanos() / slot_time.as_nanos()) as u64;
        let slot = &mut state.slots[(number % SLOTS as u64) as usize];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.calls += 1;
        slot.failures += u32::from(failed);
        if !failed {
            return false;
        }
        let recent = || state.slots.iter().filter(|s| s.number + SLOTS as u64 > number);
        let calls: u32 = recent().map(|s| s.calls).sum();
        let failures: u32 = recent().map(|s| s.failures).sum();
        calls >= self.settings.min_calls && f64::from(failures) >= self.settings.ratio * f64::from(calls)
    }
}

fn open() -> Error {
    Error::new(ErrorKind::Unavailable, "not called: it has failed too often lately")
        .with_context("layer", "circuit_breaker")
}

/// A call that was let through. Dropped without a verdict, it says nothing, but a stream that had begun was good.
struct Trial {
    circuit: Arc<Circuit>,
    era: u64,
    deadline: Option<Instant>,
    begun: bool,
    over: bool,
}

impl Trial {
    fn verdict(&mut self, verdict: Verdict) {
        if !std::mem::replace(&mut self.over, true) {
            self.circuit.judge(self.era, verdict);
        }
    }

    fn failed(&mut self, error: &Error) {
        let late = || {
            let time = &self.circuit.settings.time;
            error.kind() == ErrorKind::Timeout && self.deadline.is_some_and(|d| d <= time.now())
        };
        let verdict = if is_own_refusal(error) || late() {
            Verdict::Nothing
        } else if error.is_temporary() {
            Verdict::Bad
        } else if error.status().is_some() {
            Verdict::Good
        } else {
            Verdict::Nothing
        };
        self.verdict(verdict);
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.verdict(if self.begun { Verdict::Good } else { Verdict::Nothing });
    }
}

impl Watch for Trial {
    fn event(&mut self, event: &mut ChatEvent) {
        self.begun = true;
        if matches!(event, ChatEvent::Finished(_)) {
            self.verdict(Verdict::Good);
        }
    }
    fn failed(&mut self, error: Error) -> Error {
        Trial::failed(self, &error);
        error
    }
    fn ended(&mut self) {
        self.verdict(Verdict::Bad);
    }
}

impl Around for Arc<Circuit> {
    async fn call<T, F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let mut trial = self.admit(call.context)?;
        let result = attempt().await;
        match &result {
            Ok(_) => trial.verdict(Verdict::Good),
            Err(error) => trial.failed(error),
        }
        result
    }

    async fn stream<F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<ChatStream>
    where
        F: Future<Output = Result<ChatStream>> + Send,
    {
        let mut trial = self.admit(call.context)?;
        match attempt().await {
            Ok(stream) => Ok(watch(stream, trial)),
            Err(error) => {
                trial.failed(&error);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
