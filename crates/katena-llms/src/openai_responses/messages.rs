//! From messages to input items.

use katena_core::{Error, Media, Message, ModelInfo, Part, Result, Role, ToolResult};
use serde_json::{Value, json};

use super::items::{self, ANNOTATIONS, Kind, text_of};
use crate::openai_shared::audio_format;

pub(super) fn no<T>(what: &'static str) -> Result<T> {
    Err(Error::unsupported(what))
}

pub(super) fn misplaced<T>(what: &'static str) -> Result<T> {
    Err(Error::invalid_input(what))
}

fn text_part(part: &Part) -> Option<&str> {
    if let Part::Text { text } = part { Some(text) } else { None }
}

/// A message's texts, if it has nothing else.
pub(super) fn texts(message: &Message) -> Option<Vec<&str>> {
    message.parts.iter().map(text_part).collect()
}

pub(super) struct Encoder<'a> {
    pub(super) info: &'a ModelInfo,
    /// Whether the server keeps earlier answers.
    pub(super) stored: bool,
}

impl Encoder<'_> {
    pub(super) fn message(&self, message: &Message, out: &mut Vec<Value>) -> Result<()> {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => return self.assistant(message, out),
            Role::Tool => return self.results(message, out),
            _ => return no("this role is not known to the protocol"),
        };
        if let Some(texts) = texts(message) {
            let content = match texts.as_slice() {
                [text] => json!(text),
                [] => json!(""),
                many => many.iter().map(|t| json!({"type": "input_text", "text": t})).collect(),
            };
            out.push(json!({"role": role, "content": content}));
            return Ok(());
        }
        let mut content = Vec::new();
        for part in &message.parts {
            match part {
                Part::Opaque { vendor, value } if *vendor == self.info.vendor && items::is_item(value) => {
                    push_message(role, &mut content, out);
                    out.push(value.clone());
                }
                _ => content.push(self.part(part)?),
            }
        }
        push_message(role, &mut content, out);
        Ok(())
    }

    /// The items that a message of the assistant was made of, in their order.
    fn assistant(&self, message: &Message, out: &mut Vec<Value>) -> Result<()> {
        let mut said = Said::default();
        for part in &message.parts {
            let item = match part {
                Part::Text { text } => {
                    said.content.push(json!({"type": "output_text", "text": text}));
                    continue;
                }
                Part::Refusal { text } => {
                    said.content.push(json!({"type": "refusal", "refusal": text}));
                    continue;
                }
                Part::Reasoning { signature, .. } => {
                    match signature.as_deref().and_then(|s| items::signed(s, &self.info.vendor)) {
                        Some(item) if items::kind(&item) == Kind::Reasoning => {
                            match items::back(item, self.stored) {
                                Some(item) => item,
                                None => continue,
                            }
                        }
                        Some(carrier) => {
                            said.end(out);
                            said.next = carrier;
                            continue;
                        }
                        // Reasoning of others can't be sent; the answer that follows stands by itself.
                        None => continue,
                    }
                }
                Part::ToolCall(call) => {
                    // Servers parse the arguments; a call without any has the empty object.
                    let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                    let item = json!({"type": "function_call", "call_id": call.id, "name": call.name,
                        "arguments": arguments});
                    said.end(out);
                    out.push(said.carried(item, Kind::Call));
                    continue;
                }
                Part::Opaque { vendor, .. } if *vendor != self.info.vendor => {
                    return no("an item of another vendor can't be sent to this one");
                }
                Part::Opaque { value, .. } if text_of(value, "type") == ANNOTATIONS => {
                    if let (Some(Value::Object(text)), Some(list)) =
                        (said.content.last_mut(), value.get("annotations"))
                    {
                        text.insert("annotations".into(), list.clone());
                    }
                    continue;
                }
                Part::Opaque { value, .. } if !items::is_item(value) => {
                    said.content.push(value.clone());
                    continue;
                }
                Part::Opaque { value, .. } => value.clone(),
                Part::ToolResult(_) => {
                    return misplaced("a tool result stands in a message of the assistant");
                }
                _ => return no("the protocol takes no media in messages of the assistant"),
            };
            said.end(out);
            out.push(item);
        }
        said.end(out);
        Ok(())
    }

    fn results(&self, message: &Message, out: &mut Vec<Value>) -> Result<()> {
        for part in &message.parts {
            match part {
                Part::ToolResult(result) => out.push(self.result(result)?),
                // The answer to a call that is one, such as a custom tool's.
                Part::Opaque { vendor, value } if *vendor == self.info.vendor => out.push(value.clone()),
                Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
                _ => return misplaced("a tool message holds something else than tool results"),
            }
        }
        Ok(())
    }

    fn result(&self, result: &ToolResult) -> Result<Value> {
        let output = match result.parts.iter().map(text_part).collect::<Option<Vec<_>>>() {
            Some(texts) => json!(texts.concat()),
            None => result.parts.iter().map(|p| self.part(p)).collect::<Result<Value>>()?,
        };
        Ok(json!({"type": "function_call_output", "call_id": result.call_id, "output": output}))
    }

    /// Content of a message of the user or of a tool's result.
    fn part(&self, part: &Part) -> Result<Value> {
        let can = self.info.capabilities;
        Ok(match part {
            Part::Text { text } => json!({"type": "input_text", "text": text}),
            Part::Image { .. } if !can.images => return no("this model sees no pictures"),
            Part::Audio { .. } if !can.audio => return no("this model hears no sound"),
            Part::File { .. } if !can.files => return no("this model reads no files"),
            Part::Image { media } => json!({"type": "input_image", "image_url": address(media)?}),
            Part::Audio { media: Media::Base64 { mime, data } } => {
                let format = audio_format(mime)?;
                json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
            }
            Part::Audio { .. } => return no("the protocol takes audio only inline"),
            Part::File { media: Media::Url { url, .. }, .. } => {
                json!({"type": "input_file", "file_url": url})
            }
            Part::File { media, name } => {
                let fallback = match media {
                    Media::Base64 { mime, .. } if mime == "application/pdf" => "file.pdf",
                    _ => "file",
                };
                let name = name.as_deref().unwrap_or(fallback);
                json!({"type": "input_file", "filename": name, "file_data": address(media)?})
            }
            Part::Opaque { vendor, value } if *vendor == self.info.vendor => value.clone(),
            Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
            Part::Video { .. } => return no("the protocol takes no video"),
            Part::ToolCall(_) => {
                return misplaced("a tool call stands outside of a message of the assistant");
            }
            Part::ToolResult(_) => return misplaced("a tool result stands outside of a tool message"),
            Part::Reasoning { .. } | Part::Refusal { .. } => {
                return misplaced("reasoning or a refusal stands outside of a message of the assistant");
            }
            _ => return no("this kind of part is not known to the protocol"),
        })
    }
}

