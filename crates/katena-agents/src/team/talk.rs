//! The conversation of agents that lead others: recall, new messages, record.

use std::fmt::Write as _;

use katena_core::{ChatRequest, Error, Event, Message, Result, Run, Usage};

use crate::agent::{AgentInput, AgentOutput, Finish, Frame, recall, record};

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

/// Text from outside, each line marked, so that none of it stands where the program's own words stand.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.lines() {
        let _ = writeln!(out, "> {line}");
    }
    out
}
