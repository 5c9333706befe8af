//! A PostgreSQL database to ask.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::{Error, ErrorKind, Result, Run};
use katena_postgres::tokio_postgres::error::SqlState;
use katena_postgres::tokio_postgres::types::Type;
use katena_postgres::tokio_postgres::{self, NoTls};
use katena_postgres::{Lent, Pool, error};
use serde_json::Value;

use super::guard::{GuardedSql, SqlDialect, TableName};
use super::rows::{Collector, ColumnSchema, Rows, SqlDatabase, SqlLimits, TableSchema};

/// Most columns of a statement's rows; a function takes no more arguments.
const MOST_COLUMNS: usize = 100;
/// How often the server is told to stop a statement, with 50 ms to answer after the first time and twice as long after each
/// further one: 51 s in all.
const CANCELS: u32 = 10;

/// A PostgreSQL database that is only read: each statement runs in a `READ ONLY` transaction of its own, which is rolled
/// back, with `statement_timeout` and a search path of `pg_catalog, public`. Give it a role that may read no more than
/// the tables in question, and a `temp_file_limit`: rights, and the room on its disk, are the server's to keep.
///
/// A dropped future asks the server to stop, and closes the connection. Values come as JSON numbers and booleans, all
/// else as the server's text.
///
/// ```no_run
/// # async fn f() -> katena_core::Result<()> {
/// use katena_chains::sql::{PgDatabase, SqlDatabase, SqlDialect, SqlGuard, SqlLimits};
/// use katena_core::Run;
/// use katena_postgres::Pool;
/// let database = PgDatabase::new(Pool::new("postgres://reader@localhost/shop")?);
/// let sql = SqlGuard::new(SqlDialect::Postgres, ["orders"]).check("SELECT count(*) FROM orders")?;
/// println!("{}", database.query(&sql, &SqlLimits::new(), &Run::new()).await?.to_text(1000));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct PgDatabase {
    pool: Pool,
}

impl fmt::Debug for PgDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PgDatabase").field(&self.pool).finish()
    }
}

/// A connection whose statement is stopped when the caller goes away. It is not lent again: a late cancel would stop
/// somebody else's statement.
struct Held {
    lent: Option<Lent>,
    running: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(lent) = self.lent.take().filter(|_| self.running) else { return };
        let token = lent.cancel_token();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // The server forgets a cancel that comes between two of our messages: it is told again until the
                // connection answers, well or not. After the last time the statement ends at its timeout.
                for again in 0..CANCELS {
                    drop(token.cancel_query(NoTls).await);
                    let wait = Duration::from_millis(50 << again);
                    if tokio::time::timeout(wait, lent.check_connection()).await.is_ok() {
                        break;
                    }
                }
                lent.discard();
            });
        } else {
            lent.discard();
        }
    }
}

/// What a statement gets wrong is the statement's fault, and is told to its author.
fn failed(e: &tokio_postgres::Error) -> Error {
    let Some(code) = e.code() else { return error(e) };
    if *code == SqlState::QUERY_CANCELED {
        return Error::new(ErrorKind::Timeout, "the statement took longer than its limit")
            .with_vendor("postgres");
    }
    if code.code().starts_with("42") && *code != SqlState::INSUFFICIENT_PRIVILEGE {
        let message = e.as_db_error().map(|d| d.message().to_owned()).unwrap_or_default();
        return Error::invalid_input(message).with_vendor("postgres").with_context("sqlstate", code.code());
    }
    error(e)
}

impl PgDatabase {
    /// The database behind this pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    async fn read(&self, sql: &GuardedSql, limits: &SqlLimits, run: &Run) -> Result<Rows> {
        let mut held = Held { lent: Some(self.pool.get().await?), running: true };
        let result = match held.lent.as_mut() {
            Some(lent) => Self::read_on(lent, sql, limits, run).await,
            None => Err(Error::unexpected("the connection is gone")),
        };
        // Done, well or not: there is nothing to stop.
        held.running = false;
        result
    }

    async fn read_on(lent: &mut Lent, sql: &GuardedSql, limits: &SqlLimits, run: &Run) -> Result<Rows> {
        // Dropped without a commit it is rolled back, in whatever state the connection is.
        let transaction = lent.build_transaction().read_only(true).start().await.map_err(|e| failed(&e))?;
        let left = run.context().deadline.map_or(limits.timeout, |d| {
            limits.timeout.min(d.saturating_duration_since(std::time::Instant::now()))
        });
        let settings = format!(
            "SET LOCAL statement_timeout = {}; SET LOCAL standard_conforming_strings = on; \
             SET LOCAL search_path = pg_catalog, public; SET LOCAL lock_timeout = 3000",
            left.as_millis().clamp(1, 86_400_000)
        );
        transaction.batch_execute(&settings).await.map_err(|e| failed(&e))?;
        let inner = transaction.prepare(sql.as_str()).await.map_err(|e| failed(&e))?;
        let columns: Vec<(String, Type)> =
            inner.columns().iter().map(|c| (c.name().to_owned(), c.type_().clone())).collect();
        if columns.len() > MOST_COLUMNS {
            return Err(Error::invalid_input("the statement gives more columns than the limit")
                .with_context("limit", MOST_COLUMNS.to_string()));
        }
        let outer = transaction.prepare(&wrapped(sql, &columns, limits)).await.map_err(|e| failed(&e))?;
        let parameters: [&str; 0] = [];
        let rows = transaction.query_raw(&outer, parameters).await.map_err(|e| failed(&e))?;
        let mut rows = std::pin::pin!(rows);
        let mut collector = Collector::new(columns.into_iter().map(|(name, _)| name).collect(), sql, *limits);
        let mut wanted = true;
        // What is left over is read too: the connection must be clean.
        while let Some(row) = rows.next().await {
            let row = row.map_err(|e| failed(&e))?;
            if wanted {
                let text: &str = row.try_get(0).map_err(|e| failed(&e))?;
                let cells: Vec<Value> = serde_json::from_str(text)
                    .map_err(|e| Error::unexpected("the server's JSON can't be read").with_source(e))?;
                let cells = cells.into_iter().map(|cell| match cell {
                    Value::String(text) => collector.text(&text),
                    other => other,
                });
                let cells: Vec<Value> = cells.collect();
                wanted = collector.push(cells);
            }
        }
        transaction.rollback().await.map_err(|e| failed(&e))?;
        Ok(collector.finish())
    }
}

