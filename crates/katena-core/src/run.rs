//! A run: the context of a chain's call, its steps, and who listens.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use futures_util::future::{Either, select};
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::Value;

use crate::chat::{ChatModel, ChatRequest};
use crate::clock::Clock;
use crate::context::{Context, Labels};
use crate::document::{Document, Scored};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Accumulator, ChatEvent, ChatStream};
use crate::report::StepReport;
use crate::response::{ChatResponse, Usage};

/// Names a step of a run; unique within the run, 0 is the run itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u64);

/// What a chain tells its listener.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A step begins.
    StepStarted {
        /// The step around it.
        parent: StepId,
        /// Its name.
        name: String,
    },
    /// A step is over.
    StepFinished {
        /// Whether it succeeded.
        ok: bool,
    },
    /// A model's event, as the model gave it.
    Model(ChatEvent),
    /// A piece of the answer's text that the chain has already looked at.
    Text(String),
    /// The passages that the answer will rest on.
    Sources(Arc<[Scored<Document>]>),
    /// Anything else.
    Custom {
        /// What it is.
        name: String,
        /// Its content.
        value: Value,
    },
}

/// An [`Event`] and the step that it belongs to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunEvent {
    /// The step.
    pub step: StepId,
    /// What happened.
    pub event: Event,
}

/// How far a chain may run ahead of its reader, in events.
pub(crate) const EVENTS_AHEAD: usize = 32;

#[derive(Default)]
struct QueueState {
    events: VecDeque<RunEvent>,
    closed: bool,
    reader: Option<Waker>,
    writers: Vec<Waker>,
}

/// The bounded queue between a chain and the one who reads its events. Bounded for all clones of a run together.
#[derive(Default)]
pub(crate) struct Queue(Mutex<QueueState>);

