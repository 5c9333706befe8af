//! Records in the shared SQLite file.

use async_trait::async_trait;
use katena_core::{Error, RecordStore, Result, SourceRecord};
use rusqlite::{OptionalExtension as _, params};

use crate::{Database, Schema};

const RECORDS: Schema = Schema::new(
    "records",
    &["CREATE TABLE katena_records (
           namespace TEXT NOT NULL,
           uri TEXT NOT NULL,
           scope TEXT NOT NULL,
           hash TEXT NOT NULL,
           chunks TEXT NOT NULL,
           complete INTEGER NOT NULL,
           PRIMARY KEY (namespace, uri)
       ) WITHOUT ROWID;
       CREATE INDEX katena_records_by_scope ON katena_records (namespace, scope, uri);
       CREATE TABLE katena_record_facts (
           namespace TEXT NOT NULL,
           name TEXT NOT NULL,
           value TEXT NOT NULL,
           PRIMARY KEY (namespace, name)
       ) WITHOUT ROWID;"],
);

/// Records in a SQLite file: that of an embedded store, beside its vectors, or one of their own.
#[derive(Debug, Clone)]
pub struct SqliteRecords {
    database: Database,
}

impl SqliteRecords {
    /// Records in this file; makes its tables where they are missing.
    ///
    /// # Errors
    /// Those of opening and writing the file; kind `Unsupported` if a newer version wrote it.
    pub fn new(database: Database) -> Result<Self> {
        database.migrate(&RECORDS)?;
        Ok(Self { database })
    }
}

#[async_trait]
impl RecordStore for SqliteRecords {
    async fn get(&self, namespace: &str, uri: &str) -> Result<Option<SourceRecord>> {
        let (ns, key) = (namespace.to_owned(), uri.to_owned());
        let row = self
            .database
            .read(move |db| {
                let sql = "SELECT scope, hash, chunks, complete FROM katena_records WHERE namespace = ?1 AND uri = ?2";
                let mut statement = db.prepare_cached(sql)?;
                let row = statement.query_row(params![ns, key], |r| {
                    Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?, r.get::<_, String>(2)?, r.get::<_, bool>(3)?))
                });
                Ok(row.optional()?)
            })
            .await?;
        let Some((scope, hash, chunks, complete)) = row else { return Ok(None) };
        let chunks: Vec<String> = serde_json::from_str(&chunks).map_err(|e| {
            Error::unexpected("the record of a document is damaged").with_context("uri", uri).with_source(e)
        })?;
        let record = SourceRecord::new(scope, uri, hash, chunks);
        Ok(Some(if complete { record.with_complete() } else { record }))
    }

    async fn put(&self, namespace: &str, record: SourceRecord) -> Result<()> {
        let ns = namespace.to_owned();
        let chunks = serde_json::to_string(&record.chunks)
            .map_err(|e| Error::unexpected("the record of a document cannot be written").with_source(e))?;
        self.database
            .write(move |tx| {
                let sql =
                    "INSERT OR REPLACE INTO katena_records (namespace, uri, scope, hash, chunks, complete)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
                tx.prepare_cached(sql)?.execute(params![
                    ns,
                    record.uri,
                    record.scope,
                    record.hash,
                    chunks,
                    record.complete
                ])?;
                Ok(())
            })
            .await
    }

    async fn remove(&self, namespace: &str, uri: &str) -> Result<()> {
        let (ns, uri) = (namespace.to_owned(), uri.to_owned());
        self.database
            .write(move |tx| {
                tx.execute("DELETE FROM katena_records WHERE namespace = ?1 AND uri = ?2", params![ns, uri])?;
                Ok(())
            })
            .await
    }

    async fn uris(&self, namespace: &str, scope: Option<&str>) -> Result<Vec<String>> {
        let (ns, scope) = (namespace.to_owned(), scope.map(str::to_owned));
        self.database
            .read(move |db| {
                let sql = "SELECT uri FROM katena_records
                           WHERE namespace = ?1 AND (?2 IS NULL OR scope = ?2) ORDER BY uri";
                let mut statement = db.prepare_cached(sql)?;
                let rows = statement.query_map(params![ns, scope], |r| r.get(0))?;
                Ok(rows.collect::<Result<Vec<String>, _>>()?)
            })
            .await
    }

    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        let (ns, name) = (namespace.to_owned(), name.to_owned());
        self.database
            .read(move |db| {
                let sql = "SELECT value FROM katena_record_facts WHERE namespace = ?1 AND name = ?2";
                Ok(db.prepare_cached(sql)?.query_row(params![ns, name], |r| r.get(0)).optional()?)
            })
            .await
    }

    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        let (ns, name, value) = (namespace.to_owned(), name.to_owned(), value.to_owned());
        self.database
            .write(move |tx| {
                let sql =
                    "INSERT OR REPLACE INTO katena_record_facts (namespace, name, value) VALUES (?1, ?2, ?3)";
                tx.execute(sql, params![ns, name, value])?;
                Ok(())
            })
            .await
    }

    async fn clear(&self, namespace: &str) -> Result<()> {
        let ns = namespace.to_owned();
        self.database
            .write(move |tx| {
                tx.execute("DELETE FROM katena_records WHERE namespace = ?1", [&ns])?;
                tx.execute("DELETE FROM katena_record_facts WHERE namespace = ?1", [&ns])?;
                Ok(())
            })
            .await
    }
}
