//! What a node knows of its step, and what it may ask for.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::session::Session;
use crate::error::{Error, Result};
use crate::run::Run;

const MAX_EFFECT_NAME: usize = 200;

/// What a node knows of its step: the run, recorded side effects, answers from outside. Cheap to clone.
#[derive(Clone)]
pub struct NodeContext(Arc<Inner>);

struct Inner {
    run: Run,
    node: String,
    step: String,
    session: Option<Arc<Session>>,
    /// Those to `interrupt`; the one to `interrupt_before` is apart.
    answers: Vec<Value>,
    approval: Option<Value>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// How many answers have been read.
    read: usize,
    asked: Option<Value>,
    step: Option<Waker>,
    effects: HashSet<String>,
}

impl fmt::Debug for NodeContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.debug_struct("NodeContext")
            .field("node", &inner.node)
            .field("step", &inner.step)
            .finish_non_exhaustive()
    }
}

impl NodeContext {
    pub(super) fn new(run: Run, node: &str, step: String, session: Option<Arc<Session>>) -> Self {
        let (node, notes) = (node.to_owned(), Mutex::default());
        Self(Arc::new(Inner { run, node, step, session, answers: Vec::new(), approval: None, notes }))
    }

    pub(super) fn with_answers(mut self, mut answers: Vec<Value>, asks_first: bool) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.approval = (asks_first && !answers.is_empty()).then(|| answers.remove(0));
            inner.answers = answers;
        }
        self
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run, for models, events, labels, cancelling.
    pub fn run(&self) -> &Run {
        &self.0.run
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// The thread, if there are checkpoints.
    pub fn thread(&self) -> Option<&str> {
        self.0.session.as_ref().map(|s| s.thread.as_str())
    }

    /// The answer that [`interrupt_before`](crate::Graph::interrupt_before) this node has waited for.
    pub fn answer(&self) -> Option<&Value> {
        self.0.approval.as_ref()
    }

    /// Asks somebody outside, and gives the answer. Until it comes the graph is interrupted and the node's future is
    /// dropped at this point; then the node runs again from its beginning, with the answer at hand. So what comes before
    /// is done again, unless it is an [`effect`](NodeContext::effect). A node may ask several times, always in the same order.
    ///
    /// # Errors
    /// `Unsupported` without checkpoints: there would be nothing to come back to.
    pub async fn interrupt(&self, question: impl Into<Value>) -> Result<Value> {
        if self.0.session.is_none() {
            return Err(no_checkpoints(&self.0.node));
        }
        let known = {
            let mut notes = self.notes();
            let answer = self.0.answers.get(notes.read).cloned();
            if answer.is_some() {
                notes.read += 1;
            }
            answer
        };
        if let Some(answer) = known {
            return Ok(answer);
        }
        let step = {
            let mut notes = self.notes();
            notes.asked.get_or_insert_with(|| question.into());
            notes.step.take()
        };
        if let Some(step) = step {
            step.wake();
        }
        std::future::pending().await
    }

    /// Does something to the world outside, once for this visit of the node: the result is recorded at once, and a run
    /// that goes on after a crash gets the recorded one. A failed effect is not recorded.
    ///
    /// Each turn of a loop and each parallel branch has effects of its own; after a rewind or in a fork they are done
    /// anew. A process killed between doing and recording leaves no trace: where that matters, give the other side
    /// [`idempotency_key`](NodeContext::idempotency_key).
    ///
    /// Without checkpoints nothing is recorded.
    ///
    /// ```
    /// # futures_util::FutureExt::now_or_never(async {
    /// use katena_core::{ChainExt, Graph, NodeContext};
    /// let graph = Graph::<u32>::new("order")
    ///     .node("pay", async |cents: u32, ctx: NodeContext| {
    ///         let receipt: String = ctx.effect("charge", async || Ok(format!("paid {cents}"))).await?;
    ///         assert_eq!(receipt, "paid 500");
    ///         Ok(cents)
    ///     })
    ///     .entry("pay")
    ///     .finish("pay")
    ///     .build()?;
    /// graph.run(500_u32).await?;
    /// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    /// The effect's own; `Config` if this visit has had an effect of that name, or the name has over 200 bytes; `InvalidInput` if the result is no JSON or
    /// the recorded one has another form; the store's, among them a conflict before anything is done if another process
    /// has taken the thread over.
    pub async fn effect<T, Fut>(&self, name: &str, work: impl FnOnce() -> Fut) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        Fut: Future<Output = Result<T>>,
    {
        if name.len() > MAX_EFFECT_NAME {
            let message = format!("an effect's name has at most {MAX_EFFECT_NAME} bytes");
            return Err(Error::config(message).with_context("node", &self.0.node));
        }
        if self.notes().effects.contains(name) {
            let message = "two effects of one visit have the same name, so that only one could be recorded";
            return Err(Error::config(message).with_context("effect", name));
        }
        let result = match &self.0.session {
            None => work().await?,
            Some(session) => match session.effect(&self.0.step, name).await? {
                Some(text) => serde_json::from_str(&text).map_err(|e| {
                    let error = Error::invalid_input("the recorded result of an effect can't be read");
                    error.with_context("effect", name).with_source(e)
                })?,
                None => {
                    let result = work().await?;
                    let text = serde_json::to_string(&result).map_err(|e| {
                        let error = Error::invalid_input("the result of an effect can't be written as JSON");
                        error.with_context("effect", name).with_source(e)
                    })?;
                    session.record_effect(&self.0.step, name, text).await?;
                    result
                }
            },
        };
        self.notes().effects.insert(name.to_owned());
        Ok(result)
    }

    /// A text that is the same whenever this visit of the node is repeated after a crash, and else different: for services
    /// that recognise a request that they have had. `None` without checkpoints.
    pub fn idempotency_key(&self, effect: &str) -> Option<String> {
        self.0.session.as_ref().map(|s| s.idempotency_key(&self.0.step, effect))
    }

    /// Runs the node's work until it is done or has asked: `Err` is the question.
    pub(super) async fn until_asked<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> std::result::Result<T, Value> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            self.notes().step = Some(cx.waker().clone());
            let polled = work.as_mut().poll(cx);
            match (self.notes().asked.take(), polled) {
                (Some(question), _) => Poll::Ready(Err(question)),
                (None, Poll::Ready(done)) => Poll::Ready(Ok(done)),
                (None, Poll::Pending) => Poll::Pending,
            }
        })
        .await
    }
}

pub(super) fn no_checkpoints(node: &str) -> Error {
    Error::unsupported("an interrupt without checkpoints: run the graph with_checkpoints")
        .with_context("node", node)
}
