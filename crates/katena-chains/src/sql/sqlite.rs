//! A SQLite file to ask.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use katena_core::{Context, Error, ErrorKind, Result, Run};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::guard::{GuardedSql, SqlDialect, TableName};
use super::rows::{Collector, ColumnSchema, Rows, SqlDatabase, SqlLimits, TableSchema};

/// The largest text or blob that a statement may make, and the longest statement, in bytes.
const MOST_LENGTH: i32 = 4 << 20;
/// Steps of SQLite's machine between two looks at the clock.
const STEPS: i32 = 1000;

/// A SQLite file that is only read: the connection is opened read-only, `query_only` is set, extensions and attached
/// files are off, and an authorizer lets a statement read the tables that its guard found in it and do nothing else.
///
/// Statements run on a blocking thread, one at a time; a timeout, a cancelled run and a dropped future stop them. Needs a
/// tokio runtime.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_chains::sql::{SqlDatabase, SqlDialect, SqlGuard, SqlLimits, SqliteDatabase};
/// use katena_core::Run;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("shop.db");
/// # rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE orders (id, total); INSERT INTO orders VALUES (1, 9.5)").unwrap();
/// let database = SqliteDatabase::open(&path)?;
/// let sql = SqlGuard::new(SqlDialect::Sqlite, ["orders"]).check("SELECT total FROM orders")?;
/// let rows = database.query(&sql, &SqlLimits::new(), &Run::new()).await?;
/// assert_eq!(rows.rows[0][0], 9.5);
/// # Ok::<(), katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct SqliteDatabase {
    connection: Arc<Mutex<Connection>>,
}

impl fmt::Debug for SqliteDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SqliteDatabase")
    }
}

fn failed(error: rusqlite::Error) -> Error {
    let message: String = error.to_string().chars().take(500).collect();
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) => ErrorKind::PermissionDenied,
        Some(
            rusqlite::ErrorCode::DatabaseBusy
            | rusqlite::ErrorCode::DatabaseLocked
            | rusqlite::ErrorCode::CannotOpen,
        ) => ErrorKind::Unavailable,
        Some(rusqlite::ErrorCode::OperationInterrupted) => ErrorKind::Timeout,
        // What a statement gets wrong: `SQLITE_ERROR`, types, ranges, sizes.
        Some(
            rusqlite::ErrorCode::Unknown | rusqlite::ErrorCode::TypeMismatch | rusqlite::ErrorCode::TooBig,
        ) => ErrorKind::InvalidInput,
        _ if matches!(error, rusqlite::Error::SqlInputError { .. }) => ErrorKind::InvalidInput,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, message).with_vendor("sqlite")
}

/// Stops the work on the blocking thread when the caller goes away.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl SqliteDatabase {
    /// Opens the file at `path`, which must exist.
    ///
    /// # Errors
    /// `Unavailable` if it can't be opened, `Unexpected` if it is no database.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(failed)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(failed)?;
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        connection.pragma_update(None, "cell_size_check", true).map_err(failed)?;
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, MOST_LENGTH),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 17),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
        ] {
            connection.set_limit(limit, value).map_err(failed)?;
        }
        // The first look at the file: what is no database fails here.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(failed)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        run: &Run,
        work: impl FnOnce(&Connection, &Context, &Arc<AtomicBool>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let context = run.context().clone();
        context.check()?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|e| Error::config("a SQLite database needs a tokio runtime").with_source(e))?;
        let stop = Stop(Arc::default());
        let (connection, stopped, inner) = (self.connection.clone(), stop.0.clone(), context.clone());
        let work = runtime.spawn_blocking(move || {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            if stopped.load(Ordering::Relaxed) {
                return Err(Error::cancelled());
            }
            work(&connection, &inner, &stopped)
        });
        let done = async {
            work.await.map_err(|e| Error::unexpected("the work on the database failed").with_source(e))?
        };
        context.cancel.guard(done).await
    }
}

/// Lets a statement read its tables, call functions, and nothing else.
fn authorizer(tables: Vec<String>) -> impl for<'c> FnMut(AuthContext<'c>) -> Authorization + Send + 'static {
    const NEVER: [&str; 6] =
        ["load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "sqlite_compileoption_get"];
    move |context: AuthContext<'_>| {
        let may = match context.action {
            AuthAction::Select | AuthAction::Recursive => true,
            AuthAction::Function { function_name } => {
                !NEVER.contains(&function_name.to_ascii_lowercase().as_str())
            }
            // What a view reads is the view's business. CTEs and functions in FROM have no file.
            AuthAction::Read { table_name, column_name } => {
                // A CTE of which no column is read; the guard writes tables with their schema.
                column_name.is_empty() && context.database_name.is_none()
                    || context.accessor.is_some()
                    || context.database_name != Some("temp")
                        && tables.iter().any(|t| t.eq_ignore_ascii_case(table_name))
                    || ["json_each", "json_tree"].contains(&table_name)
            }
            _ => false,
        };
        if may { Authorization::Allow } else { Authorization::Deny }
    }
}

