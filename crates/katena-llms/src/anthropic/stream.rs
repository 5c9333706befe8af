//! The events of a streamed reply, decoded without I/O.

use std::collections::BTreeMap;
use std::fmt;

use katena_core::{ChatEvent, ChatResponse, Error, ErrorKind, Message, PartKind, Result, Role};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::wire;
use crate::parts::Parts;

/// More blocks than any real answer has.
const MAX_BLOCKS: usize = 2048;

/// Decodes the server-sent events of one streamed message into [`ChatEvent`]s.
///
/// Text, thinking and the arguments of tool calls come as they grow; blocks of other kinds come whole at their end. The
/// answer ends with `message_stop`; a stream that ends earlier is an error, as is an `error` event. Unknown events are
/// skipped. The response's `raw` is the message without its content: stop details, container, context management, usage.
///
/// ```
/// use katena_core::Accumulator;
/// use katena_llms::anthropic::AnthropicStreamDecoder;
/// let mut decoder = AnthropicStreamDecoder::new("anthropic");
/// for data in [
///     r#"{"type":"message_start","message":{"id":"msg_1","content":[],"usage":{"input_tokens":3}}}"#,
///     r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
///     r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#,
///     r#"{"type":"content_block_stop","index":0}"#,
///     r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
///     r#"{"type":"message_stop"}"#,
/// ] {
///     decoder.push("message", data)?;
/// }
/// decoder.finish()?;
/// let mut answer = Accumulator::new();
/// while let Some(event) = decoder.next_event() {
///     answer.push(&event)?;
/// }
/// assert_eq!(answer.finish()?.text(), "Hello");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct AnthropicStreamDecoder {
    vendor: String,
    parts: Parts,
    /// Blocks that have begun and not ended, by the number that the server gave them.
    open: BTreeMap<u64, Block>,
    blocks: usize,
    /// The message without its content, as far as it is known.
    head: Map<String, Value>,
    usage: Map<String, Value>,
    done: bool,
    over: bool,
}

impl fmt::Debug for AnthropicStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicStreamDecoder")
            .field("blocks", &self.blocks)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

enum Block {
    /// The API refuses empty texts, so that the part begins with its first words.
    Text {
        part: Option<usize>,
        citations: Vec<Value>,
    },
    Thinking {
        part: usize,
    },
    Call {
        part: usize,
        input: Value,
        caller: Option<Value>,
    },
    Item {
        value: Value,
        json: String,
    },
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    index: Option<u64>,
    delta: Option<Map<String, Value>>,
    content_block: Option<Value>,
    message: Option<Value>,
    usage: Option<Value>,
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::invalid_output("the server sent JSON that can't be understood").with_source(e))
}

/// Lays what is known over what was known before; null tells nothing.
fn overlay(map: &mut Map<String, Value>, new: Map<String, Value>) {
    for (key, value) in new {
        if !value.is_null() || !map.contains_key(&key) {
            map.insert(key, value);
        }
    }
}

