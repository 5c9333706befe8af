//! Records and histories that live in memory.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::Result;
use crate::memory::ChatHistory;
use crate::message::Message;
use crate::records::{RecordStore, SourceRecord};

/// A chat history that lives as long as the process.
#[derive(Default)]
pub struct InMemoryHistory(Mutex<BTreeMap<String, Vec<Message>>>);

impl fmt::Debug for InMemoryHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemoryHistory")
    }
}

impl InMemoryHistory {
    /// No sessions.
    pub fn new() -> Self {
        Self::default()
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Message>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ChatHistory for InMemoryHistory {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        Ok(self.sessions().get(session).cloned().unwrap_or_default())
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.sessions().entry(session.to_owned()).or_default().extend(messages);
        Ok(())
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.sessions().insert(session.to_owned(), messages);
        Ok(())
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.sessions().remove(session);
        Ok(())
    }
    async fn count(&self, session: &str) -> Result<usize> {
        Ok(self.sessions().get(session).map_or(0, Vec::len))
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        let messages = self.messages(session).await?;
        Ok(messages.into_iter().take(range.end).skip(range.start).collect())
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.sessions();
        let named = sessions.range::<str, _>((from, Bound::Unbounded)).filter(|(_, m)| !m.is_empty());
        Ok(named.take(limit).map(|(name, _)| name.clone()).collect())
    }
}

#[derive(Default)]
struct Namespace {
    records: BTreeMap<String, SourceRecord>,
    facts: HashMap<String, String>,
}

/// A record store that lives as long as the process.
#[derive(Default)]
pub struct InMemoryRecords(Mutex<HashMap<String, Namespace>>);

impl fmt::Debug for InMemoryRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemoryRecords")
    }
}

impl InMemoryRecords {
    /// Nothing recorded.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, namespace: &str, f: impl FnOnce(&mut Namespace) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f(all.entry(namespace.to_owned()).or_default())
    }
}

#[async_trait]
impl RecordStore for InMemoryRecords {
    async fn get(&self, namespace: &str, uri: &str) -> Result<Option<SourceRecord>> {
        Ok(self.with(namespace, |n| n.records.get(uri).cloned()))
    }
    async fn put(&self, namespace: &str, record: SourceRecord) -> Result<()> {
        self.with(namespace, |n| n.records.insert(record.uri.clone(), record));
        Ok(())
    }
    async fn remove(&self, namespace: &str, uri: &str) -> Result<()> {
        self.with(namespace, |n| n.records.remove(uri));
        Ok(())
    }
    async fn uris(&self, namespace: &str, scope: Option<&str>) -> Result<Vec<String>> {
        Ok(self.with(namespace, |n| {
            let of_scope = |r: &&SourceRecord| scope.is_none_or(|s| s == r.scope);
            n.records.values().filter(of_scope).map(|r| r.uri.clone()).collect()
        }))
    }
    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        Ok(self.with(namespace, |n| n.facts.get(name).cloned()))
    }
    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        self.with(namespace, |n| n.facts.insert(name.to_owned(), value.to_owned()));
        Ok(())
    }
    async fn clear(&self, namespace: &str) -> Result<()> {
        self.with(namespace, |n| *n = Namespace::default());
        Ok(())
    }
}
