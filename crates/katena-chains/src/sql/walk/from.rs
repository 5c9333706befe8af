//! FROM: tables, joins, functions.

use std::collections::BTreeSet;

use sqlparser::ast::{
    Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableAlias, TableWithJoins,
    WildcardAdditionalOptions,
};

use super::super::functions;
use super::super::guard::{SqlDialect, TableName};
use super::{Flow, Walk, shown, stop};

impl Walk<'_> {
    pub(super) fn alias(&mut self, alias: Option<&TableAlias>, of_rows: bool) -> Flow {
        let Some(alias) = alias else { return Flow::Continue(()) };
        if alias.at.is_some() || alias.columns.iter().any(|c| c.data_type.is_some()) {
            return stop("this form of alias may not be used");
        }
        for column in &alias.columns {
            let name = self.folded(&column.name);
            self.named.insert(name);
        }
        if of_rows {
            if !alias.columns.is_empty() && !self.guard.hidden.is_empty() {
                return stop("a table's columns may not be renamed in FROM");
            }
            let name = self.folded(&alias.name);
            self.rows.insert(name);
        }
        Flow::Continue(())
    }

    /// Judges a table's name and writes it with its schema.
    pub(super) fn table(&mut self, name: &mut ObjectName, alias: Option<&TableAlias>) -> Flow {
        let mut idents = Vec::new();
        for part in &name.0 {
            let ObjectNamePart::Identifier(ident) = part else {
                return stop("this form of table name may not be used");
            };
            idents.push(ident);
        }
        let (schema, ident) = match idents[..] {
            [table] => (None, table),
            [schema, table] => (Some(self.folded(schema)), table),
            _ => return stop("a table is named by its schema and name at most"),
        };
        let table = self.folded(ident);
        self.judged += 1;
        self.rows.insert(table.clone());
        if schema.is_none() && self.is_cte(&table) {
            return Flow::Continue(());
        }
        let alias = alias.map_or_else(|| table.clone(), |a| self.folded(&a.name));
        self.bases.insert(alias);
        let dialect = self.guard.dialect;
        let own = dialect.schema();
        let found = TableName { schema: schema.clone().unwrap_or_else(|| own.to_owned()), name: table };
        let allowed = match &self.guard.tables {
            Some(tables) => tables.contains(&found),
            None => {
                let lower = found.name.to_lowercase();
                let system = match dialect {
                    SqlDialect::Sqlite => lower.starts_with("sqlite_") || lower.starts_with("pragma_"),
                    SqlDialect::Postgres => lower.starts_with("pg_"),
                };
                found.schema == own && !system
            }
        };
        if !allowed {
            return stop(format!("the table {} may not be read", shown(&found.name)));
        }
        if schema.is_none() {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new(own)));
        }
        self.tables.insert(found);
        Flow::Continue(())
    }

    pub(super) fn from(&mut self, table: &TableWithJoins) -> Flow {
        for join in &table.joins {
            let (JoinOperator::Join(on)
            | JoinOperator::Inner(on)
            | JoinOperator::Left(on)
            | JoinOperator::LeftOuter(on)
            | JoinOperator::Right(on)
            | JoinOperator::RightOuter(on)
            | JoinOperator::FullOuter(on)
            | JoinOperator::CrossJoin(on)) = &join.join_operator
            else {
                return stop("this kind of join may not be used");
            };
            match on {
                JoinConstraint::On(_) | JoinConstraint::None if !join.global => {}
                JoinConstraint::Using(columns) if !join.global => {
                    for column in columns {
                        let [ObjectNamePart::Identifier(ident)] = &column.0[..] else {
                            return stop("USING takes plain column names");
                        };
                        let name = self.folded(ident);
                        self.used.push((None, name));
                    }
                }
                JoinConstraint::Natural if !join.global && self.guard.hidden.is_empty() => {}
                _ => return stop("join by ON or USING"),
            }
        }
        Flow::Continue(())
    }

    pub(super) fn star(&self, options: Option<&WildcardAdditionalOptions>) -> Flow {
        if !self.guard.hidden.is_empty() {
            return stop("name the columns; * may not be used");
        }
        match options {
            Some(WildcardAdditionalOptions {
                wildcard_token: _,
                opt_ilike: None,
                opt_exclude: None,
                opt_except: None,
                opt_replace: None,
                opt_rename: None,
                opt_alias: None,
            })
            | None => Flow::Continue(()),
            Some(_) => stop("this form of * may not be used"),
        }
    }

    /// A function in FROM.
    pub(super) fn set(&mut self, name: &ObjectName, alias: Option<&TableAlias>) -> Flow {
        let [ObjectNamePart::Identifier(ident)] = &name.0[..] else {
            return stop("functions are called by their plain name");
        };
        let known = self.folded(ident);
        if !functions::is_harmless_table(self.guard.dialect, &known) && !self.guard.functions.contains(&known)
        {
            return stop(format!("the function {} may not be called", shown(&ident.value)));
        }
        self.alias(alias, false)?;
        let mut columns: BTreeSet<String> =
            alias.into_iter().flat_map(|a| &a.columns).map(|c| self.folded(&c.name)).collect();
        // The columns that these functions give.
        let given: &[&str] = match self.guard.dialect {
            SqlDialect::Sqlite => &["key", "value", "type", "atom", "id", "parent", "fullkey", "path"],
            SqlDialect::Postgres if known.contains("each") => &["key", "value"],
            SqlDialect::Postgres if known.contains("_elements") => &["value"],
            SqlDialect::Postgres => &[],
        };
        // Only where they are not renamed: else such a name may be a function's.
        if columns.is_empty() {
            columns.extend(given.iter().map(|c| (*c).to_owned()));
        }
        columns.insert("ordinality".to_owned());
        self.named.extend(columns.iter().cloned());
        let alias = alias.map_or(known, |a| self.folded(&a.name));
        self.sets.push((alias, columns));
        Flow::Continue(())
    }
}
