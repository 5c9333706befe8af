//! A conversation's tokens and cache in a file.
//!
//! The file, numbers little-endian: `KATSESS2`; 32 bytes that name model and settings; the BLAKE3 hash of all that
//! follows, 32 bytes; the number of tokens (u32), the tokens (i32 each); the state, token by token.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use katena_core::{ChatRequest, Error, Result};
use tokio::sync::oneshot;

use super::LlamaChat;
use super::plan::plan;
use super::thread::ended;
use super::worker::Work;
use crate::engine::{Form, Rows};

const MAGIC: &[u8; 8] = b"KATSESS2";
const HASH: usize = 32;

/// A conversation up to a point: its tokens, and what was computed from them.
pub(super) struct Session {
    pub(super) tokens: Vec<i32>,
    pub(super) rows: Rows,
}

/// A file that is not whole yet; it goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    /// Makes a file with a name that nobody has, beside `path`, for this user alone.
    fn beside(path: &Path) -> Result<(Self, std::fs::File)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&name)?;
        Ok((Self(name.into()), file))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It has its own name by now, if all went well.
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
    /// A hash of the model's file, its adapters', the settings, and what states look like.
    fn hash(&self, form: &Form) -> Result<[u8; HASH]> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(&self.path)?)?;
        let model = *hasher.finalize().as_bytes();
        let mut whole = blake3::Hasher::new();
        whole.update(&model).update(self.settings.as_bytes()).update(&form.name());
        Ok(*whole.finalize().as_bytes())
    }
}

fn bad(what: &'static str, path: &Path) -> Error {
    Error::invalid_input(what).with_context("file", path.display().to_string())
}

fn write(path: &Path, identity: &Identity, form: &Form, session: &Session) -> Result<()> {
    let mut body = Vec::with_capacity(session.tokens.len() * 4 + session.rows.bytes().len() + 4);
    body.extend((session.tokens.len() as u32).to_le_bytes());
    session.tokens.iter().for_each(|t| body.extend(t.to_le_bytes()));
    body.extend(session.rows.bytes());
    // Whole or not at all.
    let (scratch, mut file) = Scratch::beside(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&identity.hash(form)?)?;
    file.write_all(blake3::hash(&body).as_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    Ok(std::fs::rename(&scratch.0, path)?)
}

/// Reads and checks a file. `most`: tokens that it may have, below `words`.
fn read(path: &Path, identity: &Identity, form: &Arc<Form>, most: usize, words: i32) -> Result<Session> {
    let file = std::fs::File::open(path)?;
    let least = (MAGIC.len() + 2 * HASH + 4) as u64;
    let limit = least + (most as u64).saturating_mul(form.token_bytes() as u64 + 4);
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
    if model != identity.hash(form)? {
        return Err(bad("the session is of another model, or of other settings", path));
    }
    if hash != blake3::hash(body).as_bytes() {
        return Err(bad("the session file is damaged", path));
    }
    let session = parse(body, form, most).ok_or_else(|| bad("the session file is damaged", path))?;
    if session.tokens.iter().any(|t| !(0..words).contains(t)) {
        return Err(bad("the session has tokens that the model does not know", path));
    }
    Ok(session)
}

fn parse(body: &[u8], form: &Arc<Form>, most: usize) -> Option<Session> {
    let (count, rest) = body.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    if count == 0 || count > most {
        return None;
    }
    let (tokens, rest) = rest.split_at_checked(count * 4)?;
    let tokens: Vec<i32> = tokens.as_chunks::<4>().0.iter().map(|t| i32::from_le_bytes(*t)).collect();
    Some(Session { rows: Rows::from_bytes(form, tokens.len(), rest.to_vec())?, tokens })
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
        let form = inner.form.clone().ok_or_else(unsupported)?;
        let place = inner.shared.enter(inner.slots, inner.queue)?;
        let plan = plan(request, &inner.defaults, inner.prompter.format())?;
        let prompt = inner.prompter.prompt(request, &plan, inner.context_tokens)?;
        let tokens = prompt.tokens.iter().map(|t| t.0).collect();
        let path = path.as_ref().to_owned();
        let (reply, answer) = oneshot::channel();
        let work = Work::Save { tokens, context: request.context.clone(), place, reply };
        inner.thread.send(work)?;
        let wait = async { answer.await.map_err(|_| ended())? };
        let session = request.context.cancel.guard(wait).await?;
        let identity = inner.identity.clone();
        let count = session.tokens.len();
        apart(move || write(&path, &identity, &form, &session)).await?;
        Ok(count)
    }

    /// Reads a conversation that [`save_session`](Self::save_session) wrote. Gives the number of tokens. Requests that
    /// begin with them do not compute them again, as long as they are kept.
    ///
    /// The file is not trusted. Checked: that it is of the same model file (by hash), adapters, settings that change what
    /// is computed, and form of the cache; that it is whole (by hash); that its tokens are in the vocabulary and no more
    /// than the context holds; that it has as many numbers as their cache. llama.cpp is given nothing else of it than these
    /// numbers. A file made by somebody who has the model can still hold numbers that the model never computed, and make it
    /// say anything: load only your own.
    ///
    /// # Errors
    /// `InvalidInput` naming what does not fit, `Unsupported` as for saving; input and output errors of the file.
    pub async fn load_session(&self, path: impl AsRef<Path>) -> Result<usize> {
        let inner = &self.0;
        let form = inner.form.clone().ok_or_else(unsupported)?;
        let (path, identity, most) = (path.as_ref().to_owned(), inner.identity.clone(), inner.context_tokens);
        let words = inner.model.n_vocab();
        let session = apart(move || read(&path, &identity, &form, most, words)).await?;
        let count = session.tokens.len();
        let (reply, answer) = oneshot::channel();
        inner.thread.send(Work::Load { session, reply })?;
        answer.await.map_err(|_| ended())??;
        Ok(count)
    }
}

pub(super) fn unsupported() -> Error {
    Error::unsupported("sessions need a model with a plain cache, and tokens that are kept")
}
