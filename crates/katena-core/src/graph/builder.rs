//! Putting a graph together.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::END;
use super::check::{Outline, Role, check};
use super::compiled::{Built, CompiledGraph};
use super::context::NodeContext;
use super::parts::{
    ChainTask, Choose, FnTask, Fold, Kind, Lens, Migrate, Next, Node, SubGraph, Target, Task,
};
use crate::chain::Chain;
use crate::error::{Error, Result};

/// What a graph's state must be; every such type is one. What serde skips, or can't write as JSON (floats that are not
/// finite), is not in a checkpoint.
pub trait GraphState: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<S: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> GraphState for S {}

const STEP_LIMIT: u64 = 25;

enum Draft<S> {
    Task(Box<dyn Task<S>>),
    SubGraph(Box<dyn SubGraph<S>>),
    FanOut(Vec<String>),
    Join(Fold<S>),
}

impl<S> Draft<S> {
    fn role(&self) -> Role<'_> {
        match self {
            Self::FanOut(targets) => Role::FanOut(targets.iter().map(String::as_str).collect()),
            Self::Join(_) => Role::Join,
            _ => Role::Step,
        }
    }
}

/// A graph under construction: nodes that take the state and give it back, and edges between them.
///
/// Nothing is checked until [`build`](Graph::build), so nodes and edges come in any order.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChainExt, END, Graph, NodeContext};
///
/// let graph = Graph::<u32>::new("double until 100")
///     .node("double", async |n: u32, _ctx: NodeContext| Ok(n * 2))
///     .branch("double", |n| if *n < 100 { "double" } else { END }, ["double", END])
///     .entry("double")
///     .build()?;
/// assert_eq!(graph.run(3_u32).await?, 192);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[must_use]
pub struct Graph<S> {
    name: String,
    version: u32,
    step_limit: u64,
    nodes: Vec<(String, Draft<S>)>,
    edges: Vec<(String, Vec<String>, Option<Choose<S>>)>,
    entries: Vec<String>,
    ask_first: Vec<String>,
    migrate: Option<Migrate>,
}

impl<S> fmt::Debug for Graph<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.nodes.iter().map(|(name, _)| name).collect();
        f.debug_struct("Graph").field("name", &self.name).field("nodes", &nodes).finish_non_exhaustive()
    }
}

