//! Conversations in MongoDB.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use katena_core::{ChatHistory, Error, ErrorKind, Message, Result};
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::error::{Error as DriverError, ErrorKind as Kind, WriteFailure};
use mongodb::options::{ClientOptions, IndexOptions, ServerAddress, TlsOptions};
use mongodb::{Client, Collection, IndexModel};

use super::codec::{HistoryOptions, decode_all};

/// What is written into the database; a newer one is refused.
const VERSION: i32 = 1;
const DEFAULT_NAME: &str = "katena_history";
/// The code of a write that met a unique index.
const DUPLICATE: i32 = 11_000;
/// So often a writer that another one overtook tries again.
const TRIES: u32 = 1_000;
/// How long the driver looks for a server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Conversations in a MongoDB database: a document for each call. Clones share the connections.
///
/// A unique index on session and number makes writers take turns: who meets it reads again and writes with the next
/// number, so calls of several processes stay whole and in one order, without transactions. `replace` writes one document
/// that begins anew. Idle sessions expire by the clock of the program that asks (the other stores use the server's).
///
/// ```no_run
/// # async fn doc() -> katena_core::Result<()> {
/// use katena_core::{ChatHistory, Message};
/// use katena_memory::{HistoryOptions, MongoHistory};
/// let history = MongoHistory::connect("mongodb://localhost:27017/app", HistoryOptions::new()).await?;
/// history.append("anna", vec![Message::user("Hello")]).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MongoHistory {
    calls: Collection<Document>,
    address: String,
    options: HistoryOptions,
}

impl fmt::Debug for MongoHistory {
    /// Server and collection; never user or password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoHistory")
            .field("address", &self.address)
            .field("collection", &self.calls.namespace().to_string())
            .field("options", &self.options)
            .finish()
    }
}

/// One call, as a document.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    number: i64,
    /// Everything before this call is forgotten.
    anew: bool,
    written: i64,
    messages: Vec<String>,
}

impl Call {
    fn document(&self, session: &str) -> Document {
        doc! {
            "v": VERSION,
            "session": session,
            "number": self.number,
            "anew": self.anew,
            "written": DateTime::from_millis(self.written),
            "messages": &self.messages,
        }
    }

    fn read(document: &Document) -> Result<Self> {
        let version = document.get_i32("v").unwrap_or(1);
        if version > VERSION {
            let message = format!("a newer Katena wrote the history (version {version}, known {VERSION})");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let read = || -> Option<Self> {
            let texts = document.get_array("messages").ok()?.iter();
            Some(Self {
                number: document.get_i64("number").ok()?,
                anew: document.get_bool("anew").ok()?,
                written: document.get_datetime("written").ok()?.timestamp_millis(),
                messages: texts.map(|t| t.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| Error::unexpected("a stored call is damaged"))
    }
}

/// What of a session's calls, oldest first, still counts.
fn standing(calls: Vec<Call>, ttl: Option<i64>, now: i64) -> Vec<Call> {
    if calls.last().is_none_or(|c| is_over(c, ttl, now)) {
        return Vec::new();
    }
    let from = calls.iter().rposition(|c| c.anew).unwrap_or(0);
    calls.into_iter().skip(from).collect()
}

fn is_over(last: &Call, ttl: Option<i64>, now: i64) -> bool {
    ttl.is_some_and(|ttl| last.written <= now - ttl)
}

impl MongoHistory {
    /// The conversations in the collection `katena_history` of the URL's database.
    ///
    /// # Errors
    /// `Config` if the URL can't be read or names no database, `Unsupported` if it leaves the machine without TLS,
    /// `Unavailable`, `Unauthenticated`.
    pub async fn connect(url: &str, options: HistoryOptions) -> Result<Self> {
        Self::named(url, DEFAULT_NAME, options).await
    }

    /// The conversations in this collection.
    ///
    /// # Errors
    /// As [`connect`](MongoHistory::connect).
    pub async fn named(url: &str, collection: &str, options: HistoryOptions) -> Result<Self> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::config("MongoDB needs a tokio runtime"));
        }
        // The parser's message could quote a part of the URL, password included.
        let unreadable = |_: DriverError| Error::config("the MongoDB URL can't be read");
        let mut client = ClientOptions::parse(url).await.map_err(unreadable)?;
        encryption(&client)?;
        client.app_name.get_or_insert_with(|| "katena".to_owned());
        client.server_selection_timeout.get_or_insert(PATIENCE);
        let hosts: Vec<String> = client.hosts.iter().map(ToString::to_string).collect();
        let client = Client::with_options(client).map_err(unreadable)?;
        let database =
            client.default_database().ok_or_else(|| Error::config("the MongoDB URL names no database"))?;
        let this = Self { calls: database.collection(collection), address: hosts.join(","), options };
        let unique = IndexOptions::builder().unique(true).build();
        let index = IndexModel::builder().keys(doc! { "session": 1, "number": 1 }).options(unique).build();
        this.calls.create_index(index).await.map_err(|e| error(&e))?;
        Ok(this)
    }

    /// Deletes the sessions whose time to live is over; gives the number of calls deleted.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn remove_expired(&self) -> Result<u64> {
        let Some(ttl) = self.options.ttl_millis() else { return Ok(0) };
        let over = DateTime::from_millis(DateTime::now().timestamp_millis() - ttl);
        let group = doc! { "$group": { "_id": "$session", "written": { "$max": "$written" } } };
        let stages = [group, doc! { "$match": { "written": { "$lte": over } } }];
        let mut found = self.calls.aggregate(stages).await.map_err(|e| error(&e))?;
        let mut gone = 0;
        while let Some(row) = found.try_next().await.map_err(|e| error(&e))? {
            let Some(session) = row.get("_id").cloned() else { continue };
            let old = doc! { "session": session, "written": { "$lte": over } };
            gone += self.calls.delete_many(old).await.map_err(|e| error(&e))?.deleted_count;
        }
        Ok(gone)
    }

