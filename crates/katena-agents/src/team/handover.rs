//! Agents that hand the conversation over to each other.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use katena_core::{Chain, Clock, Error, Memory, Result, Run, ToolSpec};
use serde_json::json;

use crate::agent::{
    Agent, AgentInput, AgentOutput, Frame, Limits, Loop, Member, Outcome, PendingRun, Transfer,
};
use crate::approval::Decision;

/// Agents of which one is active at a time. Each has a tool `transfer_to_NAME` for every other; calling it hands over the
/// whole conversation, and the other goes on with its own model, instructions and tools. The first agent begins.
///
/// Limits, memory and cost are the team's; a member's own would have no effect, so its own memory is a Config error.
/// Approvals are the members' own.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::{Agent, Team};
/// use katena_core::{ChainExt, ChatResponse, FinishReason, Message, Part, Role, ToolCall, fake::ScriptedChat};
/// let call = Part::ToolCall(ToolCall::new("1", "transfer_to_billing", "{}"));
/// let hands_over = ChatResponse::new(Message::new(Role::Assistant, vec![call]), FinishReason::ToolCalls);
/// let front = Agent::new(ScriptedChat::new([Ok(hands_over)])).with_name("front");
/// let billing = Agent::new(ScriptedChat::texts(["You owe nothing."])).with_name("billing");
/// let team = Team::new().with_member(front, "Greets.").with_member(billing, "Knows the bills.");
/// let output = team.run("What do I owe?").await?;
/// assert_eq!((output.text().as_str(), output.agent.as_str()), ("You owe nothing.", "billing"));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone, Default)]
pub struct Team {
    members: Vec<Member>,
    descriptions: Vec<String>,
    frame: Frame,
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team")
            .field("members", &self.members.iter().map(|m| m.agent.name()).collect::<Vec<_>>())
            .field("frame", &self.frame)
            .finish_non_exhaustive()
    }
}

impl Team {
    /// A team without members; it needs one before it can run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member. The description tells the others when to hand over to it.
    pub fn with_member(mut self, agent: Agent, description: impl Into<String>) -> Self {
        self.members.push(Member { agent, transfers: Vec::new() });
        self.descriptions.push(description.into());
        let names: Vec<String> = self.members.iter().map(|m| m.agent.name().to_owned()).collect();
        for (n, member) in self.members.iter_mut().enumerate() {
            let others = names.iter().zip(&self.descriptions).enumerate().filter(|(to, _)| *to != n);
            member.transfers = others.map(|(to, (name, about))| transfer(to, name, about)).collect();
        }
        self
    }

    /// Sets the limits of the whole run.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.frame.limits = limits;
        self
    }

    /// Sets the memory, as [`Agent::with_memory`].
    pub fn with_memory(mut self, memory: Arc<dyn Memory>) -> Self {
        self.frame.memory = Some(memory);
        self
    }

    /// Sets the time limit, as [`Agent::with_time_limit`].
    pub fn with_time_limit(mut self, limit: Duration, clock: Arc<dyn Clock>) -> Self {
        self.frame.time = Some((limit, clock));
        self
    }

    fn looping(&self) -> Result<Loop<'_>> {
        if self.members.is_empty() {
            return Err(Error::config("a team needs a member"));
        }
        for (n, member) in self.members.iter().enumerate() {
            let name = member.agent.name();
            if self.members[..n].iter().any(|m| m.agent.name() == name) {
                return Err(Error::config("two members have the same name").with_context("agent", name));
            }
            if member.agent.set.frame.memory.is_some() {
                return Err(
                    Error::config("give the memory to the team, not to a member").with_context("agent", name)
                );
            }
        }
        Ok(Loop::new(&*self.members, &self.frame))
    }

    /// As [`Agent::start`].
    ///
    /// # Errors
    /// As the agents'; `Config` without members, for two of one name, or for a member with its own memory.
    pub async fn start(&self, input: impl Into<AgentInput>, run: &Run) -> Result<Outcome> {
        self.looping()?.begin(input.into(), run).await
    }

    /// As [`Agent::resume`].
    ///
    /// # Errors
    /// As [`Agent::resume`].
    pub async fn resume<S: Into<String>>(
        &self,
        pending: PendingRun,
        decisions: impl IntoIterator<Item = (S, Decision)> + Send,
        run: &Run,
    ) -> Result<Outcome> {
        let decisions = decisions.into_iter().map(|(id, decision)| (id.into(), decision)).collect();
        self.looping()?.resume(pending, decisions, run).await
    }
}

fn transfer(to: usize, name: &str, about: &str) -> Transfer {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let tool: String = format!("transfer_to_{name}").chars().map(safe).take(64).collect();
    let words = format!("Hands the conversation over to {name}, who goes on in your place. {about}");
    Transfer { spec: ToolSpec::new(tool, words, json!({"type": "object", "properties": {}})), to }
}

#[async_trait]
impl Chain for Team {
    type Input = AgentInput;
    type Output = AgentOutput;
    async fn call(&self, input: AgentInput, run: &Run) -> Result<AgentOutput> {
        self.looping()?.begin(input, run).await?.done()
    }
}
