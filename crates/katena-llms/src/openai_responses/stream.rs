//! The events of a streamed reply, decoded without I/O.

use std::fmt;

use katena_core::{ChatEvent, Error, ErrorKind, Message, Part, PartKind, Result, Role, TokenLogprob};
use serde_json::Value;

use super::items::{self, Kind, Piece, list, text_of};
use super::wire;
use crate::openai_shared::{logprobs, parse};
use crate::parts::Parts;

/// More items than any real answer has.
const MAX_ITEMS: usize = 1024;

/// Decodes the server-sent events of one streamed response into [`ChatEvent`]s.
///
/// An item's deltas are told as they come; its `done` event is the truth and brings what the deltas left out. The answer
/// ends with `response.completed` or `response.incomplete`; `response.failed`, `error` and a stream that ends without any
/// of them are errors. Events of unknown types are skipped.
///
/// ```
/// use katena_core::Accumulator;
/// use katena_llms::openai_responses::ResponsesStreamDecoder;
/// let mut decoder = ResponsesStreamDecoder::new("openai");
/// decoder.push("message", r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hello"}"#)?;
/// decoder.push("message", r#"{"type":"response.completed","response":{"status":"completed","output":[]}}"#)?;
/// decoder.finish()?;
/// let mut answer = Accumulator::new();
/// while let Some(event) = decoder.next_event() {
///     answer.push(&event)?;
/// }
/// assert_eq!(answer.finish()?.text(), "Hello");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct ResponsesStreamDecoder {
    vendor: String,
    parts: Parts,
    items: Vec<Item>,
    alternatives: usize,
    /// The event that ended it and its response object.
    end: Option<(&'static str, Value)>,
    over: bool,
}

/// An output item as it grows.
struct Item {
    index: Option<u64>,
    id: String,
    growing: Growing,
    done: bool,
    logprobs: Vec<TokenLogprob>,
}

enum Growing {
    /// Parts by the number of their content and its kind.
    Message(Vec<(u64, PartKind, usize)>),
    /// The part, and which text came last.
    Reasoning(usize, Option<(bool, u64)>),
    /// The part once the name is known, and the arguments that came before.
    Call(Option<usize>, String),
    Whole(usize),
}

impl Item {
    fn kind(&self) -> Kind {
        match self.growing {
            Growing::Message(_) => Kind::Message,
            Growing::Reasoning(..) => Kind::Reasoning,
            Growing::Call(..) => Kind::Call,
            Growing::Whole(_) => Kind::Other,
        }
    }
}

impl fmt::Debug for ResponsesStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponsesStreamDecoder")
            .field("items", &self.items.len())
            .field("done", &self.end.is_some())
            .finish_non_exhaustive()
    }
}

