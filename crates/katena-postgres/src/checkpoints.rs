//! Checkpoints of graphs in PostgreSQL.

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use katena_core::{Checkpoint, CheckpointInfo, CheckpointStore, EffectKey, Error, Result};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::pool::{Pool, error};
use crate::schema::Schema;

const TABLES: Schema = Schema::new("katena_checkpoint_tables", 1);
/// The "C" collation compares bytes, as Rust does.
const CREATE: &str = r#"CREATE TABLE IF NOT EXISTS katena_checkpoints (
    thread text COLLATE "C" NOT NULL,
    step bigint NOT NULL,
    owner bigint NOT NULL,
    info text NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (thread, step)
);
CREATE TABLE IF NOT EXISTS katena_effects (
    thread text COLLATE "C" NOT NULL,
    place text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    result text NOT NULL,
    PRIMARY KEY (thread, place, name)
);"#;
/// There is one set of them.
const NAME: &str = "checkpoints";

/// Checkpoints in the tables `katena_checkpoints` and `katena_effects` of a database, for graphs that any of several
/// machines go on with.
///
/// ```no_run
/// # async fn doc() -> katena_core::Result<()> {
/// use katena_postgres::{PgCheckpoints, Pool};
/// let checkpoints = PgCheckpoints::new(Pool::new("postgres://me@localhost/db")?).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PgCheckpoints {
    pool: Pool,
}

impl fmt::Debug for PgCheckpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PgCheckpoints").field(&self.pool).finish()
    }
}

/// PostgreSQL has no U+0000; U+0001 begins a code.
fn text(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', '\u{1}']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\u{1}', "\u{1}1").replace('\0', "\u{1}0"))
}

/// No step has a number that the column can't hold.
fn number(step: u64) -> Option<i64> {
    i64::try_from(step).ok()
}

fn checkpoint(row: &Row) -> Result<Checkpoint> {
    Ok(Checkpoint::new(info(row.get(0))?, row.get::<_, String>(1)))
}

fn info(text: &str) -> Result<CheckpointInfo> {
    serde_json::from_str(text).map_err(|e| Error::invalid_input("a checkpoint is damaged").with_source(e))
}

impl PgCheckpoints {
    /// Checkpoints in this database; makes the tables where they are missing.
    ///
    /// # Errors
    /// Those of the connection; `PermissionDenied` if the tables are missing and may not be made; `Unsupported` if a newer
    /// version made them.
    pub async fn new(pool: Pool) -> Result<Self> {
        let mut client = pool.get().await?;
        if let Some(tx) = TABLES.begin(&mut client, NAME).await? {
            tx.batch_execute(CREATE).await.map_err(|e| error(&e))?;
            TABLES.finish(tx, NAME).await?;
        }
        drop(client);
        Ok(Self { pool })
    }

    async fn query(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>> {
        let client = self.pool.get().await?;
        client.query_typed(sql, values).await.map_err(|e| error(&e))
    }
}

#[async_trait]
impl CheckpointStore for PgCheckpoints {
    /// One statement, so that it is all or nothing: whoever comes second meets the first one's key.
    async fn put(&self, thread: &str, checkpoint: Checkpoint) -> Result<()> {
        let sql = "WITH newest AS (
                       SELECT step, owner FROM katena_checkpoints WHERE thread = $1 ORDER BY step DESC LIMIT 1
                   )
                   INSERT INTO katena_checkpoints (thread, step, owner, info, body)
                   SELECT $1, $2, $3, $4, $5
                   WHERE CASE WHEN EXISTS (SELECT FROM newest)
                       THEN EXISTS (SELECT FROM newest WHERE step = $2 - 1 AND (owner = $3 OR $3 = $2))
                       ELSE $2 = 0 AND $3 = 0
                   END
                   ON CONFLICT DO NOTHING
                   RETURNING step";
        let Checkpoint { info: CheckpointInfo { step, owner, .. }, body, .. } = &checkpoint;
        let (Some(step), Some(owner)) = (number(*step), number(*owner)) else {
            return Err(Checkpoint::conflict(thread));
        };
        let info = serde_json::to_string(&checkpoint.info)
            .map_err(|e| Error::unexpected("a checkpoint cannot be written").with_source(e))?;
        let values: [(&(dyn ToSql + Sync), Type); 5] = [
            (&text(thread), Type::TEXT),
            (&step, Type::INT8),
            (&owner, Type::INT8),
            (&info, Type::TEXT),
            (body, Type::TEXT),
        ];
        match self.query(sql, &values).await?.len() {
            0 => Err(Checkpoint::conflict(thread)),
            _ => Ok(()),
        }
    }

