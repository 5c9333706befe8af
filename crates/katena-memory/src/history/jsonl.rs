//! Conversations in a folder, one file of JSON lines a session.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use async_trait::async_trait;
use katena_core::{ChatHistory, Error, ErrorKind, Message, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::codec::{HistoryOptions, decode_list};

/// What is written into the first line; a newer one is refused.
const VERSION: u32 = 1;
/// Names of sessions that are longer, as they stand in a file name, are hashed.
const MAX_NAME: usize = 120;
/// Sessions share so many lock files.
const LOCKS: u8 = 64;

/// Conversations in a folder: one file a session, one line a call. Clones and other processes may use it at once.
///
/// A call is one line, written whole at the end of the file under a lock and synced before the call returns. A line that
/// a crash cut off is dropped, with a warning, by the next reader or writer. File names hold nothing of a session's name
/// but lower-case letters, digits and `_`; the rest is coded, long names are hashed, so no name leads out of the folder and
/// none meets another where case is folded. The time to live is measured by the file's own time.
///
/// ```
/// use katena_core::{ChatHistory, Message};
/// use katena_memory::{HistoryOptions, JsonlHistory};
/// # let dir = tempfile::tempdir().unwrap();
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let history = JsonlHistory::open(dir.path().join("chats"), HistoryOptions::new())?;
/// history.append("../anna", vec![Message::user("Hello")]).await?;
/// assert_eq!(history.sessions(None, 10).await?, ["../anna"]);
/// # Ok::<(), katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct JsonlHistory {
    folder: PathBuf,
    options: HistoryOptions,
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Head {
    katena_history: u32,
    session: String,
}

impl JsonlHistory {
    /// The conversations in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// Those of making folders; `Unsupported` on systems without file locks.
    pub fn open(folder: impl Into<PathBuf>, options: HistoryOptions) -> Result<Self> {
        if cfg!(not(unix)) {
            return Err(Error::unsupported("file locks on this system"));
        }
        let folder = folder.into();
        std::fs::create_dir_all(folder.join("locks")).map_err(|e| failed(e, &folder))?;
        Ok(Self { folder, options })
    }

    /// Deletes the sessions whose time to live is over; gives their number.
    ///
    /// # Errors
    /// Those of reading and deleting files.
    pub async fn remove_expired(&self) -> Result<u64> {
        self.blocking(|this| {
            let mut gone = 0;
            for path in this.files()? {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let _lock = this.lock(&stem, Lock::Write)?;
                if path.exists() && this.is_over(&path)? {
                    std::fs::remove_file(&path).map_err(|e| failed(e, &path))?;
                    gone += 1;
                }
            }
            Ok(gone)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|e| Error::config("a history in files needs a tokio runtime").with_source(e))?;
        let this = self.clone();
        let done = runtime.spawn_blocking(move || work(this)).await;
        done.map_err(|e| Error::unexpected("work on the history's files panicked").with_source(e))?
    }

    fn path(&self, stem: &str) -> PathBuf {
        self.folder.join(format!("{stem}.jsonl"))
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.folder).map_err(|e| failed(e, &self.folder))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| failed(e, &self.folder))?.path();
            if path.extension().is_some_and(|e| e == "jsonl") {
                files.push(path);
            }
        }
        Ok(files)
    }

    fn is_over(&self, path: &Path) -> Result<bool> {
        let Some(ttl) = self.options.ttl else { return Ok(false) };
        let written = std::fs::metadata(path).and_then(|m| m.modified()).map_err(|e| failed(e, path))?;
        // A clock that was set back makes nothing expire.
        Ok(SystemTime::now().duration_since(written).is_ok_and(|idle| idle >= ttl))
    }

    /// True if a session's file is there and its time to live is not over. Without the lock it may vanish at any time.
    fn is_live(&self, path: &Path) -> Result<bool> {
        match self.is_over(path) {
            Ok(over) => Ok(!over && path.exists()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The lock of a session, shared with some others. Held until the file is dropped.
    fn lock(&self, stem: &str, lock: Lock) -> Result<File> {
        let number = blake3::hash(stem.as_bytes()).as_bytes()[0] % LOCKS;
        let path = self.folder.join("locks").join(format!("{number:02}"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|e| failed(e, &path))?;
        take(&file, lock).map_err(|e| failed(e, &path))?;
        Ok(file)
    }

    /// The text of a session's lines without the first, `None` if there is no session. The caller holds the lock.
    fn read_file(&self, stem: &str, session: &str) -> Result<Option<String>> {
        let path = self.path(stem);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => file.read_to_end(&mut bytes).map_err(|e| failed(e, &path))?,
            Err(e) if e.kind() == IoKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e, &path)),
        };
        if self.is_over(&path)? {
            return Ok(None);
        }
        let whole = whole_lines(&bytes);
        if whole < bytes.len() {
            warn_torn(&path, bytes.len() - whole);
        }
        bytes.truncate(whole);
        let text = String::from_utf8(bytes).map_err(|e| damaged(&path, 0).with_source(e))?;
        let Some((head, rest)) = text.split_once('\n') else { return Ok(None) };
        if head_of(head, &path)?.session != session {
            return Err(Error::unexpected("the file belongs to another session")
                .with_context("file", path.display().to_string()));
        }
        Ok(Some(rest.to_owned()))
    }

    fn read(&self, session: &str, range: &Range<usize>) -> Result<Vec<Message>> {
        let stem = stem(session);
        let lock = self.lock(&stem, Lock::Read)?;
        let Some(text) = self.read_file(&stem, session)? else { return Ok(Vec::new()) };
        drop(lock);
        let (mut messages, mut place) = (Vec::new(), 0);
        for (n, line) in text.lines().enumerate() {
            if place >= range.end {
                break;
            }
            let next = place + self.length(&stem, n, line)?;
            if next > range.start {
                let at = |e: Error| e.with_context("line", (n + 2).to_string());
                let call = decode_list(line).map_err(at)?;
                messages.extend((place..).zip(call).filter(|(p, _)| range.contains(p)).map(|(_, m)| m));
            }
            place = next;
        }
        Ok(messages)
    }

    fn count_messages(&self, session: &str) -> Result<usize> {
        let stem = stem(session);
        let lock = self.lock(&stem, Lock::Read)?;
        let text = self.read_file(&stem, session)?.unwrap_or_default();
        drop(lock);
        text.lines().enumerate().map(|(n, line)| self.length(&stem, n, line)).sum()
    }

    /// How many messages a line has.
    fn length(&self, stem: &str, n: usize, line: &str) -> Result<usize> {
        let call: Vec<IgnoredAny> =
            serde_json::from_str(line).map_err(|e| damaged(&self.path(stem), n + 2).with_source(e))?;
        Ok(call.len())
    }

    fn write(&self, session: &str, messages: &[Message], afresh: bool) -> Result<()> {
        let texts = self.options.encode(messages)?;
        let stem = stem(session);
        let path = self.path(&stem);
        let _lock = self.lock(&stem, Lock::Write)?;
        let there = path.exists();
        let over = there && self.is_over(&path)?;
        let line = format!("[{}]\n", texts.join(","));
        let head = || -> Result<String> {
            let head = Head { katena_history: VERSION, session: session.to_owned() };
            let head = serde_json::to_string(&head);
            Ok(head.map_err(|e| Error::unexpected("the session's name can't be written").with_source(e))?
                + "\n")
        };
        if afresh && !texts.is_empty() {
            // Renamed into place, so that the old or the new messages are there, whole.
            let fresh = path.with_extension("new");
            let done = File::create(&fresh).and_then(|mut file| {
                file.write_all((head().map_err(std::io::Error::other)? + &line).as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&fresh, &path)
            });
            return done.map_err(|e| failed(e, &path));
        }
        if there && (afresh || over) {
            std::fs::remove_file(&path).map_err(|e| failed(e, &path))?;
        }
        if texts.is_empty() {
            return Ok(());
        }
        let done = append(&path, &head()?, &line);
        done.map_err(|e| failed(e, &path))
    }
}

