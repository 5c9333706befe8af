//! Where conversations are kept.

mod codec;
mod jsonl;
mod local;
#[cfg(feature = "mongodb")]
mod mongo;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use codec::HistoryOptions;
pub use jsonl::JsonlHistory;
pub use local::MemoryHistory;
#[cfg(feature = "mongodb")]
pub use mongo::MongoHistory;
#[cfg(feature = "postgres")]
pub use postgres::PgHistory;
#[cfg(feature = "redis")]
pub use redis::RedisHistory;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteHistory;
