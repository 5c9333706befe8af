//! Room for a note.

use async_trait::async_trait;
use katena_core::{Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

/// Lets a model write a thought down between two calls. Nothing is done with it; it stays in the conversation.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::tools::Think;
/// use katena_core::{Run, Tool, ToolCall};
/// let call = ToolCall::new("1", "think", r#"{"thought":"First the list, then the sum."}"#);
/// assert_eq!(Think::new().call(call, &Run::new()).await?.text(), "Noted.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug)]
pub struct Think {
    spec: ToolSpec,
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// The thought.
    thought: String,
}

impl Default for Think {
    fn default() -> Self {
        Self::new()
    }
}

impl Think {
    /// A tool named `think`; a thought has at most 16 KiB.
    pub fn new() -> Self {
        let what = "Writes down a thought: a plan, a check of the rules, what is still missing. It finds nothing and changes nothing.";
        Self { spec: ToolSpec::of::<Args>("think", what) }
    }
}

#[async_trait]
impl Tool for Think {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        run.context().check()?;
        super::checked(&args.thought, 16 << 10, "think")?;
        Ok("Noted.".into())
    }
}
