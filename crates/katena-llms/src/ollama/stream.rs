//! Ollama's replies, whole and in lines, decoded without I/O.

use std::fmt;

use katena_core::{
    ChatEvent, ChatResponse, Error, FinishReason, Message, Part, PartKind, Result, Role, TokenLogprob,
    ToolCall, Usage,
};
use katena_http::ErrorDetails;
use serde_json::Value;

use crate::fields::{count, cut_off, items, logprob, nameless, parse, text, word};
use crate::parts::Parts;
use crate::shell::StreamDecoder;

/// Decodes the lines of one streamed answer of `/api/chat` into [`ChatEvent`]s.
///
/// The answer ends with the line that says `"done": true`; a stream that ends earlier is an error.
///
/// ```
/// use katena_core::Accumulator;
/// use katena_llms::ollama::OllamaStreamDecoder;
/// let mut decoder = OllamaStreamDecoder::new();
/// decoder.push(r#"{"message":{"role":"assistant","content":"Hello"},"done":false}"#)?;
/// decoder.push(r#"{"message":{"content":""},"done":true,"done_reason":"stop","eval_count":2}"#)?;
/// decoder.finish()?;
/// let mut answer = Accumulator::new();
/// while let Some(event) = decoder.next_event() {
///     answer.push(&event)?;
/// }
/// assert_eq!(answer.finish()?.text(), "Hello");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct OllamaStreamDecoder {
    parts: Parts,
    usage: Usage,
    model: Option<String>,
    finish_raw: Option<String>,
    logprobs: Option<Vec<TokenLogprob>>,
    alternatives: usize,
    calls: usize,
    /// The text of an answer that is made to be a tool call.
    forced: Option<String>,
    answered: bool,
    done: bool,
    over: bool,
}

