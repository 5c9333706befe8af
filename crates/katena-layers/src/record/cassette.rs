//! The file of recorded calls.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use katena_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::diff;
use super::redact::Redaction;
use crate::stored::{StoredError, StoredEvent, hash_json};

/// The version of the file's form.
const VERSION: u64 = 1;

/// Larger files are not read.
const MAX_BYTES: u64 = 1 << 30;

/// What came of a call.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The answer, in the kind's own form.
    Response(Value),
    /// A stream's events; an error at its end stands beside them.
    Events(Vec<StoredEvent>),
    /// No answer.
    Error(StoredError),
}

/// One recorded call; a line of the file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) kind: String,
    /// Who was asked: vendor and model, or the name.
    pub(super) component: Value,
    pub(super) request: Value,
    pub(super) reply: Reply,
    /// The error that cut a stream off after these events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cut: Option<StoredError>,
}

/// What identifies a call.
pub(super) struct Asked {
    pub(super) kind: &'static str,
    pub(super) component: Value,
    /// As it is written.
    written: Value,
    /// As it is read again: numbers may lose their last bit on the way.
    pub(super) request: Value,
}

impl Asked {
    fn key(&self) -> String {
        hash_json(&json!([self.kind, self.component, self.request]))
    }
}

/// What to do with a request that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Ask, always.
    Record,
    /// Fail.
    Strict,
    /// Ask and record.
    RecordMissing,
}

pub(super) struct Cassette {
    path: PathBuf,
    pub(super) redaction: Redaction,
    tape: Mutex<Tape>,
}

#[derive(Default)]
struct Tape {
    entries: Vec<Entry>,
    by_key: HashMap<String, Vec<usize>>,
    /// How many of a key's recordings were given.
    given: HashMap<String, usize>,
    unsaved: bool,
}

impl Tape {
    fn push(&mut self, key: String, entry: Entry) {
        self.by_key.entry(key).or_default().push(self.entries.len());
        self.entries.push(entry);
    }
}

/// A recording that was found, or why not.
pub(super) enum Found {
    Entry(Box<Entry>),
    Missing(Error),
}

fn bad(what: &'static str, line: usize) -> Error {
    Error::invalid_input(what).with_context("line", line.to_string())
}

impl Cassette {
    pub(super) fn empty(path: PathBuf, redaction: Redaction) -> Self {
        Self { path, redaction, tape: Mutex::default() }
    }

