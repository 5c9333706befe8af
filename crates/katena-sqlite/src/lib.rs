//! The shared SQLite file of Katena: opening, migrations, one writer and several readers, errors.
//!
//! Vectors, ingestion records, chat history and checkpoints of graphs can live in one file and share transactions. A component brings a
//! [`Schema`], which [`Database::migrate`] puts in, and runs closures on tokio's blocking threads with
//! [`Database::read`] and [`Database::write`].
//!
//! ```
//! use katena_sqlite::{Database, Schema};
//!
//! const NOTES: Schema = Schema::new("notes", &["CREATE TABLE notes (text TEXT NOT NULL)"]);
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let database = Database::open(dir.path().join("app.katena"))?;
//! database.migrate(&NOTES)?;
//! database
//!     .write(|tx| {
//!         tx.execute("INSERT INTO notes VALUES (?1)", ["hello"])?;
//!         Ok(())
//!     })
//!     .await?;
//! let count: i64 = database.read(|db| Ok(db.query_row("SELECT count(*) FROM notes", [], |r| r.get(0))?)).await?;
//! assert_eq!(count, 1);
//! # Ok::<_, katena_core::Error>(()) }).unwrap();
//! ```

mod checkpoints;
mod database;
mod error;
mod records;
mod schema;

pub use checkpoints::SqliteCheckpoints;
pub use database::Database;
pub use error::{DbError, DbResult};
pub use records::SqliteRecords;
pub use rusqlite;
pub use schema::Schema;
