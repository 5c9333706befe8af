//! The tables of one component: made once, whichever process comes first, with the version of their form.

use katena_core::{Error, ErrorKind, Result};
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use crate::pool::{Lent, error};

/// Creations wait for each other under this advisory lock ("katena").
const LOCK: i64 = 0x6b61_7465_6e61;

/// A component's table of versions, and the version that this program knows. Each set of tables of the component (a
/// collection, a group of conversations) has a row there, by its name.
///
/// ```no_run
/// # async fn doc(pool: katena_postgres::Pool) -> katena_core::Result<()> {
/// use katena_postgres::{Schema, error};
/// const NOTES: Schema = Schema::new("my_notes", 1);
/// let mut client = pool.get().await?;
/// if let Some(tx) = NOTES.begin(&mut client, "default").await? {
///     tx.batch_execute("CREATE TABLE IF NOT EXISTS default_notes (body text)").await.map_err(|e| error(&e))?;
///     NOTES.finish(tx, "default").await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    registry: &'static str,
    version: i32,
}

impl Schema {
    /// The versions are in the table `registry`, a plain SQL name.
    pub const fn new(registry: &'static str, version: i32) -> Self {
        Self { registry, version }
    }

    /// A transaction to make the tables of `name` in, under a lock that all creations share; none if they are there, which
    /// needs no rights but reading. What is made must say `IF NOT EXISTS`: another process may have been faster.
    ///
    /// # Errors
    /// Those of the server; `Unsupported` if a newer version made the tables.
    pub async fn begin<'c>(&self, client: &'c mut Lent, name: &str) -> Result<Option<Transaction<'c>>> {
        let Self { registry, version } = self;
        let exists = format!("SELECT to_regclass('{registry}') IS NOT NULL");
        let rows = client.query_typed(&exists, &[]).await.map_err(|e| error(&e))?;
        if rows.first().is_some_and(|r| r.get::<_, bool>(0)) {
            let found = format!("SELECT version FROM {registry} WHERE name = $1");
            let rows = client.query_typed(&found, &[(&name, Type::TEXT)]).await.map_err(|e| error(&e))?;
            match rows.first().map(|r| r.get::<_, i32>(0)) {
                Some(found) if found > *version => {
                    let message =
                        format!("a newer Katena made the tables (version {found}, known {version})");
                    let error = Error::new(ErrorKind::Unsupported, message).with_vendor("postgres");
                    return Err(error.with_context("tables", *registry).with_context("name", name));
                }
                Some(found) if found == *version => return Ok(None),
                _ => {}
            }
        }
        let tx = client.transaction().await.map_err(|e| error(&e))?;
        // The "C" collation compares bytes, as Rust does.
        let sql = format!(
            "SELECT pg_advisory_xact_lock({LOCK});
             CREATE TABLE IF NOT EXISTS {registry} (name text COLLATE \"C\" PRIMARY KEY, version int NOT NULL);"
        );
        tx.batch_execute(&sql).await.map_err(|e| error(&e))?;
        Ok(Some(tx))
    }

    /// Writes the version down and commits.
    ///
    /// # Errors
    /// Those of the server.
    pub async fn finish(&self, tx: Transaction<'_>, name: &str) -> Result<()> {
        let sql = format!("INSERT INTO {} VALUES ($1, $2) ON CONFLICT (name) DO NOTHING", self.registry);
        let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&name, Type::TEXT), (&self.version, Type::INT4)];
        tx.query_typed(&sql, &values).await.map_err(|e| error(&e))?;
        tx.commit().await.map_err(|e| error(&e))
    }
}
