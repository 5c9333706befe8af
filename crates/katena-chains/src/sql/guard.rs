//! What a model's SQL must be before it is run.

use std::collections::BTreeSet;
use std::fmt;

use katena_core::{Error, ErrorKind, Result};
use sqlparser::ast::{
    Expr, Fetch, LimitClause, Offset, OffsetRows, Query, SetExpr, Statement, Value, VisitMut as _,
};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::walk::Walk;

/// The longest statement, in bytes.
const MOST_BYTES: usize = 32 << 10;
/// Most tokens that are no literal and no comma: each may nest the statement one deeper.
const MOST_TOKENS: usize = 1000;
/// Most tokens at all.
const MOST_LITERALS: usize = 8000;
/// How deep the parser may go.
const MOST_DEPTH: usize = 40;
/// Most rows, unless told otherwise.
const MOST_ROWS: usize = 100;

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqlDialect {
    /// SQLite 3.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl SqlDialect {
    /// Its name, as prompts have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// The schema of a table that is named without one.
    pub(super) fn schema(self) -> &'static str {
        match self {
            Self::Sqlite => "main",
            Self::Postgres => "public",
        }
    }

    pub(super) fn parser(self) -> &'static dyn Dialect {
        match self {
            Self::Sqlite => &SQLiteDialect {},
            Self::Postgres => &PostgreSqlDialect {},
        }
    }

    /// A name as the database compares it.
    pub(super) fn folded(self, name: &str, quoted: bool) -> String {
        match self {
            Self::Postgres if quoted => name.to_owned(),
            _ => name.to_ascii_lowercase(),
        }
    }
}

/// A table by its schema and name, as the database compares them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct TableName {
    /// Its schema: `main` in SQLite and `public` in PostgreSQL unless named.
    pub schema: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Lets through a model's SQL if it only reads, and only what it may.
///
/// One statement goes through: a `SELECT`, with CTEs, subqueries and set operations. What is not known to be harmless is
/// refused:
///
/// - tables outside the list, system tables included; what an alias or a CTE's name stands for is worked out as the
///   database does it;
/// - functions, operators and types outside a list of harmless ones ([`with_function`](Self::with_function) adds to it),
///   so nothing reads files, sleeps, connects, changes settings or writes;
/// - hidden columns, and with them `*` and every other way to a whole row;
/// - `INTO`, row locks, writes in CTEs, parameters, statements beyond 32 KiB, 1000 words and signs, or 40 levels.
///
/// What comes out is not the model's text: the parsed statement is printed again, tables with their schema, at most
/// [`max_rows`](Self::with_max_rows) + 1 rows, and only if it reads back as the same statement. It is one of two locks: the
/// databases of this crate let a statement only read, too. What a statement may cost is limited by time when it runs.
///
/// ```
/// use katena_chains::sql::{SqlDialect, SqlGuard};
/// let guard = SqlGuard::new(SqlDialect::Postgres, ["orders", "sales.customers"]).with_max_rows(10);
/// let sql = guard.check("select id from Orders -- all of them")?;
/// assert_eq!(sql.as_str(), "SELECT id FROM public.Orders LIMIT 11");
/// assert!(guard.check("DROP TABLE orders").is_err());
/// assert!(guard.check("SELECT pg_read_file('/etc/passwd')").is_err());
/// assert!(guard.check("SELECT * FROM secrets, (WITH secrets AS (SELECT 1) SELECT 1) x").is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct SqlGuard {
    pub(super) dialect: SqlDialect,
    /// `None`: all but system tables.
    pub(super) tables: Option<BTreeSet<TableName>>,
    pub(super) hidden: BTreeSet<String>,
    pub(super) columns: Option<BTreeSet<String>>,
    pub(super) functions: BTreeSet<String>,
    pub(super) types: BTreeSet<String>,
    pub(super) max_rows: usize,
}

/// A statement that a [`SqlGuard`] let through; there is no other way to make one.
///
/// ```
/// use katena_chains::sql::{SqlDialect, SqlGuard};
/// let sql = SqlGuard::new(SqlDialect::Sqlite, ["orders"]).check("SELECT count(*) FROM orders")?;
/// assert_eq!(sql.tables().next().unwrap().to_string(), "main.orders");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardedSql {
    sql: String,
    tables: BTreeSet<TableName>,
    dialect: SqlDialect,
    max_rows: usize,
}

