//! Mistral's replies, whole and streamed, decoded without I/O.

use std::fmt;

use katena_core::{
    ChatEvent, ChatResponse, Error, ErrorKind, FinishReason, Message, Part, PartKind, Result, Role,
    TokenLogprob, Usage,
};
use katena_http::ErrorDetails;
use serde_json::Value;

use crate::fields::{count, cut_off, items, logprob, nameless, text, word};
use crate::openai_shared::parse;
use crate::parts::Parts;
use crate::shell::StreamDecoder;

/// More tool calls than any real answer has.
const MAX_CALLS: usize = 128;

/// Decodes the server-sent events of one streamed answer of Mistral's into [`ChatEvent`]s.
///
/// Content comes as text or as a list of chunks; chunks of thinking are reasoning, those of unknown types opaque parts.
/// The answer ends with `[DONE]`, or with the end of the stream after a finish reason; a stream that ends earlier is an
/// error.
///
/// ```
/// use katena_core::Accumulator;
/// use katena_llms::mistral::MistralStreamDecoder;
/// let mut decoder = MistralStreamDecoder::new("mistral");
/// decoder.push("message", r#"{"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":"stop"}]}"#)?;
/// decoder.push("message", "[DONE]")?;
/// decoder.finish()?;
/// let mut answer = Accumulator::new();
/// while let Some(event) = decoder.next_event() {
///     answer.push(&event)?;
/// }
/// assert_eq!(answer.finish()?.text(), "Hello");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct MistralStreamDecoder {
    vendor: String,
    parts: Parts,
    calls: Vec<Call>,
    usage: Usage,
    id: Option<String>,
    model: Option<String>,
    finish_raw: Option<String>,
    logprobs: Option<Vec<TokenLogprob>>,
    alternatives: usize,
    answered: bool,
    done: bool,
    over: bool,
}

struct Call {
    index: Option<i64>,
    id: Option<String>,
    part: usize,
}

