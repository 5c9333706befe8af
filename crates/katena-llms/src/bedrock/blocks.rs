//! From the parts of messages to Converse's blocks.

use std::collections::BTreeSet;

use katena_core::{Error, Media, ModelInfo, Part, Result, ToolResult};
use serde_json::{Value, json};

use super::wire::cited_text;

pub(super) fn no<T>(what: &'static str) -> Result<T> {
    Err(Error::unsupported(what))
}

fn misplaced<T>(what: &'static str) -> Result<T> {
    Err(Error::invalid_input(what))
}

/// Makes blocks; knows which names of documents are taken, since the service wants each but once.
#[derive(Default)]
pub(super) struct Blocks {
    names: BTreeSet<String>,
}

impl Blocks {
    /// The blocks of a system message.
    pub(super) fn system(parts: &[Part], info: &ModelInfo, out: &mut Vec<Value>) -> Result<()> {
        for part in parts {
            match part {
                Part::Text { text } if text.is_empty() => {}
                Part::Text { text } => out.push(json!({"text": text})),
                Part::Opaque { vendor, value } if *vendor == info.vendor => out.push(value.clone()),
                Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
                _ => return no("the protocol takes only text in system messages"),
            }
        }
        Ok(())
    }

    /// The blocks of a user's message.
    pub(super) fn user(&mut self, parts: &[Part], info: &ModelInfo, out: &mut Vec<Value>) -> Result<()> {
        for part in parts {
            match part {
                // The service refuses empty texts.
                Part::Text { text } if text.is_empty() => {}
                Part::ToolCall(_) => {
                    return misplaced("a tool call stands outside of a message of the assistant");
                }
                Part::ToolResult(_) => return misplaced("a tool result stands outside of a tool message"),
                Part::Reasoning { .. } | Part::Refusal { .. } => {
                    return misplaced("reasoning or a refusal stands outside of a message of the assistant");
                }
                part => out.push(self.content(part, info)?),
            }
        }
        Ok(())
    }

    /// The blocks of a message of the assistant. Reasoning without a signature, or with another vendor's, is left out: no model takes it back.
    pub(super) fn assistant(parts: &[Part], info: &ModelInfo, out: &mut Vec<Value>) -> Result<()> {
        for part in parts {
            match part {
                Part::Text { text } | Part::Refusal { text } => {
                    if !text.is_empty() {
                        out.push(json!({"text": text}));
                    }
                }
                Part::Reasoning { text, signature: Some(signature) }
                    if !crate::parts::names_its_vendor(signature) =>
                {
                    let text = json!({"text": text, "signature": signature});
                    out.push(json!({"reasoningContent": {"reasoningText": text}}));
                }
                Part::Reasoning { .. } => {}
                Part::ToolCall(call) => {
                    let input: Value = call.parse().map_err(|e| {
                        Error::invalid_input("the arguments of an earlier tool call are no JSON")
                            .with_context("tool", call.name.clone())
                            .with_source(e)
                    })?;
                    out.push(json!({"toolUse": {"toolUseId": call.id, "name": call.name, "input": input}}));
                }
                Part::Opaque { vendor, value } if *vendor == info.vendor => {
                    // A block of text with citations came with its text as a part of its own.
                    if let Some(cited) = value.get("citationsContent") {
                        let text = cited_text(cited);
                        let is_it = |block: &Value| block["text"].as_str() == Some(text.as_str());
                        if !text.is_empty() && out.last().is_some_and(is_it) {
                            out.pop();
                        }
                    }
                    out.push(value.clone());
                }
                Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
                Part::ToolResult(_) => {
                    return misplaced("a tool result stands in a message of the assistant");
                }
                _ => return no("the protocol takes no media in messages of the assistant"),
            }
        }
        Ok(())
    }

    /// The blocks of a tool message.
    pub(super) fn tool(&mut self, parts: &[Part], info: &ModelInfo, out: &mut Vec<Value>) -> Result<()> {
        for part in parts {
            match part {
                Part::ToolResult(result) => out.push(self.result(result, info)?),
                _ => return misplaced("a tool message holds something else than tool results"),
            }
        }
        Ok(())
    }

    fn result(&mut self, result: &ToolResult, info: &ModelInfo) -> Result<Value> {
        let mut content = Vec::with_capacity(result.parts.len());
        for part in &result.parts {
            content.push(match part {
                Part::Audio { .. } => return no("the protocol takes no sound as a tool's result"),
                part => self.content(part, info)?,
            });
        }
        let mut value = json!({"toolUseId": result.call_id, "content": content});
        // Not every model knows the field, so it is sent only where it says something.
        if result.is_error {
            value["status"] = json!("error");
        }
        Ok(json!({"toolResult": value}))
    }

