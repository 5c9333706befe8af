//! What all histories share: options, and messages as the text that is stored.

use std::time::Duration;

use katena_core::{Error, ErrorKind, MESSAGE_FORMAT, Message, Part, Result, Role};
use serde::Deserialize;
use serde_json::Value;

const DEFAULT_MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// What a history of any kind may be told.
///
/// ```
/// use std::time::Duration;
/// use katena_memory::HistoryOptions;
/// let options = HistoryOptions::new().with_ttl(Duration::from_secs(3600)).with_max_message_bytes(64 * 1024);
/// assert_eq!(options.ttl, Some(Duration::from_secs(3600)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryOptions {
    /// A session that nothing was appended to for so long is forgotten; `None` keeps all. Measured by the store's clock,
    /// in whole milliseconds, at least one.
    pub ttl: Option<Duration>,
    /// The longest stored form of one message, in bytes. A longer one is `InvalidInput`.
    pub max_message_bytes: usize,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self { ttl: None, max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES }
    }
}

impl HistoryOptions {
    /// No time to live; messages of up to 16 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets sessions that were idle for so long.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the longest stored form of one message, in bytes.
    pub fn with_max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// The time to live in milliseconds, as stores count it.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis", feature = "mongodb"))]
    pub(crate) fn ttl_millis(&self) -> Option<i64> {
        self.ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 4).clamp(1, i64::MAX / 4))
    }

    pub(crate) fn encode(&self, messages: &[Message]) -> Result<Vec<String>> {
        messages.iter().map(|m| encode(m, self.max_message_bytes)).collect()
    }
}

/// The stored form. Core counts its versions; the first is written without a number.
#[derive(Deserialize)]
struct Stored {
    #[serde(default = "first")]
    v: u32,
    role: Role,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(default = "first")]
    v: u32,
}

fn first() -> u32 {
    1
}

// Whoever raises the format writes `v` in `encode`.
const _: () = assert!(MESSAGE_FORMAT == 1);

fn encode(message: &Message, max_bytes: usize) -> Result<String> {
    let text = serde_json::to_string(message)
        .map_err(|e| Error::invalid_input("the message can't be written as JSON").with_source(e))?;
    if text.len() > max_bytes {
        let error = Error::invalid_input("the message is too large for the history");
        let error = error.with_context("bytes", text.len().to_string());
        return Err(error.with_context("limit", max_bytes.to_string()));
    }
    // Only these can nest deeper than the reader goes; what is written must be readable, also as an item of a list.
    if message.parts.iter().any(|p| matches!(p, Part::Opaque { .. } | Part::ToolResult(_))) {
        let tried = serde_json::from_str::<Value>(&format!("[[{text}]]"));
        tried.map_err(|e| Error::invalid_input("the message is nested too deeply").with_source(e))?;
    }
    Ok(text)
}

/// The messages of a stored JSON list.
pub(crate) fn decode_list(text: &str) -> Result<Vec<Message>> {
    let list: Vec<Value> = serde_json::from_str(text)
        .map_err(|e| Error::unexpected("a stored message is damaged").with_source(e))?;
    list.into_iter()
        .map(|value| {
            let version = value.get("v").and_then(Value::as_u64).unwrap_or(1);
            if version > u64::from(MESSAGE_FORMAT) {
                return Err(newer(version));
            }
            serde_json::from_value(value)
                .map_err(|e| Error::unexpected("a stored message is damaged").with_source(e))
        })
        .collect()
}

fn newer(version: impl std::fmt::Display) -> Error {
    let message = format!("a newer Katena wrote the message (form {version}, known {MESSAGE_FORMAT})");
    Error::new(ErrorKind::Unsupported, message)
}

/// A message from its stored text.
pub(crate) fn decode(text: &str) -> Result<Message> {
    match serde_json::from_str::<Stored>(text) {
        Ok(stored) if stored.v <= MESSAGE_FORMAT => Ok(Message::new(stored.role, stored.parts)),
        other => {
            let version = serde_json::from_str::<Version>(text).map_or(1, |v| v.v);
            if version > MESSAGE_FORMAT {
                return Err(newer(version));
            }
            let error = Error::unexpected("a stored message is damaged");
            Err(match other {
                Ok(_) => error,
                Err(cause) => error.with_source(cause),
            })
        }
    }
}

pub(crate) fn decode_all<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Vec<Message>> {
    texts.into_iter().map(|t| decode(t.as_ref())).collect()
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
