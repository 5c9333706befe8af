//! Questions to a database: the guard for a model's SQL, the databases, and the chain.
//!
//! ```
//! use katena_chains::sql::{SqlDialect, SqlGuard};
//! let guard = SqlGuard::new(SqlDialect::Sqlite, ["orders"]);
//! assert!(guard.check("SELECT sum(total) FROM orders").is_ok());
//! assert!(guard.check("SELECT sum(total) FROM orders; DROP TABLE orders").is_err());
//! ```

mod chain;
mod functions;
mod guard;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
mod walk;

pub use chain::{SqlAnswer, SqlQuestion};
pub use guard::{GuardedSql, SqlDialect, SqlGuard, TableName};
#[cfg(feature = "postgres")]
pub use katena_postgres::Pool;
#[cfg(feature = "postgres")]
pub use postgres::PgDatabase;
pub use rows::{ColumnSchema, Rows, SqlDatabase, SqlLimits, TableSchema};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteDatabase;
