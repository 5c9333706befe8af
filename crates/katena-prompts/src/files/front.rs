//! The front matter of a prompt file, and its body's marks.

use std::collections::BTreeMap;

use katena_core::{ChatRequest, Effort, Error, ErrorKind, Reasoning, Result, Role};
use serde::Deserialize;
use serde_json::Value;

/// What stands between the two `---` lines. Unknown fields are errors.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Front {
    pub(super) name: Option<String>,
    pub(super) version: Option<Version>,
    pub(super) description: Option<String>,
    pub(super) format: Option<String>,
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) options: Options,
    pub(super) input: Option<Value>,
    pub(super) output: Option<Value>,
}

/// A version may be written without quotes.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Version {
    Text(String),
    Whole(u64),
    Number(f64),
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Whole(n) => n.fmt(f),
            Self::Number(n) => n.fmt(f),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    max_tokens: Option<u32>,
    #[serde(default)]
    stop: Vec<String>,
    seed: Option<u64>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    logprobs: Option<u32>,
    reasoning_effort: Option<Effort>,
    reasoning_tokens: Option<u32>,
    #[serde(default)]
    extra: BTreeMap<String, Value>,
}

impl Options {
    pub(super) fn request(&self) -> Result<ChatRequest> {
        let within = |name: &str, value: Option<f32>, least: f32, most: f32| match value {
            Some(v) if !(least..=most).contains(&v) => Err(Error::config("an option is out of its range")
                .with_context("option", name)
                .with_context("range", format!("{least} to {most}"))),
            _ => Ok(()),
        };
        within("temperature", self.temperature, 0.0, 2.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        let mut request = ChatRequest::default();
        request.temperature = self.temperature;
        request.top_p = self.top_p;
        request.top_k = self.top_k;
        request.max_tokens = self.max_tokens;
        request.stop.clone_from(&self.stop);
        request.seed = self.seed;
        request.presence_penalty = self.presence_penalty;
        request.frequency_penalty = self.frequency_penalty;
        request.logprobs = self.logprobs;
        request.extra.clone_from(&self.extra);
        request.reasoning = match (self.reasoning_effort, self.reasoning_tokens) {
            (None, None) => None,
            (Some(effort), None) => Some(Reasoning::effort(effort)),
            (None, Some(tokens)) => Some(Reasoning::budget(tokens)),
            (Some(_), Some(_)) => {
                return Err(Error::config("reasoning is set by effort or by tokens, not by both"));
            }
        };
        Ok(request)
    }
}

/// Splits a file at its `---` lines; gives the front matter, the body, and the body's first line number.
pub(super) fn split(text: &str) -> Result<(Front, &str, usize)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n');
    if lines.next().map(str::trim_end) != Some("---") {
        return Err(at(
            Error::config("a prompt file begins with a line of three dashes and its front matter"),
            1,
        ));
    }
    let mut end = None;
    let mut offset = text.find('\n').map_or(text.len(), |n| n + 1);
    let start = offset;
    for (n, line) in lines.enumerate() {
        if line.trim_end() == "---" {
            end = Some((offset, offset + line.len(), n + 3));
            break;
        }
        offset += line.len();
    }
    let Some((end, body, line)) = end else {
        return Err(at(Error::config("the front matter is not closed by a line of three dashes"), 1));
    };
    let yaml = &text[start..end];
    if yaml.trim().is_empty() {
        return Ok((Front::default(), &text[body..], line));
    }
    let front = serde_saphyr::from_str::<Front>(yaml).map_err(|e| {
        let line = e.location().map_or(2, |l| usize::try_from(l.line()).unwrap_or(1) + 1);
        let words = e.to_string();
        let first = words.lines().next().unwrap_or_default().to_owned();
        at(Error::config(format!("the front matter can't be read: {}", crate::parsers::brief(&first))), line)
    })?;
    Ok((front, &text[body..], line))
}

pub(super) fn at(error: Error, line: usize) -> Error {
    error.with_context("line", line.to_string())
}

/// The same error at a line of the file, whose text begins at `first`.
pub(super) fn shifted(error: &Error, first: usize) -> Error {
    let mut moved = Error::new(error.kind(), error.message().to_owned());
    let own = error.context("line").and_then(|l| l.parse::<usize>().ok()).unwrap_or(1);
    let line = if error.context("partial").is_some() { own } else { own + first - 1 };
    for key in ["variable", "helper", "includes", "partial"] {
        if let Some(value) = error.context(key) {
            moved = moved.with_context(key, value);
        }
    }
    at(moved, line)
}

/// A piece of the body and the line where it begins.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    Message(Role, String),
    Messages { name: String, optional: bool },
    Image(String),
}

/// Reads the body's marks: lines such as `<<<system>>>`, `<<<messages history>>>`, `<<<image photo>>>`.
pub(super) fn body(text: &str, first: usize) -> Result<Vec<(Piece, usize)>> {
    let mut pieces: Vec<(Piece, usize)> = Vec::new();
    let mut open: Option<(Role, Vec<&str>, usize)> = None;
    let close = |open: &mut Option<(Role, Vec<&str>, usize)>, pieces: &mut Vec<(Piece, usize)>| {
        if let Some((role, lines, line)) = open.take() {
            let blank = lines.iter().take_while(|l| l.trim().is_empty()).count();
            let text = lines[blank..].join("\n").trim_end().to_owned();
            pieces.push((Piece::Message(role, text), line + blank));
        }
    };
    for (n, line) in text.lines().enumerate() {
        let number = first + n;
        let mark = line.trim().strip_prefix("<<<").and_then(|l| l.strip_suffix(">>>")).map(str::trim);
        let Some(mark) = mark else {
            let line = if line.trim_start().starts_with("\\<<<") {
                line.strip_prefix('\\').unwrap_or(line)
            } else {
                line
            };
            match &mut open {
                Some((_, lines, _)) => lines.push(line),
                // A body without marks is one user message.
                None if pieces.is_empty() && !line.trim().is_empty() => {
                    open = Some((Role::User, vec![line], number));
                }
                None if line.trim().is_empty() => {}
                None => return Err(at(Error::config("text stands outside a message"), number)),
            }
            continue;
        };
        close(&mut open, &mut pieces);
        let mut words = mark.split_whitespace();
        let (word, name, rest) = (words.next().unwrap_or_default(), words.next(), words.next());
        let role = match word {
            "system" => Some(Role::System),
            "user" => Some(Role::User),
            "assistant" => Some(Role::Assistant),
            _ => None,
        };
        match (role, word, name, rest) {
            (Some(role), _, None, None) => open = Some((role, Vec::new(), number + 1)),
            (None, "messages", Some(name), None) => {
                let optional = name.ends_with('?');
                let name = name.trim_end_matches('?').to_owned();
                pieces.push((Piece::Messages { name, optional }, number));
            }
            (None, "image", Some(name), None) => pieces.push((Piece::Image(name.to_owned()), number)),
            _ => {
                return Err(at(
                    Error::new(
                        ErrorKind::Config,
                        "the mark is none of system, user, assistant, messages NAME, image NAME",
                    ),
                    number,
                ));
            }
        }
    }
    close(&mut open, &mut pieces);
    if pieces.is_empty() {
        return Err(at(Error::config("the prompt has no message"), first));
    }
    Ok(pieces)
}
