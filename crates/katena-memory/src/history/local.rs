//! Conversations in the process, compactly.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use katena_core::{ChatHistory, Clock, Message, Result};

use super::codec::{HistoryOptions, decode_all};

/// Conversations that live as long as the process. Clones share them.
///
/// Messages are kept as their stored text, so an idle conversation of 10 messages costs about 1 KB over what was said.
/// With a time to live, idle sessions are dropped when they are next looked at and in passing by later writes.
///
/// ```
/// use katena_core::{ChatHistory, Message};
/// use katena_memory::MemoryHistory;
/// # futures_util::future::FutureExt::now_or_never(async {
/// let history = MemoryHistory::new();
/// history.append("anna", vec![Message::user("Hello")]).await?;
/// assert_eq!(history.messages("anna").await?, [Message::user("Hello")]);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone, Default)]
pub struct MemoryHistory {
    options: HistoryOptions,
    clock: Option<Arc<dyn Clock>>,
    all: Arc<Mutex<All>>,
}

#[derive(Default)]
struct All {
    sessions: BTreeMap<Box<str>, Session>,
    next_sweep: Option<Instant>,
}

struct Session {
    messages: Vec<Box<str>>,
    written: Instant,
}

impl fmt::Debug for MemoryHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHistory").field("options", &self.options).finish_non_exhaustive()
    }
}

impl MemoryHistory {
    /// No sessions, kept for ever.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets time to live and limits.
    pub fn with_options(mut self, options: HistoryOptions) -> Self {
        self.options = options;
        self
    }

    /// Measures the time to live by this clock instead of the system's.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    fn now(&self) -> Instant {
        self.clock.as_ref().map_or_else(Instant::now, |c| c.now())
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, session: &Session, now: Instant) -> bool {
        self.options.ttl.is_some_and(|ttl| now.saturating_duration_since(session.written) >= ttl)
    }

    /// Drops what has expired, at most twice in a time to live.
    fn sweep(&self, all: &mut All, now: Instant) {
        let Some(ttl) = self.options.ttl else { return };
        if all.next_sweep.is_none_or(|at| at <= now) {
            all.sessions.retain(|_, s| !self.is_over(s, now));
            all.next_sweep = now.checked_add(ttl / 2);
        }
    }

    fn write(&self, session: &str, messages: &[Message], afresh: bool) -> Result<()> {
        let texts = self.options.encode(messages)?;
        let now = self.now();
        let mut all = self.all();
        self.sweep(&mut all, now);
        if afresh || all.sessions.get(session).is_some_and(|s| self.is_over(s, now)) {
            all.sessions.remove(session);
        }
        if !texts.is_empty() {
            let fresh = || Session { messages: Vec::new(), written: now };
            let session = all.sessions.entry(session.into()).or_insert_with(fresh);
            session.messages.extend(texts.into_iter().map(String::into_boxed_str));
            session.written = now;
        }
        Ok(())
    }

    fn read<T>(&self, session: &str, read: impl FnOnce(&[Box<str>]) -> T) -> T {
        let now = self.now();
        let all = self.all();
        let messages = all.sessions.get(session).filter(|s| !self.is_over(s, now));
        read(messages.map_or(&[], |s| &s.messages))
    }
}

#[async_trait]
impl ChatHistory for MemoryHistory {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        decode_all(self.read(session, <[Box<str>]>::to_vec))
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.write(session, &messages, false)
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.write(session, &messages, true)
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.all().sessions.remove(session);
        Ok(())
    }
    async fn count(&self, session: &str) -> Result<usize> {
        Ok(self.read(session, <[Box<str>]>::len))
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        let cut = |m: &[Box<str>]| m.iter().take(range.end).skip(range.start).cloned().collect::<Vec<_>>();
        decode_all(self.read(session, cut))
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let now = self.now();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.all();
        let alive =
            all.sessions.range::<str, _>((from, Bound::Unbounded)).filter(|(_, s)| !self.is_over(s, now));
        Ok(alive.take(limit).map(|(name, _)| name.to_string()).collect())
    }
}
