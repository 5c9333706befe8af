//! The tools of an agent, and how each is to be used.

use std::fmt;
use std::sync::Arc;

use katena_core::{Error, Result, Tool, ToolSpec};

/// What happens when a tool fails. Cancelling and the run's deadline end the run in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnToolError {
    /// The model is told, as `{"ok": false, "error": {"kind", "message", "retryable"}, "hint"}`, and may try something else.
    #[default]
    Tell,
    /// The run ends with the tool's error.
    Fail,
}

/// How an agent uses one tool.
///
/// ```
/// use katena_agents::{OnToolError, ToolOptions};
/// let options = ToolOptions::new().sequential().with_on_error(OnToolError::Fail).with_output_bytes(4096);
/// assert_eq!(options.output_bytes, Some(4096));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolOptions {
    /// What happens when it fails; unset is the agent's own policy.
    pub on_error: Option<OnToolError>,
    /// Most bytes of text of its output; unset is the agent's limit.
    pub output_bytes: Option<usize>,
    pub(crate) alone: bool,
}

impl ToolOptions {
    /// The agent's own policy, in parallel with other tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Never runs while another call of the same turn runs.
    pub fn sequential(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Sets what happens when it fails.
    pub fn with_on_error(mut self, policy: OnToolError) -> Self {
        self.on_error = Some(policy);
        self
    }

    /// Sets the most bytes of its output.
    pub fn with_output_bytes(mut self, bytes: usize) -> Self {
        self.output_bytes = Some(bytes);
        self
    }
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) options: ToolOptions,
}

/// Tools by their names.
#[derive(Clone, Default)]
pub(crate) struct Toolbox {
    pub(crate) entries: Vec<Entry>,
}

impl fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|e| &e.tool.spec().name)).finish()
    }
}

impl Toolbox {
    pub(crate) fn add(&mut self, tool: Arc<dyn Tool>, options: ToolOptions) -> Result<()> {
        let spec = tool.spec();
        let name = &spec.name;
        if name.is_empty() || name.len() > 128 || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::config("a tool's name is 1 to 128 bytes without spaces")
                .with_context("tool", name.clone()));
        }
        if self.find(name).is_some() {
            return Err(Error::config("two tools have the same name").with_context("tool", name.clone()));
        }
        if !spec.parameters.is_object() {
            return Err(Error::config("a tool's parameters are no JSON Schema of an object")
                .with_context("tool", name.clone()));
        }
        self.entries.push(Entry { tool, options });
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|e| e.tool.spec().name == name)
    }

    pub(crate) fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.entries.iter().map(|e| e.tool.spec())
    }
}
