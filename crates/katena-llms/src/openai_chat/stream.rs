//! The events of a streamed reply, decoded without I/O.

use std::collections::VecDeque;
use std::fmt;

use katena_core::{
    ChatEvent, ChatResponse, Error, ErrorKind, Message, Part, PartKind, Result, Role, TokenLogprob, ToolCall,
    Usage,
};
use serde_json::Value;

use super::wire::{self, CallDelta, Choice, Content, Reply};

/// More tool calls than any real answer has.
const MAX_CALLS: usize = 128;
/// Parts of a message; the accumulator of events takes no more.
const MAX_PARTS: usize = 2048;
/// Bytes of one answer.
const MAX_BYTES: usize = 64 << 20;

/// Decodes the server-sent events of one streamed chat completion into [`ChatEvent`]s.
///
/// Each part ends before a part of another kind begins, tool calls at the end of the answer, since their pieces may be
/// interleaved. The answer ends with `[DONE]`, or with the end of the stream after a finish reason; a stream that ends
/// earlier is an error.
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
    parts: Vec<Growing>,
    /// The part of text, reasoning or refusal that is not ended yet: always the last one of these.
    open: Option<usize>,
    calls: Vec<Call>,
    bytes: usize,
    events: VecDeque<ChatEvent>,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    id: Option<String>,
    model: Option<String>,
    logprobs: Option<Vec<TokenLogprob>>,
    alternatives: usize,
    done: bool,
    over: bool,
}

enum Growing {
    Text(PartKind, String),
    Call(usize),
    Whole(Part),
}

#[derive(Default)]
struct Call {
    index: Option<i64>,
    id: Option<String>,
    name: Option<String>,
    arguments: String,
    /// The part's number, once the name is known.
    part: Option<usize>,
}

