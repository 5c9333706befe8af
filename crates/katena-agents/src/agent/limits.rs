//! Where an agent stops.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use katena_core::{Clock, Error, Memory, ModelInfo, Result, Usage};

/// The bounds of one run of an agent. What the model and the tools send is held to them.
///
/// ```
/// use katena_agents::Limits;
/// let limits = Limits::default().with_steps(8).with_tokens(50_000);
/// assert_eq!((limits.steps, limits.tokens), (8, Some(50_000)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most model calls, 1 and up; 20. At the limit one more is made, for a final answer without tools.
    pub steps: u32,
    /// Most tokens, sub-agents included. The loop stops while there is still room for a final answer.
    pub tokens: Option<u64>,
    /// Most tool calls in one turn; 32. Those beyond it are not run, and the model is told.
    pub calls: usize,
    /// Most bytes of one call's arguments; 256 KiB.
    pub argument_bytes: usize,
    /// Most bytes of text of one tool's output; 64 KiB. The rest is cut off with a note.
    pub output_bytes: usize,
    /// Most media parts of one tool's output; 16.
    pub output_media: usize,
    /// How many equal turns in a row are run; 2. The next is not run and the model is told, the one after it ends the run.
    pub repeats: u32,
    /// How many turns in a row may be wrong in form (unknown tool, bad arguments, unreadable text); 3.
    pub repairs: u32,
    /// Most hand-overs in one run of a team; 8.
    pub transfers: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 20,
            tokens: None,
            calls: 32,
            argument_bytes: 256 * 1024,
            output_bytes: 64 * 1024,
            output_media: 16,
            repeats: 2,
            repairs: 3,
            transfers: 8,
        }
    }
}

impl Limits {
    /// Sets the most model calls.
    pub fn with_steps(mut self, steps: u32) -> Self {
        self.steps = steps;
        self
    }

    /// Sets the most tokens.
    pub fn with_tokens(mut self, tokens: u64) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Sets the most tool calls in one turn.
    pub fn with_calls(mut self, calls: usize) -> Self {
        self.calls = calls;
        self
    }

    /// Sets the most bytes of one call's arguments.
    pub fn with_argument_bytes(mut self, bytes: usize) -> Self {
        self.argument_bytes = bytes;
        self
    }

    /// Sets the most bytes of text of one tool's output.
    pub fn with_output_bytes(mut self, bytes: usize) -> Self {
        self.output_bytes = bytes;
        self
    }

    /// Sets how many equal turns in a row are run.
    pub fn with_repeats(mut self, turns: u32) -> Self {
        self.repeats = turns;
        self
    }

    /// Sets how many turns in a row may be wrong in form.
    pub fn with_repairs(mut self, turns: u32) -> Self {
        self.repairs = turns;
        self
    }

    /// Sets the most hand-overs.
    pub fn with_transfers(mut self, transfers: u32) -> Self {
        self.transfers = transfers;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.steps == 0 || self.calls == 0 || self.repeats == 0 {
            return Err(Error::config("an agent needs limits above 0 on steps, calls and repeats"));
        }
        Ok(())
    }
}

/// What one model call costs, in any unit; `None` if the price is not known.
pub(crate) type CostFn = Arc<dyn Fn(&ModelInfo, &Usage) -> Option<f64> + Send + Sync>;

/// What holds for a whole run, whoever is active in it.
#[derive(Clone, Default)]
pub(crate) struct Frame {
    pub(crate) limits: Limits,
    pub(crate) memory: Option<Arc<dyn Memory>>,
    pub(crate) cost: Option<(Option<f64>, CostFn)>,
    pub(crate) time: Option<(Duration, Arc<dyn Clock>)>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("limits", &self.limits)
            .field("memory", &self.memory.is_some())
            .finish_non_exhaustive()
    }
}
