//! Conversations in the shared SQLite file.

use std::ops::Range;

use async_trait::async_trait;
use katena_core::{ChatHistory, Message, Result};
use katena_sqlite::{Database, DbResult, Schema};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::codec::{HistoryOptions, decode_all};

const HISTORY: Schema = Schema::new(
    "history",
    &["CREATE TABLE katena_sessions (
           id INTEGER PRIMARY KEY,
           name BLOB NOT NULL UNIQUE,
           messages INTEGER NOT NULL,
           written INTEGER NOT NULL
       );
       CREATE INDEX katena_sessions_by_age ON katena_sessions (written);
       CREATE TABLE katena_messages (
           session INTEGER NOT NULL REFERENCES katena_sessions (id) ON DELETE CASCADE,
           place INTEGER NOT NULL,
           body TEXT NOT NULL,
           PRIMARY KEY (session, place)
       ) WITHOUT ROWID;"],
);

/// Milliseconds since 1970 by the clock that SQLite asks.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// Conversations in a SQLite file, alone or beside vectors and records. Clones share it; several processes may have the
/// file open, and their writers wait for each other.
///
/// With a time to live, idle sessions are not seen any more; [`remove_expired`](SqliteHistory::remove_expired) deletes them.
///
/// ```
/// use katena_core::{ChatHistory, Message};
/// use katena_memory::{HistoryOptions, SqliteHistory};
/// use katena_sqlite::Database;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("app.katena");
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let history = SqliteHistory::new(Database::open(&path)?, HistoryOptions::new())?;
/// history.append("anna", vec![Message::user("Hello")]).await?;
/// assert_eq!(history.count("anna").await?, 1);
/// # Ok::<(), katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SqliteHistory {
    database: Database,
    options: HistoryOptions,
}

impl SqliteHistory {
    /// The conversations in the file at `path`, which is made if it is missing; without a time to live. A program that
    /// has the file open already shares its [`Database`] by [`new`](Self::new).
    ///
    /// # Errors
    /// Those of opening and writing the file; kind `Unsupported` if a newer version wrote it.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Self::new(Database::open(path)?, HistoryOptions::new())
    }

    /// The conversations in this file; makes the tables where they are missing.
    ///
    /// # Errors
    /// Those of opening and writing the file; kind `Unsupported` if a newer version wrote it.
    pub fn new(database: Database, options: HistoryOptions) -> Result<Self> {
        database.migrate(&HISTORY)?;
        Ok(Self { database, options })
    }

    /// Deletes the sessions whose time to live is over; gives their number.
    ///
    /// # Errors
    /// Those of writing the file.
    pub async fn remove_expired(&self) -> Result<u64> {
        let Some(ttl) = self.options.ttl_millis() else { return Ok(0) };
        let sql = format!("DELETE FROM katena_sessions WHERE written <= {NOW} - ?1");
        self.database.write(move |tx| Ok(tx.execute(&sql, [ttl])? as u64)).await
    }

    async fn write(&self, session: &str, messages: Vec<Message>, afresh: bool) -> Result<()> {
        let texts = self.options.encode(&messages)?;
        let (name, ttl) = (session.as_bytes().to_vec(), self.options.ttl_millis());
        self.database.write(move |tx| write(tx, &name, ttl, &texts, afresh)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        session: &str,
        read: impl FnOnce(&Connection, Alive) -> DbResult<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let (name, ttl) = (session.as_bytes().to_vec(), self.options.ttl_millis());
        self.database.read(move |db| find(db, &name, ttl)?.map(|found| read(db, found)).transpose()).await
    }
}

/// A session that is there and has not expired.
struct Alive {
    id: i64,
    messages: i64,
}

fn find(db: &Connection, name: &[u8], ttl: Option<i64>) -> DbResult<Option<Alive>> {
    let sql = format!(
        "SELECT id, messages FROM katena_sessions WHERE name = ?1 AND (?2 IS NULL OR written > {NOW} - ?2)"
    );
    let row = |r: &rusqlite::Row<'_>| Ok(Alive { id: r.get(0)?, messages: r.get(1)? });
    Ok(db.prepare_cached(&sql)?.query_row(params![name, ttl], row).optional()?)
}

fn write(
    tx: &Transaction<'_>,
    name: &[u8],
    ttl: Option<i64>,
    texts: &[String],
    afresh: bool,
) -> DbResult<()> {
    let found = if afresh { None } else { find(tx, name, ttl)? };
    let Alive { id, messages } = match found {
        Some(alive) => alive,
        None => {
            // Gone, expired, or to be replaced.
            tx.execute("DELETE FROM katena_sessions WHERE name = ?1", [name])?;
            if texts.is_empty() {
                return Ok(());
            }
            let sql = "INSERT INTO katena_sessions (name, messages, written) VALUES (?1, 0, 0)";
            tx.prepare_cached(sql)?.execute([name])?;
            Alive { id: tx.last_insert_rowid(), messages: 0 }
        }
    };
    if texts.is_empty() {
        return Ok(());
    }
    let mut insert =
        tx.prepare_cached("INSERT INTO katena_messages (session, place, body) VALUES (?1, ?2, ?3)")?;
    let mut place = messages;
    for text in texts {
        insert.execute(params![id, place, text])?;
        place += 1;
    }
    let sql = format!("UPDATE katena_sessions SET messages = ?2, written = {NOW} WHERE id = ?1");
    tx.prepare_cached(&sql)?.execute(params![id, place])?;
    Ok(())
}

fn place(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[async_trait]
impl ChatHistory for SqliteHistory {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        self.range(session, 0..usize::MAX).await
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.write(session, messages, false).await
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.write(session, messages, true).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.write(session, Vec::new(), true).await
    }
    async fn count(&self, session: &str) -> Result<usize> {
        Ok(self.read(session, |_, found| Ok(found.messages as usize)).await?.unwrap_or(0))
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        let texts = self.read(session, move |db, found| {
            let sql = "SELECT body FROM katena_messages WHERE session = ?1 AND place >= ?2 AND place < ?3
                       ORDER BY place";
            let mut statement = db.prepare_cached(sql)?;
            let places = params![found.id, place(range.start), place(range.end)];
            Ok(statement.query_map(places, |r| r.get(0))?.collect::<Result<Vec<String>, _>>()?)
        });
        decode_all(texts.await?.unwrap_or_default())
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let (after, ttl) = (after.map(|a| a.as_bytes().to_vec()), self.options.ttl_millis());
        let names = self.database.read(move |db| {
            let sql = format!(
                "SELECT name FROM katena_sessions
                 WHERE (?1 IS NULL OR name > ?1) AND (?2 IS NULL OR written > {NOW} - ?2) ORDER BY name LIMIT ?3"
            );
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map(params![after, ttl, place(limit)], |r| r.get::<_, Vec<u8>>(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        });
        Ok(names.await?.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect())
    }
}
