//! Graphs with checkpoints: threads that begin, stop, go on, and go back.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::builder::GraphState;
use super::checkpoint::{Checkpoint, CheckpointInfo, CheckpointStatus, CheckpointStore};
use super::compiled::CompiledGraph;
use super::execute::Live;
use super::session::{Env, Place, Session, after, checkpoint};
use super::stored::Body;
use crate::chain::{Chain, ChainExt as _};
use crate::error::{Error, ErrorKind, Result};
use crate::run::Run;

/// Stores put names into keys of an index.
const MAX_THREAD_NAME: usize = 500;

/// What a thread is to do.
#[derive(Clone)]
#[non_exhaustive]
pub enum GraphCall<S> {
    /// Begin a new thread.
    Start {
        /// Its name.
        thread: String,
        /// Its first state.
        state: S,
    },
    /// Go on after a crash, an error, a cancelled run, a rewind, or an interrupt.
    Resume {
        /// The thread's name.
        thread: String,
        /// Answers by [`Interrupt::id`]; an empty id stands for the only question.
        answers: Vec<(String, Value)>,
    },
}

impl<S> fmt::Debug for GraphCall<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { thread, .. } => {
                f.debug_struct("Start").field("thread", thread).finish_non_exhaustive()
            }
            Self::Resume { thread, answers } => f
                .debug_struct("Resume")
                .field("thread", thread)
                .field("answers", &answers.len())
                .finish_non_exhaustive(),
        }
    }
}

impl<S> GraphCall<S> {
    /// Begins a thread.
    pub fn start(thread: impl Into<String>, state: S) -> Self {
        Self::Start { thread: thread.into(), state }
    }

    /// Goes on with a thread.
    pub fn resume(thread: impl Into<String>) -> Self {
        Self::Resume { thread: thread.into(), answers: Vec::new() }
    }

    /// Goes on with the answer to the thread's only question.
    pub fn answer(thread: impl Into<String>, answer: impl Into<Value>) -> Self {
        Self::Resume { thread: thread.into(), answers: vec![(String::new(), answer.into())] }
    }

    /// Goes on with answers to questions by their [`Interrupt::id`]. One sent twice is refused the second time, where
    /// [`answer`](GraphCall::answer) would be taken for the answer to the next question.
    pub fn answers<I: Into<String>, V: Into<Value>>(
        thread: impl Into<String>,
        answers: impl IntoIterator<Item = (I, V)>,
    ) -> Self {
        let answers = answers.into_iter().map(|(id, value)| (id.into(), value.into())).collect();
        Self::Resume { thread: thread.into(), answers }
    }
}

/// A question that a thread waits for.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Interrupt {
    /// Names the question within the thread.
    pub id: String,
    /// The node that asks.
    pub node: String,
    /// What it asks; `null` for [`interrupt_before`](crate::Graph::interrupt_before).
    pub value: Value,
}

impl Interrupt {
    pub(super) fn new(id: String, node: String, value: Value) -> Self {
        Self { id, node, value }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("id", &self.id).field("node", &self.node).finish_non_exhaustive()
    }
}

/// A thread that waits.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Interrupted<S> {
    /// The number of its checkpoint.
    pub step: u64,
    /// Its state; of a thread that waits inside of a fan-out or a sub-graph, the one before that.
    pub state: S,
    /// What it waits for; more than one if parallel branches ask.
    pub interrupts: Vec<Interrupt>,
}

impl<S> fmt::Debug for Interrupted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupted")
            .field("step", &self.step)
            .field("interrupts", &self.interrupts)
            .finish_non_exhaustive()
    }
}

/// How a call came to rest.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum GraphOutcome<S> {
    /// At the end, with this state.
    Finished(S),
    /// At a question.
    Interrupted(Interrupted<S>),
}

impl<S> fmt::Debug for GraphOutcome<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished(_) => f.write_str("Finished"),
            Self::Interrupted(at) => at.fmt(f),
        }
    }
}