/// Adds a line under the caller's lock; first takes away what a crash left of the last one.
fn append(path: &Path, head: &str, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let mut whole = length;
    if last != *b"\n" {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        whole = whole_lines(&bytes) as u64;
        warn_torn(path, (length - whole) as usize);
        file.set_len(whole)?;
    }
    let text = if whole == 0 { format!("{head}{line}") } else { line.to_owned() };
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
}

fn warn_torn(path: &Path, bytes: usize) {
    tracing::warn!(file = %path.display(), bytes, "dropped a line that was cut off");
}

fn head_of(line: &str, path: &Path) -> Result<Head> {
    let head: Head = serde_json::from_str(line).map_err(|e| damaged(path, 1).with_source(e))?;
    if head.katena_history > VERSION {
        let message =
            format!("a newer Katena wrote the history (version {}, known {VERSION})", head.katena_history);
        return Err(
            Error::new(ErrorKind::Unsupported, message).with_context("file", path.display().to_string())
        );
    }
    Ok(head)
}

/// The file's name without its ending.
fn stem(session: &str) -> String {
    let mut name = String::from("s-");
    for byte in session.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => name.push(char::from(byte)),
            // Writing to a String can't fail.
            _ => drop(write!(name, "={byte:02x}")),
        }
    }
    if name.len() > MAX_NAME { format!("h-{}", blake3::hash(session.as_bytes()).to_hex()) } else { name }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    Read,
    Write,
}

