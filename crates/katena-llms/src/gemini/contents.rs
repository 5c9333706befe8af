//! From messages to the protocol's contents.

use katena_core::{Error, Media, Message, ModelInfo, Part, Result, Role, ToolCall, ToolResult};
use serde_json::{Map, Value, json};

use super::ToolMedia;
use super::encode::no;
use super::signature::{self, Signed};

fn misplaced<T>(what: &'static str) -> Result<T> {
    Err(Error::invalid_input(what))
}

/// All messages but the system's at the start. Results of tools that follow each other stand in one content, as the
/// protocol wants the results of one turn.
pub(super) fn contents(messages: &[Message], info: &ModelInfo, media: ToolMedia) -> Result<Vec<Value>> {
    let mut contents: Vec<(Role, Vec<Value>)> = Vec::new();
    for message in messages.iter().skip_while(|m| m.role == Role::System) {
        let parts = match message.role {
            Role::System => {
                return no("the protocol takes system messages only at the start of a conversation");
            }
            Role::User => message.parts.iter().map(|p| user_part(p, info)).collect::<Result<_>>()?,
            Role::Assistant => assistant(&message.parts, info)?,
            Role::Tool => results(&message.parts, info, media)?,
            _ => return no("this role is not known to the protocol"),
        };
        match contents.last_mut() {
            Some((Role::Tool, last)) if message.role == Role::Tool => last.extend(parts),
            _ => contents.push((message.role, parts)),
        }
    }
    // The protocol refuses contents without parts; an answer may have had none.
    contents.retain(|(role, parts)| *role != Role::Assistant || !parts.is_empty());
    if contents.is_empty() {
        return Err(Error::invalid_input("a chat request needs at least one message beside the system's"));
    }
    let role = |role| if role == Role::Assistant { "model" } else { "user" };
    Ok(contents.into_iter().map(|(r, parts)| json!({"role": role(r), "parts": parts})).collect())
}

fn user_part(part: &Part, info: &ModelInfo) -> Result<Value> {
    match part {
        Part::Text { text } => Ok(json!({"text": text})),
        Part::Image { .. } | Part::Audio { .. } | Part::Video { .. } | Part::File { .. } => {
            media_part(part, info)
        }
        Part::Opaque { vendor, value } => own(vendor, value, info),
        Part::ToolCall(_) => misplaced("a tool call stands outside of a message of the assistant"),
        Part::ToolResult(_) => misplaced("a tool result stands outside of a tool message"),
        Part::Reasoning { .. } | Part::Refusal { .. } => {
            misplaced("reasoning or a refusal stands outside of a message of the assistant")
        }
        _ => no("this kind of part is not known to the protocol"),
    }
}

/// The vendor's two services understand each other's items.
fn own(vendor: &str, value: &Value, info: &ModelInfo) -> Result<Value> {
    if vendor == info.vendor || vendor == super::DEVELOPER || vendor == super::VERTEX {
        return Ok(value.clone());
    }
    no("an item of another vendor can't be sent to this one")
}

fn assistant(parts: &[Part], info: &ModelInfo) -> Result<Vec<Value>> {
    let mut out = Vec::with_capacity(parts.len());
    let mut next: Option<&str> = None;
    for part in parts {
        let mut value = match part {
            Part::Reasoning { text, signature: None } if text.is_empty() => continue,
            Part::Reasoning { text, signature: None } => json!({"text": text, "thought": true}),
            Part::Reasoning { text, signature: Some(signature) } => match signature::read(signature) {
                Signed::Thought(s) => json!({"text": text, "thought": true, "thoughtSignature": s}),
                Signed::Alone(s) => json!({"text": "", "thoughtSignature": s}),
                Signed::Next(s) => {
                    next = Some(s);
                    continue;
                }
                // Another vendor's proof says nothing here, and its thoughts are not this model's.
                Signed::Foreign => continue,
            },
            Part::Text { text } | Part::Refusal { text } => json!({"text": text}),
            Part::ToolCall(call) => json!({"functionCall": function_call(call)?}),
            Part::Image { .. } | Part::Audio { .. } | Part::Video { .. } | Part::File { .. } => {
                media_part(part, info)?
            }
            Part::Opaque { vendor, value } => own(vendor, value, info)?,
            Part::ToolResult(_) => {
                return misplaced("a tool result stands in a message of the assistant");
            }
            _ => return no("this kind of part is not known to the protocol"),
        };
        if let (Some(signature), Value::Object(fields)) = (next.take(), &mut value) {
            fields.insert("thoughtSignature".to_owned(), json!(signature));
        }
        out.push(value);
    }
    Ok(out)
}

