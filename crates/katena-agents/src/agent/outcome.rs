//! Runs that pause for a person's decision and go on later.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use katena_core::{Chain, Error, Result, Run, ToolCall, ToolResult};
use serde::{Deserialize, Serialize};

use super::io::{AgentInput, AgentOutput};
use super::settings::Agent;
use super::state::State;
use crate::approval::Decision;

/// The stored form's version.
const VERSION: u32 = 1;

/// A run that waits for a person's decision on tool calls. Store it as JSON; resume it by [`Agent::resume`].
///
/// It holds the conversation, so keep it where the conversation is kept: on the server, out of the browser's reach.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::{Agent, Decision, Needs, Outcome, PendingRun};
/// use katena_core::{ChatResponse, FinishReason, FnTool, Message, Part, Role, Run, ToolCall, fake::ScriptedChat};
/// # #[derive(serde::Deserialize, schemars::JsonSchema)]
/// # struct Refund { amount: u32 }
/// # let refund = FnTool::new("refund", "Pays back.", async |args: Refund, _run: Run| Ok(format!("paid {}", args.amount)));
/// # let call = Part::ToolCall(ToolCall::new("c1", "refund", r#"{"amount":20}"#));
/// # let asks = ChatResponse::new(Message::new(Role::Assistant, vec![call]), FinishReason::ToolCalls);
/// # let answers = ChatResponse::new(Message::assistant("Done."), FinishReason::Stop);
/// # let model = ScriptedChat::new([Ok(asks), Ok(answers)]);
/// let agent = Agent::new(model).with_tool(refund).with_approval_pause(Needs::tools(["refund"]));
/// let Outcome::Pending(pending) = agent.start("Pay 20 back.", &Run::new()).await? else { panic!("no pause") };
/// let stored = serde_json::to_string(&pending).unwrap();
///
/// // Hours later, in another process:
/// let pending: PendingRun = serde_json::from_str(&stored).unwrap();
/// assert_eq!(pending.calls()[0].name, "refund");
/// let outcome = agent.resume(pending, [("c1", Decision::Approve)], &Run::new()).await?;
/// assert_eq!(outcome.done()?.text(), "Done.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct PendingRun {
    version: u32,
    pub(crate) state: State,
    /// The turn's calls, in order.
    pub(crate) turn: Vec<ToolCall>,
    /// Answers to those of them that are not to be run.
    pub(crate) answered: Vec<ToolResult>,
    /// Those that wait for a decision.
    calls: Vec<ToolCall>,
}

impl fmt::Debug for PendingRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingRun")
            .field("tools", &self.calls.iter().map(|c| &c.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl PendingRun {
    pub(crate) fn new(
        state: State,
        turn: Vec<ToolCall>,
        answered: Vec<ToolResult>,
        calls: Vec<ToolCall>,
    ) -> Self {
        Self { version: VERSION, state, turn, answered, calls }
    }

    /// The calls that need a decision.
    pub fn calls(&self) -> &[ToolCall] {
        &self.calls
    }

    /// The session, if the input named one.
    pub fn session(&self) -> Option<&str> {
        self.state.session.as_deref()
    }

    /// The name of the agent that made the calls.
    pub fn agent(&self) -> &str {
        &self.state.active
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.version != VERSION {
            return Err(Error::invalid_input("the paused run was stored by another version")
                .with_context("version", self.version.to_string()));
        }
        if !self.state.is_sound() {
            return Err(Error::invalid_input("the paused run's stored form is broken"));
        }
        Ok(())
    }
}

/// How an agent that may pause came out.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It has its answer, or reached a limit.
    Done(Box<AgentOutput>),
    /// A person must decide.
    Pending(Box<PendingRun>),
}

impl Outcome {
    /// The output.
    ///
    /// # Errors
    /// Kind `PermissionDenied` if the run is paused.
    pub fn done(self) -> Result<AgentOutput> {
        match self {
            Self::Done(output) => Ok(*output),
            Self::Pending(pending) => {
                let tool = pending.calls.first().map(|c| c.name.clone()).unwrap_or_default();
                Err(Error::new(
                    katena_core::ErrorKind::PermissionDenied,
                    "the tool needs a person's approval: run the agent by `start`",
                )
                .with_context("tool", tool))
            }
        }
    }
}

/// What an [`Interruptible`] agent is told.
#[derive(Debug, Clone)]
pub enum AgentStep {
    /// Begin.
    Start(AgentInput),
    /// Go on.
    Resume {
        /// The paused run.
        pending: Box<PendingRun>,
        /// A decision for each of its calls, by the call's id.
        decisions: BTreeMap<String, Decision>,
    },
}

impl<T: Into<AgentInput>> From<T> for AgentStep {
    fn from(input: T) -> Self {
        Self::Start(input.into())
    }
}

/// An agent that may pause, as a chain: its events stream as those of any other.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::Agent;
/// use katena_core::{ChainExt, fake::ScriptedChat};
/// let agent = Agent::new(ScriptedChat::texts(["Hello."])).interruptible();
/// let outcome = agent.run("Hi").await?;
/// assert_eq!(outcome.done()?.text(), "Hello.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Interruptible(Agent);

impl Interruptible {
    pub(crate) fn new(agent: Agent) -> Self {
        Self(agent)
    }
}

#[async_trait]
impl Chain for Interruptible {
    type Input = AgentStep;
    type Output = Outcome;
    async fn call(&self, step: AgentStep, run: &Run) -> Result<Outcome> {
        self.0.step(step, run).await
    }
}
