//! Stream events of a chat model and the accumulator that folds them.

use futures_util::stream::BoxStream;

use crate::error::{Error, Result};
use crate::message::{Part, PartKind, ToolCall};
use crate::response::ChatResponse;

/// Events of one call. Ends with [`ChatEvent::Finished`]; dropping it cancels the call.
pub type ChatStream = BoxStream<'static, Result<ChatEvent>>;

/// One step of an answer. `part` numbers the parts of the message from 0.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ChatEvent {
    /// A part begins.
    Start {
        /// The part's number.
        part: usize,
        /// Its kind.
        kind: PartKind,
        /// For a tool call: its id and name, as soon as they are known.
        tool: Option<(String, String)>,
    },
    /// A part grows by `text`.
    Delta {
        /// The part's number.
        part: usize,
        /// What is added; for tool calls a piece of the arguments' JSON.
        text: String,
    },
    /// A part is complete.
    End {
        /// The part's number.
        part: usize,
        /// The whole part.
        value: Part,
    },
    /// The answer is complete; the last event.
    Finished(Box<ChatResponse>),
}

impl ChatEvent {
    /// A part begins.
    pub fn start(part: usize, kind: PartKind) -> Self {
        Self::Start { part, kind, tool: None }
    }

    /// A tool call begins.
    pub fn start_tool(part: usize, id: impl Into<String>, name: impl Into<String>) -> Self {
        Self::Start { part, kind: PartKind::ToolCall, tool: Some((id.into(), name.into())) }
    }

    /// A part grows.
    pub fn delta(part: usize, text: impl Into<String>) -> Self {
        Self::Delta { part, text: text.into() }
    }

    /// A part is complete.
    pub fn end(part: usize, value: Part) -> Self {
        Self::End { part, value }
    }

    /// The events of an answer that is there already: start, one delta, end for each part, then `Finished`.
    pub fn of_response(response: ChatResponse) -> Vec<ChatEvent> {
        let mut events = Vec::with_capacity(response.message.parts.len() * 3 + 1);
        for (n, part) in response.message.parts.iter().enumerate() {
            let (start, text) = match part {
                Part::ToolCall(c) => (Self::start_tool(n, &c.id, &c.name), c.arguments.clone()),
                Part::Text { text } | Part::Refusal { text } | Part::Reasoning { text, .. } => {
                    (Self::start(n, part.kind()), text.clone())
                }
                _ => (Self::start(n, PartKind::Other), String::new()),
            };
            events.push(start);
            if !text.is_empty() {
                events.push(Self::delta(n, text));
            }
            events.push(Self::end(n, part.clone()));
        }
        events.push(Self::Finished(Box::new(response)));
        events
    }
}

#[derive(Debug)]
struct Growing {
    kind: PartKind,
    tool: Option<(String, String)>,
    text: String,
    ended: Option<Part>,
}

/// Folds [`ChatEvent`]s into the response and checks the law of streaming.
///
/// ```
/// use katena_core::{Accumulator, ChatEvent, ChatResponse, FinishReason, Message};
/// let response = ChatResponse::new(Message::assistant("Hello"), FinishReason::Stop);
/// let mut accumulator = Accumulator::new();
/// for event in ChatEvent::of_response(response.clone()) {
///     accumulator.push(&event).unwrap();
/// }
/// assert_eq!(accumulator.finish().unwrap(), response);
/// ```
#[derive(Debug, Default)]
pub struct Accumulator {
    parts: Vec<Growing>,
    finished: Option<Box<ChatResponse>>,
}

/// More parts than any real answer has; protects against hostile part numbers.
const MAX_PARTS: usize = 4096;

