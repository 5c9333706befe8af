//! A namespace's vectors in memory, kept in step with the file.

use katena_sqlite::DbResult;
use katena_sqlite::rusqlite::Connection;

use super::rows::{Namespace, damaged, read_vector};
use crate::matrix::Matrix;

/// The vectors as they were in the newest transaction that looked.
pub(super) struct Cache {
    namespace: i64,
    removals: i64,
    last_key: i64,
    matrix: Matrix<()>,
}

impl Cache {
    pub(super) fn new(namespace: &Namespace) -> Self {
        Self {
            namespace: namespace.id,
            removals: namespace.removals,
            last_key: 0,
            matrix: Matrix::new(namespace.dimensions),
        }
    }

    /// Brings the vectors to the state of `db`'s transaction, which has begun after that of the last call.
    pub(super) fn refresh(&mut self, db: &Connection, namespace: &Namespace) -> DbResult<Matrix<()>> {
        if self.namespace != namespace.id || self.matrix.dimensions() != namespace.dimensions {
            *self = Self::new(namespace);
        }
        if self.removals != namespace.removals {
            self.drop_removed(db)?;
            self.removals = namespace.removals;
        }
        self.read_new(db)?;
        Ok(self.matrix.clone())
    }

    fn drop_removed(&mut self, db: &Connection) -> DbResult<()> {
        let mut statement = db.prepare_cached(
            "SELECT key FROM vector_records INDEXED BY vector_records_by_namespace
             WHERE namespace = ?1 AND key <= ?2 ORDER BY key",
        )?;
        let keys = statement.query_map((self.namespace, self.last_key), |r| r.get(0))?;
        let keys: Vec<i64> = keys.collect::<Result<_, _>>()?;
        if keys.len() < self.matrix.len() {
            let mut next = keys.iter().copied().peekable();
            self.matrix.retain(|key| {
                while next.next_if(|k| *k < key).is_some() {}
                next.peek() == Some(&key)
            });
        }
        Ok(())
    }

    fn read_new(&mut self, db: &Connection) -> DbResult<()> {
        let mut statement = db.prepare_cached(
            "SELECT r.key, v.vector, v.checksum
             FROM vector_records r INDEXED BY vector_records_by_namespace
             CROSS JOIN vector_values v ON v.key = r.key
             WHERE r.namespace = ?1 AND r.key > ?2 ORDER BY r.key",
        )?;
        let mut rows = statement.query((self.namespace, self.last_key))?;
        let mut vector = Vec::with_capacity(self.matrix.dimensions());
        while let Some(row) = rows.next()? {
            let key = row.get(0)?;
            read_vector(key, row.get_ref(1)?, row.get(2)?, &mut vector)?;
            if vector.len() != self.matrix.dimensions() || key <= self.last_key {
                return Err(damaged("a vector has another length").into());
            }
            self.matrix.push(key, (), &vector);
            self.last_key = key;
        }
        Ok(())
    }
}