    async fn calls(&self, session: &str) -> Result<Vec<Call>> {
        let found = self.calls.find(doc! { "session": session }).sort(doc! { "number": 1 });
        let rows: Vec<Document> =
            found.await.map_err(|e| error(&e))?.try_collect().await.map_err(|e| error(&e))?;
        let calls = rows.iter().map(Call::read).collect::<Result<_>>()?;
        Ok(standing(calls, self.options.ttl_millis(), DateTime::now().timestamp_millis()))
    }

    async fn write(&self, session: &str, messages: &[Message], afresh: bool) -> Result<()> {
        let messages = self.options.encode(messages)?;
        for _ in 0..TRIES {
            let last = self.calls.find_one(doc! { "session": session }).sort(doc! { "number": -1 });
            let last = last.await.map_err(|e| error(&e))?.as_ref().map(Call::read).transpose()?;
            let written = DateTime::now().timestamp_millis();
            let over = last.as_ref().is_some_and(|l| is_over(l, self.options.ttl_millis(), written));
            let (number, anew) = (last.map_or(0, |l| l.number + 1), afresh || over);
            let call = Call { number, anew, written, messages: messages.clone() };
            match self.calls.insert_one(call.document(session)).await {
                Ok(_) if anew => {
                    let old = doc! { "session": session, "number": { "$lt": number } };
                    return self.calls.delete_many(old).await.map(drop).map_err(|e| error(&e));
                }
                Ok(_) => return Ok(()),
                // Another writer took the number.
                Err(e) if is_duplicate(&e) => tokio::task::yield_now().await,
                Err(e) => return Err(error(&e)),
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "too many writers at once").with_vendor("mongodb"))
    }
}

/// What is said in conversations does not leave the machine in plain text.
fn encryption(options: &ClientOptions) -> Result<()> {
    let stays_here = |address: &ServerAddress| match address {
        ServerAddress::Tcp { host, .. } => {
            host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        #[cfg(unix)]
        ServerAddress::Unix { .. } => true,
        _ => false,
    };
    let encrypted = matches!(&options.tls, Some(mongodb::options::Tls::Enabled(TlsOptions { .. })));
    if encrypted || options.hosts.iter().all(stays_here) {
        return Ok(());
    }
    Err(Error::unsupported("a MongoDB server elsewhere without TLS; add tls=true to the URL"))
}

fn is_duplicate(error: &DriverError) -> bool {
    matches!(&*error.kind, Kind::Write(WriteFailure::WriteError(e)) if e.code == DUPLICATE)
}

fn error(error: &DriverError) -> Error {
    let kind = match &*error.kind {
        Kind::Authentication { .. } => ErrorKind::Unauthenticated,
        Kind::Command(e) if e.code == 13 => ErrorKind::PermissionDenied,
        Kind::Command(e) if e.code == 18 => ErrorKind::Unauthenticated,
        Kind::Io(_) | Kind::ServerSelection { .. } | Kind::ConnectionPoolCleared { .. } => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, error.to_string()).with_vendor("mongodb")
}

#[async_trait]
impl ChatHistory for MongoHistory {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        self.range(session, 0..usize::MAX).await
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        if messages.is_empty() { Ok(()) } else { self.write(session, &messages, false).await }
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        if messages.is_empty() {
            self.clear(session).await
        } else {
            self.write(session, &messages, true).await
        }
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.calls.delete_many(doc! { "session": session }).await.map(drop).map_err(|e| error(&e))
    }
    async fn count(&self, session: &str) -> Result<usize> {
        Ok(self.calls(session).await?.iter().map(|c| c.messages.len()).sum())
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        let calls = self.calls(session).await?;
        let texts = calls.iter().flat_map(|c| &c.messages);
        decode_all(texts.take(range.end).skip(range.start))
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut stages = Vec::new();
        if let Some(after) = after {
            stages.push(doc! { "$match": { "session": { "$gt": after } } });
        }
        stages.push(doc! { "$group": { "_id": "$session", "written": { "$max": "$written" } } });
        if let Some(ttl) = self.options.ttl_millis() {
            let over = DateTime::from_millis(DateTime::now().timestamp_millis() - ttl);
            stages.push(doc! { "$match": { "written": { "$gt": over } } });
        }
        stages.push(doc! { "$sort": { "_id": 1 } });
        stages.push(doc! { "$limit": i64::try_from(limit).unwrap_or(i64::MAX) });
        let rows = self.calls.aggregate(stages).await.map_err(|e| error(&e))?;
        let rows: Vec<Document> = rows.try_collect().await.map_err(|e| error(&e))?;
        let name = |row: &Document| row.get("_id").and_then(Bson::as_str).map(str::to_owned);
        rows.iter().map(|r| name(r).ok_or_else(|| Error::unexpected("a session without a name"))).collect()
    }
}

#[cfg(test)]
#[path = "mongo_tests.rs"]
mod tests;