fn function_call(call: &ToolCall) -> Result<Value> {
    let arguments = call.arguments.trim();
    let arguments: Value = if arguments.is_empty() {
        json!({})
    } else {
        serde_json::from_str(arguments).ok().filter(Value::is_object).ok_or_else(|| {
            Error::invalid_input("the protocol takes a tool call's arguments only as a JSON object")
                .with_context("tool", call.name.clone())
        })?
    };
    let mut function = Map::new();
    if !call.id.is_empty() {
        function.insert("id".to_owned(), json!(call.id));
    }
    function.insert("name".to_owned(), json!(call.name));
    function.insert("args".to_owned(), arguments);
    Ok(Value::Object(function))
}

fn results(parts: &[Part], info: &ModelInfo, media: ToolMedia) -> Result<Vec<Value>> {
    let (mut out, mut beside) = (Vec::with_capacity(parts.len()), Vec::new());
    for part in parts {
        let Part::ToolResult(result) = part else {
            return misplaced("a tool message holds something else than tool results");
        };
        let (response, files) = function_response(result, info)?;
        let mut function = Map::new();
        if !result.call_id.is_empty() {
            function.insert("id".to_owned(), json!(result.call_id));
        }
        function.insert("name".to_owned(), json!(result.name));
        function.insert("response".to_owned(), response);
        if !files.is_empty() && media == ToolMedia::Within {
            function.insert("parts".to_owned(), Value::Array(files));
        } else {
            beside.extend(files);
        }
        out.push(json!({"functionResponse": function}));
    }
    out.extend(beside);
    Ok(out)
}

/// What the tool said, by the names that the protocol proposes, and the media that it gave.
fn function_response(result: &ToolResult, info: &ModelInfo) -> Result<(Value, Vec<Value>)> {
    let (mut texts, mut files) = (Vec::new(), Vec::new());
    for part in &result.parts {
        match part {
            Part::Text { text } => texts.push(text.as_str()),
            Part::Image { .. } | Part::Audio { .. } | Part::Video { .. } | Part::File { .. } => {
                files.push(media_part(part, info)?);
            }
            _ => return no("the protocol takes only text and media as a tool's result"),
        }
    }
    let text = texts.concat();
    let said = match serde_json::from_str::<Value>(&text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(text),
    };
    Ok((if result.is_error { json!({"error": said}) } else { json!({"output": said}) }, files))
}

fn media_part(part: &Part, info: &ModelInfo) -> Result<Value> {
    let can = info.capabilities;
    let (media, able) = match part {
        Part::Image { media } => (media, can.images),
        Part::Audio { media } => (media, can.audio),
        Part::Video { media } => (media, can.video),
        Part::File { media, .. } => (media, can.files),
        _ => return no("this kind of part is not known to the protocol"),
    };
    if !able {
        return no("this model takes no such media");
    }
    Ok(match media {
        Media::Base64 { mime, data } => json!({"inlineData": {"mimeType": mime, "data": data}}),
        Media::Url { mime, url } => match (data_url(url), mime) {
            (Some((mime, data)), _) => json!({"inlineData": {"mimeType": mime, "data": data}}),
            (None, Some(mime)) => json!({"fileData": {"mimeType": mime, "fileUri": url}}),
            (None, None) => json!({"fileData": {"fileUri": url}}),
        },
        _ => return no("this kind of media is not known to the protocol"),
    })
}

/// Type and data of an address that holds its content itself, as base64.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let mime = head.strip_suffix(";base64")?.split(';').next()?;
    Some((if mime.is_empty() { "text/plain" } else { mime }, data))
}
