//! What goes into an agent and what comes out.

use std::fmt;

use katena_core::{Error, ErrorKind, Message, Result, Usage};
use serde::{Deserialize, Serialize};

/// A new turn for an agent: messages, and the session if it has a memory.
///
/// ```
/// use katena_agents::AgentInput;
/// let input = AgentInput::from("Is it dry in Bern?").with_session("ada");
/// assert_eq!(input.messages.len(), 1);
/// ```
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentInput {
    /// The new messages, usually one of the user.
    pub messages: Vec<Message>,
    /// The session, for agents with a memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl AgentInput {
    /// These messages.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        Self { messages: messages.into_iter().collect(), session: None }
    }

    /// Sets the session.
    pub fn with_session(mut self, session: impl Into<String>) -> Self {
        self.session = Some(session.into());
        self
    }
}

impl fmt::Debug for AgentInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentInput").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl From<&str> for AgentInput {
    fn from(text: &str) -> Self {
        Self::new([Message::user(text)])
    }
}

impl From<String> for AgentInput {
    fn from(text: String) -> Self {
        Self::new([Message::user(text)])
    }
}

impl From<Message> for AgentInput {
    fn from(message: Message) -> Self {
        Self::new([message])
    }
}

impl From<Vec<Message>> for AgentInput {
    fn from(messages: Vec<Message>) -> Self {
        Self::new(messages)
    }
}

/// Why an agent stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// The model gave its answer.
    Answered,
    /// The model's answer was cut off at its own token limit.
    Cut,
    /// The limit on steps was reached; the answer is a best effort.
    StepLimit,
    /// The limit on tokens was reached; the answer is a best effort, or empty if there was no room for one.
    TokenLimit,
    /// The limit on cost was reached; the answer is a best effort, or empty.
    CostLimit,
    /// The limit on time was reached; the answer is a best effort, or empty.
    TimeLimit,
    /// The model repeated the same calls over and over; the answer is a best effort.
    Repetition,
}

/// An agent's answer and how it came about.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::{Agent, Finish};
/// use katena_core::{ChainExt, fake::ScriptedChat};
/// let agent = Agent::new(ScriptedChat::texts(["It is dry."]));
/// let output = agent.run("Is it dry in Bern?").await?;
/// assert_eq!((output.text().as_str(), output.finish, output.steps), ("It is dry.", Finish::Answered, 1));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentOutput {
    /// The answer.
    pub message: Message,
    /// Why it stopped.
    pub finish: Finish,
    /// How many times a model was asked by the loop itself; those of sub-agents are not in it.
    pub steps: u32,
    /// Tokens of all model calls, sub-agents included.
    pub usage: Usage,
    /// Cost of the loop's own model calls, if the agent has a function for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// All that was added to the conversation: tool calls, their results, the answer. The input is not in it.
    pub messages: Vec<Message>,
    /// The name of the agent that answered; after a hand-over another one than was asked.
    pub agent: String,
}

impl AgentOutput {
    /// An output without a cost, for agents of your own.
    pub fn new(
        message: Message,
        finish: Finish,
        steps: u32,
        usage: Usage,
        messages: Vec<Message>,
        agent: impl Into<String>,
    ) -> Self {
        Self { message, finish, steps, usage, cost: None, messages, agent: agent.into() }
    }

    /// The answer's text.
    pub fn text(&self) -> String {
        self.message.text()
    }

    /// This output, if the model came to its answer.
    ///
    /// # Errors
    /// Kind `Budget` if a limit stopped it, `InvalidOutput` if it repeated itself or its answer was cut off.
    pub fn complete(self) -> Result<Self> {
        let kind = match self.finish {
            Finish::Answered => return Ok(self),
            Finish::Cut | Finish::Repetition => ErrorKind::InvalidOutput,
            _ => ErrorKind::Budget,
        };
        let finish = format!("{:?}", self.finish);
        Err(Error::new(kind, "the agent did not come to its answer").with_context("finish", finish))
    }
}

impl fmt::Debug for AgentOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentOutput")
            .field("finish", &self.finish)
            .field("steps", &self.steps)
            .field("usage", &self.usage)
            .field("messages", &self.messages)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}
