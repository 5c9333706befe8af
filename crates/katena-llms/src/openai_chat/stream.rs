//! The events of a streamed reply, decoded without I/O.

use std::fmt;

use katena_core::{ChatEvent, Error, ErrorKind, Message, Part, PartKind, Result, Role, TokenLogprob, Usage};
use serde_json::Value;

use super::quick;
use super::reasoning::{Details, text_of};
use super::wire::{self, CallDelta, Choice, Content, Reply};
use crate::openai_shared::{parse, word};
use crate::parts::Parts;

/// More tool calls than any real answer has.
const MAX_CALLS: usize = 128;

/// Decodes the server-sent events of one streamed chat completion into [`ChatEvent`]s.
///
/// Each part ends before a part of another kind begins; tool calls at the end of the answer, since their pieces may be
/// interleaved, and so does reasoning that the server signs. The answer ends with `[DONE]`, or with the end of the stream
/// after a finish reason; a stream that ends earlier is an error.
///
/// ```
/// use katena_core::Accumulator;
/// use katena_llms::openai_chat::OpenAiStreamDecoder;
/// let mut decoder = OpenAiStreamDecoder::new("openai");
/// decoder.push("message", r#"{"choices":[{"delta":{"content":"Hello"}}]}"#)?;
/// decoder.push("message", r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#)?;
/// decoder.push("message", "[DONE]")?;
/// decoder.finish()?;
/// let mut answer = Accumulator::new();
/// while let Some(event) = decoder.next_event() {
///     answer.push(&event)?;
/// }
/// assert_eq!(answer.finish()?.text(), "Hello");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct OpenAiStreamDecoder {
    vendor: String,
    parts: Parts,
    calls: Vec<Call>,
    /// The part of reasoning that still grows.
    reasoning: Option<usize>,
    details: Details,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    id: Option<String>,
    model: Option<String>,
    logprobs: Option<Vec<TokenLogprob>>,
    alternatives: usize,
    done: bool,
    over: bool,
}

#[derive(Default)]
struct Call {
    index: Option<i64>,
    id: Option<String>,
    name: Option<String>,
    /// What came of the arguments before the name.
    before: String,
    /// The part's number, once the name is known.
    part: Option<usize>,
}

