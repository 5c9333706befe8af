//! An agent as a tool of another.

use std::fmt;

use async_trait::async_trait;
use katena_core::{BoxChain, Chain, ChainExt as _, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::agent::{AgentInput, AgentOutput, Finish};

#[derive(Deserialize, JsonSchema)]
struct Task {
    /// What is to be done, with all that the other must know: it does not see this conversation.
    task: String,
}

/// An agent (or a [`Team`](crate::Team), a [`Supervisor`](crate::Supervisor), …) that another agent can give a task to.
///
/// It begins with the task alone. Its events come within the tool's step, its tokens count for the caller, and it has the
/// caller's labels, deadline and cancel signal. It needs no session, so give it no memory. A tool of it that pauses for
/// approval is not run: only the outermost agent can pause.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::{Agent, AgentTool};
/// use katena_core::{Run, Tool, ToolCall, fake::ScriptedChat};
/// let expert = Agent::new(ScriptedChat::texts(["Use a hash map."]));
/// let tool = AgentTool::new("ask_expert", "Knows data structures.", expert);
/// let call = ToolCall::new("1", "ask_expert", r#"{"task":"How do I count words?"}"#);
/// assert_eq!(tool.call(call, &Run::new()).await?.text(), "Use a hash map.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct AgentTool {
    spec: ToolSpec,
    agent: BoxChain<AgentInput, AgentOutput>,
}

impl fmt::Debug for AgentTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentTool").field("name", &self.spec.name).field("agent", &self.agent).finish()
    }
}

impl AgentTool {
    /// A tool of this name that runs the agent.
    pub fn new(
        name: impl Into<String>,
        description: impl Into<String>,
        agent: impl Chain<Input = AgentInput, Output = AgentOutput> + 'static,
    ) -> Self {
        Self { spec: ToolSpec::of::<Task>(name, description), agent: agent.boxed() }
    }
}

#[async_trait]
impl Tool for AgentTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let Task { task } = call.parse()?;
        let output = self.agent.call(AgentInput::from(task), run).await?;
        Ok(report(&output).into())
    }
}

/// An agent's answer, with a note if it is none.
pub(crate) fn report(output: &AgentOutput) -> String {
    match output.finish {
        Finish::Answered => output.text(),
        finish => format!("[unfinished: {finish:?}]\n{}", output.text()),
    }
}
