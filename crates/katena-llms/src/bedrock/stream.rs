//! Converse's streamed replies, decoded without I/O, and the frames that they come in.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{Stream, StreamExt as _};
use katena_core::{ChatEvent, ChatResponse, Error, ErrorKind, Message, Part, PartKind, Result, Role, Usage};
use katena_http::HttpStream;
use katena_http::aws::Frame;
use serde_json::{Map, Value, json};

use super::wire;
use crate::parts::Parts;
use crate::shell::StreamDecoder;

/// Blocks of one answer.
const MAX_BLOCKS: usize = 2048;

/// The type and the payload of each frame; an exception is an error.
pub(super) fn frames(body: HttpStream) -> impl Stream<Item = Result<(String, String)>> + Send + 'static {
    body.into_event_stream().map(|frame| frame.and_then(|frame| event_of(&frame)))
}

/// The type and the payload of a frame.
pub(super) fn event_of(frame: &Frame) -> Result<(String, String)> {
    match frame.message_type() {
        "exception" => Err(wire::exception(frame.event_type(), &frame.payload)),
        "error" => {
            let message = frame.text(":error-message").unwrap_or_default();
            Err(wire::exception(frame.event_type(), json!(message).to_string().as_bytes()))
        }
        _ => {
            let payload = std::str::from_utf8(&frame.payload)
                .map_err(|e| Error::invalid_output("the payload of a frame is no text").with_source(e))?;
            Ok((frame.event_type().to_owned(), payload.to_owned()))
        }
    }
}

/// Decodes the events of one streamed answer of Converse into [`ChatEvent`]s.
///
/// The answer is over with `metadata` after `messageStop`; a stream that ends before `messageStop` is an error.
///
/// ```
/// use katena_core::Accumulator;
/// use katena_llms::bedrock::ConverseStreamDecoder;
/// let mut decoder = ConverseStreamDecoder::new("bedrock");
/// decoder.push("messageStart", r#"{"role":"assistant"}"#)?;
/// decoder.push("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hello"}}"#)?;
/// decoder.push("contentBlockStop", r#"{"contentBlockIndex":0}"#)?;
/// decoder.push("messageStop", r#"{"stopReason":"end_turn"}"#)?;
/// decoder.push("metadata", r#"{"usage":{"inputTokens":3,"outputTokens":1}}"#)?;
/// decoder.finish()?;
/// let mut answer = Accumulator::new();
/// while let Some(event) = decoder.next_event() {
///     answer.push(&event)?;
/// }
/// assert_eq!(answer.finish()?.text(), "Hello");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct ConverseStreamDecoder {
    vendor: String,
    parts: Parts,
    blocks: BTreeMap<u64, Block>,
    stop_reason: Option<String>,
    stopped: bool,
    usage: Option<Usage>,
    done: bool,
    over: bool,
}

/// A block that has not stopped.
#[derive(Default)]
struct Block {
    /// The part of text, reasoning or tool call that grows.
    part: Option<usize>,
    kind: Option<PartKind>,
    text: String,
    citations: Vec<Value>,
    /// Redacted reasoning, as bytes.
    redacted: Vec<u8>,
    /// What a tool of the service was asked (its input still as text), or answered.
    own: Option<(&'static str, Map<String, Value>)>,
    results: Vec<Value>,
}

impl fmt::Debug for ConverseStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConverseStreamDecoder")
            .field("open", &self.blocks.len())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl ConverseStreamDecoder {
    /// A decoder at the start of a reply of this vendor.
    pub fn new(vendor: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            parts: Parts::default(),
            blocks: BTreeMap::new(),
            stop_reason: None,
            stopped: false,
            usage: None,
            done: false,
            over: false,
        }
    }

