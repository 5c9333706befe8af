//! A database, for reading.

use std::sync::Arc;

use async_trait::async_trait;
use katena_chains::sql::{SqlDatabase, SqlGuard, SqlLimits, TableSchema};
use katena_core::{Error, ErrorKind, Event, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::quote;

/// Lets a model look at a database: which tables there are, their columns, and statements that only read.
///
/// Each statement goes through a [`SqlGuard`]: one `SELECT` over the allowed tables. Rows come quoted, within the guard's and the
/// limits' sizes. An error of the guard or the database tells the model what is wrong, so that it can try again.
///
/// ```no_run
/// use katena_agents::tools::SqlTool;
/// use katena_chains::sql::{SqlDatabase, SqlGuard};
/// # fn f(database: impl SqlDatabase + 'static) {
/// let guard = SqlGuard::new(database.dialect(), ["orders", "customers"]).with_hidden_column("iban");
/// let tool = SqlTool::new(database, guard);
/// # }
/// ```
#[derive(Debug)]
pub struct SqlTool {
    spec: ToolSpec,
    database: Arc<dyn SqlDatabase>,
    guard: SqlGuard,
    limits: SqlLimits,
    max_bytes: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Names the tables.
    Tables,
    /// Gives a table's columns.
    Describe,
    /// Runs a SELECT.
    Query,
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// What to do: `tables` names the tables, `describe` gives the columns of `table`, `query` runs `sql`.
    action: Action,
    /// The table to describe.
    #[serde(default)]
    table: Option<String>,
    /// One SELECT statement.
    #[serde(default)]
    sql: Option<String>,
}

impl SqlTool {
    /// A tool named `sql` that reads what the guard allows: at most 16 KiB of rows, unless set otherwise.
    pub fn new(database: impl SqlDatabase + 'static, guard: SqlGuard) -> Self {
        let what = format!(
            "Reads a {} database: `tables` first, then `describe`, then `query` with one SELECT statement.",
            database.dialect().name()
        );
        Self {
            spec: ToolSpec::of::<Args>("sql", what),
            database: Arc::new(database),
            guard,
            limits: SqlLimits::new(),
            max_bytes: 16 << 10,
        }
    }

    /// Sets what one statement may take.
    pub fn with_limits(mut self, limits: SqlLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the most bytes of text that one call gives.
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The tables that may be read, without hidden columns.
    async fn schema(&self, run: &Run) -> Result<Vec<TableSchema>> {
        if self.guard.dialect() != self.database.dialect() {
            return Err(Error::config("the guard's dialect is not the database's"));
        }
        let mut schema = self.database.schema(self.guard.tables().as_deref(), run).await?;
        for table in &mut schema {
            table.columns.retain(|c| !self.guard.hides(&c.name));
        }
        Ok(schema)
    }

    async fn answer(&self, args: Args, run: &Run) -> Result<String> {
        let schema = self.schema(run).await?;
        let missing = |what| Error::invalid_output(what).with_context("tool", "sql");
        let mut text = String::new();
        match args.action {
            Action::Tables => {
                let names: Vec<String> = schema.iter().map(|t| t.name.to_string()).collect();
                quote::block(&mut text, quote::cut(&names.join("\n"), self.max_bytes));
            }
            Action::Describe => {
                let wanted = args.table.ok_or_else(|| missing("`describe` needs a `table`"))?;
                let wanted = wanted.trim();
                let named = |t: &&TableSchema| t.name.to_string() == wanted || t.name.name == wanted;
                let table = schema.iter().find(named);
                let table =
                    table.or_else(|| schema.iter().find(|t| t.name.name.eq_ignore_ascii_case(wanted)));
                let none = || Error::new(ErrorKind::Tool, "there is no such table; `tables` names them");
                quote::block(&mut text, quote::cut(&table.ok_or_else(none)?.to_string(), self.max_bytes));
            }
            Action::Query => {
                let sql = args.sql.ok_or_else(|| missing("`query` needs `sql`"))?;
                let columns = schema.iter().flat_map(|t| &t.columns).map(|c| c.name.as_str());
                let sql = self.guard.clone().with_columns(columns).check(&sql)?;
                run.emit(Event::Custom { name: "sql".to_owned(), value: Value::from(sql.as_str()) }).await;
                let rows = self.database.query(&sql, &self.limits, run).await?;
                quote::block(&mut text, &rows.to_text(self.max_bytes));
            }
        }
        Ok(text)
    }
}

#[async_trait]
impl Tool for SqlTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        run.context().check()?;
        Ok(self.answer(args, run).await?.into())
    }
}

#[cfg(test)]
#[path = "sql_tests.rs"]
mod tests;