impl<S> GraphOutcome<S> {
    /// The last state, if the thread is at its end.
    pub fn finished(self) -> Option<S> {
        match self {
            Self::Finished(state) => Some(state),
            Self::Interrupted(_) => None,
        }
    }

    /// What the thread waits for; nothing at its end.
    pub fn interrupts(&self) -> &[Interrupt] {
        match self {
            Self::Finished(_) => &[],
            Self::Interrupted(at) => &at.interrupts,
        }
    }
}

/// A graph whose steps are kept. Clones share it.
///
/// It is a [`Chain`] from a [`GraphCall`] to a [`GraphOutcome`], so that it streams and composes;
/// [`start`](CheckpointedGraph::start), [`resume`](CheckpointedGraph::resume) and [`answer`](CheckpointedGraph::answer) are
/// the same without listening.
///
/// After each step the whole position is kept before the next begins. A killed process, an error or a cancelled run leaves the
/// last checkpoint; to resume is to begin the steps again that were under way, with the [effects](crate::NodeContext::effect)
/// that they have recorded. Of two processes that go on with one thread, the one that came last does; the other is
/// refused (`Unavailable`, not temporary) at its next checkpoint or effect.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{Graph, GraphOutcome, MemoryCheckpoints, NodeContext};
///
/// let graph = Graph::<String>::new("publish")
///     .node("draft", async |text: String, _ctx: NodeContext| Ok(format!("{text}, polished")))
///     .node("publish", async |text: String, ctx: NodeContext| {
///         Ok(if ctx.answer() == Some(&true.into()) { format!("published: {text}") } else { text })
///     })
///     .edge("draft", "publish")
///     .entry("draft")
///     .finish("publish")
///     .interrupt_before("publish")
///     .build()?
///     .with_checkpoints(MemoryCheckpoints::new());
///
/// let outcome = graph.start("article 7", "A text".to_owned()).await?;
/// assert_eq!(outcome.interrupts()[0].node, "publish");
/// // Any time later, in any process with the same store:
/// let outcome = graph.answer("article 7", true).await?;
/// assert_eq!(outcome, GraphOutcome::Finished("published: A text, polished".to_owned()));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct CheckpointedGraph<S> {
    graph: CompiledGraph<S>,
    store: Arc<dyn CheckpointStore>,
}

impl<S> Clone for CheckpointedGraph<S> {
    fn clone(&self) -> Self {
        Self { graph: self.graph.clone(), store: self.store.clone() }
    }
}

impl<S> fmt::Debug for CheckpointedGraph<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointedGraph").field("graph", &self.graph).field("store", &self.store).finish()
    }
}

#[async_trait]
impl<S: GraphState> Chain for CheckpointedGraph<S> {
    type Input = GraphCall<S>;
    type Output = GraphOutcome<S>;
    async fn call(&self, call: GraphCall<S>, run: &Run) -> Result<GraphOutcome<S>> {
        match call {
            GraphCall::Start { thread, state } => {
                self.is_free(&thread).await?;
                let live = Live::begin(&self.graph, Some(self.graph.entry()), state, 0);
                let body = Body::new(0, self.graph.root(live.frame(&self.graph)?));
                let session = Session::take(self.store.clone(), thread, 0, body).await?;
                self.walk(session, live, run).await
            }
            GraphCall::Resume { thread, answers } => self.go_on(thread, answers, run).await,
        }
    }
}

impl<S: GraphState> CheckpointedGraph<S> {
    pub(super) fn new(graph: CompiledGraph<S>, store: Arc<dyn CheckpointStore>) -> Self {
        Self { graph, store }
    }

    /// The graph.
    pub fn graph(&self) -> &CompiledGraph<S> {
        &self.graph
    }

    /// Where the checkpoints are.
    pub fn store(&self) -> &Arc<dyn CheckpointStore> {
        &self.store
    }

