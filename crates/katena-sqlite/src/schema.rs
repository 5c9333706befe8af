//! The tables of one component, in steps.

use std::path::Path;

use katena_core::{Error, ErrorKind};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::error::DbResult;

/// The tables of one component as a list of steps, each a batch of SQL; the version of a file is how many it has seen.
/// Steps that were released are never changed, new ones go to the end.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    component: &'static str,
    steps: &'static [&'static str],
}

impl Schema {
    /// The schema of `component` (a name of its own in the file, such as `vectors`).
    pub const fn new(component: &'static str, steps: &'static [&'static str]) -> Self {
        Self { component, steps }
    }

    /// True if the file is up to date.
    pub(crate) fn is_current(&self, db: &Connection, path: &Path) -> DbResult<bool> {
        let version: Option<i64> = db
            .query_row("SELECT version FROM katena_components WHERE name = ?1", [self.component], |r| {
                r.get(0)
            })
            .optional()?;
        let version = usize::try_from(version.unwrap_or(0)).unwrap_or(usize::MAX);
        if version > self.steps.len() {
            let message = format!(
                "the file was written by a newer Katena: its {} have version {version}, this program knows {}",
                self.component,
                self.steps.len()
            );
            let error = Error::new(ErrorKind::Unsupported, message);
            return Err(error.with_context("file", path.display().to_string()).into());
        }
        Ok(version == self.steps.len())
    }

    pub(crate) fn apply(&self, tx: &Transaction<'_>, path: &Path) -> DbResult<()> {
        // Another process may have been faster.
        if self.is_current(tx, path)? {
            return Ok(());
        }
        let version: Option<usize> = tx
            .query_row("SELECT version FROM katena_components WHERE name = ?1", [self.component], |r| {
                r.get(0)
            })
            .optional()?;
        for step in &self.steps[version.unwrap_or(0)..] {
            tx.execute_batch(step)?;
        }
        tx.execute(
            "INSERT INTO katena_components (name, version) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version",
            (self.component, self.steps.len()),
        )?;
        Ok(())
    }
}