    /// Takes one event: its type and its payload. Events of unknown types are passed over.
    ///
    /// # Errors
    /// The error that the event tells of; `InvalidOutput` for what can't be understood. Events decoded before stay
    /// available.
    pub fn push(&mut self, event: &str, data: &str) -> Result<()> {
        if self.done || self.over {
            return Ok(());
        }
        if event.ends_with("Exception") {
            return Err(wire::exception(event, data.as_bytes()));
        }
        let known = ["contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];
        if !known.contains(&event) || data.trim().is_empty() {
            return Ok(());
        }
        let value: Value = serde_json::from_str(data)
            .map_err(|e| Error::invalid_output("the server sent an event that is no JSON").with_source(e))?;
        let index = value.get("contentBlockIndex").and_then(Value::as_u64).unwrap_or(0);
        match event {
            "contentBlockStart" => self.start(index, &value["start"]),
            "contentBlockDelta" => self.delta(index, &value["delta"]),
            "contentBlockStop" => self.stop(index),
            "messageStop" => {
                self.stopped = true;
                self.stop_reason = value.get("stopReason").and_then(Value::as_str).map(str::to_owned);
                Ok(())
            }
            _ => {
                self.usage = value.get("usage").filter(|u| u.is_object()).map(wire::usage).or(self.usage);
                self.done = self.stopped;
                Ok(())
            }
        }
    }

    /// The next decoded event.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.parts.next_event()
    }