#[cfg(unix)]
fn take(file: &File, lock: Lock) -> std::io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    let operation = match lock {
        Lock::Read => FlockOperation::LockShared,
        Lock::Write => FlockOperation::LockExclusive,
    };
    loop {
        match flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(std::io::Error::from),
        }
    }
}

#[cfg(not(unix))]
fn take(_: &File, _: Lock) -> std::io::Result<()> {
    Err(std::io::Error::from(IoKind::Unsupported))
}

fn failed(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).with_context("file", path.display().to_string())
}

fn damaged(path: &Path, line: usize) -> Error {
    Error::unexpected("a history's file is damaged")
        .with_context("file", path.display().to_string())
        .with_context("line", line.to_string())
}

#[async_trait]
impl ChatHistory for JsonlHistory {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        self.range(session, 0..usize::MAX).await
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        let session = session.to_owned();
        self.blocking(
            move |this| if messages.is_empty() { Ok(()) } else { this.write(&session, &messages, false) },
        )
        .await
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        let session = session.to_owned();
        self.blocking(move |this| this.write(&session, &messages, true)).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.replace(session, Vec::new()).await
    }
    async fn count(&self, session: &str) -> Result<usize> {
        let session = session.to_owned();
        self.blocking(move |this| this.count_messages(&session)).await
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        let session = session.to_owned();
        self.blocking(move |this| this.read(&session, &range)).await
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let after = after.map(str::to_owned);
        self.blocking(move |this| {
            let mut names = BTreeSet::new();
            for path in this.files()? {
                let first = match File::open(&path) {
                    Ok(file) => first_line(file).map_err(|e| failed(e, &path))?,
                    // Cleared in the meantime.
                    Err(e) if e.kind() == IoKind::NotFound => continue,
                    Err(e) => return Err(failed(e, &path)),
                };
                let Some(first) = first else { continue };
                let name = head_of(&first, &path)?.session;
                if after.as_ref().is_none_or(|a| name > *a) && this.is_live(&path)? {
                    names.insert(name);
                    if names.len() > limit {
                        names.pop_last();
                    }
                }
            }
            Ok(names.into_iter().collect())
        })
        .await
    }
}

/// The first line, if it is whole and something follows it.
fn first_line(file: File) -> std::io::Result<Option<String>> {
    use std::io::BufRead as _;
    let mut file = std::io::BufReader::new(file);
    let mut line = String::new();
    file.read_line(&mut line)?;
    let mut second = Vec::new();
    file.read_until(b'\n', &mut second)?;
    Ok((line.ends_with('\n') && second.ends_with(b"\n")).then_some(line))
}

#[cfg(test)]
#[path = "jsonl_tests.rs"]
mod tests;
