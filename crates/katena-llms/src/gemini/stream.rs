//! The chunks of a streamed reply, decoded without I/O.

use std::fmt;

use katena_core::{
    ChatEvent, ChatResponse, Error, ErrorKind, Message, Part, PartKind, Result, Role, TokenLogprob, ToolCall,
    Usage,
};
use serde_json::Value;

use super::signature;
use super::wire::{self, Piece};
use crate::parts::Parts;

/// Decodes the chunks of one streamed reply into [`ChatEvent`]s. Each chunk is a whole response that goes on where
/// the one before it ended; the counts of the last chunk that has any are the answer's.
///
/// The protocol has no end mark: the reply ends with the connection. One that ends before a finish reason was seen
/// is an error.
///
/// ```
/// use katena_core::Accumulator;
/// use katena_llms::gemini::GeminiStreamDecoder;
/// let mut decoder = GeminiStreamDecoder::new("gemini");
/// decoder.push("message", r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}]}}]}"#)?;
/// decoder.push("message", r#"{"candidates":[{"content":{"parts":[{"text":"lo"}]},"finishReason":"STOP"}]}"#)?;
/// decoder.finish()?;
/// let mut answer = Accumulator::new();
/// while let Some(event) = decoder.next_event() {
///     answer.push(&event)?;
/// }
/// assert_eq!(answer.finish()?.text(), "Hello");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct GeminiStreamDecoder {
    vendor: String,
    parts: Parts,
    calls: usize,
    finish: Option<String>,
    usage: Usage,
    id: Option<String>,
    model: Option<String>,
    logprobs: Option<Vec<TokenLogprob>>,
    alternatives: usize,
    done: bool,
    over: bool,
}

impl fmt::Debug for GeminiStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeminiStreamDecoder").field("finish", &self.finish).finish_non_exhaustive()
    }
}

impl GeminiStreamDecoder {
    /// A decoder at the start of a reply of this vendor.
    pub fn new(vendor: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            parts: Parts::default(),
            calls: 0,
            finish: None,
            usage: Usage::default(),
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

    /// Takes one server-sent event: its type (which does not matter) and its data.
    ///
    /// # Errors
    /// The error that the event tells of; `Refused` if the prompt was blocked; `InvalidOutput` for what can't be
    /// understood. Events decoded before stay available.
    pub fn push(&mut self, event: &str, data: &str) -> Result<()> {
        let data = data.trim();
        if self.done || self.over || data.is_empty() {
            return Ok(());
        }
        // Proxies that speak other protocols too end a stream so.
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|e| {
            Error::invalid_output("the server sent JSON that can't be understood").with_source(e)
        })?;
        if event == "error" && chunk.get("error").is_none() {
            return Err(wire::error_of(&serde_json::json!({ "error": chunk })).unwrap_or_else(cut));
        }
        match &chunk {
            Value::Array(chunks) => chunks.iter().try_for_each(|chunk| self.chunk(chunk)),
            chunk => self.chunk(chunk),
        }
    }

    /// The next decoded event.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.parts.next_event()
    }

    /// True once nothing more needs to be read. Only a proxy's end mark tells: a finish reason may come twice.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Ends the reply: open parts are ended, and `Finished` comes last.
    ///
    /// # Errors
    /// Kind `Unavailable` if the stream was cut off.
    pub fn finish(&mut self) -> Result<()> {
        if self.over {
            return Ok(());
        }
        if self.finish.is_none() {
            self.over = true;
            return Err(cut());
        }
        self.finish_whole();
        Ok(())
    }

    /// Ends a reply that was whole, with or without a finish reason.
    pub(super) fn finish_whole(&mut self) {
        self.over = true;
        let message = Message::new(Role::Assistant, self.parts.finish());
        let finish = wire::finish_reason(self.finish.as_deref(), message.tool_calls().next().is_some());
        let mut response = ChatResponse::new(message, finish).with_usage(self.usage);
        response.finish_raw = self.finish.take();
        response.id = self.id.take();
        response.model = self.model.take();
        response.logprobs = self.logprobs.take();
        self.parts.finished(response);
    }

    /// Takes one response of the protocol.
    pub(super) fn chunk(&mut self, chunk: &Value) -> Result<()> {
        if !chunk.is_object() {
            return Err(Error::invalid_output("the server's reply is no response of this protocol"));
        }
        if let Some(error) = wire::error_of(chunk) {
            return Err(error);
        }
        if let Some(usage) = chunk.get("usageMetadata").filter(|u| u.is_object()) {
            self.usage = wire::usage(usage);
        }
        let word = |key: &str| wire::text(chunk.get(key)).map(str::to_owned);
        self.id = self.id.take().or_else(|| word("responseId"));
        self.model = self.model.take().or_else(|| word("modelVersion"));
        let candidates = chunk.get("candidates").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let Some(candidate) = candidates.iter().find(|c| index(c) == 0) else {
            return wire::blocked(chunk).map_or(Ok(()), Err);
        };
        let parts = candidate.get("content").and_then(|c| c.get("parts")).and_then(Value::as_array);
        for part in parts.into_iter().flatten() {
            self.part(part)?;
        }
        if let Some(result) = candidate.get("logprobsResult").filter(|r| r.is_object()) {
            let tokens = wire::logprobs(result, self.alternatives);
            self.logprobs.get_or_insert_default().extend(tokens);
        }
        if let Some(reason) = wire::word(candidate.get("finishReason")) {
            self.finish = Some(reason);
        }
        Ok(())
    }

    fn part(&mut self, part: &Value) -> Result<()> {
        let signed = |parts: &mut Parts, signature: Option<&str>| match signature {
            Some(s) => parts.whole(signature::of_next(s), s.len()).map(|_| ()),
            None => Ok(()),
        };
        match wire::piece(part, &self.vendor)? {
            Piece::Nothing => Ok(()),
            Piece::Text(text) => self.parts.append(PartKind::Text, text),
            Piece::Reasoning(text) => self.parts.append(PartKind::Reasoning, text),
            Piece::Call { id, name, arguments, signature } => {
                signed(&mut self.parts, signature)?;
                let id = match id {
                    Some(id) => id.to_owned(),
                    None => format!("call_{}_{}", self.id.as_deref().unwrap_or("0"), self.calls),
                };
                self.calls += 1;
                let size = id.len() + name.len() + arguments.len();
                self.parts.whole(Part::ToolCall(ToolCall::new(id, name, arguments)), size).map(|_| ())
            }
            Piece::Whole { part, size, signature } => {
                signed(&mut self.parts, signature)?;
                self.parts.whole(part, size).map(|_| ())
            }
        }
    }
}

/// The first candidate is the answer; a missing number is 0.
fn index(candidate: &Value) -> u64 {
    candidate.get("index").and_then(Value::as_u64).unwrap_or(0)
}

fn cut() -> Error {
    Error::new(ErrorKind::Unavailable, "the stream ended before the answer was finished")
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