impl fmt::Debug for OllamaStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OllamaStreamDecoder")
            .field("calls", &self.calls)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl Default for OllamaStreamDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl OllamaStreamDecoder {
    /// A decoder at the start of a reply.
    pub fn new() -> Self {
        Self {
            parts: Parts::default(),
            usage: Usage::default(),
            model: None,
            finish_raw: None,
            logprobs: None,
            alternatives: usize::MAX,
            calls: 0,
            forced: None,
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

    /// The answer was made to be a tool call: text of the form `{"name": …, "arguments": {…}}` is one.
    pub fn with_forced_call(mut self) -> Self {
        self.forced = Some(String::new());
        self
    }

    /// Takes one line. After the last one everything is ignored.
    ///
    /// # Errors
    /// The error that the line tells of; `InvalidOutput` for what can't be understood. Events decoded before stay
    /// available.
    pub fn push(&mut self, line: &str) -> Result<()> {
        if self.done || self.over || line.trim().is_empty() {
            return Ok(());
        }
        self.take(&parse(line)?)
    }

    /// The next decoded event.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.parts.next_event()
    }

    /// True after the last line: nothing more needs to be read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Ends the reply: open parts are ended, and `Finished` comes last.
    ///
    /// # Errors
    /// Kind `Unavailable` if the stream was cut off; `InvalidOutput` if the answer had to be a tool call and is none.
    pub fn finish(&mut self) -> Result<()> {
        if self.over {
            return Ok(());
        }
        self.over = true;
        if !self.done {
            return Err(cut_off());
        }
        match self.forced.take() {
            Some(text) if self.calls == 0 => self.forced_call(&text)?,
            // The server took the call out by itself; what else was said is text.
            Some(text) => self.parts.append(PartKind::Text, text.trim())?,
            None => {}
        }
        let message = Message::new(Role::Assistant, self.parts.finish());
        let finish = finish_reason(self.finish_raw.as_deref(), self.calls > 0);
        let mut response = ChatResponse::new(message, finish).with_usage(self.usage);
        response.finish_raw = self.finish_raw.take();
        response.model = self.model.take();
        response.logprobs = self.logprobs.take();
        self.parts.finished(response);
        Ok(())
    }

    fn take(&mut self, chunk: &Value) -> Result<()> {
        if chunk.get("error").is_some_and(|e| !e.is_null()) {
            return Err(ErrorDetails::from_value(chunk).unwrap_or_default().into_error(None));
        }
        self.model = self.model.take().or_else(|| word(chunk, "model"));
        for entry in items(chunk, "logprobs").iter().filter_map(|e| logprob(e, self.alternatives)) {
            self.parts.spend(entry.token.len())?;
            self.logprobs.get_or_insert_default().push(entry);
        }
        if let Some(message) = chunk.get("message").filter(|m| m.is_object()) {
            self.answered = true;
            self.parts.append(PartKind::Reasoning, text(message, "thinking"))?;
            match &mut self.forced {
                Some(whole) => {
                    self.parts.spend(text(message, "content").len())?;
                    whole.push_str(text(message, "content"));
                }
                None => self.parts.append(PartKind::Text, text(message, "content"))?,
            }
            for call in items(message, "tool_calls") {
                self.call(call, text(chunk, "created_at"))?;
            }
        }
        if chunk.get("done").and_then(Value::as_bool) == Some(true) {
            self.done = true;
            self.finish_raw = word(chunk, "done_reason");
            self.usage.input_tokens = count(chunk, "prompt_eval_count");
            self.usage.output_tokens = count(chunk, "eval_count");
        }
        Ok(())
    }

    /// A call comes whole, its arguments as an object, and before version 0.12 without an id.
    fn call(&mut self, call: &Value, created_at: &str) -> Result<()> {
        let function = call.get("function").unwrap_or(call);
        let name = word(function, "name").ok_or_else(nameless)?;
        let id = word(call, "id").unwrap_or_else(|| self.made_up_id(created_at));
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        self.calls += 1;
        let size = id.len() + name.len() + arguments.len();
        self.parts.whole(Part::ToolCall(ToolCall::new(id, name, arguments)), size)?;
        Ok(())
    }

    /// The time keeps ids of several answers of one conversation apart.
    fn made_up_id(&self, created_at: &str) -> String {
        let time: String = created_at.chars().filter(char::is_ascii_digit).take(32).collect();
        format!("call_{}_{}", if time.is_empty() { "0" } else { &time }, self.calls)
    }

    fn forced_call(&mut self, text: &str) -> Result<()> {
        let call = serde_json::from_str::<Value>(text.trim()).ok().filter(|c| word(c, "name").is_some());
        match call {
            Some(call) => self.call(&call, ""),
            None => {
                Err(Error::invalid_output("the model had to call a tool, but its answer is no whole call"))
            }
        }
    }
}

fn finish_reason(reason: Option<&str>, calls: bool) -> FinishReason {
    match reason {
        None | Some("stop" | "tool_calls") if calls => FinishReason::ToolCalls,
        None | Some("stop") => FinishReason::Stop,
        Some("length") => FinishReason::Length,
        Some(other) => FinishReason::Other(other.to_owned()),
    }
}

/// Reads a whole reply of `/api/chat`.
///
/// ```
/// let raw = serde_json::json!({"message": {"content": "Hi"}, "done": true, "done_reason": "stop"});
/// let response = katena_llms::ollama::decode_response(raw, "ollama")?;
/// assert_eq!(response.text(), "Hi");
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// The error that the reply holds, or `InvalidOutput` if it is no reply of this protocol.
pub fn decode_response(raw: Value, _vendor: &str) -> Result<ChatResponse> {
    decode_with(OllamaStreamDecoder::new(), raw)
}

/// A whole reply is a stream of one line.
pub(super) fn decode_with(mut decoder: OllamaStreamDecoder, raw: Value) -> Result<ChatResponse> {
    decoder.take(&raw)?;
    if !decoder.answered {
        return Err(match ErrorDetails::from_value(&raw) {
            Some(details) => details.into_error(None),
            None => Error::invalid_output("the server's reply has no message"),
        });
    }
    if !decoder.done {
        decoder.usage.input_tokens = count(&raw, "prompt_eval_count");
        decoder.usage.output_tokens = count(&raw, "eval_count");
        decoder.done = raw.get("done").is_none();
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        if let ChatEvent::Finished(response) = event {
            return Ok(response.with_raw(raw));
        }
    }
    Err(Error::unexpected("a finished reply without an answer"))
}

impl StreamDecoder for OllamaStreamDecoder {
    fn push(&mut self, _event: &str, data: &str) -> Result<()> {
        self.push(data)
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
