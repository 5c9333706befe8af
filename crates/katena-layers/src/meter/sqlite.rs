//! The ledger in the shared SQLite file.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use katena_core::{Error, ErrorKind, Labels, Result, Usage};
use katena_sqlite::{Database, DbResult, Schema};
use rusqlite::{Row, Transaction, params};

use super::ledger::{Ledger, LedgerEntry, Operation, Outcome};
use crate::prices::Cost;
use crate::stored::kind_named;
use crate::wall::{from_millis, to_millis, to_millis_up};

const LEDGER: Schema = Schema::new(
    "ledger",
    &["CREATE TABLE katena_ledger (
           id INTEGER PRIMARY KEY,
           time INTEGER NOT NULL,
           operation TEXT NOT NULL,
           vendor TEXT NOT NULL,
           model TEXT NOT NULL,
           labels TEXT NOT NULL,
           input_tokens INTEGER,
           output_tokens INTEGER,
           cached_tokens INTEGER,
           cache_write_tokens INTEGER,
           reasoning_tokens INTEGER,
           cost_nanos INTEGER,
           estimate_nanos INTEGER,
           outcome TEXT NOT NULL
       );
       CREATE INDEX katena_ledger_by_time ON katena_ledger (time);"],
);

/// More than a disk can be behind without something being wrong.
const MAX_WAITING: usize = 100_000;

/// A ledger in a SQLite file. Clones share it.
///
/// `append` only queues; a task of tokio's blocking pool writes what waits, many entries at once. Entries are on the disk
/// after [`flush`](Ledger::flush), and at the latest when the last handle is dropped; a killed process loses those that
/// waited. Times are kept to the millisecond; a range of time that begins or ends within one has all of it.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_layers::{Ledger, Meter, SqliteLedger};
/// use katena_sqlite::Database;
/// # let dir = tempfile::tempdir().unwrap();
/// let ledger = SqliteLedger::new(Database::open(dir.path().join("app.katena"))?)?;
/// let meter = Meter::new(ledger.clone());
/// meter.restore().await?;
/// ledger.flush().await?;
/// # Ok::<(), katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct SqliteLedger(Arc<Inner>);

struct Inner {
    database: Database,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    entries: Vec<LedgerEntry>,
    /// A task is about to write.
    writing: bool,
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLedger").field("database", &self.0.database).finish()
    }
}

