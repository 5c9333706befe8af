//! The tables of one collection.

use katena_core::{Error, Result};

use katena_postgres::{Lent, Schema, error};

const COLLECTIONS: Schema = Schema::new("katena_collections", 1);
/// PostgreSQL cuts names at 63 bytes; the longest addition is `_namespaces`.
const MAX_NAME: usize = 48;

/// The quoted names of a collection's tables.
#[derive(Clone)]
pub(super) struct Tables {
    collection: String,
    pub(super) namespaces: String,
    pub(super) records: String,
    pub(super) sources: String,
    pub(super) facts: String,
}

impl Tables {
    pub(super) fn new(collection: &str) -> Result<Self> {
        if collection.is_empty() || collection.len() > MAX_NAME || collection.contains('\0') {
            return Err(Error::config(format!("a collection's name has 1 to {MAX_NAME} bytes")));
        }
        let name = |part: &str| format!("\"{}_{part}\"", collection.replace('"', "\"\""));
        Ok(Self {
            collection: collection.to_owned(),
            namespaces: name("namespaces"),
            records: name("records"),
            sources: name("sources"),
            facts: name("facts"),
        })
    }

    pub(super) fn collection(&self) -> &str {
        &self.collection
    }

    /// Makes what is missing. Any number of processes may do so at once.
    pub(super) async fn create(&self, client: &mut Lent) -> Result<()> {
        let Some(tx) = COLLECTIONS.begin(client, &self.collection).await? else { return Ok(()) };
        let Self { namespaces, records, sources, facts, .. } = self;
        let index = records.replace("_records\"", "_terms\"");
        tx.batch_execute("CREATE EXTENSION IF NOT EXISTS vector").await.map_err(|e| {
            let hint = "the database needs the pgvector extension: ask its administrator for CREATE EXTENSION vector";
            Error::new(error(&e).kind(), hint).with_source(error(&e))
        })?;
        // The "C" collation compares bytes, as Rust does.
        tx.batch_execute(&format!(
            r#"CREATE TABLE IF NOT EXISTS {namespaces} (
                name text COLLATE "C" PRIMARY KEY,
                dimensions int NOT NULL
            );
            CREATE TABLE IF NOT EXISTS {records} (
                namespace text COLLATE "C" NOT NULL,
                id text COLLATE "C" NOT NULL,
                document text NOT NULL,
                facts jsonb NOT NULL,
                size int NOT NULL,
                terms text[] COLLATE "C" NOT NULL,
                counts int[] NOT NULL,
                vector vector NOT NULL,
                PRIMARY KEY (namespace, id)
            );
            CREATE INDEX IF NOT EXISTS {index} ON {records} USING gin (terms);
            CREATE TABLE IF NOT EXISTS {sources} (
                namespace text COLLATE "C" NOT NULL,
                uri text COLLATE "C" NOT NULL,
                scope text COLLATE "C" NOT NULL,
                record text NOT NULL,
                PRIMARY KEY (namespace, uri)
            );
            CREATE TABLE IF NOT EXISTS {facts} (
                namespace text COLLATE "C" NOT NULL,
                name text COLLATE "C" NOT NULL,
                value text NOT NULL,
                PRIMARY KEY (namespace, name)
            );"#
        ))
        .await
        .map_err(|e| error(&e))?;
        COLLECTIONS.finish(tx, &self.collection).await
    }
}
