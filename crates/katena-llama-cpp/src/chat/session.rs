//! A conversation's tokens and cache in a file.
//!
//! The file, numbers little-endian: `KATSESS1`; 32 bytes that name model and settings; the BLAKE3 hash of all that
//! follows, 32 bytes; the number of tokens (u32), the tokens (i32 each); the length of the state (u64), the state.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use katena_core::{ChatRequest, Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::LlamaChat;
use super::plan::plan;
use super::thread::ended;
use super::worker::Work;
use crate::engine::check_state;

const MAGIC: &[u8; 8] = b"KATSESS1";
const HASH: usize = 32;

/// A conversation up to a point: its tokens, and llama.cpp's file of what was computed from them.
pub(super) struct Session {
    pub(super) tokens: Vec<i32>,
    pub(super) file: Scratch,
}

/// A file that goes with its owner.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A name that nobody has, beside `path`.
    fn beside(path: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        Self(name.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the file, for this user alone.
    fn create(&self) -> Result<std::fs::File> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(options.open(&self.0)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made.
        drop(std::fs::remove_file(&self.0));
    }
}

/// What a session fits to.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// The model's file.
    pub(super) path: PathBuf,
    /// Settings that change what is computed.
    pub(super) settings: String,
}

impl Identity {
    /// A hash of the model's file, its adapters' and the settings.
    fn hash(&self) -> Result<[u8; HASH]> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(&self.path)?)?;
        let model = *hasher.finalize().as_bytes();
        Ok(*blake3::Hasher::new().update(&model).update(self.settings.as_bytes()).finalize().as_bytes())
    }
}

fn bad(what: &'static str, path: &Path) -> Error {
    Error::invalid_input(what).with_context("file", path.display().to_string())
}

fn write(path: &Path, identity: &Identity, session: &Session) -> Result<()> {
    let state = std::fs::read(session.file.path())?;
    let mut body = Vec::with_capacity(session.tokens.len() * 4 + state.len() + 12);
    body.extend((session.tokens.len() as u32).to_le_bytes());
    session.tokens.iter().for_each(|t| body.extend(t.to_le_bytes()));
    body.extend((state.len() as u64).to_le_bytes());
    body.extend(&state);
    // Whole or not at all.
    let whole = Scratch::beside(path);
    let mut file = whole.create()?;
    file.write_all(MAGIC)?;
    file.write_all(&identity.hash()?)?;
    file.write_all(blake3::hash(&body).as_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    Ok(std::fs::rename(whole.path(), path)?)
}

/// Reads and checks a file. `most`: tokens that it may have, below `words`; `token_bytes`: bytes of state that one takes.
fn read(path: &Path, identity: &Identity, most: usize, words: i32, token_bytes: u64) -> Result<Session> {
    let file = std::fs::File::open(path)?;
    let least = (MAGIC.len() + 2 * HASH + 12) as u64;
    let limit = least + (most as u64).saturating_mul(token_bytes.saturating_add(64)) + (1 << 20);
    let length = file.metadata()?.len();
    if length < least || length > limit {
        return Err(bad("the session file has an impossible size", path));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    let (magic, rest) = bytes.split_at_checked(MAGIC.len()).unwrap_or_default();
    let (model, rest) = rest.split_at_checked(HASH).unwrap_or_default();
    let (hash, body) = rest.split_at_checked(HASH).unwrap_or_default();
    if magic != MAGIC {
        return Err(bad("the file is not a session", path));
    }
    if model != identity.hash()? {
        return Err(bad("the session is of another model, or of other settings", path));
    }
    if hash != blake3::hash(body).as_bytes() {
        return Err(bad("the session file is damaged", path));
    }
    let (tokens, state) = parse(body, most).ok_or_else(|| bad("the session file is damaged", path))?;
    if tokens.iter().any(|t| !(0..words).contains(t)) {
        return Err(bad("the session has tokens that the model does not know", path));
    }
    check_state(state, &tokens).map_err(|e| e.with_context("file", path.display().to_string()))?;
    // llama.cpp reads what was checked, not what the file holds by then.
    let file = Scratch::beside(&std::env::temp_dir().join("katena-session"));
    file.create()?.write_all(state)?;
    Ok(Session { tokens, file })
}

/// Tokens and state.
fn parse(body: &[u8], most: usize) -> Option<(Vec<i32>, &[u8])> {
    let (count, rest) = body.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    if count == 0 || count > most {
        return None;
    }
    let (tokens, rest) = rest.split_at_checked(count * 4)?;
    let tokens = tokens.as_chunks::<4>().0.iter().map(|t| i32::from_le_bytes(*t)).collect();
    let (length, state) = rest.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*length) == state.len() as u64).then_some((tokens, state))
}

