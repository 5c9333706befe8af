//! The conversation of agents that lead others: recall, new messages, record.

use katena_core::{Chain, ChatRequest, Error, ErrorKind, Event, Message, Result, Run, Usage};

use super::tool::report;
use crate::agent::{AgentInput, AgentOutput, Finish, Frame, recall, record, shorten};

/// What has been said so far.
pub(crate) struct Talk<'a> {
    frame: &'a Frame,
    session: Option<String>,
    /// Recalled, input, new.
    messages: Vec<Message>,
    recalled: usize,
    fresh: usize,
    pub(crate) steps: u32,
}

impl<'a> Talk<'a> {
    pub(crate) async fn begin(frame: &'a Frame, input: AgentInput, run: &Run) -> Result<Self> {
        frame.limits.check()?;
        if input.messages.is_empty() {
            return Err(Error::invalid_input("an agent needs at least one message"));
        }
        let mut messages = recall(frame, &input, run).await?;
        let recalled = messages.len();
        messages.extend(input.messages);
        let fresh = messages.len();
        Ok(Self { frame, session: input.session, messages, recalled, fresh, steps: 0 })
    }

    /// What the person wants: the text of the new messages.
    pub(crate) fn goal(&self) -> String {
        self.messages[self.recalled..self.fresh].iter().map(Message::text).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// A request with instructions before the conversation and a question after it.
    pub(crate) fn request(&self, instructions: &str, question: &str) -> ChatRequest {
        let system = [Message::system(instructions)];
        let question = (!question.is_empty()).then(|| Message::user(question));
        ChatRequest::new(system.into_iter().chain(self.messages.iter().cloned()).chain(question))
    }

    /// The limit that forbids another step.
    pub(crate) fn reached(&self, usage: Usage) -> Option<Finish> {
        let limits = &self.frame.limits;
        if limits.tokens.is_some_and(|most| usage.total_tokens().unwrap_or(0) >= most) {
            return Some(Finish::TokenLimit);
        }
        (self.steps >= limits.steps).then_some(Finish::StepLimit)
    }

    pub(crate) async fn end(
        mut self,
        answer: Message,
        finish: Finish,
        agent: &str,
        run: &Run,
    ) -> Result<AgentOutput> {
        run.emit(Event::Text(answer.text())).await;
        self.messages.push(answer.clone());
        let messages = self.messages[self.fresh..].to_vec();
        let turn = self.messages.split_off(self.recalled);
        record(self.frame, self.session.as_deref(), turn, run).await?;
        Ok(AgentOutput::new(answer, finish, self.steps, run.usage(), messages, agent))
    }
}

/// Lets an agent do a task, in a step of that name. What it says is a report, and so is its error; only the end of the whole
/// run is an error here.
pub(crate) async fn delegate(
    agent: &dyn Chain<Input = AgentInput, Output = AgentOutput>,
    step: &str,
    task: AgentInput,
    frame: &Frame,
    run: &Run,
) -> Result<String> {
    let done = run.step(step, async |run: Run| agent.call(task, &run).await).await;
    let mut text = match done {
        Ok(output) => report(&output),
        Err(error) => {
            run.check()?;
            if error.kind() == ErrorKind::Cancelled {
                return Err(error);
            }
            format!("[failed: {}: {}]", error.kind(), error.message())
        }
    };
    shorten(&mut text, frame.limits.output_bytes);
    Ok(text)
}

/// The setters that every leader of agents has. A step is what `$step` says.
macro_rules! leader_options {
    ($leader:ident, $step:literal) => {
        impl $leader {
            /// Sets its name.
            pub fn with_name(mut self, name: impl Into<String>) -> Self {
                self.name = name.into();
                self
            }

            /// Adds to its instructions.
            pub fn with_instructions(mut self, text: impl Into<String>) -> Self {
                self.instructions = text.into();
                self
            }

            #[doc = concat!("Sets the most steps, 1 and up (default 20); a step is ", $step, ".")]
            pub fn with_steps(mut self, steps: u32) -> Self {
                self.frame.limits.steps = steps;
                self
            }

            /// Sets the most tokens of the whole run, the other agents' included; none by default.
            pub fn with_tokens(mut self, tokens: u64) -> Self {
                self.frame.limits.tokens = Some(tokens);
                self
            }

            /// Sets the most bytes of one report that are read (default 64 KiB).
            pub fn with_output_bytes(mut self, bytes: usize) -> Self {
                self.frame.limits.output_bytes = bytes;
                self
            }

            /// Sets the memory, as [`Agent::with_memory`](crate::Agent::with_memory).
            pub fn with_memory(mut self, memory: Arc<dyn Memory>) -> Self {
                self.frame.memory = Some(memory);
                self
            }
        }
    };
}
pub(crate) use leader_options;
