//! Checkpoints of graphs in the shared SQLite file.

use async_trait::async_trait;
use katena_core::{Checkpoint, CheckpointInfo, CheckpointStore, EffectKey, Error, Result};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::{Database, DbResult, Schema};

const CHECKPOINTS: Schema = Schema::new(
    "checkpoints",
    &["CREATE TABLE katena_checkpoints (
           id INTEGER PRIMARY KEY,
           thread TEXT NOT NULL,
           step INTEGER NOT NULL,
           owner INTEGER NOT NULL,
           info TEXT NOT NULL,
           body TEXT NOT NULL
       );
       CREATE UNIQUE INDEX katena_checkpoints_by_step ON katena_checkpoints (thread, step);
       CREATE TABLE katena_effects (
           thread TEXT NOT NULL,
           place TEXT NOT NULL,
           name TEXT NOT NULL,
           result TEXT NOT NULL,
           PRIMARY KEY (thread, place, name)
       );"],
);

/// Checkpoints in a SQLite file: that of an embedded store, beside its vectors, or one of their own.
///
/// A step is on the disk before the next begins, which costs a sync of the disk; an effect costs one more.
///
/// ```
/// use katena_core::{CheckpointStore, Graph, NodeContext};
/// use katena_sqlite::{Database, SqliteCheckpoints};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let checkpoints = SqliteCheckpoints::new(Database::open(dir.path().join("app.katena"))?)?;
/// let graph = Graph::<u32>::new("add")
///     .node("add", async |n: u32, _ctx: NodeContext| Ok(n + 1))
///     .entry("add")
///     .finish("add")
///     .build()?
///     .with_checkpoints(checkpoints);
/// assert_eq!(graph.start("thread 1", 1).await?.finished(), Some(2));
/// assert_eq!(graph.history("thread 1").await?.len(), 2);
/// # Ok::<_, katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SqliteCheckpoints {
    database: Database,
}

impl SqliteCheckpoints {
    /// Checkpoints in this file; makes its tables where they are missing.
    ///
    /// # Errors
    /// Those of opening and writing the file; kind `Unsupported` if a newer version wrote it.
    pub fn new(database: Database) -> Result<Self> {
        database.migrate(&CHECKPOINTS)?;
        Ok(Self { database })
    }
}

/// Step and owner of the newest checkpoint.
fn newest(db: &Connection, thread: &str) -> DbResult<Option<(u64, u64)>> {
    let sql = "SELECT step, owner FROM katena_checkpoints WHERE thread = ?1 ORDER BY step DESC LIMIT 1";
    Ok(db.prepare_cached(sql)?.query_row([thread], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
}

fn owned(db: &Connection, thread: &str, owner: u64) -> DbResult<()> {
    match newest(db, thread)? {
        Some((_, by)) if by == owner => Ok(()),
        _ => Err(Checkpoint::conflict(thread).into()),
    }
}

fn read_info(text: &str) -> Result<CheckpointInfo> {
    serde_json::from_str(text).map_err(|e| Error::invalid_input("a checkpoint is damaged").with_source(e))
}

impl SqliteCheckpoints {
    /// A step's checkpoint, the newest without a step.
    async fn find(&self, thread: &str, step: Option<i64>) -> Result<Option<Checkpoint>> {
        let thread = thread.to_owned();
        let row: Option<(String, String)> = self
            .database
            .read(move |db| {
                let sql = "SELECT info, body FROM katena_checkpoints
                           WHERE thread = ?1 AND (?2 IS NULL OR step = ?2) ORDER BY step DESC LIMIT 1";
                let mut statement = db.prepare_cached(sql)?;
                Ok(statement.query_row(params![thread, step], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
            })
            .await?;
        let Some((info, body)) = row else { return Ok(None) };
        Ok(Some(Checkpoint::new(read_info(&info)?, body)))
    }
}

#[async_trait]
impl CheckpointStore for SqliteCheckpoints {
    async fn put(&self, thread: &str, checkpoint: Checkpoint) -> Result<()> {
        let thread = thread.to_owned();
        let info = serde_json::to_string(&checkpoint.info)
            .map_err(|e| Error::unexpected("a checkpoint cannot be written").with_source(e))?;
        self.database
            .write(move |tx| {
                checkpoint.info.check_follows(&thread, newest(tx, &thread)?)?;
                let sql = "INSERT INTO katena_checkpoints (thread, step, owner, info, body)
                           VALUES (?1, ?2, ?3, ?4, ?5)";
                let Checkpoint { info: CheckpointInfo { step, owner, .. }, body, .. } = &checkpoint;
                tx.prepare_cached(sql)?.execute(params![thread, step, owner, info, body])?;
                Ok(())
            })
            .await
    }

    async fn latest(&self, thread: &str) -> Result<Option<Checkpoint>> {
        self.find(thread, None).await
    }

    async fn get(&self, thread: &str, step: u64) -> Result<Option<Checkpoint>> {
        // No step has a number that the column can't hold.
        let Ok(step) = i64::try_from(step) else { return Ok(None) };
        self.find(thread, Some(step)).await
    }

    async fn list(&self, thread: &str) -> Result<Vec<CheckpointInfo>> {
        let thread = thread.to_owned();
        let rows: Vec<String> = self
            .database
            .read(move |db| {
                let sql = "SELECT info FROM katena_checkpoints WHERE thread = ?1 ORDER BY step";
                let mut statement = db.prepare_cached(sql)?;
                let rows = statement.query_map([thread], |r| r.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await?;
        rows.iter().map(|info| read_info(info)).collect()
    }

    async fn delete(&self, thread: &str) -> Result<()> {
        let thread = thread.to_owned();
        self.database
            .write(move |tx| {
                tx.execute("DELETE FROM katena_checkpoints WHERE thread = ?1", [&thread])?;
                tx.execute("DELETE FROM katena_effects WHERE thread = ?1", [&thread])?;
                Ok(())
            })
            .await
    }

    async fn effect(&self, thread: &str, owner: u64, key: &EffectKey) -> Result<Option<String>> {
        let (thread, key) = (thread.to_owned(), key.clone());
        self.database
            .read(move |db| {
                owned(db, &thread, owner)?;
                let sql = "SELECT result FROM katena_effects WHERE thread = ?1 AND place = ?2 AND name = ?3";
                let mut statement = db.prepare_cached(sql)?;
                Ok(statement.query_row(params![thread, key.place, key.name], |r| r.get(0)).optional()?)
            })
            .await
    }

    async fn record_effect(&self, thread: &str, owner: u64, key: EffectKey, result: String) -> Result<()> {
        let thread = thread.to_owned();
        self.database
            .write(move |tx| {
                owned(tx, &thread, owner)?;
                let sql = "INSERT INTO katena_effects (thread, place, name, result) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT DO NOTHING";
                match tx.prepare_cached(sql)?.execute(params![thread, key.place, key.name, result])? {
                    0 => Err(Checkpoint::conflict(&thread).into()),
                    _ => Ok(()),
                }
            })
            .await
    }
}
