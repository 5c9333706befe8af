//! Text of one answer to stream events and the finished response.

use std::sync::Arc;

use katena_core::{
    ChatEvent, ChatResponse, FinishReason, Message, Part, PartKind, Role, TokenLogprob, ToolCall, Usage,
};

use super::calls::{CallParser, Found};
use super::text::{StopFilter, Utf8Decoder};
use super::thoughts::{Thought, Thoughts};

/// How an answer's text is read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Reasoning before the answer is looked for.
    pub(crate) thoughts: Option<Thoughts>,
    /// Tool calls are looked for.
    pub(crate) calls: Option<CallParser>,
    /// A tool must be called.
    pub(crate) forced: bool,
    /// Control tokens whose text is looked for, sorted.
    pub(crate) marks: Arc<[i32]>,
}

impl Reading {
    /// True if the text of this control token matters.
    pub(crate) fn shows(&self, token: i32) -> bool {
        (self.thoughts.is_some() || self.calls.is_some()) && self.marks.binary_search(&token).is_ok()
    }
}

/// Collects one answer.
#[derive(Debug)]
pub(crate) struct Emitter {
    decoder: Utf8Decoder,
    stop: StopFilter,
    reading: Reading,
    /// Number of the next call's id.
    next_call: usize,
    /// The part that grows.
    open: Option<Part>,
    parts: Vec<Part>,
    logprobs: Option<Vec<TokenLogprob>>,
}

impl Emitter {
    /// Nothing said yet. `next_call` numbers the first call.
    pub(crate) fn new(stop: Vec<String>, reading: Reading, next_call: usize, logprobs: bool) -> Self {
        Self {
            decoder: Utf8Decoder::default(),
            stop: StopFilter::new(stop),
            reading,
            next_call,
            open: None,
            parts: Vec::new(),
            logprobs: logprobs.then(Vec::new),
        }
    }

    /// True if the text of this control token matters.
    pub(crate) fn shows(&self, token: i32) -> bool {
        self.reading.shows(token)
    }

    /// True if a tool must be called.
    pub(crate) fn forced(&self) -> bool {
        self.reading.forced
    }

    /// Takes the bytes of a token.
    pub(crate) fn push(&mut self, piece: &[u8], events: &mut impl Extend<ChatEvent>) {
        let text = self.decoder.push(piece);
        let text = self.stop.push(&text);
        self.take(&text, events);
    }

    /// Takes what is known of a token's probability.
    pub(crate) fn logprob(&mut self, entry: TokenLogprob) {
        if let Some(list) = &mut self.logprobs {
            list.push(entry);
        }
    }

    /// True once a stop text was met.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.stopped()
    }

    fn take(&mut self, text: &str, events: &mut impl Extend<ChatEvent>) {
        if text.is_empty() {
            return;
        }
        match &mut self.reading.thoughts {
            None => self.answer(text, events),
            Some(thoughts) => {
                let found = thoughts.push(text);
                self.thought(found, events);
            }
        }
    }

    fn thought(&mut self, found: Vec<Thought>, events: &mut impl Extend<ChatEvent>) {
        for item in found {
            match item {
                Thought::Reasoning(text) => {
                    let begin = || Part::Reasoning { text: String::new(), signature: None };
                    self.grow(PartKind::Reasoning, begin, &text, events);
                }
                Thought::Rest(text) => self.answer(&text, events),
            }
        }
    }

    fn answer(&mut self, text: &str, events: &mut impl Extend<ChatEvent>) {
        match &mut self.reading.calls {
            None => self.text(text, events),
            Some(parser) => {
                let found = parser.push(text);
                self.found(found, events);
            }
        }
    }

    fn found(&mut self, found: Vec<Found>, events: &mut impl Extend<ChatEvent>) {
        for item in found {
            match item {
                Found::Text(text) => self.text(&text, events),
                Found::Start(name) => {
                    self.close(events);
                    let call = ToolCall::new(format!("call_{}", self.next_call), name, "");
                    self.next_call += 1;
                    events.extend([ChatEvent::start_tool(self.parts.len(), &call.id, &call.name)]);
                    self.open = Some(Part::ToolCall(call));
                }
                Found::Arguments(text) => {
                    let begin = || Part::ToolCall(ToolCall::new("", "", ""));
                    self.grow(PartKind::ToolCall, begin, &text, events);
                }
                Found::End => self.close(events),
            }
        }
    }

    fn text(&mut self, text: &str, events: &mut impl Extend<ChatEvent>) {
        self.grow(PartKind::Text, || Part::text(""), text, events);
    }

    /// Adds to the open part, if it is of this kind; else begins another.
    fn grow(
        &mut self,
        kind: PartKind,
        begin: impl FnOnce() -> Part,
        text: &str,
        events: &mut impl Extend<ChatEvent>,
    ) {
        if self.open.as_ref().is_some_and(|part| part.kind() != kind) {
            self.close(events);
        }
        let number = self.parts.len();
        let open = self.open.get_or_insert_with(|| {
            events.extend([ChatEvent::start(number, kind)]);
            begin()
        });
        match open {
            Part::Text { text: whole } | Part::Reasoning { text: whole, .. } => whole.push_str(text),
            Part::ToolCall(call) => call.arguments.push_str(text),
            _ => {}
        }
        events.extend([ChatEvent::delta(number, text)]);
    }

    fn close(&mut self, events: &mut impl Extend<ChatEvent>) {
        if let Some(part) = self.open.take() {
            events.extend([ChatEvent::end(self.parts.len(), part.clone())]);
            self.parts.push(part);
        }
    }

    /// Ends the answer: what was held back, the end of the open part, `Finished`.
    pub(crate) fn finish(
        mut self,
        finish: FinishReason,
        usage: Usage,
        model: &str,
        events: &mut impl Extend<ChatEvent>,
    ) {
        if !self.stop.stopped() {
            let tail = self.decoder.finish();
            let mut text = self.stop.push(&tail);
            text.push_str(&self.stop.finish());
            self.take(&text, events);
        }
        if let Some(mut thoughts) = self.reading.thoughts.take() {
            let found = thoughts.finish();
            self.thought(found, events);
        }
        if let Some(mut parser) = self.reading.calls.take() {
            let found = parser.finish();
            self.found(found, events);
        }
        self.close(events);
        let called = self.parts.iter().any(|p| matches!(p, Part::ToolCall(_)));
        let finish = if called && finish == FinishReason::Stop { FinishReason::ToolCalls } else { finish };
        let message = Message::new(Role::Assistant, self.parts);
        let mut response = ChatResponse::new(message, finish).with_usage(usage).with_model(model);
        if let Some(logprobs) = self.logprobs {
            response = response.with_logprobs(logprobs);
        }
        events.extend([ChatEvent::Finished(Box::new(response))]);
    }
}

#[cfg(test)]
#[path = "emit_tests.rs"]
mod tests;
