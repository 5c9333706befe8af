//! Cassettes: calls recorded once and given again in tests.

mod cassette;
mod diff;
mod layers;
mod redact;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use katena_core::Result;

use cassette::{Cassette, Mode};
use redact::Redaction;

/// What both layers have in common.
#[derive(Clone)]
struct Deck {
    cassette: Arc<Cassette>,
    mode: Mode,
    /// Names components that have no name of their own.
    name: String,
}

impl fmt::Debug for Deck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deck")
            .field("file", &self.cassette.path())
            .field("mode", &self.mode)
            .field("calls", &self.cassette.len())
            .finish_non_exhaustive()
    }
}

/// Writes calls and what came of them into a file, for tests that [`Replay`] them. For chat models (streams with every
/// event), embedders, rerankers, retrievers and tools.
///
/// The file is JSON, a call a line, and has a version. Keys, bearer and basic tokens, private keys, and texts in fields such as
/// `api_key` and `password` are replaced by `***` before anything is kept, in requests and replies; add your own rules with
/// [`with_redactor`](Record::with_redactor). The context (labels, deadline) is not recorded. Prompts and answers are: look at the
/// file before you publish it.
///
/// [`save`](Record::save) writes the file whole or not at all; dropping the last clone saves what is unsaved. A call whose
/// caller goes away before the end is not recorded.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::{EchoChat, ScriptedChat}};
/// use katena_layers::{Record, Replay};
/// # let dir = tempfile::tempdir().unwrap();
/// let file = dir.path().join("greeting.jsonl");
/// let request = ChatRequest::new([Message::user("hello")]);
///
/// let record = Record::new(&file);
/// let answer = EchoChat::new().layer(record.clone()).generate(&request).await?;
/// record.save()?;
///
/// // Later, without a network: the inner model is only asked for its name.
/// let model = EchoChat::new().layer(Replay::open(&file)?);
/// assert_eq!(model.generate(&request).await?, answer);
/// # Ok::<_, katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Record(Deck);

impl Record {
    /// Records into this file, in place of what is there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let cassette = Cassette::empty(path.into(), Redaction::default());
        Self(Deck { cassette: Arc::new(cassette), mode: Mode::Record, name: String::new() })
    }

    /// Changes every text of requests and replies before it is kept; to be set before the layer is used. Give [`Replay`] the
    /// same rules, as requests are looked for in their changed form.
    pub fn with_redactor(self, redactor: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let mut redaction = self.0.cassette.redaction.clone();
        redaction.add(redactor);
        let cassette = Cassette::empty(self.0.cassette.path().to_path_buf(), redaction);
        Self(Deck { cassette: Arc::new(cassette), ..self.0 })
    }

    /// The same recording for a component that has no name of its own (reranker, retriever), to tell it from others.
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self(Deck { name: name.into(), ..self.0.clone() })
    }

    /// How many calls it has.
    pub fn len(&self) -> usize {
        self.0.cassette.len()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self) -> Result<()> {
        self.0.cassette.save()
    }
}

/// Gives the recorded replies of a [`Record`]ed file, errors and cut streams included.
///
/// A call is found by its kind, the component's vendor and model (or name), and every field of its request; the order in
/// which different requests come does not matter, equal ones get their replies in the order of their recording. What was
/// recorded by `generate` also answers `stream`, and the reverse.
///
/// A request that is not there, or was recorded fewer times than it is asked, is an error of kind `NotFound` that tells the
/// first difference from the nearest recording; after [`with_missing_recorded`](Replay::with_missing_recorded) it is asked and
/// recorded instead.
///
/// ```no_run
/// use katena_layers::Replay;
/// let strict = Replay::open("tests/cassettes/summary.jsonl")?;
/// let growing = Replay::open("tests/cassettes/summary.jsonl")?.with_missing_recorded();
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Replay(Deck);

impl Replay {
    /// Reads a cassette.
    ///
    /// # Errors
    /// Kind `NotFound` without the file, `InvalidInput` with the line if it is damaged, `Unsupported` if a newer version
    /// wrote it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let cassette = Cassette::open(path.into(), Redaction::default())?;
        Ok(Self(Deck { cassette: Arc::new(cassette), mode: Mode::Strict, name: String::new() }))
    }

    /// Reads a cassette if there is one; calls that it has not are asked and recorded.
    ///
    /// # Errors
    /// As [`open`](Replay::open), but for a missing file.
    pub fn open_or_record(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if path.exists() {
            return Ok(Self::open(path)?.with_missing_recorded());
        }
        let cassette = Arc::new(Cassette::empty(path, Redaction::default()));
        Ok(Self(Deck { cassette, mode: Mode::RecordMissing, name: String::new() }))
    }

    /// Asks for what is not there and records it.
    pub fn with_missing_recorded(mut self) -> Self {
        self.0.mode = Mode::RecordMissing;
        self
    }

    /// The rule that the cassette was recorded with, see [`Record::with_redactor`]; to be set before the layer is used.
    ///
    /// # Errors
    /// Those of reading the file again.
    pub fn with_redactor(self, redactor: impl Fn(&str) -> String + Send + Sync + 'static) -> Result<Self> {
        let old = &self.0.cassette;
        let mut redaction = old.redaction.clone();
        redaction.add(redactor);
        let path = old.path().to_path_buf();
        let cassette =
            if path.exists() { Cassette::open(path, redaction)? } else { Cassette::empty(path, redaction) };
        Ok(Self(Deck { cassette: Arc::new(cassette), ..self.0 }))
    }

    /// The same cassette for a component that has no name of its own, as it was recorded.
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self(Deck { name: name.into(), ..self.0.clone() })
    }

    /// Writes the file, with what was recorded since.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self) -> Result<()> {
        self.0.cassette.save()
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