impl Accumulator {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// Kind `InvalidOutput` if the event breaks the order: a gap in the part numbers, growth before start or after end,
    /// anything after `Finished`.
    pub fn push(&mut self, event: &ChatEvent) -> Result<()> {
        let law = |what: &'static str| Err(Error::invalid_output(what));
        if self.finished.is_some() {
            return law("an event came after the answer was finished");
        }
        match event {
            ChatEvent::Start { part, kind, tool } => {
                if *part != self.parts.len() || *part >= MAX_PARTS {
                    return law("a part started out of order");
                }
                self.parts.push(Growing {
                    kind: *kind,
                    tool: tool.clone(),
                    text: String::new(),
                    ended: None,
                });
            }
            ChatEvent::Delta { part, text } => match self.parts.get_mut(*part) {
                Some(p) if p.ended.is_none() => p.text.push_str(text),
                _ => return law("a delta came for a part that is not open"),
            },
            ChatEvent::End { part, value } => match self.parts.get_mut(*part) {
                Some(p) if p.ended.is_none() => {
                    if !p.agrees(value) {
                        return law("a finished part differs from its deltas");
                    }
                    p.ended = Some(value.clone());
                }
                _ => return law("a part ended that is not open"),
            },
            ChatEvent::Finished(response) => {
                if self.parts.iter().any(|p| p.ended.is_none()) {
                    return law("the answer finished with an open part");
                }
                self.finished = Some(response.clone());
            }
        }
        Ok(())
    }

    /// The text seen so far, of text parts only.
    pub fn text(&self) -> String {
        self.parts.iter().filter(|p| p.kind == PartKind::Text).map(|p| p.text.as_str()).collect()
    }

    /// The response.
    ///
    /// # Errors
    /// Kind `Unavailable` if the stream ended without `Finished`; `InvalidOutput` if the folded parts differ from it.
    pub fn finish(self) -> Result<ChatResponse> {
        let Some(response) = self.finished else {
            return Err(Error::new(
                crate::ErrorKind::Unavailable,
                "the stream ended before the answer was finished",
            ));
        };
        let same = self.parts.len() == response.message.parts.len()
            && self.parts.iter().zip(&response.message.parts).all(|(a, b)| a.ended.as_ref() == Some(b));
        if same {
            Ok(*response)
        } else {
            Err(Error::invalid_output("the folded events differ from the finished response"))
        }
    }
}

impl Growing {
    fn agrees(&self, value: &Part) -> bool {
        match value {
            Part::Text { text } => self.kind == PartKind::Text && *text == self.text,
            Part::Reasoning { text, .. } => self.kind == PartKind::Reasoning && *text == self.text,
            Part::Refusal { text } => self.kind == PartKind::Refusal && *text == self.text,
            Part::ToolCall(ToolCall { id, name, arguments }) => {
                self.kind == PartKind::ToolCall
                    && *arguments == self.text
                    && self.tool.as_ref().is_none_or(|(i, n)| i == id && n == name)
            }
            _ => self.kind == PartKind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::response::FinishReason;

    #[test]
    fn breaking_the_law_is_an_error() {
        let mut a = Accumulator::new();
        assert!(a.push(&ChatEvent::delta(0, "x")).is_err());
        a.push(&ChatEvent::start(0, PartKind::Text)).unwrap();
        assert!(a.push(&ChatEvent::start(2, PartKind::Text)).is_err());
        a.push(&ChatEvent::delta(0, "ab")).unwrap();
        assert!(a.push(&ChatEvent::end(0, Part::text("abc"))).is_err());
        let done = ChatResponse::new(Message::assistant("ab"), FinishReason::Stop);
        assert!(a.push(&ChatEvent::Finished(Box::new(done.clone()))).is_err(), "part 0 is open");
        a.push(&ChatEvent::end(0, Part::text("ab"))).unwrap();
        a.push(&ChatEvent::Finished(Box::new(done.clone()))).unwrap();
        assert!(a.push(&ChatEvent::delta(0, "x")).is_err());
        assert_eq!(a.finish().unwrap(), done);
        assert!(Accumulator::new().finish().unwrap_err().is_temporary());
    }
}