impl GuardedSql {
    /// The statement.
    pub fn as_str(&self) -> &str {
        &self.sql
    }

    /// The tables that it names.
    pub fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.tables.iter()
    }

    /// Whose SQL it is.
    pub fn dialect(&self) -> SqlDialect {
        self.dialect
    }

    /// Most rows that may be given; the statement asks for one more, which tells whether there are more.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }
}

impl fmt::Display for GuardedSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql)
    }
}

pub(super) fn refused(why: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::PermissionDenied, why)
}

impl SqlGuard {
    /// Lets these tables be read: `name` or `schema.name`, as the database has them. A name without a schema is one of
    /// `main` (SQLite) or `public` (PostgreSQL).
    pub fn new<S: AsRef<str>>(dialect: SqlDialect, tables: impl IntoIterator<Item = S>) -> Self {
        let table = |name: S| {
            let (schema, name) = match name.as_ref().split_once('.') {
                Some((schema, name)) => (schema, name.to_owned()),
                None => (dialect.schema(), name.as_ref().to_owned()),
            };
            // The application's names are the database's own: exact in PostgreSQL, in any case in SQLite.
            TableName { schema: dialect.folded(schema, true), name: dialect.folded(&name, true) }
        };
        let tables = Some(tables.into_iter().map(table).collect());
        Self { tables, ..Self::all_tables(dialect) }
    }

    /// Lets all tables of the usual schema (`main` or `public`) be read, but no system tables.
    pub fn all_tables(dialect: SqlDialect) -> Self {
        Self {
            dialect,
            tables: None,
            hidden: BTreeSet::new(),
            columns: None,
            functions: BTreeSet::new(),
            types: BTreeSet::new(),
            max_rows: MOST_ROWS,
        }
    }

    /// Hides columns of this name in all tables. `SELECT *`, whole rows and `NATURAL JOIN` are refused then. In PostgreSQL
    /// take the right to read them from the role too: `t.f` may call a function of the whole row.
    pub fn with_hidden_column(mut self, name: impl AsRef<str>) -> Self {
        self.hidden.insert(name.as_ref().to_lowercase());
        self
    }