/// What the assistant said, as it is gathered.
#[derive(Default)]
struct Said {
    content: Vec<Value>,
    /// What the next message or call gets besides.
    next: Value,
}

impl Said {
    fn end(&mut self, out: &mut Vec<Value>) {
        if self.content.is_empty() {
            return;
        }
        push_message("assistant", &mut self.content, out);
        if let Some(message) = out.pop() {
            out.push(self.carried(message, Kind::Message));
        }
    }

    fn carried(&mut self, mut item: Value, kind: Kind) -> Value {
        if items::kind(&self.next) == kind
            && let (Value::Object(item), Value::Object(fields)) = (&mut item, self.next.take())
        {
            for (key, value) in fields {
                item.entry(key).or_insert(value);
            }
        }
        item
    }
}

/// Ends the message that was gathered. A single plain text is sent as text, which every server takes.
fn push_message(role: &str, content: &mut Vec<Value>, out: &mut Vec<Value>) {
    let content = std::mem::take(content);
    match content.as_slice() {
        [] => {}
        [Value::Object(one)] if role == "assistant" && one.len() == 2 && one.contains_key("text") => {
            out.push(json!({"role": role, "content": one.get("text")}));
        }
        _ => out.push(json!({"type": "message", "role": role, "content": content})),
    }
}

fn address(media: &Media) -> Result<String> {
    Ok(match media {
        Media::Base64 { mime, data } => format!("data:{mime};base64,{data}"),
        Media::Url { url, .. } => url.clone(),
        _ => return no("this kind of media is not known to the protocol"),
    })
}