impl ResponsesStreamDecoder {
    /// A decoder at the start of a reply of this vendor.
    pub fn new(vendor: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            parts: Parts::default(),
            items: Vec::new(),
            alternatives: usize::MAX,
            end: None,
            over: false,
        }
    }

    /// Keeps at most this many alternatives of each token's log-probability.
    pub fn with_max_alternatives(mut self, alternatives: usize) -> Self {
        self.alternatives = alternatives;
        self
    }

    /// Takes one server-sent event: its type and its data. After the event that ends the answer everything is ignored.
    ///
    /// # Errors
    /// The error that the event tells of; `InvalidOutput` for what can't be understood. Events decoded before stay
    /// available.
    pub fn push(&mut self, event: &str, data: &str) -> Result<()> {
        let data = data.trim();
        if self.end.is_some() || self.over || data.is_empty() || data == "[DONE]" {
            return Ok(());
        }
        let event = if event == "error" { "error" } else { "" };
        let value: Value = match parse(data) {
            Ok(value) => value,
            Err(_) if event == "error" => return Err(wire::error_event(&serde_json::json!({"error": data}))),
            Err(error) => return Err(error),
        };
        let kind = Some(text_of(&value, "type")).filter(|t| !t.is_empty()).unwrap_or(event);
        match kind {
            "response.output_item.added" => {
                if let Some(item) = value.get("item") {
                    self.added(item, index(&value))?;
                }
            }
            "response.output_item.done" => {
                if let Some(item) = value.get("item") {
                    let n = match self.find(index(&value), text_of(item, "id"), items::kind(item)) {
                        Some(n) => n,
                        None => self.added(item, index(&value))?,
                    };
                    self.done(n, item)?;
                }
            }
            "response.content_part.added" => self.content_added(&value)?,
            "response.output_text.delta" => self.text(&value, PartKind::Text, "delta")?,
            "response.refusal.delta" => self.text(&value, PartKind::Refusal, "delta")?,
            "response.output_text.done" => self.text_done(&value, PartKind::Text, "text")?,
            "response.refusal.done" => self.text_done(&value, PartKind::Refusal, "refusal")?,
            "response.reasoning_summary_text.delta" => self.reasoning(&value, true)?,
            "response.reasoning_text.delta" | "response.reasoning.delta" => self.reasoning(&value, false)?,
            "response.function_call_arguments.delta" => self.arguments(&value)?,
            "response.completed" | "response.done" => self.ended("completed", value)?,
            "response.incomplete" => self.ended("incomplete", value)?,
            "response.failed" | "response.cancelled" => {
                return Err(value.get("response").and_then(wire::error_in).unwrap_or_else(|| {
                    Error::new(ErrorKind::Unavailable, "the response failed without a reason")
                }));
            }
            "error" | "response.error" => return Err(wire::error_event(&value)),
            // An error in the form of the plain HTTP reply.
            "" if value.get("error").is_some_and(|e| !e.is_null()) => return Err(wire::error_event(&value)),
            // `created`, `queued`, `in_progress`, the progress of the server's own tools, and what is to come.
            _ => {}
        }
        Ok(())
    }

    /// The next decoded event.
    pub fn next_event(&mut self) -> Option<ChatEvent> {
        self.parts.next_event()
    }

    /// True after the event that ends the answer: nothing more needs to be read.
    pub fn is_done(&self) -> bool {
        self.end.is_some()
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
        let Some((status, response)) = self.end.take() else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the stream ended before the answer was finished",
            ));
        };
        if self.items.iter().any(|i| matches!(i.growing, Growing::Call(None, _))) {
            return Err(wire::nameless());
        }
        let message = Message::new(Role::Assistant, self.parts.finish());
        let mut answer = wire::ended(&response, Some(status), message);
        let logprobs: Vec<TokenLogprob> =
            self.items.iter_mut().flat_map(|i| std::mem::take(&mut i.logprobs)).collect();
        answer.logprobs = (!logprobs.is_empty()).then_some(logprobs);
        self.parts.finished(answer);
        Ok(())
    }

    /// The item that an event is about. Some servers change the ids from event to event, some give no number.
    fn find(&self, index: Option<u64>, id: &str, kind: Kind) -> Option<usize> {
        let fits = |i: &Item| i.kind() == kind && !i.done;
        match index {
            Some(_) => self.items.iter().position(|i| fits(i) && i.index == index),
            None if !id.is_empty() => self.items.iter().position(|i| fits(i) && i.id == id),
            None => self.items.iter().rposition(fits),
        }
    }

    fn add(&mut self, index: Option<u64>, id: &str, growing: Growing) -> Result<usize> {
        if self.items.len() >= MAX_ITEMS {
            return Err(Error::invalid_output("the answer has more parts than the limit"));
        }
        self.items.push(Item { index, id: id.to_owned(), growing, done: false, logprobs: Vec::new() });
        Ok(self.items.len() - 1)
    }

    /// An item begins.
    fn added(&mut self, item: &Value, index: Option<u64>) -> Result<usize> {
        let id = text_of(item, "id");
        self.parts.spend(id.len())?;
        if let Some(carrier) = items::carrier(item, &self.vendor) {
            self.parts.whole(carrier, 0)?;
        }
        let growing = match items::kind(item) {
            Kind::Message => Growing::Message(Vec::new()),
            Kind::Reasoning => Growing::Reasoning(self.parts.begin(PartKind::Reasoning)?, None),
            Kind::Call => match text_of(item, "name") {
                "" => Growing::Call(None, String::new()),
                name => {
                    Growing::Call(Some(self.parts.begin_tool(&items::call_id(item), name)?), String::new())
                }
            },
            Kind::Other => Growing::Whole(self.parts.begin_whole(self.opaque(item))?),
        };
        self.add(index, id, growing)
    }

    fn opaque(&self, item: &Value) -> Part {
        Part::Opaque { vendor: self.vendor.clone(), value: item.clone() }
    }

    /// The item of a delta; it begins here if its beginning was not told.
    fn item(&mut self, event: &Value, kind: Kind) -> Result<usize> {
        let (index, id) = (index(event), text_of(event, "item_id"));
        if let Some(n) = self.find(index, id, kind) {
            return Ok(n);
        }
        let growing = match kind {
            Kind::Message => Growing::Message(Vec::new()),
            Kind::Reasoning => Growing::Reasoning(self.parts.begin(PartKind::Reasoning)?, None),
            Kind::Call | Kind::Other => Growing::Call(None, String::new()),
        };
        self.add(index, id, growing)
    }

    /// The part of a message's content; it begins here if it has not.
    fn content(&mut self, item: usize, number: u64, kind: PartKind) -> Result<usize> {
        let Growing::Message(known) = &mut self.items[item].growing else {
            return Err(Error::invalid_output("an event is about an item of another type"));
        };
        if let Some((.., part)) = known.iter().find(|(n, k, _)| *n == number && *k == kind) {
            return Ok(*part);
        }
        let part = self.parts.begin(kind)?;
        known.push((number, kind, part));
        Ok(part)
    }

    fn content_added(&mut self, event: &Value) -> Result<()> {
        let kind = match event.get("part").map_or("", |p| text_of(p, "type")) {
            "output_text" => PartKind::Text,
            "refusal" => PartKind::Refusal,
            _ => return Ok(()),
        };
        let item = self.item(event, Kind::Message)?;
        self.content(item, content_index(event), kind)?;
        Ok(())
    }

    fn text(&mut self, event: &Value, kind: PartKind, key: &str) -> Result<()> {
        let item = self.item(event, Kind::Message)?;
        let part = self.content(item, content_index(event), kind)?;
        let tokens = logprobs(event.get("logprobs"), self.alternatives);
        self.parts.spend(tokens.len() * size_of::<TokenLogprob>())?;
        self.items[item].logprobs.extend(tokens);
        self.parts.delta(part, text_of(event, key))
    }

    /// What the deltas left out of a text; a text that differs from what was told stays as it was told.
    fn text_done(&mut self, event: &Value, kind: PartKind, key: &str) -> Result<()> {
        // After the item's own end there is nothing to add.
        let (number, id) = (index(event), text_of(event, "item_id"));
        let same = |i: &Item| if number.is_some() { i.index == number } else { i.id == id };
        if self.items.iter().any(|i| i.done && same(i)) {
            return Ok(());
        }
        let item = self.item(event, Kind::Message)?;
        let part = self.content(item, content_index(event), kind)?;
        self.rest(part, text_of(event, key))
    }

    fn rest(&mut self, part: usize, whole: &str) -> Result<()> {
        match whole.strip_prefix(self.parts.text(part)) {
            Some(rest) => self.parts.delta(part, rest),
            None => Ok(()),
        }
    }

    fn reasoning(&mut self, event: &Value, summary: bool) -> Result<()> {
        let item = self.item(event, Kind::Reasoning)?;
        let number = if summary { event.get("summary_index") } else { event.get("content_index") };
        let this = (summary, number.and_then(Value::as_u64).unwrap_or(0));
        let delta = text_of(event, "delta");
        if delta.is_empty() {
            return Ok(());
        }
        let Growing::Reasoning(part, last) = &mut self.items[item].growing else { return Ok(()) };
        let part = *part;
        let another = last.replace(this).is_some_and(|last| last != this);
        if another {
            self.parts.delta(part, "\n\n")?;
        }
        self.parts.delta(part, delta)
    }

    fn arguments(&mut self, event: &Value) -> Result<()> {
        let item = self.item(event, Kind::Call)?;
        let delta = text_of(event, "delta");
        let Growing::Call(part, before) = &mut self.items[item].growing else { return Ok(()) };
        match *part {
            Some(part) => self.parts.delta(part, delta),
            None => {
                self.parts.spend(delta.len())?;
                before.push_str(delta);
                Ok(())
            }
        }
    }

    /// An item has ended, and this is what it is.
    fn done(&mut self, n: usize, item: &Value) -> Result<()> {
        if std::mem::replace(&mut self.items[n].done, true) {
            return Ok(());
        }
        match &self.items[n].growing {
            Growing::Message(_) => self.message_done(n, item),
            Growing::Reasoning(part, _) => {
                let part = *part;
                self.rest(part, &items::reasoning_text(item))?;
                self.parts.sign(part, &items::signature(item, &self.vendor))?;
                self.parts.end(part);
                Ok(())
            }
            Growing::Call(part, _) => {
                let part = *part;
                self.call_done(n, part, item)
            }
            Growing::Whole(part) => {
                let part = *part;
                self.parts.replace(part, self.opaque(item), item.to_string().len())?;
                self.parts.end(part);
                Ok(())
            }
        }
    }

    fn message_done(&mut self, n: usize, item: &Value) -> Result<()> {
        for (number, piece) in items::pieces(item).into_iter().enumerate() {
            let (kind, text) = match piece {
                Piece::Text(text) => (PartKind::Text, text),
                Piece::Refusal(text) => (PartKind::Refusal, text),
                Piece::Other(value) => {
                    self.parts.whole(self.opaque(value), value.to_string().len())?;
                    continue;
                }
            };
            if text.is_empty() {
                continue;
            }
            let part = self.content(n, number as u64, kind)?;
            self.rest(part, text)?;
        }
        if let Growing::Message(known) = &self.items[n].growing {
            for (.., part) in known {
                self.parts.end(*part);
            }
        }
        let tokens = items::message_logprobs(item, self.alternatives);
        if !tokens.is_empty() {
            self.items[n].logprobs = tokens;
        }
        if let Some(sources) = items::annotations(item, &self.vendor) {
            self.parts.whole(sources, item.to_string().len())?;
        }
        Ok(())
    }

    fn call_done(&mut self, n: usize, part: Option<usize>, item: &Value) -> Result<()> {
        let part = match (part, text_of(item, "name")) {
            (Some(part), _) => part,
            (None, "") => return Err(wire::nameless()),
            (None, name) => {
                let part = self.parts.begin_tool(&items::call_id(item), name)?;
                if let Growing::Call(slot, before) = &mut self.items[n].growing {
                    *slot = Some(part);
                    self.parts.delta(part, &std::mem::take(before))?;
                }
                part
            }
        };
        let whole = items::arguments(item);
        match whole.strip_prefix(self.parts.text(part)) {
            Some(rest) => self.parts.delta(part, rest)?,
            // Without arguments in it, the deltas are all there is.
            None if whole.is_empty() => {}
            None => {
                return Err(Error::invalid_output("a tool call's arguments differ from their pieces"));
            }
        }
        self.parts.end(part);
        Ok(())
    }

    /// The end: items that were not told of, or not to their end, are in the response object.
    fn ended(&mut self, status: &'static str, mut event: Value) -> Result<()> {
        let mut response = event.get_mut("response").map(Value::take).unwrap_or_default();
        if let Some(error) = wire::error_in(&response) {
            return Err(error);
        }
        // Items of one type keep their order, while ids and numbers may change and types may be left out.
        let mut seen = [(Kind::Message, 0), (Kind::Reasoning, 0), (Kind::Call, 0), (Kind::Other, 0)];
        for item in list(&response, "output").to_vec() {
            let kind = items::kind(&item);
            let Some((_, count)) = seen.iter_mut().find(|(k, _)| *k == kind) else { continue };
            let known = (0..self.items.len()).filter(|n| self.items[*n].kind() == kind).nth(*count);
            *count += 1;
            let n = match known {
                Some(n) => n,
                None => self.added(&item, None)?,
            };
            self.done(n, &item)?;
        }
        if let Value::Object(response) = &mut response {
            response.remove("output");
        }
        self.end = Some((status, response));
        Ok(())
    }
}

fn index(event: &Value) -> Option<u64> {
    event.get("output_index").and_then(Value::as_u64)
}

fn content_index(event: &Value) -> u64 {
    event.get("content_index").and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
