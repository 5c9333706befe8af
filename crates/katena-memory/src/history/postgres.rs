//! Conversations in PostgreSQL.

use std::ops::Range;

use async_trait::async_trait;
use katena_core::{ChatHistory, Error, Message, Result};
use katena_postgres::tokio_postgres::Row;
use katena_postgres::tokio_postgres::types::{ToSql, Type};
use katena_postgres::{Lent, Pool, Schema, error};

use super::codec::{HistoryOptions, decode_all};

/// What is written into the database; a newer one is refused.
const HISTORIES: Schema = Schema::new("katena_histories", 1);
/// PostgreSQL cuts names at 63 bytes.
const MAX_NAME: usize = 48;
const DEFAULT_NAME: &str = "katena_history";

/// Conversations in a PostgreSQL database. Clones share the connections.
///
/// A session's row is locked while a call is written, so calls of several processes stay whole and in one order for all.
/// With a time to live, idle sessions are not seen any more; [`remove_expired`](PgHistory::remove_expired) deletes them.
///
/// ```no_run
/// # async fn doc() -> katena_core::Result<()> {
/// use katena_core::{ChatHistory, Message};
/// use katena_memory::{HistoryOptions, PgHistory};
/// use katena_postgres::Pool;
/// let history = PgHistory::new(Pool::new("postgres://me@localhost/db")?, HistoryOptions::new()).await?;
/// history.append("anna", vec![Message::user("Hello")]).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct PgHistory {
    pool: Pool,
    options: HistoryOptions,
    /// Quoted names of the tables.
    sessions: String,
    messages: String,
}

impl PgHistory {
    /// The conversations in the tables `katena_history_…`, which are made where they are missing.
    ///
    /// # Errors
    /// Those of the server; kind `Unsupported` if a newer version made the tables.
    pub async fn new(pool: Pool, options: HistoryOptions) -> Result<Self> {
        Self::named(pool, DEFAULT_NAME, options).await
    }

    /// The conversations in the tables `name_sessions` and `name_messages`.
    ///
    /// # Errors
    /// As [`new`](PgHistory::new), and kind `Config` if the name has not 1 to 48 bytes.
    pub async fn named(pool: Pool, name: &str, options: HistoryOptions) -> Result<Self> {
        if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
            return Err(Error::config(format!("a history's name has 1 to {MAX_NAME} bytes")));
        }
        let table = |part: &str| format!("\"{}_{part}\"", name.replace('"', "\"\""));
        let this = Self { pool, options, sessions: table("sessions"), messages: table("messages") };
        this.create(name).await?;
        Ok(this)
    }

    /// Deletes the sessions whose time to live is over; gives their number.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn remove_expired(&self) -> Result<u64> {
        let Some(ttl) = self.options.ttl_millis() else { return Ok(0) };
        let sql = format!("DELETE FROM {} WHERE written <= {} RETURNING 1", self.sessions, before("$1"));
        Ok(ask(&self.pool.get().await?, &sql, &[(&ttl, Type::INT8)]).await?.len() as u64)
    }

    /// Makes what is missing. Any number of processes may do so at once.
    async fn create(&self, name: &str) -> Result<()> {
        let mut client = self.pool.get().await?;
        let Some(tx) = HISTORIES.begin(&mut client, name).await? else { return Ok(()) };
        let Self { sessions, messages, .. } = self;
        let index = sessions.replace("_sessions\"", "_by_age\"");
        // Names are bytes: they sort as Rust sorts, and may hold U+0000, which a text may not.
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {sessions} (
                 id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                 name bytea NOT NULL UNIQUE,
                 messages bigint NOT NULL,
                 written timestamptz NOT NULL
             );
             CREATE INDEX IF NOT EXISTS {index} ON {sessions} (written);
             CREATE TABLE IF NOT EXISTS {messages} (
                 session bigint NOT NULL REFERENCES {sessions} (id) ON DELETE CASCADE,
                 place bigint NOT NULL,
                 body text NOT NULL,
                 PRIMARY KEY (session, place)
             );"
        );
        tx.batch_execute(&sql).await.map_err(|e| error(&e))?;
        HISTORIES.finish(tx, name).await
    }

    async fn write(&self, session: &str, messages: &[Message], afresh: bool) -> Result<()> {
        let texts = self.options.encode(messages)?;
        let (name, ttl) = (session.as_bytes(), self.options.ttl_millis());
        let mut client = self.pool.get().await?;
        let tx = client.transaction().await.map_err(|e| error(&e))?;
        let name = (&name as &(dyn ToSql + Sync), Type::BYTEA);
        if afresh || ttl.is_some() {
            let over = before("$2");
            let sql = format!("DELETE FROM {} WHERE name = $1 AND ($3 OR written <= {over})", self.sessions);
            let args = [name.clone(), (&ttl, Type::INT8), (&afresh, Type::BOOL)];
            tx.query_typed(&sql, &args).await.map_err(|e| error(&e))?;
        }
        if !texts.is_empty() {
            // The row stays locked until the commit: the next writer waits here and sees the new count.
            let sql = format!(
                "INSERT INTO {} AS s (name, messages, written) VALUES ($1, $2, clock_timestamp())
                 ON CONFLICT (name) DO UPDATE SET messages = s.messages + $2, written = clock_timestamp()
                 RETURNING id, messages",
                self.sessions
            );
            let new = count(texts.len());
            let rows = tx.query_typed(&sql, &[name, (&new, Type::INT8)]).await.map_err(|e| error(&e))?;
            let row = rows.first().ok_or_else(|| Error::unexpected("the server gave no row back"))?;
            let (id, total): (i64, i64) = (column(row, 0)?, column(row, 1)?);
            let sql = format!(
                "INSERT INTO {} SELECT $1, $2 + n - 1, body FROM unnest($3) WITH ORDINALITY AS t (body, n)",
                self.messages
            );
            let first = total - new;
            let args: [(&(dyn ToSql + Sync), Type); 3] =
                [(&id, Type::INT8), (&first, Type::INT8), (&texts, Type::TEXT_ARRAY)];
            tx.query_typed(&sql, &args).await.map_err(|e| error(&e))?;
        }
        tx.commit().await.map_err(|e| error(&e))
    }
}