/// Runs `work` on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    std::thread::Builder::new().name("katena-session".into()).spawn(move || {
        // Nobody may be waiting any more.
        drop(reply.send(work()));
    })?;
    answer.await.map_err(|_| Error::unexpected("the session's thread died"))?
}

impl LlamaChat {
    /// Writes the conversation of `request` to a file: its prompt's tokens and the model's cache of them. A process that
    /// loads it goes on from there without computing the prompt again. Computes what is not in the cache. Gives the
    /// number of tokens.
    ///
    /// The file holds the conversation in the model's tokens, not encrypted: keep it as you would keep the messages. It is
    /// as large as the cache of its tokens. An existing file is replaced, whole or not at all.
    ///
    /// # Errors
    /// As [`generate`](katena_core::ChatModel::generate), and `Unsupported` for models whose memory is not a plain cache
    /// (recurrent, hybrid, sliding windows) or with [`LlamaOptions::kept_tokens`](crate::LlamaOptions::kept_tokens) 0;
    /// input and output errors of the file.
    pub async fn save_session(&self, path: impl AsRef<Path>, request: &ChatRequest) -> Result<usize> {
        request.context.check()?;
        let inner = &self.0;
        let place = inner.shared.enter(inner.slots, inner.queue)?;
        let plan = plan(request, &inner.defaults, inner.prompter.format())?;
        let prompt = inner.prompter.prompt(request, &plan, inner.context_tokens)?;
        let tokens = prompt.tokens.iter().map(|t| t.0).collect();
        let path = path.as_ref().to_owned();
        let file = Scratch::beside(&path);
        // It exists with the right permissions before llama.cpp writes into it.
        file.create()?;
        let (reply, answer) = oneshot::channel();
        let session = Session { tokens, file };
        let work = Work::Save { session, context: request.context.clone(), place, reply };
        self.send(work)?;
        let wait = async { answer.await.map_err(|_| ended())? };
        let session = request.context.cancel.guard(wait).await?;
        let identity = inner.identity.clone();
        let count = session.tokens.len();
        apart(move || write(&path, &identity, &session)).await?;
        Ok(count)
    }

    /// Reads a conversation that [`save_session`](Self::save_session) wrote into the cache. Gives the number of tokens.
    /// Requests that begin with them do not compute them again.
    ///
    /// The file is not trusted. Checked before llama.cpp sees it: its size against the context's; that it is of the same
    /// model file (by hash), adapters and settings that change what is computed; that it is whole (by hash); that its
    /// tokens are in the vocabulary; that the state has each of their positions once. llama.cpp then checks types and
    /// sizes of every layer. A file made by somebody who has the model can still hold numbers that the model never
    /// computed, and make it say anything: load only your own.
    ///
    /// # Errors
    /// `InvalidInput` naming what does not fit, `Unsupported` as for saving, `Unavailable` if the cache has no room now;
    /// input and output errors of the file.
    pub async fn load_session(&self, path: impl AsRef<Path>) -> Result<usize> {
        let inner = &self.0;
        let Some(token_bytes) = inner.session_bytes else { return Err(unsupported()) };
        let (path, identity, most) = (path.as_ref().to_owned(), inner.identity.clone(), inner.context_tokens);
        let words = inner.model.n_vocab();
        let session = apart(move || read(&path, &identity, most, words, token_bytes)).await?;
        let count = session.tokens.len();
        let (reply, answer) = oneshot::channel();
        self.send(Work::Load { session, reply })?;
        answer.await.map_err(|_| ended())??;
        Ok(count)
    }

    fn send(&self, work: Work) -> Result<()> {
        if matches!(work, Work::Save { .. }) && self.0.session_bytes.is_none() {
            return Err(unsupported());
        }
        self.0.thread.send(work).map(drop)
    }
}

pub(super) fn unsupported() -> Error {
    Error::unsupported("sessions need a model with a plain cache, and tokens that are kept")
}

pub(super) fn no_room() -> Error {
    Error::new(ErrorKind::Unavailable, "the cache has no room for the session now")
}