/// The statement as a table whose rows come as one JSON list each: every type has a JSON or text form, and long texts are
/// cut by the server.
fn wrapped(sql: &GuardedSql, columns: &[(String, Type)], limits: &SqlLimits) -> String {
    let names: Vec<String> = (0..columns.len()).map(|n| format!("c{n}")).collect();
    let cells: Vec<String> = columns
        .iter()
        .zip(&names)
        .map(|((_, kind), name)| match *kind {
            Type::BOOL | Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::OID => {
                format!("q.{name}")
            }
            _ => {
                format!("pg_catalog.left(q.{name}::text, {})", limits.max_cell.saturating_add(1).min(1 << 30))
            }
        })
        .collect();
    // A statement without columns has rows all the same.
    let names = if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) };
    format!("SELECT pg_catalog.json_build_array({})::text FROM ({sql}) AS q{names}", cells.join(", "))
}

const COLUMNS: &str = "
SELECT n.nspname::text, c.relname::text, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
       a.attnotnull,
       EXISTS (SELECT 1 FROM pg_catalog.pg_index i
               WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
       (SELECT f.relname::text || '(' || fa.attname::text || ')' FROM pg_catalog.pg_constraint k
        JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
        JOIN pg_catalog.pg_attribute fa ON fa.attrelid = k.confrelid AND fa.attnum = k.confkey[1]
        WHERE k.contype = 'f' AND k.conrelid = c.oid AND k.conkey = ARRAY[a.attnum] LIMIT 1),
       pg_catalog.col_description(c.oid, a.attnum)
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p') AND a.attnum > 0 AND NOT a.attisdropped
  AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
  AND CASE WHEN $1::text[] IS NULL THEN n.nspname = 'public' AND c.relname !~ '^pg_'
      ELSE EXISTS (SELECT 1 FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS t(s, r)
                   WHERE n.nspname::text = t.s AND c.relname::text = t.r) END
ORDER BY 1, 2, a.attnum LIMIT 5000";

#[async_trait]
impl SqlDatabase for PgDatabase {
    fn dialect(&self) -> SqlDialect {
        SqlDialect::Postgres
    }

    async fn schema(&self, tables: Option<&[TableName]>, run: &Run) -> Result<Vec<TableSchema>> {
        let schemas: Option<Vec<&str>> = tables.map(|t| t.iter().map(|t| t.schema.as_str()).collect());
        let names: Option<Vec<&str>> = tables.map(|t| t.iter().map(|t| t.name.as_str()).collect());
        let work = async {
            let client = self.pool.get().await?;
            client.query(COLUMNS, &[&schemas, &names]).await.map_err(|e| failed(&e))
        };
        let rows = run.context().cancel.guard(work).await?;
        let mut found: Vec<TableSchema> = Vec::new();
        for row in rows {
            let name = TableName { schema: row.get(0), name: row.get(1) };
            let mut column = ColumnSchema::new(row.get::<_, String>(2), row.get::<_, String>(3));
            if row.get(5) {
                column = column.with_note("PRIMARY KEY");
            } else if row.get(4) {
                column = column.with_note("NOT NULL");
            }
            if let Some(to) = row.get::<_, Option<String>>(6) {
                column = column.with_note(format!("REFERENCES {to}"));
            }
            if let Some(comment) = row.get::<_, Option<String>>(7) {
                column = column.with_note(format!("-- {comment}"));
            }
            match found.last_mut().filter(|t| t.name == name) {
                Some(table) => table.columns.push(column),
                None => found.push(TableSchema::new(name, vec![column])),
            }
        }
        Ok(found)
    }

    async fn query(&self, sql: &GuardedSql, limits: &SqlLimits, run: &Run) -> Result<Rows> {
        if sql.dialect() != SqlDialect::Postgres {
            return Err(Error::config("the guard is one for another database"));
        }
        run.context().check()?;
        run.context().cancel.guard(self.read(sql, limits, run)).await
    }
}