/// The moment before which a session has expired; none is before NULL.
fn before(ttl: &str) -> String {
    format!("clock_timestamp() - {ttl} * interval '1 millisecond'")
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn column<'r, T: katena_postgres::tokio_postgres::types::FromSql<'r>>(row: &'r Row, n: usize) -> Result<T> {
    row.try_get(n).map_err(|e| error(&e))
}

async fn ask(client: &Lent, sql: &str, args: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>> {
    client.query_typed(sql, args).await.map_err(|e| error(&e))
}

#[async_trait]
impl ChatHistory for PgHistory {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        self.range(session, 0..usize::MAX).await
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.write(session, &messages, false).await
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.write(session, &messages, true).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.write(session, &[], true).await
    }
    async fn count(&self, session: &str) -> Result<usize> {
        let sql = format!(
            "SELECT messages FROM {} WHERE name = $1 AND (written <= {}) IS NOT TRUE",
            self.sessions,
            before("$2")
        );
        let (name, ttl) = (session.as_bytes(), self.options.ttl_millis());
        let rows = ask(&self.pool.get().await?, &sql, &[(&name, Type::BYTEA), (&ttl, Type::INT8)]).await?;
        rows.first().map_or(Ok(0), |r| column::<i64>(r, 0).map(|n| n as usize))
    }
    async fn range(&self, session: &str, range: Range<usize>) -> Result<Vec<Message>> {
        let sql = format!(
            "SELECT m.body FROM {} m JOIN {} s ON s.id = m.session
             WHERE s.name = $1 AND (s.written <= {}) IS NOT TRUE AND m.place >= $3 AND m.place < $4
             ORDER BY m.place",
            self.messages,
            self.sessions,
            before("$2")
        );
        let (name, ttl) = (session.as_bytes(), self.options.ttl_millis());
        let (from, to) = (count(range.start), count(range.end));
        let args: [(&(dyn ToSql + Sync), Type); 4] =
            [(&name, Type::BYTEA), (&ttl, Type::INT8), (&from, Type::INT8), (&to, Type::INT8)];
        let rows = ask(&self.pool.get().await?, &sql, &args).await?;
        decode_all(rows.iter().map(|r| column::<&str>(r, 0)).collect::<Result<Vec<_>>>()?)
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT name FROM {} WHERE ($1::bytea IS NULL OR name > $1) AND (written <= {}) IS NOT TRUE
             ORDER BY name LIMIT $3",
            self.sessions,
            before("$2")
        );
        let (after, ttl, limit) = (after.map(str::as_bytes), self.options.ttl_millis(), count(limit));
        let args: [(&(dyn ToSql + Sync), Type); 3] =
            [(&after, Type::BYTEA), (&ttl, Type::INT8), (&limit, Type::INT8)];
        let rows = ask(&self.pool.get().await?, &sql, &args).await?;
        rows.iter().map(|r| Ok(String::from_utf8_lossy(column(r, 0)?).into_owned())).collect()
    }
}