    /// Reads a file.
    pub(super) fn open(path: PathBuf, redaction: Redaction) -> Result<Self> {
        let named = |e: Error| e.with_context("file", path.display().to_string());
        let size = std::fs::metadata(&path).map_err(|e| named(e.into()))?.len();
        if size > MAX_BYTES {
            return Err(named(Error::invalid_input("the cassette is too large")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| named(e.into()))?;
        let tape = read(&text).map_err(named)?;
        Ok(Self { path, redaction, tape: Mutex::new(tape) })
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> usize {
        self.tape().entries.len()
    }

    /// A request as it is written and looked for.
    pub(super) fn asked(&self, kind: &'static str, component: Value, mut request: Value) -> Asked {
        self.redaction.value(&mut request);
        let read = serde_json::from_str(&request.to_string());
        Asked { kind, component, request: read.unwrap_or_else(|_| request.clone()), written: request }
    }

    /// The next recording of this request.
    pub(super) fn find(&self, asked: &Asked) -> Found {
        let key = asked.key();
        let mut tape = self.tape();
        let Some(places) = tape.by_key.get(&key) else {
            return Found::Missing(diff::missing(asked, &tape.entries));
        };
        let (recorded, given) = (places.len(), tape.given.get(&key).copied().unwrap_or(0));
        let Some(place) = places.get(given).copied() else {
            return Found::Missing(
                Error::new(
                    ErrorKind::NotFound,
                    "the cassette has this request fewer times than it was asked",
                )
                .with_context("recorded", recorded.to_string()),
            );
        };
        tape.given.insert(key, given + 1);
        Found::Entry(Box::new(tape.entries[place].clone()))
    }

    /// Writes a call down. It counts as given: it was.
    pub(super) fn record(&self, asked: Asked, mut reply: Reply, mut cut: Option<StoredError>) {
        match &mut reply {
            Reply::Response(value) => self.redaction.value(value),
            Reply::Events(events) => *events = self.events(std::mem::take(events)),
            Reply::Error(error) => error.message = self.redaction.text(&error.message),
        }
        if let Some(error) = &mut cut {
            error.message = self.redaction.text(&error.message);
        }
        let key = asked.key();
        let Asked { kind, component, written, .. } = asked;
        let entry = Entry { kind: kind.to_owned(), component, request: written, reply, cut };
        let mut tape = self.tape();
        *tape.given.entry(key.clone()).or_default() += 1;
        tape.push(key, entry);
        tape.unsaved = true;
    }

    /// A secret may lie across two pieces: pieces whose whole text changes become one.
    fn events(&self, events: Vec<StoredEvent>) -> Vec<StoredEvent> {
        let mut whole: HashMap<usize, String> = HashMap::new();
        for event in &events {
            if let StoredEvent::Delta { part, text } = event {
                whole.entry(*part).or_default().push_str(text);
            }
        }
        let changed = |(part, text): (usize, String)| {
            let redacted = self.redaction.text(&text);
            (redacted != text).then_some((part, redacted))
        };
        let mut changed: HashMap<usize, Option<String>> =
            whole.into_iter().filter_map(changed).map(|(part, text)| (part, Some(text))).collect();
        let keep = |event: StoredEvent| match event {
            StoredEvent::Delta { part, text } => match changed.get_mut(&part) {
                None => Some(StoredEvent::Delta { part, text }),
                Some(once) => once.take().map(|text| StoredEvent::Delta { part, text }),
            },
            other => {
                let mut value = serde_json::to_value(&other).ok()?;
                self.redaction.value(&mut value);
                serde_json::from_value(value).ok().or(Some(other))
            }
        };
        events.into_iter().filter_map(keep).collect()
    }

    /// Writes the file: all of it or nothing of it.
    pub(super) fn save(&self) -> Result<()> {
        let mut tape = self.tape();
        let named = |e: std::io::Error| Error::from(e).with_context("file", self.path.display().to_string());
        let mut bytes = serde_json::to_vec(&json!({ "katena_cassette": VERSION })).unwrap_or_default();
        bytes.push(b'\n');
        for entry in &tape.entries {
            serde_json::to_writer(&mut bytes, entry)
                .map_err(|e| Error::unexpected("a call has no JSON form").with_source(e))?;
            bytes.push(b'\n');
        }
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(named)?;
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let beside = format!(".{name}.{}.{:08x}.tmp", std::process::id(), fastrand::u32(..));
        let beside = self.path.with_file_name(beside);
        let write = || {
            let mut file = std::fs::File::create_new(&beside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)
        };
        if let Err(error) = write() {
            // It may not be there at all.
            let _gone = std::fs::remove_file(&beside);
            return Err(named(error));
        }
        tape.unsaved = false;
        Ok(())
    }
}

impl Drop for Cassette {
    fn drop(&mut self) {
        if self.tape().unsaved
            && let Err(error) = self.save()
        {
            tracing::error!(%error, "the cassette could not be written");
        }
    }
}

fn read(text: &str) -> Result<Tape> {
    let mut tape = Tape::default();
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, head)) = lines.next() else { return Err(bad("the file is empty; it is no cassette", 1)) };
    let version = serde_json::from_str::<Value>(head).ok().and_then(|h| h.get("katena_cassette")?.as_u64());
    match version {
        Some(VERSION) => {}
        Some(_) => {
            return Err(Error::unsupported("a newer Katena wrote the cassette"));
        }
        None => return Err(bad("the file is no cassette", 1)),
    }
    for (number, line) in lines {
        let entry: Entry = serde_json::from_str(line)
            .map_err(|e| bad("a line of the cassette can't be read", number + 1).with_source(e))?;
        let key = hash_json(&json!([entry.kind, entry.component, entry.request]));
        tape.push(key, entry);
    }
    Ok(tape)
}
