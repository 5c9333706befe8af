//! One turn of the model, with repairs of replies that can't be used.

use katena_core::{
    ChatRequest, ChatResponse, Error, ErrorKind, FinishReason, Message, Part, Result, Run, ToolChoice,
};

use super::looping::Member;
use super::state::State;
use super::stop::{Reached, Stop};
use super::typed::FinalTool;
use crate::react;

/// What a turn needs beside the conversation.
pub(crate) struct Turn<'a> {
    pub(crate) member: &'a Member,
    pub(crate) last: Option<&'a FinalTool>,
    pub(crate) stop: &'a Stop<'a>,
    pub(crate) run: &'a Run,
}

impl Turn<'_> {
    /// The options and tools of the member's requests.
    pub(crate) fn request(&self) -> ChatRequest {
        let set = &self.member.agent.set;
        let mut request = set.request.clone();
        if self.is_react() {
            request.tool_choice = None;
            if self.member.agent.model.info().capabilities.stop {
                request.stop.push(react::STOP.to_owned());
            }
        } else {
            request.tools = self.member.offered(self.last).cloned().collect();
        }
        request
    }

    pub(crate) fn is_react(&self) -> bool {
        self.member.agent.speaks_react(self.member.offered(self.last).count())
    }

    /// Asks until the reply is an answer or calls tools: an empty reply is asked for once more, an unreadable one a few times.
    pub(crate) async fn take(&self, request: &mut ChatRequest, state: &mut State) -> Result<ChatResponse> {
        let (mut extra, mut empty, mut unreadable) = (Vec::new(), 0, 0);
        loop {
            let raw = self.ask(request, state, &extra).await?;
            self.stop.count(self.member, &raw, state)?;
            refused(&raw)?;
            let said = raw.message.clone();
            let silent = is_silent(&raw);
            let problem = match self.read(raw, state) {
                _ if silent => {
                    empty += 1;
                    "Your reply was empty. Answer, or call a tool.".to_owned()
                }
                Ok(response) => return Ok(response),
                Err(problem) => {
                    unreadable += 1;
                    problem
                }
            };
            if empty > 1 {
                return Err(Error::invalid_output("the model's reply was empty, twice"));
            }
            if unreadable > self.stop.limits().repairs {
                return Err(Error::invalid_output(
                    "the model's replies can't be read as an answer or a tool call",
                )
                .with_context("problem", problem));
            }
            if !silent {
                extra.push(said);
            }
            extra.push(Message::user(problem));
        }
    }

    fn read(&self, raw: ChatResponse, state: &State) -> Result<ChatResponse, String> {
        let response = if self.is_react() { react::read(raw, self, state)? } else { raw };
        if let Some(last) = self.last
            && response.tool_calls().next().is_none()
            && let Err(problem) = (last.check)(&response.text())
        {
            let how = if self.is_react() { "as the final answer" } else { "by calling that tool" };
            return Err(format!(
                "That is no answer of the form of `{}`: {problem}. Give it {how}.",
                last.spec.name
            ));
        }
        Ok(response)
    }

    async fn ask(
        &self,
        request: &mut ChatRequest,
        state: &mut State,
        extra: &[Message],
    ) -> Result<ChatResponse> {
        let agent = &self.member.agent;
        if self.is_react() {
            request.messages = react::render(self, state)?;
            request.messages.extend_from_slice(extra);
            return react::ask(self.run, &*agent.model, request).await;
        }
        // The conversation is lent to the request, not copied.
        let (whole, head) = (state.messages.len(), usize::from(agent.set.instructions.is_some()));
        request.messages = std::mem::take(&mut state.messages);
        if let Some(text) = &agent.set.instructions {
            request.messages.insert(0, Message::system(text));
        }
        request.messages.extend_from_slice(extra);
        let answer = self.run.chat_again(&*agent.model, request).await;
        request.messages.truncate(head + whole);
        request.messages.drain(..head);
        state.messages = std::mem::take(&mut request.messages);
        answer
    }

    /// Asks for a final answer without tools; what can't be had is what the model has said last.
    pub(crate) async fn last_words(
        &self,
        reached: &Reached,
        mut request: ChatRequest,
        state: &mut State,
    ) -> Result<Message> {
        if !reached.last_words {
            return Ok(state.last_words());
        }
        if !request.tools.is_empty() {
            request.tool_choice = Some(ToolChoice::None);
        }
        if let Some(most) = reached.max_tokens {
            request.max_tokens = Some(request.max_tokens.map_or(most, |own| own.min(most)));
        }
        let mut nudge = "No more tool calls are possible. Give your final answer now with what you know, and say what is missing.".to_owned();
        if let Some(last) = self.last {
            nudge = format!(
                "{nudge} Answer with one JSON value that fits this JSON Schema, and with nothing else:\n{}",
                last.spec.parameters
            );
        }
        let answer = match self.ask(&mut request, state, &[Message::user(&*nudge)]).await {
            // A protocol that can't forbid tools is asked without them.
            Err(error) if error.kind() == ErrorKind::Unsupported && !request.tools.is_empty() => {
                request.tools.clear();
                request.tool_choice = None;
                self.ask(&mut request, state, &[Message::user(nudge)]).await
            }
            other => other,
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.run.check()?;
                if error.kind() == ErrorKind::Cancelled {
                    return Err(error);
                }
                tracing::warn!(kind = error.kind().as_str(), "no final answer after a limit");
                return Ok(state.last_words());
            }
        };
        self.stop.count(self.member, &answer, state)?;
        refused(&answer)?;
        let answer = if self.is_react() { react::final_answer(answer) } else { answer };
        let mut message = answer.message;
        message.parts.retain(|p| !matches!(p, Part::ToolCall(_)));
        if message.text().trim().is_empty() { Ok(state.last_words()) } else { Ok(message) }
    }
}

fn refused(response: &ChatResponse) -> Result<()> {
    if let Some(words) = response.refusal() {
        return Err(Error::new(ErrorKind::Refused, words.to_owned()));
    }
    if response.finish == FinishReason::ContentFilter {
        return Err(Error::new(ErrorKind::Refused, "a content filter cut the reply off"));
    }
    Ok(())
}

fn is_silent(response: &ChatResponse) -> bool {
    let media = |p: &Part| {
        matches!(p, Part::Image { .. } | Part::Audio { .. } | Part::Video { .. } | Part::File { .. })
    };
    response.tool_calls().next().is_none()
        && response.text().trim().is_empty()
        && !response.message.parts.iter().any(media)
}