    /// True once nothing more needs to be read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Ends the reply: open parts are ended, and `Finished` comes last.
    ///
    /// # Errors
    /// Kind `Unavailable` if the stream was cut off.
    pub fn finish(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(());
        }
        if !self.stopped {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the stream ended before the answer was finished",
            ));
        }
        while let Some((index, _)) = self.blocks.first_key_value() {
            self.stop(*index)?;
        }
        let message = Message::new(Role::Assistant, self.parts.finish());
        let word = self.stop_reason.take().filter(|w| !w.is_empty());
        let finish = wire::finish_reason(word.as_deref(), message.tool_calls().next().is_some());
        let mut response = ChatResponse::new(message, finish).with_usage(self.usage.unwrap_or_default());
        response.finish_raw = word;
        self.parts.finished(response);
        Ok(())
    }

    fn block(&mut self, index: u64) -> Result<&mut Block> {
        if !self.blocks.contains_key(&index) && self.blocks.len() >= MAX_BLOCKS {
            return Err(Error::invalid_output("the answer has more open blocks than the limit"));
        }
        Ok(self.blocks.entry(index).or_default())
    }

    fn start(&mut self, index: u64, start: &Value) -> Result<()> {
        let word = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        if let Some(call) = start.get("toolUse").filter(|c| c.is_object()) {
            if wire::is_server_tool(call) {
                return self.start_own(index, "toolUse", call);
            }
            let name = word(call, "name");
            if name.is_empty() {
                return Err(wire::nameless());
            }
            let part = self.parts.begin_tool(&word(call, "toolUseId"), &name)?;
            let block = self.block(index)?;
            (block.part, block.kind) = (Some(part), Some(PartKind::ToolCall));
        } else if let Some(result) = start.get("toolResult").filter(|r| r.is_object()) {
            return self.start_own(index, "toolResult", result);
        }
        Ok(())
    }

    fn start_own(&mut self, index: u64, kind: &'static str, value: &Value) -> Result<()> {
        self.parts.spend(value.to_string().len())?;
        self.block(index)?.own = Some((kind, value.as_object().cloned().unwrap_or_default()));
        Ok(())
    }

    fn delta(&mut self, index: u64, delta: &Value) -> Result<()> {
        let Some(delta) = delta.as_object() else { return Ok(()) };
        for (kind, value) in delta {
            match (kind.as_str(), value) {
                ("text", Value::String(text)) => {
                    self.grow(index, PartKind::Text, text)?;
                    self.block(index)?.text.push_str(text);
                }
                ("toolUse", call) => {
                    let input = match call.get("input") {
                        Some(Value::String(text)) => text.clone(),
                        Some(Value::Null) | None => continue,
                        Some(whole) => whole.to_string(),
                    };
                    self.grow_call(index, &input)?;
                }
                ("reasoningContent", reasoning) => self.reasoning(index, reasoning)?,
                ("citation", citation) => {
                    self.parts.spend(citation.to_string().len())?;
                    self.block(index)?.citations.push(citation.clone());
                }
                ("toolResult", result) => {
                    self.parts.spend(result.to_string().len())?;
                    let results = &mut self.block(index)?.results;
                    match result {
                        Value::Array(list) => results.extend(list.iter().cloned()),
                        other => results.push(other.clone()),
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn grow(&mut self, index: u64, kind: PartKind, text: &str) -> Result<usize> {
        let block = self.block(index)?;
        let part = match (block.part, block.kind) {
            (Some(part), Some(open)) if open == kind => part,
            (Some(_), _) => return Err(Error::invalid_output("a block of the answer changes its kind")),
            // An empty piece alone makes no part.
            (None, _) if text.is_empty() && kind == PartKind::Text => return Ok(0),
            (None, _) => {
                let part = self.parts.begin(kind)?;
                let block = self.block(index)?;
                (block.part, block.kind) = (Some(part), Some(kind));
                part
            }
        };
        self.parts.delta(part, text)?;
        Ok(part)
    }

    fn grow_call(&mut self, index: u64, input: &str) -> Result<()> {
        self.parts.spend(0)?;
        let block = self.block(index)?;
        if let Some((_, own)) = &mut block.own {
            if let Value::String(text) = own.entry("input").or_insert_with(|| json!("")) {
                text.push_str(input);
            }
            return self.parts.spend(input.len());
        }
        match (block.part, block.kind) {
            (Some(part), Some(PartKind::ToolCall)) => self.parts.delta(part, input),
            _ => Err(wire::nameless()),
        }
    }

    fn reasoning(&mut self, index: u64, reasoning: &Value) -> Result<()> {
        let word = |key: &str| reasoning.get(key).and_then(Value::as_str);
        if let Some(text) = word("text") {
            self.grow(index, PartKind::Reasoning, text)?;
        }
        if let Some(signature) = word("signature") {
            let part = self.grow(index, PartKind::Reasoning, "")?;
            self.parts.sign(part, signature)?;
        }
        if let Some(redacted) = word("redactedContent") {
            self.parts.spend(redacted.len())?;
            // Each piece is base64 by itself.
            let bytes = BASE64_STANDARD
                .decode(redacted)
                .map_err(|e| Error::invalid_output("redacted reasoning is no base64").with_source(e))?;
            self.block(index)?.redacted.extend_from_slice(&bytes);
        }
        Ok(())
    }

    fn stop(&mut self, index: u64) -> Result<()> {
        let Some(block) = self.blocks.remove(&index) else { return Ok(()) };
        if let Some(part) = block.part {
            self.parts.end(part);
        }
        if !block.redacted.is_empty() {
            let data = BASE64_STANDARD.encode(&block.redacted);
            self.opaque(json!({"reasoningContent": {"redactedContent": data}}))?;
        }
        if !block.citations.is_empty() {
            let content = if block.text.is_empty() { json!([]) } else { json!([{"text": block.text}]) };
            self.opaque(json!({"citationsContent": {"content": content, "citations": block.citations}}))?;
        }
        if let Some((kind, mut own)) = block.own {
            if kind == "toolResult" {
                own.insert("content".to_owned(), Value::Array(block.results));
            } else {
                let input = own.get("input").and_then(Value::as_str).unwrap_or_default();
                // An input that is no JSON is kept as it is: it is shown, and the service judges it.
                let input = if input.trim().is_empty() {
                    json!({})
                } else {
                    serde_json::from_str(input).unwrap_or_else(|_| json!(input))
                };
                own.insert("input".to_owned(), input);
            }
            let mut value = Map::new();
            value.insert(kind.to_owned(), Value::Object(own));
            self.opaque(Value::Object(value))?;
        }
        Ok(())
    }

    fn opaque(&mut self, value: Value) -> Result<()> {
        // The bytes were counted as they came.
        self.parts.whole(Part::Opaque { vendor: self.vendor.clone(), value }, 0)?;
        Ok(())
    }
}

impl StreamDecoder for ConverseStreamDecoder {
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