impl AnthropicStreamDecoder {
    /// A decoder at the start of a reply of this vendor.
    pub fn new(vendor: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            parts: Parts::default(),
            open: BTreeMap::new(),
            blocks: 0,
            head: Map::new(),
            usage: Map::new(),
            done: false,
            over: false,
        }
    }

    /// Takes one server-sent event: its type and its data. After `message_stop` everything is ignored.
    ///
    /// # Errors
    /// The error that the event tells of; `InvalidOutput` for what can't be understood. Events decoded before stay
    /// available.
    pub fn push(&mut self, event: &str, data: &str) -> Result<()> {
        let data = data.trim();
        if self.done || self.over || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        // The name stands in the data too; servers that leave it out there name the event.
        if event == "error" {
            return Err(match parse::<Value>(data) {
                Ok(value) if value.is_object() => wire::error_of(&value),
                _ => wire::error_of(&serde_json::json!({ "error": data })),
            });
        }
        if event == "ping" {
            return Ok(());
        }
        let Event { kind, index, delta, content_block, message, usage } = parse(data)?;
        match kind.as_deref().unwrap_or(event) {
            "message_start" => {
                if let Some(Value::Object(mut message)) = message {
                    message.remove("content");
                    if let Some(Value::Object(usage)) = message.remove("usage") {
                        overlay(&mut self.usage, usage);
                    }
                    self.parts.spend(data.len())?;
                    overlay(&mut self.head, message);
                }
            }
            "content_block_start" => self.start(index.unwrap_or(0), content_block.unwrap_or_default())?,
            "content_block_delta" => self.delta(index.unwrap_or(0), delta.unwrap_or_default())?,
            "content_block_stop" => self.stop(index.unwrap_or(0))?,
            "message_delta" => {
                if let Some(delta) = delta {
                    self.parts.spend(data.len())?;
                    overlay(&mut self.head, delta);
                }
                // The counts are running totals: the last that is told wins.
                if let Some(Value::Object(usage)) = usage {
                    overlay(&mut self.usage, usage);
                }
            }
            "message_stop" => self.done = true,
            "error" => return Err(wire::error_of(&parse::<Value>(data)?)),
            // A server that fails before it begins sends its error bare.
            _ if kind.is_none() => {
                let value = parse::<Value>(data)?;
                if katena_http::ErrorDetails::from_value(&value).is_some() {
                    return Err(wire::error_of(&value));
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

    /// True after `message_stop`: nothing more needs to be read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Ends the reply: `Finished` comes last.
    ///
    /// # Errors
    /// Kind `Unavailable` if the stream was cut off before `message_stop`.
    pub fn finish(&mut self) -> Result<()> {
        if self.over {
            return Ok(());
        }
        self.over = true;
        if !self.done || self.blocks == 0 && self.head.is_empty() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the stream ended before the answer was finished",
            ));
        }
        while let Some((&index, _)) = self.open.first_key_value() {
            self.stop(index)?;
        }
        let message = Message::new(Role::Assistant, self.parts.finish());
        let reason = wire::word(self.head.get("stop_reason"));
        let finish = wire::finish_reason(reason.as_deref(), message.tool_calls().next().is_some());
        let mut response = ChatResponse::new(message, finish).with_vendor(self.vendor.clone());
        response.usage = wire::usage(&self.usage);
        response.finish_raw = reason;
        response.id = wire::word(self.head.get("id"));
        response.model = wire::word(self.head.get("model"));
        let mut head = std::mem::take(&mut self.head);
        head.insert("usage".to_owned(), Value::Object(std::mem::take(&mut self.usage)));
        self.parts.finished(response.with_raw(Value::Object(head)));
        Ok(())
    }

    fn start(&mut self, index: u64, mut block: Value) -> Result<()> {
        self.blocks += 1;
        if self.blocks > MAX_BLOCKS {
            return Err(Error::invalid_output("the answer has more parts than the limit"));
        }
        // A block that the server forgot to end.
        self.stop(index)?;
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let open = match block.get("type").and_then(Value::as_str) {
            Some("text") => {
                let citations = match block.get("citations") {
                    Some(Value::Array(list)) => list.clone(),
                    _ => Vec::new(),
                };
                let (mut part, text) = (None, text("text"));
                self.say(&mut part, &text)?;
                Block::Text { part, citations }
            }
            Some("thinking") => {
                let part = self.parts.begin(PartKind::Reasoning)?;
                self.parts.delta(part, &text("thinking"))?;
                if !text("signature").is_empty() {
                    self.parts.sign(part, &text("signature"))?;
                }
                Block::Thinking { part }
            }
            Some("tool_use") => {
                let name = wire::word(block.get("name")).ok_or_else(wire::nameless)?;
                let reply = self.head.get("id").and_then(Value::as_str);
                let id = wire::word(block.get("id")).unwrap_or_else(|| wire::made_up_id(reply, self.blocks));
                let part = self.parts.begin_tool(&id, &name)?;
                Block::Call { part, caller: wire::caller(&block), input: block["input"].take() }
            }
            _ if block.is_object() => {
                self.parts.spend(block.to_string().len())?;
                if block["type"] == "fallback" && block["to"]["model"].is_string() {
                    // From here on another model speaks.
                    self.head.insert("model".to_owned(), block["to"]["model"].clone());
                }
                Block::Item { value: block, json: String::new() }
            }
            _ => return Err(Error::invalid_output("a block of the server's reply can't be understood")),
        };
        self.open.insert(index, open);
        Ok(())
    }

    fn say(&mut self, part: &mut Option<usize>, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let n = match *part {
            Some(n) => n,
            None => *part.insert(self.parts.begin(PartKind::Text)?),
        };
        self.parts.delta(n, text)
    }

    fn delta(&mut self, index: u64, delta: Map<String, Value>) -> Result<()> {
        let Some(mut block) = self.open.remove(&index) else {
            return Err(Error::invalid_output("the answer grows a part that is not open"));
        };
        let done = self.grow(&mut block, delta);
        self.open.insert(index, block);
        done
    }

    fn grow(&mut self, block: &mut Block, mut delta: Map<String, Value>) -> Result<()> {
        let mut take = |key: &str| match delta.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        match block {
            Block::Text { part, citations } => {
                self.say(part, &take("text"))?;
                if let Some(citation) = delta.remove("citation").filter(|c| !c.is_null()) {
                    self.parts.spend(citation.to_string().len())?;
                    citations.push(citation);
                }
            }
            Block::Thinking { part } => {
                self.parts.delta(*part, &take("thinking"))?;
                let piece = take("signature");
                if !piece.is_empty() {
                    self.parts.sign(*part, &piece)?;
                }
            }
            Block::Call { part, .. } => self.parts.delta(*part, &take("partial_json"))?,
            Block::Item { value, json } => {
                let piece = take("partial_json");
                self.parts.spend(piece.len())?;
                json.push_str(&piece);
                // A compaction's summary, or what a later kind of block brings: texts grow, the rest is set.
                for (key, new) in delta.into_iter().filter(|(key, new)| key != "type" && !new.is_null()) {
                    self.parts.spend(key.len() + new.to_string().len())?;
                    match (&mut value[&key], new) {
                        (Value::String(old), Value::String(new)) => old.push_str(&new),
                        (old, new) => *old = new,
                    }
                }
            }
        }
        Ok(())
    }

    fn stop(&mut self, index: u64) -> Result<()> {
        match self.open.remove(&index) {
            None | Some(Block::Text { part: None, .. }) => {}
            Some(Block::Text { part: Some(n), citations }) => {
                self.parts.end(n);
                if !citations.is_empty() {
                    self.parts.whole(wire::fields("citations", Value::Array(citations)), 0)?;
                }
            }
            Some(Block::Thinking { part }) => self.parts.end(part),
            Some(Block::Call { part, input, caller }) => {
                if self.parts.len(part) == 0 {
                    self.parts.delta(part, &wire::arguments(Some(&input)))?;
                }
                self.parts.end(part);
                if let Some(caller) = caller {
                    self.parts.whole(wire::fields("caller", caller), 0)?;
                }
            }
            Some(Block::Item { mut value, json }) => {
                if !json.trim().is_empty() {
                    // Input that was cut off is kept as the text that it is.
                    value["input"] = parse(&json).unwrap_or(Value::String(json));
                }
                self.parts.whole(wire::opaque(value), 0)?;
            }
        }
        Ok(())
    }
}

impl crate::shell::StreamDecoder for AnthropicStreamDecoder {
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