fn value(value: ValueRef<'_>, collector: &mut Collector) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::from(n),
        ValueRef::Real(x) => {
            serde_json::Number::from_f64(x).map_or_else(|| Value::from(x.to_string()), Value::Number)
        }
        ValueRef::Text(bytes) => collector.text(&String::from_utf8_lossy(bytes)),
        ValueRef::Blob(bytes) => Value::from(format!("({} bytes)", bytes.len())),
    }
}

fn query(connection: &Connection, sql: &GuardedSql, limits: SqlLimits) -> Result<Rows> {
    let mut statement = connection.prepare(sql.as_str()).map_err(failed)?;
    if !statement.readonly() {
        return Err(Error::new(ErrorKind::PermissionDenied, "only a statement that reads may be run"));
    }
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let width = columns.len();
    let mut collector = Collector::new(columns, sql, limits);
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let mut cells = Vec::with_capacity(width);
        for n in 0..width {
            cells.push(value(row.get_ref(n).map_err(failed)?, &mut collector));
        }
        if !collector.push(cells) {
            break;
        }
    }
    Ok(collector.finish())
}

/// Unhooks the connection, however the work ended.
struct Hooks<'c>(&'c Connection);

impl Drop for Hooks<'_> {
    fn drop(&mut self) {
        self.0.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
        self.0.progress_handler(0, None::<fn() -> bool>);
    }
}

fn describe(connection: &Connection, table: &TableName) -> Result<Option<TableSchema>> {
    let mut statement = connection
        .prepare("SELECT name, type, \"notnull\", pk FROM pragma_table_info(?1, ?2)")
        .map_err(failed)?;
    let columns = statement.query_map([&table.name, &table.schema], |row| {
        let mut column = ColumnSchema::new(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
        if row.get::<_, i64>(3)? > 0 {
            column = column.with_note("PRIMARY KEY");
        } else if row.get::<_, bool>(2)? {
            column = column.with_note("NOT NULL");
        }
        Ok(column)
    });
    let mut columns: Vec<ColumnSchema> =
        columns.map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    let mut statement = connection
        .prepare("SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list(?1, ?2)")
        .map_err(failed)?;
    let keys = statement.query_map([&table.name, &table.schema], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?))
    });
    for key in keys.map_err(failed)? {
        let (from, to, column) = key.map_err(failed)?;
        let target = column.map_or_else(|| to.clone(), |c| format!("{to}({c})"));
        if let Some(own) = columns.iter_mut().find(|c| c.name == from) {
            *own = own.clone().with_note(format!("REFERENCES {target}"));
        }
    }
    Ok((!columns.is_empty()).then(|| TableSchema::new(table.clone(), columns)))
}

#[async_trait]
impl SqlDatabase for SqliteDatabase {
    fn dialect(&self) -> SqlDialect {
        SqlDialect::Sqlite
    }

    async fn schema(&self, tables: Option<&[TableName]>, run: &Run) -> Result<Vec<TableSchema>> {
        let tables = tables.map(<[TableName]>::to_vec);
        self.blocking(run, move |connection, _, _| {
            let tables = match tables {
                Some(tables) => tables,
                None => {
                    let sql = "SELECT name FROM main.sqlite_schema WHERE type IN ('table', 'view') \
                               AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name LIMIT 500";
                    let mut statement = connection.prepare(sql).map_err(failed)?;
                    let names = statement.query_map([], |row| row.get::<_, String>(0)).map_err(failed)?;
                    let table = |name: String| TableName { schema: "main".to_owned(), name };
                    names.map(|n| n.map(table)).collect::<Result<_, _>>().map_err(failed)?
                }
            };
            let found = tables.iter().map(|t| describe(connection, t)).collect::<Result<Vec<_>>>()?;
            Ok(found.into_iter().flatten().collect())
        })
        .await
    }

    async fn query(&self, sql: &GuardedSql, limits: &SqlLimits, run: &Run) -> Result<Rows> {
        if sql.dialect() != SqlDialect::Sqlite {
            return Err(Error::config("the guard is one for another database"));
        }
        let (sql, limits) = (sql.clone(), *limits);
        self.blocking(run, move |connection, context, stopped| {
            let until = Instant::now().checked_add(limits.timeout);
            let until = match (until, context.deadline) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let late = move || until.is_some_and(|u| Instant::now() >= u);
            let hooks = Hooks(connection);
            let (cancel, stop) = (context.cancel.clone(), stopped.clone());
            connection.progress_handler(
                STEPS,
                Some(move || late() || cancel.is_cancelled() || stop.load(Ordering::Relaxed)),
            );
            connection.authorizer(Some(authorizer(sql.tables().map(|t| t.name.clone()).collect())));
            let result = query(connection, &sql, limits);
            drop(hooks);
            result.map_err(|e| match e.kind() {
                ErrorKind::Timeout if context.cancel.is_cancelled() => Error::cancelled(),
                ErrorKind::Timeout => {
                    Error::new(ErrorKind::Timeout, "the statement took longer than its limit")
                        .with_vendor("sqlite")
                }
                _ => e,
            })
        })
        .await
    }
}
