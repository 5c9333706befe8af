//! Rows, schemas, and the databases that give them.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use katena_core::{Result, Run};
use serde::Serialize;
use serde_json::Value;

use super::guard::{GuardedSql, SqlDialect, TableName};

/// What one statement may take.
///
/// ```
/// use std::time::Duration;
/// use katena_chains::sql::SqlLimits;
/// let limits = SqlLimits::new().with_timeout(Duration::from_secs(2));
/// assert_eq!(limits.max_cell, 2000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqlLimits {
    /// The longest time: 10 s.
    pub timeout: Duration,
    /// Most characters of a text value; the rest is cut: 2000.
    pub max_cell: usize,
    /// Most bytes of all rows together; further rows are left out: 256 KiB.
    pub max_bytes: usize,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), max_cell: 2000, max_bytes: 256 << 10 }
    }
}

impl SqlLimits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the longest time.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the most characters of a text value.
    pub fn with_max_cell(mut self, characters: usize) -> Self {
        self.max_cell = characters;
        self
    }

    /// Sets the most bytes of all rows together.
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// What a statement gave.
///
/// ```
/// use katena_chains::sql::Rows;
/// use serde_json::json;
/// let rows = Rows::new(["name", "orders"], vec![vec![json!("Ada"), json!(3)]]);
/// assert_eq!(rows.to_text(1000), "name | orders\nAda | 3\n");
/// ```
#[derive(Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Rows {
    /// The columns' names.
    pub columns: Vec<String>,
    /// The values, row by row. Numbers that JSON can't hold exactly, dates and the like are texts.
    pub rows: Vec<Vec<Value>>,
    /// True if there were more rows, or a text was cut.
    pub truncated: bool,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("columns", &self.columns)
            .field("rows", &self.rows.len())
            .field("truncated", &self.truncated)
            .finish()
    }
}

impl Rows {
    /// Rows under these column names.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = S>, rows: Vec<Vec<Value>>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows, truncated: false }
    }

    /// Says that there was more.
    pub fn truncated(mut self) -> Self {
        self.truncated = true;
        self
    }

    /// One line for each row, values divided by ` | `, at most about `most` bytes; what is left out is said.
    pub fn to_text(&self, most: usize) -> String {
        let mut text = self.columns.join(" | ");
        text.push('\n');
        for (n, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(cell).collect();
            let line = cells.join(" | ");
            if text.len() + line.len() > most && n > 0 {
                let _ = writeln!(text, "({} more rows are not shown)", self.rows.len() - n);
                break;
            }
            text.push_str(&line);
            text.push('\n');
        }
        if self.truncated {
            text.push_str("(there is more than this)\n");
        }
        text
    }
}

/// A value on one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Collects rows within limits.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[derive(Debug)]
pub(super) struct Collector {
    rows: Rows,
    bytes: usize,
    max_rows: usize,
    limits: SqlLimits,
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Collector {
    pub(super) fn new(columns: Vec<String>, sql: &GuardedSql, limits: SqlLimits) -> Self {
        let rows = Rows { columns, ..Rows::default() };
        Self { rows, bytes: 0, max_rows: sql.max_rows(), limits }
    }

    /// A text within the limit of a value.
    pub(super) fn text(&mut self, text: &str) -> Value {
        match text.char_indices().nth(self.limits.max_cell) {
            None => Value::from(text),
            Some((end, _)) => {
                self.rows.truncated = true;
                Value::from(format!("{}…", &text[..end]))
            }
        }
    }

    /// Takes a row; false if no more are wanted.
    pub(super) fn push(&mut self, row: Vec<Value>) -> bool {
        let size: usize = row.iter().map(|v| v.as_str().map_or(8, str::len)).sum();
        if self.rows.rows.len() >= self.max_rows
            || self.bytes + size > self.limits.max_bytes && !self.rows.rows.is_empty()
        {
            self.rows.truncated = true;
            return false;
        }
        self.bytes += size;
        self.rows.rows.push(row);
        true
    }

    pub(super) fn finish(self) -> Rows {
        self.rows
    }
}

/// A table as the model is told of it.
///
/// ```
/// use katena_chains::sql::{ColumnSchema, SqlDialect, SqlGuard, TableSchema};
/// let name = SqlGuard::new(SqlDialect::Sqlite, ["orders"]).tables().unwrap().remove(0);
/// let table = TableSchema::new(name, vec![ColumnSchema::new("id", "INTEGER").with_note("PRIMARY KEY")]);
/// assert_eq!(table.to_string(), "TABLE main.orders (\n  id INTEGER PRIMARY KEY\n)\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableSchema {
    /// Its name.
    pub name: TableName,
    /// Its columns, in order.
    pub columns: Vec<ColumnSchema>,
}

/// A column as the model is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ColumnSchema {
    /// Its name.
    pub name: String,
    /// Its type, as the database names it.
    pub kind: String,
    /// What else is to be known: `PRIMARY KEY`, `REFERENCES customers(id)`, a comment.
    pub note: String,
}

impl TableSchema {
    /// A table with these columns.
    pub fn new(name: TableName, columns: Vec<ColumnSchema>) -> Self {
        Self { name, columns }
    }
}

impl ColumnSchema {
    /// A column of a type.
    pub fn new(name: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { name: name.into(), kind: kind.into(), note: String::new() }
    }

    /// Adds what else is to be known.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        if !self.note.is_empty() {
            self.note.push(' ');
        }
        self.note.push_str(&note);
        self
    }
}

impl fmt::Display for TableSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "TABLE {} (", self.name)?;
        for (n, column) in self.columns.iter().enumerate() {
            let comma = if n + 1 == self.columns.len() { "" } else { "," };
            let line = format!("{} {} {}", column.name, column.kind, column.note);
            writeln!(f, "  {}{comma}", line.split_whitespace().collect::<Vec<_>>().join(" "))?;
        }
        writeln!(f, ")")
    }
}

/// A database that answers statements which only read.
///
/// # Contract
/// - `query` runs nothing but the statement, in a transaction or on a connection that can't write.
/// - No more than [`GuardedSql::max_rows`] rows come back; `truncated` tells whether there were more.
/// - It ends with `Timeout` after the limit's time, and stops working when the run is cancelled or the future dropped.
/// - Its errors are fit for the model: the database's own words, no values of other rows, no addresses.
#[async_trait]
pub trait SqlDatabase: fmt::Debug + Send + Sync {
    /// Whose SQL it speaks.
    fn dialect(&self) -> SqlDialect;

    /// These tables' columns; with `None` those of all tables and views of the usual schema.
    async fn schema(&self, tables: Option<&[TableName]>, run: &Run) -> Result<Vec<TableSchema>>;

    /// Runs a statement.
    async fn query(&self, sql: &GuardedSql, limits: &SqlLimits, run: &Run) -> Result<Rows>;
}

#[async_trait]
impl<D: SqlDatabase + ?Sized> SqlDatabase for Arc<D> {
    fn dialect(&self) -> SqlDialect {
        (**self).dialect()
    }
    async fn schema(&self, tables: Option<&[TableName]>, run: &Run) -> Result<Vec<TableSchema>> {
        (**self).schema(tables, run).await
    }
    async fn query(&self, sql: &GuardedSql, limits: &SqlLimits, run: &Run) -> Result<Rows> {
        (**self).query(sql, limits, run).await
    }
}