    /// Refuses every column outside of these (and the statement's own aliases). [`SqlQuestion`](super::SqlQuestion) gives
    /// the columns that it shows to the model.
    pub fn with_columns<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(|n| n.as_ref().to_lowercase()).collect());
        self
    }

    /// Lets a function be called, by its plain name. It must read nothing and change nothing.
    pub fn with_function(mut self, name: impl AsRef<str>) -> Self {
        self.functions.insert(name.as_ref().to_lowercase());
        self
    }

    /// Lets a type of the database be cast to, such as an enum.
    pub fn with_type(mut self, name: impl AsRef<str>) -> Self {
        self.types.insert(name.as_ref().to_lowercase());
        self
    }

    /// Sets how many rows are given at most (default 100, at least 1).
    pub fn with_max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows.max(1);
        self
    }

    /// Whose SQL it reads.
    pub fn dialect(&self) -> SqlDialect {
        self.dialect
    }

    /// The tables that may be read; `None` for all of the usual schema.
    pub fn tables(&self) -> Option<Vec<TableName>> {
        self.tables.as_ref().map(|t| t.iter().cloned().collect())
    }

    /// True if columns of this name are not shown.
    pub fn hides(&self, column: &str) -> bool {
        self.hidden.contains(&column.to_lowercase())
    }

    /// Reads a statement and gives what may be run in its place.
    ///
    /// # Errors
    /// `InvalidInput` if it is no SQL of the dialect or too long, `PermissionDenied` if it does what it may not. The
    /// message is fit for the model.
    pub fn check(&self, sql: &str) -> Result<GuardedSql> {
        let mut statement = self.parse(sql)?;
        let Statement::Query(query) = &mut statement else {
            return Err(refused("only a SELECT statement may be run"));
        };
        if matches!(*query.body, SetExpr::Values(_)) {
            return Err(refused("only a SELECT statement may be run"));
        }
        let mut walk = Walk::new(self);
        if let std::ops::ControlFlow::Break(error) = query.visit(&mut walk) {
            return Err(error);
        }
        let tables = walk.finish()?;
        limit(query, self.max_rows as u64 + 1)?;
        let printed = statement.to_string();
        // Texts with a backslash before a quote are among those that the printer writes as something else.
        let again = self.parse(&printed).ok();
        if again.as_ref() != Some(&statement) {
            return Err(refused(
                "the statement can't be written so that it is sure to be read as meant; use simpler texts",
            ));
        }
        Ok(GuardedSql { sql: printed, tables, dialect: self.dialect, max_rows: self.max_rows })
    }

    fn parse(&self, sql: &str) -> Result<Statement> {
        if sql.len() > MOST_BYTES {
            return Err(Error::invalid_input("the statement is longer than the limit")
                .with_context("limit", format!("{MOST_BYTES} bytes")));
        }
        if sql.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
            return Err(Error::invalid_input("the statement has control characters"));
        }
        let dialect = self.dialect.parser();
        let syntax = |e: String| {
            let e: String = e.chars().take(300).collect();
            Error::invalid_input(format!("this is no {} statement: {e}", self.dialect.name()))
        };
        let mut tokenizer = Tokenizer::new(dialect, sql);
        let tokens = tokenizer.tokenize_with_location().map_err(|e| syntax(e.to_string()))?;
        let literal = |t: &Token| {
            matches!(
                t,
                Token::Comma | Token::Number(..) | Token::SingleQuotedString(_) | Token::Whitespace(_)
            )
        };
        let structure = tokens.iter().filter(|t| !literal(&t.token)).count();
        if structure > MOST_TOKENS || tokens.len() > MOST_LITERALS {
            return Err(Error::invalid_input("the statement is more complex than the limit"));
        }
        let parser = Parser::new(dialect).with_recursion_limit(MOST_DEPTH);
        let statements = parser.with_tokens_with_locations(tokens).parse_statements();
        let mut statements = statements.map_err(|e| syntax(e.to_string()))?;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => Ok(statement),
            (None, _) => Err(Error::invalid_input("there is no statement")),
            (Some(_), false) => Err(refused("only one statement may be run")),
        }
    }
}

/// A plain number, as limits must be.
fn plain(expr: &Expr) -> Result<u64> {
    let Expr::Value(value) = expr else { return Err(refused("LIMIT and OFFSET take a plain number")) };
    match &value.value {
        Value::Number(digits, false) => {
            digits.parse().map_err(|_| refused("LIMIT and OFFSET take a plain number"))
        }
        _ => Err(refused("LIMIT and OFFSET take a plain number")),
    }
}

fn number(value: u64) -> Expr {
    Expr::Value(Value::Number(value.to_string(), false).into())
}

/// Asks for `most` rows at most.
fn limit(query: &mut Query, most: u64) -> Result<()> {
    let (mut rows, mut skip) = (None, None);
    match query.limit_clause.take() {
        None => {}
        Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
            if !limit_by.is_empty() {
                return Err(refused("LIMIT BY may not be used"));
            }
            rows = limit.as_ref().map(plain).transpose()?;
            skip = offset.map(|o| plain(&o.value)).transpose()?;
        }
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
            (rows, skip) = (Some(plain(&limit)?), Some(plain(&offset)?));
        }
    }
    if let Some(Fetch { with_ties, percent, quantity }) = query.fetch.take() {
        if with_ties || percent {
            return Err(refused("FETCH may ask for a number of rows only"));
        }
        let fetched = quantity.as_ref().map_or(Ok(1), plain)?;
        rows = Some(rows.map_or(fetched, |r| r.min(fetched)));
    }
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit: Some(number(rows.map_or(most, |r| r.min(most)))),
        offset: skip.map(|n| Offset { value: number(n), rows: OffsetRows::None }),
        limit_by: Vec::new(),
    });
    Ok(())
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
