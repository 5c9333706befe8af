//! The form in which a graph's positions and states are kept.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::END;
use super::checkpoint::CheckpointStatus;
use super::session::Place;
use super::threads::Interrupt;
use crate::error::{Error, ErrorKind, Result};

/// The version of this form.
const FORMAT: u32 = 1;
/// JSON is read to a depth of 128; states and sub-graphs deeper than this could be written but not read again.
const MAX_DEPTH: usize = 100;

/// What a checkpoint's body holds.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Body {
    format: u32,
    /// The step of the last rewind: effects of another time line are others.
    pub(super) timeline: u64,
    pub(super) root: Root,
}

/// A graph under way.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Root {
    pub(super) graph: String,
    pub(super) version: u32,
    pub(super) shape: String,
    pub(super) frame: Frame,
}

/// A line of steps under way: of a graph or of a branch.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Frame {
    /// The node that is next.
    pub(super) at: String,
    /// Steps done in this line.
    pub(super) seq: u64,
    /// Steps that count for the limit.
    pub(super) taken: u64,
    /// A branch that is at its join, a graph that is at its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) done: bool,
    /// What the node asks, if it waits.
    #[serde(default, with = "asked", skip_serializing_if = "Option::is_none")]
    pub(super) waiting: Option<Value>,
    /// Answers that the node has been given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) answers: Vec<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) inside: Option<Inside>,
    pub(super) state: Value,
}

/// `null` is a question too.
mod asked {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    #[expect(clippy::ref_option, reason = "serde gives the field")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Value>, to: S) -> Result<S::Ok, S::Error> {
        value.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
        Ok(Vec::<Value>::deserialize(from)?.pop())
    }
}

/// What goes on within a node.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Inside {
    Branches(Vec<Frame>),
    Graph(Box<Root>),
}

impl Body {
    pub(super) fn new(timeline: u64, root: Root) -> Self {
        Self { format: FORMAT, timeline, root }
    }

    pub(super) fn read(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let broken = |e| Error::invalid_input("the checkpoint can't be read").with_source(e);
        let head: Head = serde_json::from_str(text).map_err(broken)?;
        if head.format > FORMAT {
            let message =
                format!("a newer Katena wrote the checkpoint (format {}, known {FORMAT})", head.format);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        serde_json::from_str(text).map_err(broken)
    }

    pub(super) fn write(&self) -> Result<String> {
        if !self.root.frame.fits(MAX_DEPTH) {
            return Err(Error::invalid_input(
                "the graph's state is nested too deeply for a checkpoint (about 90 levels)",
            ));
        }
        serde_json::to_string(self).map_err(unwritable)
    }

    pub(super) fn status(&self) -> CheckpointStatus {
        let frame = &self.root.frame;
        if frame.at == END {
            CheckpointStatus::Finished
        } else if frame.is_waiting() {
            CheckpointStatus::Interrupted
        } else {
            CheckpointStatus::Running
        }
    }

    pub(super) fn interrupts(&self) -> Vec<Interrupt> {
        let mut all = Vec::new();
        self.root.frame.clone().interrupts(&Place::top(), &mut |_, interrupt| all.push(interrupt));
        all
    }

    /// Gives an answer to a question; false if there is none of that id.
    pub(super) fn answer(&mut self, id: &str, value: &Value) -> bool {
        let mut found = false;
        self.root.frame.interrupts(&Place::top(), &mut |frame, interrupt| {
            if interrupt.id == id {
                frame.waiting = None;
                frame.answers.push(value.clone());
                found = true;
            }
        });
        if found {
            self.root.frame.count_anew();
        }
        found
    }
}

pub(super) fn unwritable(error: serde_json::Error) -> Error {
    Error::invalid_input("the graph's state can't be written as JSON").with_source(error)
}

impl Frame {
    /// True if nothing can be done before an answer comes.
    fn is_waiting(&self) -> bool {
        self.waiting.is_some()
            || match &self.inside {
                Some(Inside::Branches(branches)) => {
                    branches.iter().any(|b| !b.done) && branches.iter().all(|b| b.done || b.is_waiting())
                }
                Some(Inside::Graph(root)) => root.frame.is_waiting(),
                None => false,
            }
    }

    fn interrupts(&mut self, place: &Place, each: &mut dyn FnMut(&mut Frame, Interrupt)) {
        if let Some(value) = self.waiting.clone() {
            let id = format!("{}#{}", place.step(self.seq), self.answers.len());
            let interrupt = Interrupt::new(id, self.at.clone(), value);
            each(self, interrupt);
            return;
        }
        match &mut self.inside {
            Some(Inside::Branches(branches)) => {
                for (n, branch) in branches.iter_mut().enumerate() {
                    branch.interrupts(&place.branch(self.seq, n), each);
                }
            }
            Some(Inside::Graph(root)) => root.frame.interrupts(&place.inner(self.seq), each),
            None => {}
        }
    }

    fn count_anew(&mut self) {
        self.taken = 0;
        match &mut self.inside {
            Some(Inside::Branches(branches)) => branches.iter_mut().for_each(Frame::count_anew),
            Some(Inside::Graph(root)) => root.frame.count_anew(),
            None => {}
        }
    }

    /// Whether this is nested at most so deep.
    fn fits(&self, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(4) else { return false };
        let inside = match &self.inside {
            Some(Inside::Branches(branches)) => branches.iter().all(|b| b.fits(depth)),
            Some(Inside::Graph(root)) => root.frame.fits(depth),
            None => true,
        };
        inside && self.waiting.iter().chain(&self.answers).chain([&self.state]).all(|v| shallow(v, depth))
    }
}

fn shallow(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|v| shallow(v, depth - 1)),
        Value::Object(fields) => depth > 0 && fields.values().all(|v| shallow(v, depth - 1)),
        _ => true,
    }
}