impl fmt::Debug for OpenAiStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiStreamDecoder")
            .field("parts", &self.parts.len())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl OpenAiStreamDecoder {
    /// A decoder at the start of a reply of this vendor.
    pub fn new(vendor: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            parts: Vec::new(),
            open: None,
            calls: Vec::new(),
            bytes: 0,
            events: VecDeque::new(),
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
            let value = wire::parse::<Value>(data).unwrap_or_else(|_| Value::String(data.to_owned()));
            return Err(match value {
                Value::String(text) => wire::error_of(serde_json::json!({ "error": text })),
                value => wire::error_of(value),
            });
        }
        let mut chunk: Reply = wire::parse(data)?;
        if let Some(error) = chunk.take_error() {
            return Err(error);
        }
        // The last counts that are any win: some servers send running totals, some send null after them.
        self.usage = chunk.take_usage().or(self.usage);
        self.id = self.id.take().or_else(|| wire::word(chunk.id));
        self.model = self.model.take().or_else(|| wire::word(chunk.model));
        for choice in chunk.choices {
            if choice.index.unwrap_or(0) == 0 {
                self.choice(choice)?;
            }
        }
        Ok(())
    }

    /// The next decoded event.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.events.pop_front()
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
        self.end_open();
        if self.calls.iter().any(|c| c.part.is_none()) {
            return Err(wire::nameless());
        }
        let mut parts = Vec::with_capacity(self.parts.len());
        for (n, part) in std::mem::take(&mut self.parts).into_iter().enumerate() {
            parts.push(match part {
                Growing::Text(kind, text) => text_part(kind, text),
                Growing::Whole(part) => part,
                Growing::Call(call) => {
                    let call = std::mem::take(&mut self.calls[call]);
                    let (id, name) = (call.id.unwrap_or_default(), call.name.unwrap_or_default());
                    let part = Part::ToolCall(ToolCall::new(id, name, call.arguments));
                    self.events.push_back(ChatEvent::end(n, part.clone()));
                    part
                }
            });
        }
        let message = Message::new(Role::Assistant, parts);
        let calls = message.tool_calls().next().is_some();
        let finish = wire::finish_reason(self.finish_reason.as_deref(), calls);
        let mut response = ChatResponse::new(message, finish).with_usage(self.usage.unwrap_or_default());
        response.finish_raw = self.finish_reason.take();
        response.id = self.id.take();
        response.model = self.model.take();
        response.logprobs = self.logprobs.take();
        self.events.push_back(ChatEvent::Finished(Box::new(response)));
        Ok(())
    }

    fn choice(&mut self, mut choice: Choice) -> Result<()> {
        let mut delta = choice.take_delta();
        let reasoning = delta.take_reasoning();
        self.grow(PartKind::Reasoning, reasoning)?;
        let Content { text, other, .. } = delta.content;
        self.grow(PartKind::Text, text)?;
        for value in other {
            self.spend(value.to_string().len())?;
            self.end_open();
            let part = Part::Opaque { vendor: self.vendor.clone(), value };
            let n = self.add(Growing::Whole(part.clone()))?;
            self.events.push_back(ChatEvent::start(n, PartKind::Other));
            self.events.push_back(ChatEvent::end(n, part));
        }
        self.grow(PartKind::Refusal, delta.refusal.unwrap_or_default())?;
        for call in delta.tool_calls {
            self.call(call)?;
        }
        if let Some(function) = delta.function_call {
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

    fn spend(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        if self.bytes > MAX_BYTES {
            return Err(Error::invalid_output("the answer is larger than the limit")
                .with_context("limit", format!("{MAX_BYTES} bytes")));
        }
        Ok(())
    }

    fn add(&mut self, part: Growing) -> Result<usize> {
        if self.parts.len() >= MAX_PARTS {
            return Err(Error::invalid_output("the answer has more parts than the limit"));
        }
        self.parts.push(part);
        Ok(self.parts.len() - 1)
    }

    fn grow(&mut self, kind: PartKind, text: String) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.spend(text.len())?;
        let same = |n: &usize| matches!(&self.parts[*n], Growing::Text(k, _) if *k == kind);
        let n = match self.open.filter(same) {
            Some(n) => n,
            None => {
                self.end_open();
                let n = self.add(Growing::Text(kind, String::new()))?;
                self.events.push_back(ChatEvent::start(n, kind));
                self.open = Some(n);
                n
            }
        };
        if let Growing::Text(_, whole) = &mut self.parts[n] {
            whole.push_str(&text);
        }
        self.events.push_back(ChatEvent::delta(n, text));
        Ok(())
    }

    fn end_open(&mut self) {
        if let Some(n) = self.open.take()
            && let Growing::Text(kind, text) = &self.parts[n]
        {
            self.events.push_back(ChatEvent::end(n, text_part(*kind, text.clone())));
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
        self.spend(piece.function.arguments.0.len())?;
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
        let call = &mut self.calls[at];
        let id = piece.id.filter(|i| !i.is_empty());
        let name = piece.function.name.filter(|n| !n.is_empty());
        let arguments = piece.function.arguments.0;
        call.arguments.push_str(&arguments);
        if let Some(n) = call.part {
            if !arguments.is_empty() {
                self.events.push_back(ChatEvent::delta(n, arguments));
            }
            return Ok(());
        }
        // Nothing is told of a call before its name is known; then all that has come.
        call.id = call.id.take().or(id);
        call.name = name;
        let Some(name) = call.name.clone() else { return Ok(()) };
        let id = call.id.get_or_insert_with(|| wire::made_up_id(self.id.as_deref(), at)).clone();
        let so_far = call.arguments.clone();
        self.end_open();
        let n = self.add(Growing::Call(at))?;
        self.calls[at].part = Some(n);
        self.events.push_back(ChatEvent::start_tool(n, id, name));
        if !so_far.is_empty() {
            self.events.push_back(ChatEvent::delta(n, so_far));
        }
        Ok(())
    }
}

fn text_part(kind: PartKind, text: String) -> Part {
    match kind {
        PartKind::Reasoning => Part::Reasoning { text, signature: None },
        PartKind::Refusal => Part::Refusal { text },
        _ => Part::text(text),
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
