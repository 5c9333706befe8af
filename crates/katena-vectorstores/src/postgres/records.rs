//! What is in: the record store beside the vectors.

use std::fmt;

use async_trait::async_trait;
use katena_core::{Error, RecordStore, Result, SourceRecord};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::schema::Tables;
use super::text::{decode, encode};
use katena_postgres::{Pool, error};

/// Keeps the ingestion's records in the same database as the vectors of a [`PgVectorStore`](crate::PgVectorStore),
/// which gives one by [`records`](crate::PgVectorStore::records).
#[derive(Clone)]
pub struct PgRecords {
    pool: Pool,
    tables: Tables,
}

impl fmt::Debug for PgRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgRecords")
            .field("server", &self.pool)
            .field("collection", &self.tables.collection())
            .finish_non_exhaustive()
    }
}

impl PgRecords {
    pub(super) fn new(pool: Pool, tables: Tables) -> Self {
        Self { pool, tables }
    }

    async fn query(&self, sql: &str, values: &[&str]) -> Result<Vec<Row>> {
        let values: Vec<String> = values.iter().map(|v| encode(v).into_owned()).collect();
        let bound: Vec<_> = values.iter().map(|v| (v as _, Type::TEXT)).collect();
        let client = self.pool.get().await?;
        client.query_typed(sql, &bound).await.map_err(|e| error(&e))
    }
}

#[async_trait]
impl RecordStore for PgRecords {
    async fn get(&self, namespace: &str, uri: &str) -> Result<Option<SourceRecord>> {
        let sql = format!("SELECT record FROM {} WHERE namespace = $1 AND uri = $2", self.tables.sources);
        let rows = self.query(&sql, &[namespace, uri]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let record = serde_json::from_str(row.get(0));
        record.map(Some).map_err(|e| Error::invalid_output("a source's record can't be read").with_source(e))
    }

    async fn put(&self, namespace: &str, record: SourceRecord) -> Result<()> {
        let sql = format!(
            "INSERT INTO {} (namespace, uri, scope, record) VALUES ($1, $2, $3, $4)
             ON CONFLICT (namespace, uri) DO UPDATE SET scope = excluded.scope, record = excluded.record",
            self.tables.sources
        );
        let json = serde_json::to_string(&record)
            .map_err(|e| Error::unexpected("a record is no JSON").with_source(e))?;
        self.query(&sql, &[namespace, &record.uri, &record.scope, &json]).await.map(drop)
    }

    async fn remove(&self, namespace: &str, uri: &str) -> Result<()> {
        let sql = format!("DELETE FROM {} WHERE namespace = $1 AND uri = $2", self.tables.sources);
        self.query(&sql, &[namespace, uri]).await.map(drop)
    }

    async fn uris(&self, namespace: &str, scope: Option<&str>) -> Result<Vec<String>> {
        let sql = format!("SELECT uri FROM {} WHERE namespace = $1", self.tables.sources);
        let rows = match scope {
            None => self.query(&format!("{sql} ORDER BY uri"), &[namespace]).await?,
            Some(scope) => {
                self.query(&format!("{sql} AND scope = $2 ORDER BY uri"), &[namespace, scope]).await?
            }
        };
        Ok(rows.iter().map(|r| decode(r.get(0))).collect())
    }

    async fn fact(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        let sql = format!("SELECT value FROM {} WHERE namespace = $1 AND name = $2", self.tables.facts);
        let rows = self.query(&sql, &[namespace, name]).await?;
        Ok(rows.first().map(|r| decode(r.get(0))))
    }

    async fn set_fact(&self, namespace: &str, name: &str, value: &str) -> Result<()> {
        let sql = format!(
            "INSERT INTO {} (namespace, name, value) VALUES ($1, $2, $3)
             ON CONFLICT (namespace, name) DO UPDATE SET value = excluded.value",
            self.tables.facts
        );
        self.query(&sql, &[namespace, name, value]).await.map(drop)
    }

    async fn clear(&self, namespace: &str) -> Result<()> {
        let sql = format!(
            "WITH gone AS (DELETE FROM {} WHERE namespace = $1) DELETE FROM {} WHERE namespace = $1",
            self.tables.sources, self.tables.facts
        );
        self.query(&sql, &[namespace]).await.map(drop)
    }
}