    /// Begins a thread.
    ///
    /// # Errors
    /// `InvalidInput` if there is one of that name, or the name has over 500 bytes; those of the nodes and the store; `Budget` at the step limit.
    pub async fn start(&self, thread: impl Into<String>, state: S) -> Result<GraphOutcome<S>> {
        self.run(GraphCall::start(thread, state)).await
    }

    /// Goes on with a thread; one that is at its end or waits for answers is left as it is.
    ///
    /// # Errors
    /// `NotFound` without the thread; `InvalidInput` if its checkpoint is damaged or of another graph or version,
    /// `Unsupported` if it is of a newer one; as [`start`](CheckpointedGraph::start).
    pub async fn resume(&self, thread: impl Into<String>) -> Result<GraphOutcome<S>> {
        self.run(GraphCall::resume(thread)).await
    }

    /// Goes on with the answer to the thread's only question.
    ///
    /// # Errors
    /// `InvalidInput` unless it waits for exactly one; as [`resume`](CheckpointedGraph::resume).
    pub async fn answer(
        &self,
        thread: impl Into<String>,
        answer: impl Into<Value> + Send,
    ) -> Result<GraphOutcome<S>> {
        self.run(GraphCall::answer(thread, answer)).await
    }

    /// The checkpoints of a thread, oldest first; none if there is no such thread.
    ///
    /// # Errors
    /// The store's.
    pub async fn history(&self, thread: &str) -> Result<Vec<CheckpointInfo>> {
        self.store.list(thread).await
    }

    /// How a thread stood at a step: its state and its open questions.
    ///
    /// # Errors
    /// `NotFound` without such a step; as [`resume`](CheckpointedGraph::resume).
    pub async fn at(&self, thread: &str, step: u64) -> Result<Interrupted<S>> {
        let (_, body) = self.read(thread, Some(step)).await?;
        self.interrupted(&body, step)
    }

    /// Goes back to an earlier step, with a changed state (`|state| state` leaves it): the thread has a new checkpoint from which
    /// [`resume`](CheckpointedGraph::resume) goes on. The history stays; effects after that step are done anew. The step
    /// may be the last one, to change the state.
    ///
    /// # Errors
    /// `NotFound` without such a step; a conflict if the thread went on meanwhile; as
    /// [`resume`](CheckpointedGraph::resume).
    pub async fn rewind(&self, thread: &str, step: u64, edit: impl FnOnce(S) -> S) -> Result<u64> {
        let newest = self.store.latest(thread).await?.ok_or_else(|| not_found(thread))?;
        let (_, mut body) = self.read(thread, Some(step)).await?;
        let new = after(newest.info.step)?;
        body.timeline = new;
        self.edit(&mut body, edit)?;
        let mut checkpoint = checkpoint(new, new, &body)?;
        checkpoint.info = checkpoint.info.with_parent(Some(step));
        self.store.put(thread, checkpoint).await?;
        Ok(new)
    }

    /// Begins a new thread from a step of another, with a changed state (`|state| state` leaves it);
    /// [`resume`](CheckpointedGraph::resume) goes on with it. Effects of steps to come are its own.
    ///
    /// # Errors
    /// `InvalidInput` if the new thread exists; as [`rewind`](CheckpointedGraph::rewind).
    pub async fn fork(
        &self,
        thread: &str,
        step: u64,
        new_thread: &str,
        edit: impl FnOnce(S) -> S,
    ) -> Result<()> {
        self.is_free(new_thread).await?;
        let (_, mut body) = self.read(thread, Some(step)).await?;
        body.timeline = 0;
        self.edit(&mut body, edit)?;
        self.store.put(new_thread, checkpoint(0, 0, &body)?).await
    }