    async fn latest(&self, thread: &str) -> Result<Option<Checkpoint>> {
        let sql = "SELECT info, body FROM katena_checkpoints WHERE thread = $1 ORDER BY step DESC LIMIT 1";
        self.query(sql, &[(&text(thread), Type::TEXT)]).await?.first().map(checkpoint).transpose()
    }

    async fn get(&self, thread: &str, step: u64) -> Result<Option<Checkpoint>> {
        let Some(step) = number(step) else { return Ok(None) };
        let sql = "SELECT info, body FROM katena_checkpoints WHERE thread = $1 AND step = $2";
        let rows = self.query(sql, &[(&text(thread), Type::TEXT), (&step, Type::INT8)]).await?;
        rows.first().map(checkpoint).transpose()
    }

    async fn list(&self, thread: &str) -> Result<Vec<CheckpointInfo>> {
        let sql = "SELECT info FROM katena_checkpoints WHERE thread = $1 ORDER BY step";
        self.query(sql, &[(&text(thread), Type::TEXT)]).await?.iter().map(|r| info(r.get(0))).collect()
    }

    async fn delete(&self, thread: &str) -> Result<()> {
        let sql = "WITH effects AS (DELETE FROM katena_effects WHERE thread = $1)
                   DELETE FROM katena_checkpoints WHERE thread = $1";
        self.query(sql, &[(&text(thread), Type::TEXT)]).await.map(drop)
    }

    async fn effect(&self, thread: &str, owner: u64, key: &EffectKey) -> Result<Option<String>> {
        let sql = "SELECT newest.owner, effect.result
                   FROM (
                       SELECT owner FROM katena_checkpoints WHERE thread = $1 ORDER BY step DESC LIMIT 1
                   ) AS newest
                   LEFT JOIN katena_effects AS effect
                       ON effect.thread = $1 AND effect.place = $2 AND effect.name = $3";
        let values: [(&(dyn ToSql + Sync), Type); 3] =
            [(&text(thread), Type::TEXT), (&text(&key.place), Type::TEXT), (&text(&key.name), Type::TEXT)];
        let rows = self.query(sql, &values).await?;
        match rows.first() {
            Some(row) if Some(row.get::<_, i64>(0)) == number(owner) => Ok(row.get(1)),
            _ => Err(Checkpoint::conflict(thread)),
        }
    }

    async fn record_effect(&self, thread: &str, owner: u64, key: EffectKey, result: String) -> Result<()> {
        let sql = "INSERT INTO katena_effects (thread, place, name, result)
                   SELECT $1, $2, $3, $4
                   WHERE $5 = (SELECT owner FROM katena_checkpoints WHERE thread = $1 ORDER BY step DESC LIMIT 1)
                   ON CONFLICT DO NOTHING
                   RETURNING 1";
        let Some(owner) = number(owner) else { return Err(Checkpoint::conflict(thread)) };
        let values: [(&(dyn ToSql + Sync), Type); 5] = [
            (&text(thread), Type::TEXT),
            (&text(&key.place), Type::TEXT),
            (&text(&key.name), Type::TEXT),
            (&result, Type::TEXT),
            (&owner, Type::INT8),
        ];
        match self.query(sql, &values).await?.len() {
            0 => Err(Checkpoint::conflict(thread)),
            _ => Ok(()),
        }
    }
}
