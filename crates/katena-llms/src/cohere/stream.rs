//! The events of a streamed reply of Cohere's, decoded without I/O.

use std::collections::BTreeMap;
use std::fmt;

use katena_core::{ChatEvent, ChatResponse, Error, Message, PartKind, Result, Role, TokenLogprob, Usage};
use katena_http::ErrorDetails;
use serde_json::Value;

use super::wire;
use crate::fields::{cut_off, nameless, parse, text, word};
use crate::parts::Parts;
use crate::shell::StreamDecoder;

/// More blocks or calls than any real answer has.
const MAX_INDEX: u64 = 1024;

/// Decodes the server-sent events of one streamed chat into [`ChatEvent`]s.
///
/// The answer ends with `message-end`; a stream that ends earlier is an error. Citations come last, in one opaque part.
///
/// ```
/// use katena_core::Accumulator;
/// use katena_llms::cohere::CohereStreamDecoder;
/// let mut decoder = CohereStreamDecoder::new("cohere");
/// decoder.push("content-delta", r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hello"}}}}"#)?;
/// decoder.push("message-end", r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#)?;
/// decoder.finish()?;
/// let mut answer = Accumulator::new();
/// while let Some(event) = decoder.next_event() {
///     answer.push(&event)?;
/// }
/// assert_eq!(answer.finish()?.text(), "Hello");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct CohereStreamDecoder {
    vendor: String,
    parts: Parts,
    /// The parts of the blocks of content, by index, once they have begun.
    blocks: BTreeMap<u64, (usize, PartKind)>,
    calls: BTreeMap<u64, usize>,
    citations: Vec<Value>,
    usage: Usage,
    id: Option<String>,
    finish_raw: Option<String>,
    error: String,
    logprobs: Option<Vec<TokenLogprob>>,
    done: bool,
    over: bool,
}

impl fmt::Debug for CohereStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CohereStreamDecoder")
            .field("blocks", &self.blocks.len())
            .field("calls", &self.calls.len())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

/// The index of a block or call; 0 if there is none.
fn index(event: &Value) -> Result<u64> {
    match event.get("index").and_then(Value::as_u64).unwrap_or(0) {
        n if n < MAX_INDEX => Ok(n),
        _ => Err(Error::invalid_output("a part of the answer has an index beyond the limit")),
    }
}