impl fmt::Debug for OpenAiStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiStreamDecoder")
            .field("calls", &self.calls.len())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl OpenAiStreamDecoder {
    /// A decoder at the start of a reply of this vendor.
    pub fn new(vendor: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            parts: Parts::default(),
            calls: Vec::new(),
            reasoning: None,
            details: Details::default(),
            finish_reason: None,
            usage: None,
            id: None,
            model: None,
            logprobs: None,
            alternatives: usize::MAX,
            done: false,
            over: false,
        }
    }

    /// Keeps at most this many alternatives of each token's log-probability.
    pub fn with_max_alternatives(mut self, alternatives: usize) -> Self {
        self.alternatives = alternatives;
        self
    }

    /// Takes one server-sent event: its type and its data. After `[DONE]` everything is ignored.
    ///
    /// # Errors
    /// The error that the event tells of; `InvalidOutput` for what can't be understood. Events decoded before stay
    /// available.
    pub fn push(&mut self, event: &str, data: &str) -> Result<()> {
        let data = data.trim();
        if self.done || self.over || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        if event == "error" {
            let value = parse::<Value>(data).unwrap_or_else(|_| Value::String(data.to_owned()));
            return Err(match value {
                Value::String(text) => wire::error_of(serde_json::json!({ "error": text })),
                value => wire::error_of(value),
            });
        }
        // The first chunk names id and model.
        if self.model.is_some()
            && let Some(text) = quick::piece(data)
        {
            return self.grow(PartKind::Text, &text);
        }
        let mut chunk: Reply = parse(data)?;
        if let Some(error) = chunk.take_error() {
            return Err(error);
        }
        // The last counts that are any win: some servers send running totals, some send null after them.
        self.usage = chunk.take_usage().or(self.usage);
        self.id = self.id.take().or_else(|| word(chunk.id.as_ref()));
        self.model = self.model.take().or_else(|| word(chunk.model.as_ref()));
        for choice in chunk.choices {
            if choice.index.unwrap_or(0) == 0 {
                self.choice(choice)?;
            }
        }
        Ok(())
    }

    /// The next decoded event.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.parts.next_event()
    }

    /// True after `[DONE]`: nothing more needs to be read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Ends the reply: open parts are ended, and `Finished` comes last.
    ///
    /// # Errors
    /// Kind `Unavailable` if the stream was cut off; `InvalidOutput` if a tool call never got its name.
    pub fn finish(&mut self) -> Result<()> {
        if self.over {
            return Ok(());
        }
        self.over = true;
        let nothing = self.parts.is_empty() && self.calls.is_empty() && self.finish_reason.is_none();
        if nothing || !self.done && self.finish_reason.is_none() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the stream ended before the answer was finished",
            ));
        }
        if self.calls.iter().any(|c| c.part.is_none()) {
            return Err(wire::nameless());
        }
        if let Some(signature) = self.details.signature(&self.vendor) {
            let part = self.reasoning_part()?;
            self.parts.sign(part, &signature)?;
        }
        let message = Message::new(Role::Assistant, self.parts.finish());
        let calls = message.tool_calls().next().is_some();
        let finish = wire::finish_reason(self.finish_reason.as_deref(), calls);
        let mut response = katena_core::ChatResponse::new(message, finish);
        response.usage = self.usage.unwrap_or_default();
        response.finish_raw = self.finish_reason.take();
        response.id = self.id.take();
        response.model = self.model.take();
        response.logprobs = self.logprobs.take();
        self.parts.finished(response);
        Ok(())
    }

    fn choice(&mut self, mut choice: Choice) -> Result<()> {
        let mut delta = choice.take_delta();
        self.reasoning(delta.take_reasoning(), std::mem::take(&mut delta.reasoning_details))?;
        let Content { text, other, .. } = delta.content;
        self.grow(PartKind::Text, &text)?;
        for value in other {
            self.end_reasoning();
            let size = value.to_string().len();
            self.parts.whole(Part::Opaque { vendor: self.vendor.clone(), value }, size)?;
        }
        self.grow(PartKind::Refusal, &delta.refusal.unwrap_or_default())?;
        for call in delta.tool_calls {
            self.call(call)?;
        }
        if let Some(function) = delta.function_call.filter(|f| !f.is_empty()) {
            // The old form has one call at most, so its pieces share an index.
            self.call(CallDelta { index: Some(0), id: None, function })?;
        }
        if let Some(logprobs) = choice.logprobs {
            self.logprobs.get_or_insert_default().extend(logprobs.tokens(self.alternatives));
        }
        if let Some(reason) = choice.finish_reason.filter(|r| !r.is_empty()) {
            self.finish_reason = Some(reason);
        }
        Ok(())
    }

    fn grow(&mut self, kind: PartKind, text: &str) -> Result<()> {
        if !text.is_empty() {
            self.end_reasoning();
        }
        self.parts.append(kind, text)
    }

    fn reasoning(&mut self, mut text: String, details: Vec<Value>) -> Result<()> {
        if text.is_empty() {
            text = details.iter().filter_map(text_of).collect();
        }
        let size = self.details.add(details)?;
        self.parts.spend(size)?;
        if text.is_empty() {
            return Ok(());
        }
        let part = self.reasoning_part()?;
        self.parts.delta(part, &text)
    }

    fn reasoning_part(&mut self) -> Result<usize> {
        if let Some(part) = self.reasoning {
            return Ok(part);
        }
        self.parts.end_open();
        let part = self.parts.begin(PartKind::Reasoning)?;
        self.reasoning = Some(part);
        Ok(part)
    }

    /// Something else comes. Signed reasoning stays open: its signature may come late.
    fn end_reasoning(&mut self) {
        if self.details.is_empty()
            && let Some(part) = self.reasoning.take()
        {
            self.parts.end(part);
        }
    }

    /// Which call a piece belongs to. Pieces of known calls often carry an index alone; servers that give none, or the
    /// same to all, still tell new calls apart by id and name.
    fn place(&self, piece: &CallDelta) -> Option<usize> {
        let id = piece.id.as_deref().filter(|i| !i.is_empty());
        let name = piece.function.name.as_deref().filter(|n| !n.is_empty());
        // −1 is what some servers send for "no index".
        if let Some(index) = piece.index.filter(|i| *i >= 0) {
            let same = |c: &Call| c.index == Some(index);
            if let Some(at) = self.calls.iter().position(|c| same(c) && id.is_some() && c.id.as_deref() == id)
            {
                return Some(at);
            }
            let at = self.calls.iter().rposition(same)?;
            let call = &self.calls[at];
            let another = id.is_some() && name.is_some() && call.id.is_some() && call.id.as_deref() != id;
            return (!another).then_some(at);
        }
        match (id, name) {
            (Some(id), _) => self.calls.iter().position(|c| c.id.as_deref() == Some(id)),
            (None, Some(_)) => None,
            (None, None) => self.calls.len().checked_sub(1),
        }
    }

    fn call(&mut self, piece: CallDelta) -> Result<()> {
        if piece.index.is_some_and(|i| usize::try_from(i).is_ok_and(|i| i >= MAX_CALLS)) {
            return Err(Error::invalid_output("a tool call has an index beyond the limit"));
        }
        let at = match self.place(&piece) {
            Some(at) => at,
            None if self.calls.len() >= MAX_CALLS => {
                return Err(Error::invalid_output("the answer has more tool calls than the limit"));
            }
            None => {
                self.calls.push(Call { index: piece.index.filter(|i| *i >= 0), ..Call::default() });
                self.calls.len() - 1
            }
        };
        let arguments = piece.function.arguments.0;
        let call = &mut self.calls[at];
        if let Some(part) = call.part {
            return self.parts.delta(part, &arguments);
        }
        // Nothing is told of a call before its name is known; then all that has come.
        self.parts.spend(arguments.len())?;
        call.before.push_str(&arguments);
        call.id = call.id.take().or(piece.id.filter(|i| !i.is_empty()));
        call.name = piece.function.name.filter(|n| !n.is_empty());
        let Some(name) = call.name.clone() else { return Ok(()) };
        let id = call.id.get_or_insert_with(|| wire::made_up_id(self.id.as_deref(), at)).clone();
        let before = std::mem::take(&mut call.before);
        self.end_reasoning();
        let part = self.parts.begin_tool(&id, &name)?;
        self.calls[at].part = Some(part);
        self.parts.delta(part, &before)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
