//! From messages to the protocol's blocks.

use std::borrow::Cow;

use base64::Engine as _;
use katena_core::{Error, Media, Message, ModelInfo, Part, Result, Role, ToolCall, ToolResult};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::wire::{FIELDS, ITEMS};

fn no<T>(what: &'static str) -> Result<T> {
    Err(Error::unsupported(what))
}

fn misplaced<T>(what: &'static str) -> Result<T> {
    Err(Error::invalid_input(what))
}

/// The mark that the prompt is kept up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl CacheControl {
    pub(super) fn new(ttl: Option<&'static str>) -> Self {
        Self { kind: "ephemeral", ttl }
    }
}

/// One block of content.
#[derive(Serialize)]
pub(super) struct Block<'a> {
    #[serde(flatten)]
    kind: Kind<'a>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    fields: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Value,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        is_error: Option<bool>,
    },
    /// The vendor's own block, as it came.
    #[serde(untagged)]
    Item(&'a Map<String, Value>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
    Text { media_type: &'static str, data: String },
}

impl<'a> Block<'a> {
    fn new(kind: Kind<'a>) -> Self {
        Self { kind, fields: None, cache_control: None }
    }

    /// Whether the API takes a cache mark on this block: not on thinking.
    fn takes_marks(&self) -> bool {
        match &self.kind {
            Kind::Thinking { .. } => false,
            Kind::Item(item) => item.get("type").is_none_or(|t| t != "redacted_thinking"),
            _ => true,
        }
    }
}

/// One turn.
#[derive(Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    pub(super) content: Vec<Block<'a>>,
}

/// Where the last block of a message is that can be marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    System(usize),
    Turn(usize, usize),
}

/// System text, turns, and where each message went.
#[derive(Default)]
pub(super) struct Prompt<'a> {
    pub(super) system: Vec<Block<'a>>,
    pub(super) turns: Vec<Turn<'a>>,
    pub(super) places: Vec<Option<Place>>,
}

impl<'a> Prompt<'a> {
    /// Puts system messages first, wherever they stand, joins neighbours of one role, and leaves out what the API
    /// would refuse: empty texts, and thinking without its signature.
    pub(super) fn of(messages: &'a [Message], info: &ModelInfo) -> Result<Self> {
        let mut prompt = Self::default();
        for message in messages {
            let place = prompt.add(message, info)?;
            prompt.places.push(place);
        }
        if prompt.turns.is_empty() {
            return misplaced("the vendor needs a message of the user with something in it");
        }
        Ok(prompt)
    }

    fn add(&mut self, message: &'a Message, info: &ModelInfo) -> Result<Option<Place>> {
        let role = match message.role {
            Role::System if message.parts.iter().all(|p| matches!(p, Part::Text { .. })) => {
                blocks(message, info, &mut self.system)?;
                return Ok(self.system.len().checked_sub(1).map(Place::System));
            }
            // The vendor's own items for the application's role, such as tools that are added later, stay in place.
            Role::System => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
            _ => return no("this role is not known to the protocol"),
        };
        let mut content = Vec::with_capacity(message.parts.len());
        blocks(message, info, &mut content)?;
        if content.is_empty() {
            return Ok(None);
        }
        let marked = content.iter().any(Block::takes_marks);
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.content.append(&mut content),
            _ => self.turns.push(Turn { role, content }),
        }
        let turn = self.turns.len() - 1;
        let last = self.turns[turn].content.iter().rposition(Block::takes_marks).filter(|_| marked);
        Ok(last.map(|block| Place::Turn(turn, block)))
    }
}

fn blocks<'a>(message: &'a Message, info: &ModelInfo, out: &mut Vec<Block<'a>>) -> Result<()> {
    let start = out.len();
    for part in &message.parts {
        if let Part::Opaque { vendor, value } = part {
            let Some(item) = value.as_object().filter(|_| vendor == ITEMS || *vendor == info.vendor) else {
                return no("an item of another vendor can't be sent to this one");
            };
            if item.get("type").is_some_and(|t| t == FIELDS) {
                match out[start..].last_mut() {
                    Some(block) => block.fields = item.get("fields").and_then(Value::as_object),
                    None => return misplaced("fields of a block stand without their block"),
                }
            } else {
                out.push(Block::new(Kind::Item(item)));
            }
            continue;
        }
        let kind = match message.role {
            Role::Assistant => assistant(part)?,
            Role::Tool => match part {
                Part::ToolResult(result) => Some(tool_result(result, info)?),
                _ => return misplaced("a tool message holds something else than tool results"),
            },
            _ => given(part, info)?,
        };
        out.extend(kind.map(Block::new));
    }
    Ok(())
}