impl SqliteLedger {
    /// A ledger in this file; makes its table where it is missing.
    ///
    /// # Errors
    /// Those of the file; kind `Unsupported` if a newer version wrote it.
    pub fn new(database: Database) -> Result<Self> {
        database.migrate(&LEDGER)?;
        Ok(Self(Arc::new(Inner { database, waiting: Mutex::default() })))
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits; puts it back if that fails.
    fn write(&self) -> Result<()> {
        // The file's lock comes first: a flush that finds nothing waiting must not return before what was taken is written.
        let mut taken = Vec::new();
        let result = self.database.write_blocking(|tx| {
            taken = std::mem::take(&mut self.waiting().entries);
            insert(tx, &taken)
        });
        if result.is_err() {
            let mut waiting = self.waiting();
            taken.append(&mut waiting.entries);
            waiting.entries = taken;
        }
        result
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.waiting().entries.is_empty()
            && let Err(error) = self.write()
        {
            tracing::error!(%error, "the ledger's last entries could not be written");
        }
    }
}

fn insert(tx: &Transaction<'_>, entries: &[LedgerEntry]) -> DbResult<()> {
    let number = |n: Option<u64>| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let money = |cost: Option<Cost>| number(cost.map(Cost::as_nanos));
    let sql =
        "INSERT INTO katena_ledger (time, operation, vendor, model, labels, input_tokens, output_tokens,
                   cached_tokens, cache_write_tokens, reasoning_tokens, cost_nanos, estimate_nanos, outcome)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    let mut statement = tx.prepare_cached(sql)?;
    for e in entries {
        let labels: serde_json::Map<String, serde_json::Value> =
            e.labels.iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        let outcome = match e.outcome {
            Outcome::Finished => "finished".to_owned(),
            Outcome::Dropped => "dropped".to_owned(),
            Outcome::Failed(kind) => format!("failed:{kind}"),
            Outcome::Cut(kind) => format!("cut:{kind}"),
        };
        statement.execute(params![
            to_millis(e.time),
            e.operation.as_str(),
            e.vendor,
            e.model,
            serde_json::Value::Object(labels).to_string(),
            number(e.usage.input_tokens),
            number(e.usage.output_tokens),
            number(e.usage.cached_tokens),
            number(e.usage.cache_write_tokens),
            number(e.usage.reasoning_tokens),
            money(e.cost),
            money(e.estimate),
            outcome,
        ])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Option<LedgerEntry>> {
    let number = |at: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(i64::cast_unsigned));
    let operation = match row.get_ref(1)?.as_str()? {
        "chat" => Operation::Chat,
        "embed" => Operation::Embed,
        "rerank" => Operation::Rerank,
        _ => return Ok(None),
    };
    let mut labels = Labels::new();
    let Ok(map) =
        serde_json::from_str::<std::collections::BTreeMap<String, String>>(row.get_ref(4)?.as_str()?)
    else {
        return Ok(None);
    };
    for (name, value) in map {
        labels = labels.with(name, value);
    }
    let mut usage = Usage::default();
    usage.input_tokens = number(5)?;
    usage.output_tokens = number(6)?;
    usage.cached_tokens = number(7)?;
    usage.cache_write_tokens = number(8)?;
    usage.reasoning_tokens = number(9)?;
    let outcome = match row.get_ref(12)?.as_str()? {
        "finished" => Outcome::Finished,
        "dropped" => Outcome::Dropped,
        text => match text.split_once(':') {
            Some(("failed", kind)) => Outcome::Failed(kind_named(kind)),
            Some(("cut", kind)) => Outcome::Cut(kind_named(kind)),
            _ => return Ok(None),
        },
    };
    let mut entry = LedgerEntry::new(
        from_millis(row.get(0)?),
        operation,
        row.get::<_, String>(2)?,
        row.get::<_, String>(3)?,
    )
    .with_labels(labels)
    .with_usage(usage)
    .with_outcome(outcome);
    entry.cost = number(10)?.map(Cost::nanos);
    entry.estimate = number(11)?.map(Cost::nanos);
    Ok(Some(entry))
}

#[async_trait]
impl Ledger for SqliteLedger {
    fn append(&self, entry: LedgerEntry) -> Result<()> {
        let mut waiting = self.0.waiting();
        if waiting.entries.len() >= MAX_WAITING {
            return Err(Error::new(ErrorKind::Unavailable, "the ledger's disk does not keep up"));
        }
        waiting.entries.push(entry);
        if waiting.writing {
            return Ok(());
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(waiting);
            return self.0.write();
        };
        waiting.writing = true;
        drop(waiting);
        let inner = self.0.clone();
        runtime.spawn_blocking(move || {
            inner.waiting().writing = false;
            if let Err(error) = inner.write() {
                tracing::error!(%error, "the ledger could not be written; its entries wait");
            }
        });
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        let inner = self.0.clone();
        let written = tokio::task::spawn_blocking(move || inner.write()).await;
        written.map_err(|e| Error::unexpected("writing the ledger was stopped").with_source(e))?
    }

    async fn entries(&self, from: SystemTime, to: SystemTime) -> Result<Vec<LedgerEntry>> {
        self.flush().await?;
        let (from, to) = (to_millis(from), to_millis_up(to));
        let rows = self
            .0
            .database
            .read(move |db| {
                let sql = "SELECT time, operation, vendor, model, labels, input_tokens, output_tokens, cached_tokens,
                               cache_write_tokens, reasoning_tokens, cost_nanos, estimate_nanos, outcome
                           FROM katena_ledger WHERE time >= ?1 AND time < ?2 ORDER BY id";
                let mut statement = db.prepare_cached(sql)?;
                let rows = statement.query_map([from, to], read)?;
                Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
            })
            .await?;
        rows.into_iter()
            .map(|row| row.ok_or_else(|| Error::invalid_input("an entry of the ledger is damaged")))
            .collect()
    }
}
