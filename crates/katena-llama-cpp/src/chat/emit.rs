//! Text of one answer to stream events and the finished response.

use katena_core::{
    ChatEvent, ChatResponse, FinishReason, Message, Part, PartKind, Role, TokenLogprob, ToolCall, Usage,
};

use super::calls::{CallParser, Found};
use super::text::{StopFilter, Utf8Decoder};

/// Collects one answer.
#[derive(Debug)]
pub(crate) struct Emitter {
    decoder: Utf8Decoder,
    stop: StopFilter,
    calls: Option<CallParser>,
    /// Number of the next call's id.
    next_call: usize,
    /// Text of the open part.
    open: Option<String>,
    parts: Vec<Part>,
    logprobs: Option<Vec<TokenLogprob>>,
}

impl Emitter {
    /// Nothing said yet. `calls`: tool calls are looked for; `next_call` numbers the first.
    pub(crate) fn new(
        stop: Vec<String>,
        calls: Option<CallParser>,
        next_call: usize,
        logprobs: bool,
    ) -> Self {
        Self {
            decoder: Utf8Decoder::default(),
            stop: StopFilter::new(stop),
            calls,
            next_call,
            open: None,
            parts: Vec::new(),
            logprobs: logprobs.then(Vec::new),
        }
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
        match &mut self.calls {
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
                Found::Call(name, arguments) => {
                    self.close(events);
                    let part = self.parts.len();
                    let call = ToolCall::new(format!("call_{}", self.next_call), name, arguments);
                    self.next_call += 1;
                    events.extend([
                        ChatEvent::start_tool(part, &call.id, &call.name),
                        ChatEvent::delta(part, &call.arguments),
                        ChatEvent::end(part, Part::ToolCall(call.clone())),
                    ]);
                    self.parts.push(Part::ToolCall(call));
                }
            }
        }
    }

    fn text(&mut self, text: &str, events: &mut impl Extend<ChatEvent>) {
        let part = self.parts.len();
        match &mut self.open {
            Some(open) => open.push_str(text),
            None => {
                self.open = Some(text.to_owned());
                events.extend([ChatEvent::start(part, PartKind::Text)]);
            }
        }
        events.extend([ChatEvent::delta(part, text)]);
    }

    fn close(&mut self, events: &mut impl Extend<ChatEvent>) {
        if let Some(text) = self.open.take() {
            let part = Part::text(text);
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
        if let Some(mut parser) = self.calls.take() {
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
mod tests {
    use super::*;
    use katena_core::Accumulator;

    fn run(text: &str, stop: &[&str], calls: bool) -> ChatResponse {
        let stop = stop.iter().map(|s| (*s).to_owned()).collect();
        let mut emitter = Emitter::new(stop, calls.then(CallParser::default), 3, false);
        let mut events = Vec::new();
        for byte in text.as_bytes() {
            if emitter.stopped() {
                break;
            }
            emitter.push(&[*byte], &mut events);
        }
        emitter.finish(FinishReason::Stop, Usage::new(1, 2), "m", &mut events);
        let mut accumulator = Accumulator::new();
        for event in &events {
            accumulator.push(event).unwrap();
        }
        accumulator.finish().unwrap()
    }

    #[test]
    fn events_fold_to_the_answer() {
        let response = run("Grüße 🦙!", &[], false);
        assert_eq!(response.text(), "Grüße 🦙!");
        assert_eq!(response.finish, FinishReason::Stop);
        assert_eq!(run("one two three", &["two"], false).text(), "one ");
        assert!(run("", &[], false).message.parts.is_empty());
    }

    #[test]
    fn calls_become_parts_with_ids_of_their_own() {
        let text = "So: <tool_call>{\"name\":\"a\",\"arguments\":{\"x\":1}}</tool_call><tool_call>{\"name\":\"b\"}</tool_call>";
        let response = run(text, &[], true);
        assert_eq!(response.finish, FinishReason::ToolCalls);
        let calls: Vec<_> = response.tool_calls().collect();
        assert_eq!((calls[0].id.as_str(), calls[0].arguments.as_str()), ("call_3", "{\"x\":1}"));
        assert_eq!((calls[1].id.as_str(), calls[1].name.as_str()), ("call_4", "b"));
        assert_eq!(response.text(), "So:");
        assert_eq!(run(text, &[], false).text(), text, "without tools it is text");
    }
}
