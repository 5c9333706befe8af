//! What a chain did: its output with the token counts and the steps behind it.

use async_trait::async_trait;
use serde_json::Value;

use crate::chain::Chain;
use crate::error::Result;
use crate::response::Usage;
use crate::run::{Run, StepId};

/// One step of a [`Report`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// The step.
    pub id: StepId,
    /// The step around it; its own id for the outermost.
    pub parent: StepId,
    /// Its name; for a model call the model's.
    pub name: String,
    /// Whether it succeeded; `None` if it was cut off, and for the outermost.
    pub ok: Option<bool>,
    /// What it told, in order: the values of [`Event::Custom`](crate::Event::Custom), and `reply`, the text of a model call.
    pub notes: Vec<(String, Value)>,
}

impl StepReport {
    pub(crate) fn new(id: StepId, parent: StepId, name: &str) -> Self {
        Self { id, parent, name: name.to_owned(), ok: None, notes: Vec::new() }
    }

    /// The first value told under a name.
    pub fn note(&self, name: &str) -> Option<&Value> {
        self.notes.iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }
}

/// A chain's output, the tokens that it took, and its intermediate steps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report<O> {
    /// The chain's output.
    pub output: O,
    /// Tokens of all model calls of the chain.
    pub usage: Usage,
    /// The steps in the order in which they began, the chain itself first; quiet ones too.
    pub steps: Vec<StepReport>,
}

impl<O> Report<O> {
    /// All values told under a name, in order, whatever the step: `report.notes("reply")` are the models' words.
    pub fn notes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.steps.iter().flat_map(|s| &s.notes).filter(move |(n, _)| n == name).map(|(_, value)| value)
    }
}

/// See [`reported`](crate::ChainExt::reported).
#[derive(Clone, Debug)]
pub struct Reported<C>(C);

impl<C> Reported<C> {
    pub(crate) fn new(chain: C) -> Self {
        Self(chain)
    }
}

#[async_trait]
impl<C: Chain> Chain for Reported<C> {
    type Input = C::Input;
    type Output = Report<C::Output>;
    async fn call(&self, input: C::Input, run: &Run) -> Result<Self::Output> {
        let run = run.recorded();
        let output = self.0.call(input, &run).await?;
        Ok(Report { output, usage: run.usage(), steps: run.take_steps() })
    }
}