fn assistant(part: &Part) -> Result<Option<Kind<'_>>> {
    Ok(Some(match part {
        Part::Text { text } | Part::Refusal { text } if text.is_empty() => return Ok(None),
        Part::Text { text } | Part::Refusal { text } => Kind::Text { text },
        Part::Reasoning { text, signature: Some(signature) }
            if !signature.is_empty() && !crate::parts::names_its_vendor(signature) =>
        {
            Kind::Thinking { thinking: text, signature }
        }
        // The API takes no thinking that it did not sign; another vendor's is left out.
        Part::Reasoning { .. } => return Ok(None),
        Part::ToolCall(call) => {
            Kind::ToolUse { id: identifier(&call.id), name: &call.name, input: input(call) }
        }
        Part::ToolResult(_) => return misplaced("a tool result stands in a message of the assistant"),
        _ => return no("the protocol takes no media in messages of the assistant"),
    }))
}

/// The arguments as the object that the API wants. Text that is none, as when the model was cut off, goes back the way the
/// vendor's page on fine-grained tool streaming says.
fn input(call: &ToolCall) -> Value {
    if call.arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str::<Value>(&call.arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({"INVALID_JSON": call.arguments}),
    }
}

/// Ids of other vendors may have characters that the API refuses; call and result are changed alike.
fn identifier(id: &str) -> Cow<'_, str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.chars().all(fine) {
        return Cow::Borrowed(id);
    }
    Cow::Owned(id.chars().map(|c| if fine(c) { c } else { '_' }).collect())
}

fn tool_result<'a>(result: &'a ToolResult, info: &ModelInfo) -> Result<Kind<'a>> {
    let mut content = Vec::with_capacity(result.parts.len());
    for part in &result.parts {
        match part {
            Part::Opaque { vendor, value } if vendor == ITEMS || *vendor == info.vendor => {
                content.extend(value.as_object().map(|item| Block::new(Kind::Item(item))));
            }
            Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
            part => content.extend(given(part, info)?.map(Block::new)),
        }
    }
    Ok(Kind::ToolResult {
        tool_use_id: identifier(&result.call_id),
        content,
        is_error: result.is_error.then_some(true),
    })
}

/// A part of what is given to the model.
fn given<'a>(part: &'a Part, info: &ModelInfo) -> Result<Option<Kind<'a>>> {
    Ok(Some(match part {
        Part::Text { text } if text.is_empty() => return Ok(None),
        Part::Text { text } => Kind::Text { text },
        Part::Image { .. } if !info.capabilities.images => return no("this model takes no pictures"),
        Part::Image { media } => Kind::Image {
            source: match media {
                Media::Base64 { mime, data } => Source::Base64 { media_type: mime, data },
                Media::Url { url, .. } => Source::Url { url },
                _ => return no("this kind of media is not known to the protocol"),
            },
        },
        Part::File { .. } if !info.capabilities.files => return no("this model takes no files"),
        Part::File { media, name } => {
            Kind::Document { source: document(media)?, title: name.as_deref().filter(|n| !n.is_empty()) }
        }
        Part::Audio { .. } => return no("the protocol takes no audio"),
        Part::Video { .. } => return no("the protocol takes no video"),
        Part::ToolCall(_) => return misplaced("a tool call stands outside of a message of the assistant"),
        Part::ToolResult(_) => return misplaced("a tool result stands outside of a tool message"),
        Part::Reasoning { .. } | Part::Refusal { .. } => {
            return misplaced("reasoning or a refusal stands outside of a message of the assistant");
        }
        _ => return no("this kind of part is not known to the protocol"),
    }))
}

/// PDFs go as they are, plain text as text.
fn document(media: &Media) -> Result<Source<'_>> {
    match media {
        Media::Base64 { mime, data } if mime == "application/pdf" => {
            Ok(Source::Base64 { media_type: mime, data })
        }
        Media::Base64 { mime, data } if mime.starts_with("text/") || mime == "application/json" => {
            let bad = || Error::invalid_input("a text file is not base64 of UTF-8 text");
            let bytes = base64::prelude::BASE64_STANDARD.decode(data).map_err(|e| bad().with_source(e))?;
            let data = String::from_utf8(bytes).map_err(|e| bad().with_source(e))?;
            Ok(Source::Text { media_type: "text/plain", data })
        }
        Media::Url { mime, url } if mime.as_deref().is_none_or(|m| m == "application/pdf") => {
            Ok(Source::Url { url })
        }
        _ => no("the protocol takes files as PDF, or inline as text"),
    }
}
