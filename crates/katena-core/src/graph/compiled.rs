//! A graph that was checked.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::END;
use super::builder::GraphState;
use super::checkpoint::CheckpointStore;
use super::context::no_checkpoints;
use super::draw::{Sketch, SketchKind};
use super::execute::{End, Live};
use super::parts::{Kind, Migrate, Next, Node, Target};
use super::session::{Env, Place};
use super::stored::{Frame, Inside, Root};
use super::threads::CheckpointedGraph;
use crate::chain::Chain;
use crate::error::{Error, ErrorKind, Result};
use crate::run::Run;

/// A graph that was checked. Clones share it.
///
/// It is a [`Chain`] over its state: `graph.run(state)` runs it without checkpoints, `graph.stream(state)` yields its events, a
/// step for each visit of a node. [`with_checkpoints`](CompiledGraph::with_checkpoints) makes it survive a crash.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChainExt, Graph, NodeContext};
/// let graph = Graph::<String>::new("greet")
///     .node("greet", async |name: String, _ctx: NodeContext| Ok(format!("Hello {name}")))
///     .entry("greet")
///     .finish("greet")
///     .build()?;
/// assert_eq!(graph.run("Ada").await?, "Hello Ada");
/// assert!(graph.to_mermaid().starts_with("flowchart TD"));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct CompiledGraph<S>(pub(super) Arc<Built<S>>);

pub(super) struct Built<S> {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) shape: String,
    pub(super) step_limit: u64,
    pub(super) entry: usize,
    pub(super) nodes: Vec<Node<S>>,
    pub(super) migrate: Option<Migrate>,
}

impl<S> Clone for CompiledGraph<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for CompiledGraph<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.0.nodes.iter().map(|n| &n.name).collect();
        f.debug_struct("CompiledGraph")
            .field("name", &self.0.name)
            .field("version", &self.0.version)
            .field("nodes", &nodes)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: GraphState> Chain for CompiledGraph<S> {
    type Input = S;
    type Output = S;
    async fn call(&self, state: S, run: &Run) -> Result<S> {
        let env = Env::bare();
        let live = Live::begin(self, Some(self.0.entry), state, 0);
        match self.frame(live, None, Place::top(), &env, run).await? {
            End::Done { state, .. } => Ok(state),
            End::Waiting | End::Stopped => Err(no_checkpoints(&self.0.name)),
        }
    }
}

impl<S: GraphState> CompiledGraph<S> {
    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The same graph, with each step kept in a store.
    pub fn with_checkpoints(&self, store: impl CheckpointStore + 'static) -> CheckpointedGraph<S> {
        CheckpointedGraph::new(self.clone(), Arc::new(store))
    }

    pub(super) fn entry(&self) -> usize {
        self.0.entry
    }

    pub(super) fn step_limit(&self) -> u64 {
        self.0.step_limit
    }

    pub(super) fn node(&self, number: usize) -> &Node<S> {
        &self.0.nodes[number]
    }

    /// What is asked before a node begins.
    pub(super) fn first_question(&self, at: Target) -> Option<Value> {
        at.filter(|at| self.0.nodes[*at].asks_first).map(|_| Value::Null)
    }

    pub(super) fn target(&self, name: &str) -> Result<Target> {
        if name == END {
            return Ok(None);
        }
        self.0.nodes.iter().position(|n| n.name == name).map(Some).ok_or_else(|| {
            let message = format!("the checkpoint stands at the node `{name}`, which the graph has not");
            Error::invalid_input(message).with_context("graph", &self.0.name)
        })
    }

    pub(super) fn state(&self, value: Value) -> Result<S> {
        serde_json::from_value(value).map_err(|e| {
            let message = "the checkpoint's state has another form than the graph's: raise the graph's version and migrate";
            Error::invalid_input(message).with_context("graph", &self.0.name).with_source(e)
        })
    }

    /// A checkpoint that names a place where no run of this graph can be.
    pub(super) fn misplaced(&self, node: &str) -> Error {
        let message = format!("the checkpoint does not fit the graph at `{node}`");
        Error::invalid_input(message).with_context("graph", &self.0.name)
    }

    pub(super) fn root(&self, frame: Frame) -> Root {
        let Built { name, version, shape, .. } = &*self.0;
        Root { graph: name.clone(), version: *version, shape: shape.clone(), frame }
    }

