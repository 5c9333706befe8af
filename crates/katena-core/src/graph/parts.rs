//! What a built graph is made of.

use std::future::Future;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::builder::GraphState;
use super::compiled::CompiledGraph;
use super::context::NodeContext;
use super::draw::Sketch;
use super::execute::{End, Live};
use super::session::{Env, Place};
use super::stored::{Inside, Root};
use crate::chain::Chain;
use crate::error::Result;
use crate::run::Run;

/// The work of a node.
pub(super) trait Task<S: GraphState>: Send + Sync {
    fn run(&self, state: S, context: NodeContext) -> BoxFuture<'_, Result<S>>;
}

/// From an async function.
pub(super) struct FnTask<F>(pub(super) F);

impl<S, F, Fut> Task<S> for FnTask<F>
where
    S: GraphState,
    F: Fn(S, NodeContext) -> Fut + Send + Sync,
    Fut: Future<Output = Result<S>> + Send,
{
    fn run(&self, state: S, context: NodeContext) -> BoxFuture<'_, Result<S>> {
        Box::pin(async move { self.0(state, context).await })
    }
}

/// From a chain.
pub(super) struct ChainTask<C>(pub(super) C);

impl<S: GraphState, C: Chain<Input = S, Output = S>> Task<S> for ChainTask<C> {
    fn run(&self, state: S, context: NodeContext) -> BoxFuture<'_, Result<S>> {
        Box::pin(async move { self.0.call(state, context.run()).await })
    }
}

/// A graph within a graph, whatever its state.
pub(super) trait SubGraph<S: GraphState>: Send + Sync {
    /// Runs it from its entry or from where it stood. `at` is the node around it, `inner` the place of its own frame.
    fn run<'a>(
        &'a self,
        state: S,
        stored: Option<Root>,
        at: &'a Place,
        inner: Place,
        env: &'a Env,
        run: &'a Run,
    ) -> BoxFuture<'a, Result<End<S>>>;

    fn adopt(&self, root: &mut Root) -> Result<()>;

    fn sketch(&self) -> Sketch;
}

/// A graph over a part of the state.
pub(super) struct Lens<T, I, O> {
    pub(super) graph: CompiledGraph<T>,
    pub(super) into: I,
    pub(super) back: O,
}

impl<S, T, I, O> SubGraph<S> for Lens<T, I, O>
where
    S: GraphState,
    T: GraphState,
    I: Fn(&S) -> T + Send + Sync,
    O: Fn(S, T) -> S + Send + Sync,
{
    fn run<'a>(
        &'a self,
        state: S,
        stored: Option<Root>,
        at: &'a Place,
        inner: Place,
        env: &'a Env,
        run: &'a Run,
    ) -> BoxFuture<'a, Result<End<S>>> {
        Box::pin(async move {
            let live = match stored {
                Some(root) => Live::load(&self.graph, root.frame)?,
                None => {
                    let live = Live::begin(&self.graph, Some(self.graph.entry()), (self.into)(&state), 0);
                    if let Some(session) = env.session() {
                        let root = self.graph.root(live.frame(&self.graph)?);
                        session.stage(at, Inside::Graph(Box::new(root))).await?;
                    }
                    live
                }
            };
            Ok(match self.graph.frame(live, None, inner, env, run).await? {
                End::Done { state: part, .. } => End::Done { state: (self.back)(state, part), taken: 0 },
                End::Waiting => End::Waiting,
                End::Stopped => End::Stopped,
            })
        })
    }

    fn adopt(&self, root: &mut Root) -> Result<()> {
        self.graph.adopt(root)
    }

    fn sketch(&self) -> Sketch {
        self.graph.sketch()
    }
}

pub(super) type Fold<S> = Box<dyn Fn(S, Vec<S>) -> Result<S> + Send + Sync>;
pub(super) type Choose<S> = Box<dyn Fn(&S) -> String + Send + Sync>;
pub(super) type Migrate = Box<dyn Fn(u32, Value) -> Result<Value> + Send + Sync>;

/// A node of a built graph.
pub(super) struct Node<S> {
    pub(super) name: String,
    pub(super) kind: Kind<S>,
    pub(super) next: Next<S>,
    /// Waits for an answer before it begins.
    pub(super) asks_first: bool,
}

pub(super) enum Kind<S> {
    Task(Box<dyn Task<S>>),
    SubGraph(Box<dyn SubGraph<S>>),
    FanOut { branches: Vec<usize>, join: usize },
    Join(Fold<S>),
}

/// A node's number; `None` is the end.
pub(super) type Target = Option<usize>;

pub(super) enum Next<S> {
    To(Target),
    Choose {
        choose: Choose<S>,
        targets: Vec<Target>,
    },
    /// Of a fan-out.
    Branches,
}