impl<S: GraphState> Graph<S> {
    /// A graph without nodes. The name goes into checkpoints: one graph does not go on from another's.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: 1,
            step_limit: STEP_LIMIT,
            nodes: Vec::new(),
            edges: Vec::new(),
            entries: Vec::new(),
            ask_first: Vec::new(),
            migrate: None,
        }
    }

    /// Adds a node from an async function. It gets the state by value; after an error the graph goes on from the state
    /// before it.
    pub fn node<F, Fut>(self, name: impl Into<String>, work: F) -> Self
    where
        F: Fn(S, NodeContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S>> + Send,
    {
        self.add(name, Draft::Task(Box::new(FnTask(work))))
    }

    /// Adds a node from a chain over the state.
    pub fn chain<C>(self, name: impl Into<String>, chain: C) -> Self
    where
        C: Chain<Input = S, Output = S> + 'static,
    {
        self.add(name, Draft::Task(Box::new(ChainTask(chain))))
    }

    /// Adds a graph as a node: `into` gives its state from this one's, `back` puts its last state back.
    pub fn subgraph<T, I, O>(self, name: impl Into<String>, graph: CompiledGraph<T>, into: I, back: O) -> Self
    where
        T: GraphState,
        I: Fn(&S) -> T + Send + Sync + 'static,
        O: Fn(S, T) -> S + Send + Sync + 'static,
    {
        self.add(name, Draft::SubGraph(Box::new(Lens { graph, into, back })))
    }

    /// Adds a node that goes on to several at once. Each branch has a clone of the state and may be a line, a loop or a
    /// choice of its own; all end at one [`join`](Graph::join).
    pub fn fan_out<T: Into<String>>(
        self,
        name: impl Into<String>,
        branches: impl IntoIterator<Item = T>,
    ) -> Self {
        self.add(name, Draft::FanOut(branches.into_iter().map(Into::into).collect()))
    }

    /// Adds the node at which branches end: it folds the state before the fan-out and the branches' states, in the order
    /// of the fan-out's targets, into one.
    pub fn join<F>(self, name: impl Into<String>, fold: F) -> Self
    where
        F: Fn(S, Vec<S>) -> Result<S> + Send + Sync + 'static,
    {
        self.add(name, Draft::Join(Box::new(fold)))
    }

    fn add(mut self, name: impl Into<String>, node: Draft<S>) -> Self {
        self.nodes.push((name.into(), node));
        self
    }

    /// Goes on from a node to another, or to [`END`].
    pub fn edge(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.edges.push((from.into(), vec![to.into()], None));
        self
    }

    /// Goes on from a node to the target that `choose` names. All targets are listed, so that they can be checked and
    /// drawn; another answer is an error of the node.
    pub fn branch<F, R, T>(
        mut self,
        from: impl Into<String>,
        choose: F,
        targets: impl IntoIterator<Item = T>,
    ) -> Self
    where
        F: Fn(&S) -> R + Send + Sync + 'static,
        R: Into<String>,
        T: Into<String>,
    {
        let choose: Choose<S> = Box::new(move |state| choose(state).into());
        let mut all: Vec<String> = Vec::new();
        for target in targets.into_iter().map(Into::into) {
            if !all.contains(&target) {
                all.push(target);
            }
        }
        self.edges.push((from.into(), all, Some(choose)));
        self
    }

    /// Names the first node.
    pub fn entry(mut self, node: impl Into<String>) -> Self {
        self.entries.push(node.into());
        self
    }

    /// Ends the graph after a node: an edge to [`END`].
    pub fn finish(self, node: impl Into<String>) -> Self {
        self.edge(node, END)
    }

    /// Waits for an answer before a node begins, such as a person's approval; needs checkpoints. The node reads the answer
    /// with [`NodeContext::answer`].
    pub fn interrupt_before(mut self, node: impl Into<String>) -> Self {
        self.ask_first.push(node.into());
        self
    }

    /// Sets how many steps may follow one another, 25 unless set. Parallel branches go on counting each for itself, a
    /// sub-graph counts anew under its own limit, and so does the graph after an answer.
    pub fn with_step_limit(mut self, steps: u64) -> Self {
        self.step_limit = steps;
        self
    }

    /// Sets the version, 1 unless set. Raise it when nodes or the form of the state change.
    pub fn with_version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Takes checkpoints of older versions: the function gets the version and the state as JSON, and gives the state in
    /// this version's form. Nodes at which such a checkpoint stands must still be there.
    pub fn with_migration<F>(mut self, migrate: F) -> Self
    where
        F: Fn(u32, Value) -> Result<Value> + Send + Sync + 'static,
    {
        self.migrate = Some(Box::new(migrate));
        self
    }

    /// Checks the graph.
    ///
    /// # Errors
    /// `Config`, with everything that is wrong: each message names its node or edge.
    pub fn build(self) -> Result<CompiledGraph<S>> {
        let plan = check(&self.outline()).map_err(|problems| {
            Error::config(format!("the graph `{}` can't be built: {}", self.name, problems.join("; ")))
        })?;
        let names: Vec<String> = self.nodes.iter().map(|(name, _)| name.clone()).collect();
        let find = |name: &str| -> Target { names.iter().position(|n| n == name) };
        let mut edges = self.edges;
        let mut nodes = Vec::with_capacity(names.len());
        for (number, (name, draft)) in self.nodes.into_iter().enumerate() {
            let way = edges.iter().position(|(from, _, _)| *from == name).map(|n| edges.swap_remove(n));
            let next = match way {
                Some((_, targets, Some(choose))) => {
                    Next::Choose { choose, targets: targets.iter().map(|to| find(to)).collect() }
                }
                Some((_, targets, None)) => Next::To(targets.first().and_then(|to| find(to))),
                None => Next::Branches,
            };
            let kind = match draft {
                Draft::Task(task) => Kind::Task(task),
                Draft::SubGraph(graph) => Kind::SubGraph(graph),
                Draft::Join(fold) => Kind::Join(fold),
                Draft::FanOut(targets) => Kind::FanOut {
                    branches: targets.iter().filter_map(|to| find(to)).collect(),
                    join: plan.joins.get(&number).copied().unwrap_or_default(),
                },
            };
            let asks_first = self.ask_first.contains(&name);
            nodes.push(Node { name, kind, next, asks_first });
        }
        Ok(CompiledGraph(Arc::new(Built {
            shape: shape(&nodes),
            name: self.name,
            version: self.version,
            step_limit: self.step_limit,
            entry: plan.entry,
            nodes,
            migrate: self.migrate,
        })))
    }

    fn outline(&self) -> Outline<'_> {
        Outline {
            nodes: self.nodes.iter().map(|(name, draft)| (name.as_str(), draft.role())).collect(),
            edges: self
                .edges
                .iter()
                .map(|(from, to, _)| (from.as_str(), to.iter().map(String::as_str).collect()))
                .collect(),
            entries: self.entries.iter().map(String::as_str).collect(),
            ask_first: self.ask_first.iter().map(String::as_str).collect(),
        }
    }
}

/// A hash of the nodes' names and kinds, the same for ever (FNV-1a, 64 bits).
fn shape<S>(nodes: &[Node<S>]) -> String {
    let mut names: Vec<(&str, u8)> = nodes
        .iter()
        .map(|node| {
            let kind = match node.kind {
                Kind::Task(_) => b't',
                Kind::SubGraph(_) => b's',
                Kind::FanOut { .. } => b'f',
                Kind::Join(_) => b'j',
            };
            (node.name.as_str(), kind)
        })
        .collect();
    names.sort_unstable();
    let bytes = names.iter().flat_map(|(name, kind)| [*kind].into_iter().chain(name.bytes()).chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