    /// Makes sure that a checkpoint is of this graph; brings one of an older version up to date.
    pub(super) fn adopt(&self, root: &mut Root) -> Result<()> {
        let Built { name, version, shape, migrate, .. } = &*self.0;
        let refuse = |kind, message: String| Err(Error::new(kind, message).with_context("graph", name));
        if root.graph != *name {
            let message = format!("the checkpoint is of the graph `{}`, not of `{name}`", root.graph);
            return refuse(ErrorKind::InvalidInput, message);
        }
        let old = (root.version != *version).then_some(root.version);
        let migration = match (old, migrate) {
            (Some(old), _) if old > *version => {
                let message =
                    format!("the checkpoint is of version {old} of the graph, this is version {version}");
                return refuse(ErrorKind::Unsupported, message);
            }
            (Some(old), None) => {
                let message = format!(
                    "the checkpoint is of version {old} of the graph, this is version {version} and has no migration"
                );
                return refuse(ErrorKind::InvalidInput, message);
            }
            (Some(old), Some(migrate)) => Some((old, migrate)),
            (None, _) if root.shape != *shape => {
                let message = format!(
                    "the graph has other nodes than the checkpoint's and the same version ({version}): raise it"
                );
                return refuse(ErrorKind::InvalidInput, message);
            }
            (None, _) => None,
        };
        self.adopt_frame(&mut root.frame, migration, None)?;
        root.version = *version;
        root.shape.clone_from(shape);
        Ok(())
    }

    fn adopt_frame(
        &self,
        frame: &mut Frame,
        migration: Option<(u32, &Migrate)>,
        stop: Option<usize>,
    ) -> Result<()> {
        let at = self.target(&frame.at)?;
        if let Some((old, migrate)) = migration {
            frame.state = migrate(old, std::mem::take(&mut frame.state))?;
        }
        let kind = at.map(|at| &self.node(at).kind);
        let misplaced = || Err(self.misplaced(&frame.at));
        if (frame.done && at != stop) || (at.is_none() && stop.is_some()) {
            return misplaced();
        }
        match (kind, &mut frame.inside) {
            (Some(Kind::Join(_)), None) if at == stop => Ok(()),
            (Some(Kind::Join(_)), _) => misplaced(),
            (_, None) => Ok(()),
            (Some(Kind::SubGraph(graph)), Some(Inside::Graph(root))) => graph.adopt(root),
            (Some(Kind::FanOut { branches, join }), Some(Inside::Branches(frames)))
                if branches.len() == frames.len() =>
            {
                frames.iter_mut().try_for_each(|f| self.adopt_frame(f, migration, Some(*join)))
            }
            _ => misplaced(),
        }
    }

    /// The graph as a Mermaid flow chart. Labels are escaped.
    pub fn to_mermaid(&self) -> String {
        self.sketch().mermaid()
    }

    /// The graph in Graphviz' language DOT. Labels are escaped.
    pub fn to_dot(&self) -> String {
        self.sketch().dot()
    }

    pub(super) fn sketch(&self) -> Sketch {
        let mut sketch =
            Sketch { name: self.0.name.clone(), nodes: Vec::new(), edges: Vec::new(), entry: self.0.entry };
        for (from, node) in self.0.nodes.iter().enumerate() {
            let kind = match &node.kind {
                Kind::Task(_) => SketchKind::Task,
                Kind::SubGraph(graph) => SketchKind::Graph(graph.sketch()),
                Kind::FanOut { .. } => SketchKind::FanOut,
                Kind::Join(_) => SketchKind::Join,
            };
            sketch.nodes.push((node.name.clone(), kind, node.asks_first));
            match (&node.next, &node.kind) {
                (Next::To(to), _) => sketch.edges.push((from, *to, false)),
                (Next::Choose { targets, .. }, _) => {
                    sketch.edges.extend(targets.iter().map(|to| (from, *to, true)));
                }
                (Next::Branches, Kind::FanOut { branches, .. }) => {
                    sketch.edges.extend(branches.iter().map(|to| (from, Some(*to), false)));
                }
                (Next::Branches, _) => {}
            }
        }
        sketch
    }
}