impl CohereStreamDecoder {
    /// A decoder at the start of a reply of this vendor.
    pub fn new(vendor: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            parts: Parts::default(),
            blocks: BTreeMap::new(),
            calls: BTreeMap::new(),
            citations: Vec::new(),
            usage: Usage::default(),
            id: None,
            finish_raw: None,
            error: String::new(),
            logprobs: None,
            done: false,
            over: false,
        }
    }

    /// Takes one server-sent event: its type and its data. After `message-end` everything is ignored, and so are events
    /// of unknown types.
    ///
    /// # Errors
    /// The error that the event tells of; `InvalidOutput` for what can't be understood. Events decoded before stay
    /// available.
    pub fn push(&mut self, event: &str, data: &str) -> Result<()> {
        let data = data.trim();
        if self.done || self.over || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let value = match parse(data) {
            Err(_) if event == "error" => {
                Value::Object([("message".to_owned(), data.into())].into_iter().collect())
            }
            value => value?,
        };
        let kind = value.get("type").and_then(Value::as_str).unwrap_or(event);
        let nothing = Value::Null;
        let delta = value.get("delta").unwrap_or(&nothing);
        let message = delta.get("message").unwrap_or(&nothing);
        match kind {
            "message-start" => self.id = word(&value, "id"),
            "content-start" | "content-delta" => {
                self.content(index(&value)?, message.get("content").unwrap_or(&nothing))?;
                let logprobs = value.get("logprobs").or_else(|| delta.get("logprobs"));
                if let Some(tokens) = logprobs.and_then(wire::logprobs) {
                    self.parts.spend(tokens.len() * 8)?;
                    self.logprobs.get_or_insert_default().extend(tokens);
                }
            }
            "content-end" => {
                if let Some((n, _)) = self.blocks.remove(&index(&value)?) {
                    self.parts.end(n);
                }
            }
            "tool-plan-delta" => self.parts.append(PartKind::Reasoning, text(message, "tool_plan"))?,
            "tool-call-start" => self.call(index(&value)?, message.get("tool_calls").unwrap_or(&nothing))?,
            "tool-call-delta" => {
                let function = message.get("tool_calls").and_then(|c| c.get("function")).unwrap_or(&nothing);
                let Some(n) = self.calls.get(&index(&value)?) else {
                    return Err(Error::invalid_output("the answer grows a tool call that has not begun"));
                };
                self.parts.delta(*n, &wire::arguments(function))?;
            }
            "tool-call-end" => {
                if let Some(n) = self.calls.get(&index(&value)?) {
                    self.parts.end(*n);
                }
            }
            "citation-start" => {
                let cited = match message.get("citations") {
                    Some(Value::Array(list)) => list.clone(),
                    Some(one @ Value::Object(_)) => vec![one.clone()],
                    _ => Vec::new(),
                };
                self.parts.spend(data.len())?;
                self.citations.extend(cited);
            }
            "message-end" => {
                self.done = true;
                self.id = self.id.take().or_else(|| word(&value, "id"));
                self.finish_raw = word(delta, "finish_reason");
                text(delta, "error").clone_into(&mut self.error);
                self.usage = delta.get("usage").map(wire::usage).unwrap_or_default();
            }
            "error" | "message" => {
                if let Some(details) = ErrorDetails::from_value(&value) {
                    return Err(details.into_error(None));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The next decoded event.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.parts.next_event()
    }

    /// True after `message-end`: nothing more needs to be read.
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
        if !self.done {
            return Err(cut_off());
        }
        let calls = !self.calls.is_empty();
        let finish = wire::finish_reason(self.finish_raw.as_deref(), calls, &self.error)?;
        if !self.citations.is_empty() {
            self.parts.whole(wire::citations(&self.vendor, std::mem::take(&mut self.citations)), 0)?;
        }
        let message = Message::new(Role::Assistant, self.parts.finish());
        let mut response = ChatResponse::new(message, finish).with_usage(self.usage);
        response.finish_raw = self.finish_raw.take();
        response.id = self.id.take();
        response.logprobs = self.logprobs.take();
        self.parts.finished(response);
        Ok(())
    }

    /// A block begins with its first text.
    fn content(&mut self, index: u64, content: &Value) -> Result<()> {
        let (kind, piece) = match text(content, "thinking") {
            "" => (PartKind::Text, text(content, "text")),
            thought => (PartKind::Reasoning, thought),
        };
        if piece.is_empty() {
            return Ok(());
        }
        let n = match self.blocks.get(&index) {
            Some((n, same)) if *same == kind => *n,
            former => {
                if let Some((n, _)) = former {
                    self.parts.end(*n);
                }
                self.parts.end_open();
                let n = self.parts.begin(kind)?;
                self.blocks.insert(index, (n, kind));
                n
            }
        };
        self.parts.delta(n, piece)
    }

    fn call(&mut self, index: u64, call: &Value) -> Result<()> {
        // Some servers send a list of one.
        let call = call.get(0).unwrap_or(call);
        let function = call.get("function").unwrap_or(call);
        let name = word(function, "name").ok_or_else(nameless)?;
        let id = word(call, "id").unwrap_or_else(|| wire::made_up_id(self.id.as_deref(), self.calls.len()));
        let n = self.parts.begin_tool(&id, &name)?;
        if let Some(former) = self.calls.insert(index, n) {
            self.parts.end(former);
        }
        self.parts.delta(n, &wire::arguments(function))
    }
}

impl StreamDecoder for CohereStreamDecoder {
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