    /// Forgets a thread.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, thread: &str) -> Result<()> {
        self.store.delete(thread).await
    }

    /// Whether a thread may begin under this name.
    async fn is_free(&self, thread: &str) -> Result<()> {
        if thread.len() > MAX_THREAD_NAME {
            return Err(Error::invalid_input(format!("a thread's name has at most {MAX_THREAD_NAME} bytes")));
        }
        match self.store.latest(thread).await? {
            None => Ok(()),
            Some(_) => {
                let message = "the thread exists: resume it, delete it, or start another";
                Err(Error::invalid_input(message).with_context("thread", thread))
            }
        }
    }

    async fn go_on(
        &self,
        thread: String,
        answers: Vec<(String, Value)>,
        run: &Run,
    ) -> Result<GraphOutcome<S>> {
        let (info, mut body) = self.read(&thread, None).await?;
        answer(&mut body, &answers).map_err(|e| e.with_context("thread", &thread))?;
        match body.status() {
            CheckpointStatus::Finished => {
                Ok(GraphOutcome::Finished(self.graph.state(body.root.frame.state)?))
            }
            CheckpointStatus::Interrupted if answers.is_empty() => {
                Ok(GraphOutcome::Interrupted(self.interrupted(&body, info.step)?))
            }
            _ => {
                let live = Live::load(&self.graph, body.root.frame.clone())?;
                let session = Session::take(self.store.clone(), thread, after(info.step)?, body).await?;
                self.walk(session, live, run).await
            }
        }
    }

    async fn walk(&self, session: Arc<Session>, live: Live<S>, run: &Run) -> Result<GraphOutcome<S>> {
        let env = Env::new(session.clone());
        match self.graph.frame(live, None, Place::top(), &env, run).await? {
            super::execute::End::Done { state, .. } => Ok(GraphOutcome::Finished(state)),
            _ => {
                let (body, step) = session.rest().await?;
                Ok(GraphOutcome::Interrupted(self.interrupted(&body, step)?))
            }
        }
    }

    fn interrupted(&self, body: &Body, step: u64) -> Result<Interrupted<S>> {
        let state = self.graph.state(body.root.frame.state.clone())?;
        Ok(Interrupted { step, state, interrupts: body.interrupts() })
    }

    /// A checkpoint, the newest without a step, made sure of.
    async fn read(&self, thread: &str, step: Option<u64>) -> Result<(CheckpointInfo, Body)> {
        let found = match step {
            Some(step) => self.store.get(thread, step).await?,
            None => self.store.latest(thread).await?,
        };
        let Checkpoint { info, body } = found.ok_or_else(|| not_found(thread))?;
        let read = Body::read(&body).and_then(|mut body| {
            self.graph.adopt(&mut body.root)?;
            Ok(body)
        });
        let body =
            read.map_err(|e| e.with_context("thread", thread).with_context("step", info.step.to_string()))?;
        Ok((info, body))
    }

    fn edit(&self, body: &mut Body, edit: impl FnOnce(S) -> S) -> Result<()> {
        let frame = &mut body.root.frame;
        let old = self.graph.state(frame.state.clone())?;
        let new = serde_json::to_value(edit(old)).map_err(super::stored::unwritable)?;
        if frame.inside.is_some() && new != frame.state {
            let message = format!(
                "inside of `{}` the state can't be changed from outside: go back to a step before it",
                frame.at
            );
            return Err(Error::invalid_input(message));
        }
        frame.state = new;
        Ok(())
    }
}

fn answer(body: &mut Body, answers: &[(String, Value)]) -> Result<()> {
    for (id, value) in answers {
        let open = body.interrupts();
        let id = match (id.as_str(), &open[..]) {
            ("", [only]) => only.id.clone(),
            ("", []) => return Err(Error::invalid_input("the thread waits for no answer")),
            ("", _) => {
                let ids: Vec<_> = open.iter().map(|i| format!("`{}` ({})", i.id, i.node)).collect();
                let message =
                    format!("the thread waits for several answers; say to which: {}", ids.join(", "));
                return Err(Error::invalid_input(message));
            }
            (id, _) => id.to_owned(),
        };
        if !body.answer(&id, value) {
            return Err(
                Error::invalid_input("the thread does not wait for this answer").with_context("id", id)
            );
        }
    }
    Ok(())
}

fn not_found(thread: &str) -> Error {
    Error::new(ErrorKind::NotFound, "there is no such thread or step").with_context("thread", thread)
}