impl fmt::Debug for MistralStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MistralStreamDecoder")
            .field("calls", &self.calls.len())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl MistralStreamDecoder {
    /// A decoder at the start of a reply of this vendor.
    pub fn new(vendor: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            parts: Parts::default(),
            calls: Vec::new(),
            usage: Usage::default(),
            id: None,
            model: None,
            finish_raw: None,
            logprobs: None,
            alternatives: usize::MAX,
            answered: false,
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
        match parse::<Value>(data) {
            Ok(chunk) if event == "error" => Err(error_of(&chunk).unwrap_or_else(|| told(data))),
            Err(_) if event == "error" => Err(told(data)),
            chunk => self.take(&chunk?),
        }
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
    /// Kind `Unavailable` if the stream was cut off, or the server says that it could not finish the answer.
    pub fn finish(&mut self) -> Result<()> {
        if self.over {
            return Ok(());
        }
        self.over = true;
        let nothing = self.parts.is_empty() && self.finish_raw.is_none();
        if nothing || !self.done && self.finish_raw.is_none() {
            return Err(cut_off());
        }
        let finish = finish_reason(self.finish_raw.as_deref(), !self.calls.is_empty())?;
        let message = Message::new(Role::Assistant, self.parts.finish());
        let mut response = ChatResponse::new(message, finish).with_usage(self.usage);
        response.finish_raw = self.finish_raw.take();
        response.id = self.id.take();
        response.model = self.model.take();
        response.logprobs = self.logprobs.take();
        self.parts.finished(response);
        Ok(())
    }

    fn take(&mut self, chunk: &Value) -> Result<()> {
        if let Some(error) = error_of(chunk) {
            return Err(error);
        }
        self.id = self.id.take().or_else(|| word(chunk, "id"));
        self.model = self.model.take().or_else(|| word(chunk, "model"));
        if let Some(usage) = chunk.get("usage").map(usage).filter(|u| *u != Usage::default()) {
            self.usage = usage;
        }
        let first = |c: &&Value| c.get("index").and_then(Value::as_i64).unwrap_or(0) == 0;
        match items(chunk, "choices").iter().find(first) {
            Some(choice) => self.choice(choice),
            None => Ok(()),
        }
    }

    /// A choice with what it adds, or with its whole message.
    fn choice(&mut self, choice: &Value) -> Result<()> {
        self.answered = true;
        let nothing = Value::Null;
        let delta = ["delta", "message"].iter().find_map(|key| choice.get(*key)).unwrap_or(&nothing);
        match delta.get("content") {
            Some(Value::String(text)) => self.parts.append(PartKind::Text, text)?,
            Some(Value::Array(chunks)) => chunks.iter().try_for_each(|c| self.chunk(c))?,
            Some(one @ Value::Object(_)) => self.chunk(one)?,
            _ => {}
        }
        for call in items(delta, "tool_calls") {
            self.call(call)?;
        }
        let logprobs = choice.get("logprobs").unwrap_or(&nothing);
        for entry in items(logprobs, "content").iter().filter_map(|e| logprob(e, self.alternatives)) {
            self.parts.spend(entry.token.len())?;
            self.logprobs.get_or_insert_default().push(entry);
        }
        self.finish_raw = word(choice, "finish_reason").or(self.finish_raw.take());
        Ok(())
    }

    fn chunk(&mut self, chunk: &Value) -> Result<()> {
        match (text(chunk, "type"), chunk) {
            (_, Value::String(words)) => self.parts.append(PartKind::Text, words),
            (_, Value::Null) => Ok(()),
            ("thinking", _) => match chunk.get("thinking") {
                Some(Value::String(thought)) => self.parts.append(PartKind::Reasoning, thought),
                _ => items(chunk, "thinking")
                    .iter()
                    .try_for_each(|t| self.parts.append(PartKind::Reasoning, text(t, "text"))),
            },
            ("text" | "", _) if chunk.get("text").is_some_and(Value::is_string) => {
                self.parts.append(PartKind::Text, text(chunk, "text"))
            }
            _ => {
                let part = Part::Opaque { vendor: self.vendor.clone(), value: chunk.clone() };
                self.parts.whole(part, chunk.to_string().len()).map(drop)
            }
        }
    }

    /// Calls come whole as a rule; pieces are put together by index or id.
    fn call(&mut self, piece: &Value) -> Result<()> {
        let function = piece.get("function").unwrap_or(piece);
        let name = word(function, "name");
        // What the vendor sends where there is no id.
        let id = word(piece, "id").filter(|id| id != "null");
        let index = piece.get("index").and_then(Value::as_i64).filter(|n| *n >= 0);
        let at = match self.place(index, id.as_deref(), name.is_some()) {
            Some(at) => at,
            None if self.calls.len() >= MAX_CALLS => {
                return Err(Error::invalid_output("the answer has more tool calls than the limit"));
            }
            None => {
                let name = name.ok_or_else(nameless)?;
                let made_up = || format!("call_{}_{}", self.id.as_deref().unwrap_or("0"), self.calls.len());
                let shown = id.clone().unwrap_or_else(made_up);
                let part = self.parts.begin_tool(&shown, &name)?;
                self.calls.push(Call { index, id, part });
                self.calls.len() - 1
            }
        };
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        self.parts.delta(self.calls[at].part, &arguments)
    }

    fn place(&self, index: Option<i64>, id: Option<&str>, named: bool) -> Option<usize> {
        let known = |c: &Call| id.is_some() && c.id.as_deref() == id;
        if let Some(at) = self.calls.iter().position(known) {
            return Some(at);
        }
        let another = named && (id.is_some() || index.is_none());
        match index {
            _ if another => None,
            Some(_) => self.calls.iter().rposition(|c| c.index == index),
            None => self.calls.len().checked_sub(1),
        }
    }
}

fn told(words: &str) -> Error {
    let mut details = ErrorDetails::default();
    words.clone_into(&mut details.message);
    details.into_error(None)
}

/// The error that a reply or chunk holds; a null is none.
fn error_of(value: &Value) -> Option<Error> {
    let named = value.get("error").is_some_and(|e| !e.is_null()) || text(value, "object") == "error";
    named.then(|| ErrorDetails::from_value(value).unwrap_or_default().into_error(None))
}

fn usage(value: &Value) -> Usage {
    let within = |group: &str, key: &str| value.get(group).and_then(|g| count(g, key));
    let mut usage = Usage::default();
    usage.input_tokens = count(value, "prompt_tokens");
    usage.output_tokens = count(value, "completion_tokens");
    usage.cached_tokens =
        within("prompt_tokens_details", "cached_tokens").or_else(|| count(value, "num_cached_tokens"));
    usage.reasoning_tokens = within("completion_tokens_details", "reasoning_tokens");
    usage
}

/// Why it ended. An answer that its server could not finish is an error, never a short answer.
fn finish_reason(reason: Option<&str>, calls: bool) -> Result<FinishReason> {
    Ok(match reason {
        None if calls => FinishReason::ToolCalls,
        None | Some("stop") => FinishReason::Stop,
        // The context window was full.
        Some("length" | "model_length") => FinishReason::Length,
        Some("tool_calls") => FinishReason::ToolCalls,
        Some("error") => {
            let message = "the server could not finish the answer";
            return Err(Error::new(ErrorKind::Unavailable, message).with_context("finish reason", "error"));
        }
        Some(other) => FinishReason::Other(other.to_owned()),
    })
}

/// Reads a whole reply of Mistral's chat.
///
/// ```
/// let raw = serde_json::json!({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]});
/// let response = katena_llms::mistral::decode_response(raw, "mistral")?;
/// assert_eq!(response.text(), "Hi");
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// The error that the reply holds, or `InvalidOutput` if it is no reply of this protocol.
pub fn decode_response(raw: Value, vendor: &str) -> Result<ChatResponse> {
    decode_with(MistralStreamDecoder::new(vendor), raw)
}

/// A whole reply is a stream of one chunk.
pub(super) fn decode_with(mut decoder: MistralStreamDecoder, raw: Value) -> Result<ChatResponse> {
    decoder.take(&raw)?;
    if !decoder.answered {
        return Err(match ErrorDetails::from_value(&raw) {
            Some(details) => details.into_error(None),
            None => Error::invalid_output("the server's reply has no choices"),
        });
    }
    // A whole reply that names no reason was ended by its server, which is a stop; it may even be empty.
    let named = decoder.finish_raw.is_some();
    if !named {
        decoder.finish_raw = Some(if decoder.calls.is_empty() { "stop" } else { "tool_calls" }.to_owned());
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        if let ChatEvent::Finished(mut response) = event {
            response.finish_raw = response.finish_raw.filter(|_| named);
            return Ok(response.with_raw(raw));
        }
    }
    Err(Error::unexpected("a finished reply without an answer"))
}

impl StreamDecoder for MistralStreamDecoder {
    fn push(&mut self, event: &str, data: &str) -> Result<()> {
        self.push(event, data)
    }
    fn next_event(&mut self) -> Option<ChatEvent> {
        self.next_event()
    }
    fn is_done(&self) -> bool {
        self.is_done()
    }
    fn finish(&mut self) -> Result<()> {
        self.finish()
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
