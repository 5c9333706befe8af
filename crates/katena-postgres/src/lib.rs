//! One PostgreSQL server for Katena: a small pool, its errors, the encryption rule, checkpoints.
//!
//! Components that keep something in PostgreSQL (vectors, histories, checkpoints) and the chain that asks a database all go
//! through [`Pool`]: at most eight connections, each tried before it is lent again. The driver is re-exported as
//! [`tokio_postgres`].
//!
//! ```no_run
//! # async fn doc() -> katena_core::Result<()> {
//! use katena_postgres::{Pool, error};
//! let pool = Pool::new("postgres://me@localhost/db")?;
//! let client = pool.get().await?;
//! let rows = client.query_typed("SELECT 1", &[]).await.map_err(|e| error(&e))?;
//! assert_eq!(rows.len(), 1);
//! # Ok(()) }
//! ```

mod checkpoints;
mod pool;
mod schema;

pub use checkpoints::PgCheckpoints;
pub use pool::{Lent, Pool, error};
pub use schema::Schema;
pub use tokio_postgres;
