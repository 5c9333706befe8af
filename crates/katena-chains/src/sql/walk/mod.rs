//! The walk through a parsed statement: everything that is not known to be harmless ends it.

mod from;
mod values;
mod visit;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use katena_core::{Error, Result};
use sqlparser::ast::{Ident, Query};

use super::functions;
use super::guard::{SqlDialect, SqlGuard, TableName, refused};

type Flow = ControlFlow<Error>;

/// A query around the place where the walk is, and the CTE names that surely mean its CTEs there.
struct Scope {
    /// For each CTE where its query lies in memory, and its name.
    ctes: Vec<(usize, String)>,
    recursive: bool,
    /// How many of them are visible.
    visible: usize,
}

pub(super) struct Walk<'g> {
    guard: &'g SqlGuard,
    scopes: Vec<Scope>,
    tables: BTreeSet<TableName>,
    /// Tables that were judged and whose name comes next.
    judged: usize,
    /// Names that stand for a whole row: tables' names and aliases.
    rows: BTreeSet<String>,
    /// Those of them that are the database's own tables.
    bases: BTreeSet<String>,
    /// Names that the statement itself gives to values.
    named: BTreeSet<String>,
    /// Functions in FROM: their alias, and the columns named there.
    sets: Vec<(String, BTreeSet<String>)>,
    /// Names used for values: the qualifier and the name itself.
    used: Vec<(Option<String>, String)>,
}

fn stop(why: impl Into<std::borrow::Cow<'static, str>>) -> Flow {
    ControlFlow::Break(refused(why))
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query) as usize
}

/// Short enough for a message.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

impl<'g> Walk<'g> {
    pub(super) fn new(guard: &'g SqlGuard) -> Self {
        Self {
            guard,
            scopes: Vec::new(),
            tables: BTreeSet::new(),
            judged: 0,
            rows: BTreeSet::new(),
            bases: BTreeSet::new(),
            named: BTreeSet::new(),
            sets: Vec::new(),
            used: Vec::new(),
        }
    }

    fn folded(&self, ident: &Ident) -> String {
        self.guard.dialect.folded(&ident.value, ident.quote_style.is_some())
    }

    /// The tables, once everything was seen: aliases may stand behind the columns that use them.
    pub(super) fn finish(self) -> Result<BTreeSet<TableName>> {
        if self.judged != 0 {
            return Err(refused("a table stands where none may be"));
        }
        let guard = self.guard;
        for (qualifier, name) in &self.used {
            let lower = name.to_lowercase();
            if guard.hidden.contains(&lower) {
                return Err(refused(format!("the column {} may not be read", shown(name))));
            }
            let set = qualifier.as_ref().and_then(|q| self.sets.iter().find(|(alias, _)| alias == q));
            if let Some((alias, columns)) = set
                && name != alias
                && !columns.contains(name)
            {
                return Err(refused(format!(
                    "name the columns of {} where it stands in FROM, as in f(x) AS t(a)",
                    shown(alias)
                )));
            }
            let own = self.named.contains(name) || self.sets.iter().any(|(alias, _)| alias == name);
            let whole_row = qualifier.is_none() && self.rows.contains(name);
            if !guard.hidden.is_empty() {
                if whole_row {
                    return Err(refused(format!("name the columns of {}, not the whole row", shown(name))));
                }
                // In PostgreSQL `t.f` may be `f(t)`, so that what stands behind a table must be a column.
                let of_base = qualifier.as_ref().is_some_and(|q| self.bases.contains(q));
                let column = match &guard.columns {
                    Some(columns) => columns.contains(&lower),
                    None => !functions::takes_rows(&lower),
                };
                if guard.dialect == SqlDialect::Postgres && of_base && !column {
                    return Err(refused(format!("there is no column {}", shown(name))));
                }
            }
            if let Some(columns) = &guard.columns
                && !columns.contains(&lower)
                && !own
                && !whole_row
            {
                return Err(refused(format!("there is no column {}", shown(name))));
            }
        }
        Ok(self.tables)
    }

    fn is_cte(&self, name: &str) -> bool {
        self.scopes.iter().any(|s| s.ctes[..s.visible].iter().any(|(_, cte)| cte == name))
    }
}