    fn content(&mut self, part: &Part, info: &ModelInfo) -> Result<Value> {
        let can = info.capabilities;
        Ok(match part {
            Part::Text { text } => json!({"text": text}),
            Part::Image { .. } if !can.images => return no("this model takes no images"),
            Part::Image { media } => json!({"image": medium(media, &IMAGES)?}),
            Part::Audio { .. } if !can.audio => return no("this model takes no sound"),
            Part::Audio { media } => json!({"audio": medium(media, &SOUNDS)?}),
            Part::Video { .. } if !can.video => return no("this model takes no videos"),
            Part::Video { media } => json!({"video": medium(media, &VIDEOS)?}),
            Part::File { .. } if !can.files => return no("this model takes no files"),
            Part::File { media, name } => {
                let mut value = medium(media, &DOCUMENTS)?;
                value["name"] = Value::String(self.document_name(name.as_deref()));
                json!({"document": value})
            }
            Part::Opaque { vendor, value } if *vendor == info.vendor => value.clone(),
            Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
            _ => return no("this kind of part is not known to the protocol here"),
        })
    }

    /// A name of letters, digits, single spaces, `-()[]`, as the service wants it; without the file's extension.
    fn document_name(&mut self, name: Option<&str>) -> String {
        let name = name.unwrap_or_default();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let fine = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
        let words: String = stem.chars().take(150).map(fine).collect();
        let words = words.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let words = if words.is_empty() { "document".to_owned() } else { words };
        let mut name = words.clone();
        let mut n = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{words} {n}");
            n += 1;
        }
        name
    }
}

type Formats = [(&'static str, &'static [&'static str])];

/// MIME types and extensions by the service's name of the format.
const IMAGES: [(&str, &[&str]); 4] = [
    ("png", &["image/png", "png"]),
    ("jpeg", &["image/jpeg", "image/jpg", "jpeg", "jpg"]),
    ("gif", &["image/gif", "gif"]),
    ("webp", &["image/webp", "webp"]),
];

const SOUNDS: [(&str, &[&str]); 9] = [
    ("mp3", &["audio/mpeg", "audio/mp3", "mp3"]),
    ("wav", &["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "wav"]),
    ("flac", &["audio/flac", "audio/x-flac", "flac"]),
    ("aac", &["audio/aac", "audio/x-aac", "aac"]),
    ("ogg", &["audio/ogg", "ogg"]),
    ("opus", &["audio/opus", "opus"]),
    ("m4a", &["audio/mp4", "audio/m4a", "audio/x-m4a", "m4a"]),
    ("webm", &["audio/webm", "webm"]),
    ("mka", &["audio/x-matroska", "mka"]),
];

const VIDEOS: [(&str, &[&str]); 8] = [
    ("mp4", &["video/mp4", "mp4"]),
    ("mov", &["video/quicktime", "mov"]),
    ("mkv", &["video/x-matroska", "mkv"]),
    ("webm", &["video/webm", "webm"]),
    ("flv", &["video/x-flv", "flv"]),
    ("mpeg", &["video/mpeg", "mpeg", "mpg"]),
    ("wmv", &["video/x-ms-wmv", "wmv"]),
    ("three_gp", &["video/3gpp", "3gp"]),
];

const DOCUMENTS: [(&str, &[&str]); 9] = [
    ("pdf", &["application/pdf", "pdf"]),
    ("csv", &["text/csv", "csv"]),
    ("doc", &["application/msword", "doc"]),
    ("docx", &["application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"]),
    ("xls", &["application/vnd.ms-excel", "xls"]),
    ("xlsx", &["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"]),
    ("html", &["text/html", "html", "htm"]),
    ("md", &["text/markdown", "md"]),
    ("txt", &["text/plain", "txt"]),
];

fn format(word: &str, formats: &Formats) -> Result<&'static str> {
    let word = word.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match formats.iter().find(|(_, words)| words.contains(&word.as_str())) {
        Some((name, _)) => Ok(name),
        // Every other text is read as plain text.
        None if word.starts_with("text/") && formats.iter().any(|(name, _)| *name == "txt") => Ok("txt"),
        None => {
            Err(Error::unsupported("the protocol does not take this format").with_context("format", word))
        }
    }
}

/// Format and source.
fn medium(media: &Media, formats: &Formats) -> Result<Value> {
    match media {
        Media::Base64 { mime, data } => {
            Ok(json!({"format": format(mime, formats)?, "source": {"bytes": data}}))
        }
        Media::Url { mime, url } if url.starts_with("s3://") => {
            let extension = || url.rsplit(['/', '.']).next().unwrap_or_default().to_owned();
            let word = mime.clone().unwrap_or_else(extension);
            Ok(json!({"format": format(&word, formats)?, "source": {"s3Location": {"uri": url}}}))
        }
        _ => no("the protocol takes media inline or from S3 (s3://…), not from other addresses"),
    }
}
