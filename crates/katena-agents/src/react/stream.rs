//! ReAct replies as they come: thoughts and answers are told apart on the way.

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatEvent, ChatModel, ChatRequest, ChatResponse, Event, PartKind, Result, Run,
};
use serde_json::Value;

use super::parse::{Label, Parsed, label, parse};

/// Asks the model. Where somebody listens, thoughts are told as `thought`, the answer's text piece by piece as
/// [`Event::Text`], and what is no text (reasoning) as the model's own events.
pub(crate) async fn ask(run: &Run, model: &dyn ChatModel, request: &mut ChatRequest) -> Result<ChatResponse> {
    if !run.is_listened() {
        return run.chat_again(model, request).await;
    }
    run.step(&model.info().model, async |run: Run| {
        let mut stream = run.chat_stream(model, request.clone()).await?;
        let (mut whole, mut splitter, mut texts) = (Accumulator::new(), Splitter::default(), Vec::new());
        while let Some(event) = stream.next().await {
            let event = event?;
            whole.push(&event)?;
            match &event {
                ChatEvent::Start { part, kind: PartKind::Text, .. } => texts.push(*part),
                ChatEvent::Delta { part, text } if texts.contains(part) => {
                    for event in splitter.push(text) {
                        run.emit(event).await;
                    }
                }
                ChatEvent::End { part, .. } if texts.contains(part) => {}
                _ => run.emit(Event::Model(event)).await,
            }
        }
        for event in splitter.end() {
            run.emit(event).await;
        }
        let response = whole.finish()?;
        if run.is_recording() {
            run.emit(Event::Custom { name: "reply".to_owned(), value: Value::String(response.text()) }).await;
        }
        Ok(response)
    })
    .await
}

#[derive(Default)]
struct Splitter {
    text: String,
    /// Where the line begins that is being looked at.
    line: usize,
    section: Option<Label>,
    thought: String,
    /// Where the answer's unsent text begins.
    answer: Option<usize>,
    over: bool,
}

impl Splitter {
    fn push(&mut self, piece: &str) -> Vec<Event> {
        self.text.push_str(piece);
        let mut events = Vec::new();
        while !self.over && self.answer.is_none() {
            let rest = &self.text[self.line..];
            let (line, whole) = match rest.find('\n') {
                Some(at) => (&rest[..=at], true),
                None => (rest, false),
            };
            let found = label(line);
            if let Some((Label::Answer, from)) = found {
                self.flush(&mut events);
                self.answer = Some(self.line + from);
                break;
            }
            if !whole {
                break;
            }
            let length = line.len();
            match found {
                Some((new, from)) => {
                    let content = line[from..].to_owned();
                    self.flush(&mut events);
                    self.section = Some(new);
                    self.over = matches!(new, Label::Action | Label::Observation);
                    if new == Label::Thought {
                        self.thought = content;
                    }
                }
                None if self.section == Some(Label::Thought) => {
                    let line = line.to_owned();
                    self.thought.push_str(&line);
                }
                None => {}
            }
            self.line += length;
        }
        if let Some(from) = self.answer
            && from < self.text.len()
        {
            let mut new = &self.text[from..];
            if new.trim().is_empty() {
                return events;
            }
            if self.line != usize::MAX {
                // The first piece: blanks before it are not part of the answer.
                new = new.trim_start();
                self.line = usize::MAX;
            }
            events.push(Event::Text(new.to_owned()));
            self.answer = Some(self.text.len());
        }
        events
    }

    fn flush(&mut self, events: &mut Vec<Event>) {
        let thought = std::mem::take(&mut self.thought);
        if !thought.trim().is_empty() {
            let value = Value::String(thought.trim().to_owned());
            events.push(Event::Custom { name: "thought".to_owned(), value });
        }
    }

    /// An answer without a label is known at the end only.
    fn end(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.flush(&mut events);
        if self.answer.is_none()
            && !self.over
            && let Parsed::Answer { text } = parse(&self.text)
        {
            events.push(Event::Text(text));
        }
        events
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
