//! A run: the context of a chain's call, its steps, and who listens.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use serde_json::Value;

use crate::chat::{ChatModel, ChatRequest};
use crate::clock::Clock;
use crate::context::{Context, Labels};
use crate::document::{Document, Scored};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Accumulator, ChatEvent, ChatStream};
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

struct Shared {
    next_step: AtomicU64,
    usage: Mutex<Usage>,
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
        let shared = Arc::new(Shared { next_step: AtomicU64::new(1), usage: Mutex::default() });
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

    /// Token counts of all model calls so far.
    pub fn usage(&self) -> Usage {
        *self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same run for model calls that are not the answer: their events are not shown.
    pub fn quiet(&self) -> Run {
        Run { quiet: true, ..self.clone() }
    }

    /// Tells the listener, if there is one. Waits while 32 events are unread.
    pub async fn emit(&self, event: Event) {
        if let (Some(sink), false) = (&self.sink, self.quiet) {
            sink.push(RunEvent { step: self.step, event }).await;
        }
    }

    fn child(&self) -> Run {
        Run { step: StepId(self.shared.next_step.fetch_add(1, Ordering::Relaxed)), ..self.clone() }
    }

    /// Does a named piece of work as a step of its own, with start and finish told.
    ///
    /// # Errors
    /// The work's own; `Cancelled` or `Timeout` if the run must not go on.
    pub async fn step<T, Fut>(&self, name: &str, work: impl FnOnce(Run) -> Fut) -> Result<T>
    where
        Fut: Future<Output = Result<T>>,
    {
        self.context.check()?;
        let run = self.child();
        run.emit(Event::StepStarted { parent: self.step, name: name.to_owned() }).await;
        let result = self.guard(work(run.clone())).await;
        run.emit(Event::StepFinished { ok: result.is_ok() }).await;
        result
    }

    /// Asks a model, in a step of its own: sets the context, streams when somebody listens, generates otherwise.
    ///
    /// # Errors
    /// The model's own; `Cancelled` or `Timeout` if the run must not go on.
    pub async fn chat(&self, model: &dyn ChatModel, request: ChatRequest) -> Result<ChatResponse> {
        if !self.is_listened() {
            let request = self.prepare(request)?;
            let response = self.guard(model.generate(&request)).await?;
            self.count(response.usage);
            return Ok(response);
        }
        self.step(&model.info().model, async |run: Run| {
            let mut stream = run.chat_stream(model, request).await?;
            let mut answer = Accumulator::new();
            while let Some(event) = stream.next().await {
                let event = event?;
                answer.push(&event)?;
                run.emit(Event::Model(event)).await;
            }
            answer.finish()
        })
        .await
    }

    /// Opens a model's stream with this run's context, for chains that look at the answer before they show it. Nothing
    /// is emitted; usage is counted when the answer finishes.
    ///
    /// # Errors
    /// The model's own; `Cancelled` or `Timeout` if the run must not go on.
    pub async fn chat_stream(&self, model: &dyn ChatModel, request: ChatRequest) -> Result<ChatStream> {
        let request = self.prepare(request)?;
        let stream = self.guard(model.stream(&request)).await?;
        let run = self.clone();
        Ok(stream
            .inspect(move |event| {
                if let Ok(ChatEvent::Finished(response)) = event {
                    run.count(response.usage);
                }
            })
            .boxed())
    }

    fn prepare(&self, mut request: ChatRequest) -> Result<ChatRequest> {
        self.context.check()?;
        request.context = request.context.within(&self.context);
        Ok(request)
    }

    fn count(&self, usage: Usage) {
        *self.shared.usage.lock().unwrap_or_else(PoisonError::into_inner) += usage;
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
