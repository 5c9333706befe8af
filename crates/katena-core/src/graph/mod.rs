//! Graphs: what a line of chains can't say. Typed state, conditional edges, loops, parallel branches, sub-graphs, questions
//! to a person, and checkpoints from which another process goes on.

mod builder;
mod check;
mod checkpoint;
mod compiled;
mod context;
mod draw;
mod execute;
mod memory;
mod parts;
mod session;
mod stored;
mod threads;

pub use builder::{Graph, GraphState};
pub use checkpoint::{Checkpoint, CheckpointInfo, CheckpointStatus, CheckpointStore, EffectKey};
pub use compiled::CompiledGraph;
pub use context::NodeContext;
pub use memory::MemoryCheckpoints;
pub use threads::{CheckpointedGraph, GraphCall, GraphOutcome, Interrupt, Interrupted};

/// The target of an edge that ends the graph.
pub const END: &str = "__end__";
