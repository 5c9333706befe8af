//! Recorded exchanges, read from a folder.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use base64::Engine as _;
use bytes::Bytes;
use serde_json::Value;

/// One recorded exchange.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name, the same in the verdicts.
    pub id: String,
    /// Who answered.
    pub provider: String,
    /// The protocol's name.
    pub api: String,
    /// The path that was asked for.
    pub path: String,
    /// The status of the reply.
    pub status: u16,
    /// The reply's content type; empty if none was recorded.
    pub content_type: String,
    /// The request's body; null if it is no JSON.
    pub request: Value,
    /// The reply's body.
    pub body: Bytes,
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Row {
    /// Reads one line.
    ///
    /// # Errors
    /// What is missing or malformed.
    pub fn parse(line: &str) -> Result<Self, String> {
        let row: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        let body = match (row["body_b64"].as_str(), row["body"].as_str()) {
            (Some(packed), _) => {
                base64::prelude::BASE64_STANDARD.decode(packed).map_err(|e| e.to_string())?
            }
            (None, Some(text)) => text.as_bytes().to_vec(),
            (None, None) => Vec::new(),
        };
        // Some binary streams were recorded as base64 without a word about it.
        let body = match std::str::from_utf8(&body) {
            Ok(text) if word(&row["ctype"]).contains("vnd.amazon.eventstream") => {
                base64::prelude::BASE64_STANDARD.decode(text).unwrap_or(body)
            }
            _ => body,
        };
        let request = match &row["req"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
            other => other.clone(),
        };
        Ok(Self {
            id: word(&row["id"]),
            provider: word(&row["provider"]),
            api: word(&row["api"]),
            path: word(&row["path"]),
            status: word(&row["status"]).parse().map_err(|_| "a row without a status".to_owned())?,
            content_type: word(&row["ctype"]),
            request,
            body: body.into(),
        })
    }

    /// True if the exchange was a stream.
    pub fn is_stream(&self) -> bool {
        self.request["stream"] == Value::Bool(true)
            || self.content_type.contains("stream")
            || self.content_type.contains("ndjson")
            || self.api.ends_with(".stream")
            || self.body.starts_with(b"event:")
            || self.body.starts_with(b"data:")
    }
}

/// The lines of a file of JSON lines, packed with gzip if its name ends in `.gz`.
///
/// # Errors
/// With the file's name.
pub fn lines(path: &Path) -> Result<Vec<String>, String> {
    let named = |e: std::io::Error| format!("{}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(named)?;
    let packed = path.extension().is_some_and(|e| e == "gz");
    let reader: Box<dyn Read> =
        if packed { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    BufReader::new(reader)
        .lines()
        .filter(|line| line.as_ref().map_or(true, |l| !l.trim().is_empty()))
        .collect::<Result<_, _>>()
        .map_err(named)
}

/// All exchanges of a folder: its `.jsonl` and `.jsonl.gz` files in order, but not those whose name has `expect` in it.
///
/// # Errors
/// With the file's name and the line's number.
pub fn load(dir: &Path) -> Result<Vec<Row>, String> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = name.strip_suffix(".gz").unwrap_or(&name);
            name.strip_suffix(".jsonl").is_some_and(|name| !name.contains("expect"))
        })
        .collect();
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        for (n, line) in lines(&file)?.iter().enumerate() {
            rows.push(Row::parse(line).map_err(|e| format!("{}, line {}: {e}", file.display(), n + 1))?);
        }
    }
    Ok(rows)
}
