//! What was derived from a conversation, kept beside it.

use std::sync::Arc;

use katena_core::{ChatHistory, Error, Message, Part, Result, Role};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::turns::side;

/// The version of a note's form.
const VERSION: u32 = 1;
const VENDOR: &str = "katena";
/// So many of the last covered messages are in the seal.
const SEALED: usize = 4;
/// After so many notes one takes the place of all.
const MANY: usize = 16;

/// A derived value and the messages that it rests on: those before `covers`, given that a note up to `from` is there.
#[derive(Serialize, Deserialize)]
struct Note<T> {
    v: u32,
    from: usize,
    covers: usize,
    /// A hash of the last messages covered: after the conversation was replaced, the note no longer holds.
    seal: String,
    value: T,
}

/// Notes on sessions, appended to side sessions of the same history.
///
/// A note counts if it goes on from where the last one that counts ends, or begins at 0. So of two notes on the same
/// messages, made at once, the first in the log counts and the other is passed over: adding is a compare-and-set, with
/// nothing but appends. Turns are never deleted, so a note that is lost or no longer holds is made again.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    pub(super) history: Arc<dyn ChatHistory>,
    pub(super) kind: &'static str,
}

/// What the notes say now.
#[derive(Debug)]
pub(super) struct State<T> {
    /// How many messages are covered.
    pub(super) covers: usize,
    /// The values that count, oldest first.
    pub(super) values: Vec<T>,
    /// How long the log is.
    length: usize,
}

impl Notes {
    pub(super) async fn load<T: DeserializeOwned>(&self, session: &str) -> Result<State<T>> {
        let log = self.history.messages(&side(session, self.kind)).await?;
        let mut state = State { covers: 0, values: Vec::new(), length: log.len() };
        let mut seal = String::new();
        for message in log {
            let Some(Part::Opaque { value, .. }) = message.parts.into_iter().next() else {
                return Err(Error::unexpected("a note on a conversation is damaged"));
            };
            let version = value.get("v").and_then(serde_json::Value::as_u64).unwrap_or(0);
            if version > u64::from(VERSION) {
                let message = format!("a newer Katena wrote the notes (version {version}, known {VERSION})");
                return Err(Error::new(katena_core::ErrorKind::Unsupported, message));
            }
            let note: Note<T> = serde_json::from_value(value)
                .map_err(|e| Error::unexpected("a note on a conversation is damaged").with_source(e))?;
            if note.from == 0 {
                state.values.clear();
            } else if note.from != state.covers {
                continue;
            }
            (state.covers, seal) = (note.covers, note.seal);
            state.values.push(note.value);
        }
        if state.covers > 0 && !self.holds(session, state.covers, &seal).await? {
            state.covers = 0;
            state.values.clear();
        }
        Ok(state)
    }

    /// Adds a note that goes on from `state` and rests on messages with this seal. `all` gives the value that stands for
    /// all of them, if the log gets long.
    pub(super) async fn add<T: Serialize>(
        &self,
        session: &str,
        state: &State<T>,
        (covers, seal): (usize, String),
        value: T,
        all: impl FnOnce(&[T], &T) -> T,
    ) -> Result<()> {
        if !self.holds(session, covers, &seal).await? {
            // The conversation was cleared or replaced meanwhile.
            return Ok(());
        }
        let shorten = state.length + 1 >= MANY;
        let (from, value) = if shorten { (0, all(&state.values, &value)) } else { (state.covers, value) };
        let note = serde_json::to_value(Note { v: VERSION, from, covers, seal: seal.clone(), value })
            .map_err(|e| Error::unexpected("a note can't be written").with_source(e))?;
        let message =
            Message::new(Role::System, vec![Part::Opaque { vendor: VENDOR.to_owned(), value: note }]);
        let log = side(session, self.kind);
        if shorten {
            // A note of another process that is added right now is lost with the old ones, and made again.
            self.history.replace(&log, vec![message]).await?;
        } else {
            self.history.append(&log, vec![message]).await?;
        }
        if !self.holds(session, covers, &seal).await? {
            // Cleared between the first look and the writing: what was forgotten must not stay here.
            self.clear(session).await?;
        }
        Ok(())
    }

    async fn holds(&self, session: &str, covers: usize, seal: &str) -> Result<bool> {
        Ok(self.seal(session, covers).await?.is_some_and(|s| s == seal))
    }

    pub(super) async fn clear(&self, session: &str) -> Result<()> {
        self.history.clear(&side(session, self.kind)).await
    }

    /// The seal of the first `covers` messages; `None` if there are fewer.
    pub(super) async fn seal(&self, session: &str, covers: usize) -> Result<Option<String>> {
        let from = covers.saturating_sub(SEALED);
        let last = self.history.range(session, from..covers).await?;
        if last.len() < covers - from {
            return Ok(None);
        }
        let text = serde_json::to_string(&last)
            .map_err(|e| Error::unexpected("a message can't be written as JSON").with_source(e))?;
        Ok(Some(blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()))
    }
}