impl Queue {
    fn state(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn push(&self, event: RunEvent) {
        let mut event = Some(event);
        std::future::poll_fn(|cx| {
            let mut s = self.state();
            if s.closed {
                return Poll::Ready(());
            }
            if s.events.len() >= EVENTS_AHEAD {
                if !s.writers.iter().any(|w| w.will_wake(cx.waker())) {
                    s.writers.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            s.events.extend(event.take());
            let reader = s.reader.take();
            drop(s);
            reader.into_iter().for_each(Waker::wake);
            Poll::Ready(())
        })
        .await;
    }

    /// The next event; without one, the reader is woken at the next push.
    pub(crate) fn pop(&self, reader: &Waker) -> Option<RunEvent> {
        let mut s = self.state();
        let event = s.events.pop_front();
        if event.is_none() {
            s.reader = Some(reader.clone());
            return None;
        }
        let writers = std::mem::take(&mut s.writers);
        drop(s);
        writers.into_iter().for_each(Waker::wake);
        event
    }

    /// Late events are dropped, waiting writers go on.
    pub(crate) fn close(&self) {
        let mut s = self.state();
        s.closed = true;
        let writers = std::mem::take(&mut s.writers);
        drop(s);
        writers.into_iter().for_each(Waker::wake);
    }
}

/// What all handles of a run, or of a recorded part of it, have in common.
struct Shared {
    /// Used at the root only: step numbers are unique in the whole run.
    next_step: AtomicU64,
    usage: Mutex<Usage>,
    /// The steps so far, where somebody asked for them.
    steps: Option<Mutex<Vec<StepReport>>>,
    /// The run around this part.
    parent: Option<Arc<Shared>>,
}

impl Shared {
    fn next_step(&self) -> StepId {
        match &self.parent {
            Some(parent) => parent.next_step(),
            None => StepId(self.next_step.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn count(&self, usage: Usage) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) += usage;
        if let Some(parent) = &self.parent {
            parent.count(usage);
        }
    }

    /// Lets the recorders of this part and of those around it take something down.
    fn record(&self, mut write: impl FnMut(&mut Vec<StepReport>)) {
        let mut at = Some(self);
        while let Some(shared) = at {
            if let Some(steps) = &shared.steps {
                write(&mut steps.lock().unwrap_or_else(PoisonError::into_inner));
            }
            at = shared.parent.as_deref();
        }
    }

    fn is_recording(&self) -> bool {
        self.steps.is_some() || self.parent.as_ref().is_some_and(|p| p.is_recording())
    }
}

/// The context of a chain's call plus, where somebody listens, the sink for its events. Cheap to clone.
///
/// ```
/// use katena_core::{Labels, Run};
/// let run = Run::new().with_labels(Labels::new().with("tenant", "acme"));
/// assert_eq!(run.context().labels.get("tenant"), Some("acme"));
/// ```
#[derive(Clone)]
pub struct Run {
    context: Context,
    shared: Arc<Shared>,
    sink: Option<Arc<Queue>>,
    step: StepId,
    quiet: bool,
    clock: Option<Arc<dyn Clock>>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("step", &self.step)
            .field("listened", &self.sink.is_some())
            .field("quiet", &self.quiet)
            .finish_non_exhaustive()
    }
}

impl Default for Run {
    fn default() -> Self {
        Self::from(Context::new())
    }
}

impl From<Context> for Run {
    fn from(context: Context) -> Self {
        let usage = Mutex::default();
        let shared = Arc::new(Shared { next_step: AtomicU64::new(1), usage, steps: None, parent: None });
        Self { context, shared, sink: None, step: StepId(0), quiet: false, clock: None }
    }
}

impl Run {
    /// A run without labels or deadline, to which nobody listens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the labels.
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.context.labels = labels;
        self
    }

    /// Sets the context.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Enforces the deadline by this clock while a call waits. Without a clock it is looked at between steps, and by the components themselves.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    pub(crate) fn with_sink(mut self, sink: Arc<Queue>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Labels, deadline, cancel signal.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The step that this handle belongs to.
    pub fn step_id(&self) -> StepId {
        self.step
    }

    /// True if somebody reads the events and this handle is not quiet.
    pub fn is_listened(&self) -> bool {
        self.sink.is_some() && !self.quiet
    }

    /// True if the steps are being taken down for a [`Report`](crate::Report).
    pub fn is_recording(&self) -> bool {
        self.shared.is_recording()
    }

    /// The same run with a count of its own and a record of its steps; what happens in it counts in this one too.
    pub(crate) fn recorded(&self) -> Run {
        let steps = Some(Mutex::new(vec![StepReport::new(self.step, self.step, "run")]));
        let usage = Mutex::default();
        let shared = Shared { next_step: AtomicU64::new(0), usage, steps, parent: Some(self.shared.clone()) };
        Run { shared: Arc::new(shared), ..self.clone() }
    }

    /// The same run with a token count of its own, which [`usage`](Run::usage) gives; what happens in it counts in this
    /// one too. For chains that keep to a budget of tokens.
    pub fn counted(&self) -> Run {
        let next_step = AtomicU64::new(0);
        let shared =
            Shared { next_step, usage: Mutex::default(), steps: None, parent: Some(self.shared.clone()) };
        Run { shared: Arc::new(shared), ..self.clone() }
    }

    /// Fails if the run must not go on; by the run's clock where it has one.
    ///
    /// # Errors
    /// Kind `Cancelled` after the signal, `Timeout` after the deadline.
    pub fn check(&self) -> Result<()> {
        if let (Some(clock), Some(deadline)) = (&self.clock, self.context.deadline)
            && deadline <= clock.now()
        {
            return Err(Error::new(ErrorKind::Timeout, "the deadline has passed"));
        }
        self.context.check()
    }

    /// Takes the record's steps.
    pub(crate) fn take_steps(&self) -> Vec<StepReport> {
        let steps = self.shared.steps.as_ref();
        steps
            .map_or_else(Vec::new, |s| std::mem::take(&mut *s.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Token counts of all model calls so far; in a [reported](crate::ChainExt::reported) part, of that part.
    pub fn usage(&self) -> Usage {
        *self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same run for model calls that are not the answer: their events are not shown.
    pub fn quiet(&self) -> Run {
        Run { quiet: true, ..self.clone() }
    }

    /// Tells the listener, if there is one. Waits while 32 events are unread.
    pub async fn emit(&self, event: Event) {
        if let Event::Custom { name, value } = &event {
            self.note(name, || value.clone());
        }
        if let (Some(sink), false) = (&self.sink, self.quiet) {
            sink.push(RunEvent { step: self.step, event }).await;
        }
    }

    fn child(&self) -> Run {
        Run { step: self.shared.next_step(), ..self.clone() }
    }

    /// Puts a value down at this step, if somebody asked for a record.
    fn note(&self, name: &str, value: impl Fn() -> Value) {
        self.shared.record(|steps| {
            if let Some(step) = steps.iter_mut().rev().find(|s| s.id == self.step) {
                step.notes.push((name.to_owned(), value()));
            }
        });
    }

    /// Does a named piece of work as a step of its own, with start and finish told.
    ///
    /// # Errors
    /// The work's own; `Unexpected` if it panicked; `Cancelled` or `Timeout` if the run must not go on.
    pub async fn step<T, Fut>(&self, name: &str, work: impl FnOnce(Run) -> Fut) -> Result<T>
    where
        Fut: Future<Output = Result<T>>,
    {
        self.check()?;
        let run = self.child();
        self.shared.record(|steps| steps.push(StepReport::new(run.step, self.step, name)));
        run.emit(Event::StepStarted { parent: self.step, name: name.to_owned() }).await;
        let work = AssertUnwindSafe(async { self.guard(work(run.clone())).await }).catch_unwind();
        let result = work.await.unwrap_or_else(|panic| Err(panicked(name, &*panic)));
        let ok = result.is_ok();
        self.shared.record(|steps| {
            steps.iter_mut().rev().filter(|s| s.id == run.step).for_each(|s| s.ok = Some(ok));
        });
        run.emit(Event::StepFinished { ok }).await;
        result
    }

    /// Asks a model, in a step of its own: sets the context, streams when somebody listens, generates otherwise.
    ///
    /// # Errors
    /// The model's own; `Cancelled` or `Timeout` if the run must not go on.
    pub async fn chat(&self, model: &dyn ChatModel, mut request: ChatRequest) -> Result<ChatResponse> {
        self.chat_again(model, &mut request).await
    }

    /// [`chat`](Run::chat) with a request that stays with the caller, who asks again with more messages; its context
    /// becomes that of the run.
    ///
    /// # Errors
    /// As [`chat`](Run::chat).
    pub async fn chat_again(&self, model: &dyn ChatModel, request: &mut ChatRequest) -> Result<ChatResponse> {
        if !self.is_listened() && !self.is_recording() {
            return self.generate(model, request).await;
        }
        self.step(&model.info().model, async |run: Run| {
            if !run.is_listened() {
                let response = run.generate(model, request).await?;
                run.note("reply", || Value::String(response.text()));
                return Ok(response);
            }
            let mut stream = run.open(model, request).await?;
            let mut answer = Accumulator::new();
            while let Some(event) = stream.next().await {
                let event = event?;
                answer.push(&event)?;
                run.emit(Event::Model(event)).await;
            }
            let response = answer.finish()?;
            run.note("reply", || Value::String(response.text()));
            Ok(response)
        })
        .await
    }

    async fn generate(&self, model: &dyn ChatModel, request: &mut ChatRequest) -> Result<ChatResponse> {
        self.prepare(request)?;
        let response = self.guard(model.generate(request)).await?;
        self.count(response.usage);
        Ok(response)
    }

    /// Opens a model's stream with this run's context, for chains that look at the answer before they show it. Nothing
    /// is emitted; usage is counted when the answer finishes.
    ///
    /// # Errors
    /// The model's own; `Cancelled` or `Timeout` if the run must not go on.
    pub async fn chat_stream(&self, model: &dyn ChatModel, mut request: ChatRequest) -> Result<ChatStream> {
        self.open(model, &mut request).await
    }

    async fn open(&self, model: &dyn ChatModel, request: &mut ChatRequest) -> Result<ChatStream> {
        self.prepare(request)?;
        let stream = self.guard(model.stream(request)).await?;
        let run = self.clone();
        Ok(stream
            .inspect(move |event| {
                if let Ok(ChatEvent::Finished(response)) = event {
                    run.count(response.usage);
                }
            })
            .boxed())
    }

    fn prepare(&self, request: &mut ChatRequest) -> Result<()> {
        self.check()?;
        request.context = std::mem::take(&mut request.context).within(&self.context);
        Ok(())
    }

    fn count(&self, usage: Usage) {
        self.shared.count(usage);
    }

    /// Ends `work` at the cancel signal and, with a clock, at the deadline.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let work = self.context.cancel.guard(work);
        let (Some(clock), Some(deadline)) = (&self.clock, self.context.deadline) else {
            return work.await;
        };
        let sleep = clock.sleep(deadline.saturating_duration_since(clock.now()));
        match select(std::pin::pin!(work), sleep).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(Error::new(ErrorKind::Timeout, "the deadline has passed")),
        }
    }
}

/// The error of a step that panicked, with the panic's words.
pub(crate) fn panicked(step: &str, panic: &(dyn Any + Send)) -> Error {
    let words = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Error::unexpected(format!("the step panicked: {words}")).with_context("step", step)
}
