//! Both searches as one statement each.

use katena_core::{Document, Metric, Result, Scored, VectorQuery};
use tokio_postgres::types::{ToSql, Type};

use super::filter::{self, Values};
use super::text::encode;
use super::{PgVectorStore, document, write};
use crate::check;
use crate::words;
use katena_postgres::error;

/// Values as the driver takes them; all are texts.
pub(super) fn bound(values: &Values) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.0.iter().map(|v| (v as _, Type::TEXT)).collect()
}

impl PgVectorStore {
    pub(super) async fn nearest(&self, query: &VectorQuery, vector: &[f32]) -> Result<Vec<Scored<Document>>> {
        let client = self.pool.get().await?;
        let namespace = encode(&query.namespace);
        let sql = format!(
            "SELECT dimensions FROM {} WHERE name = $1 AND EXISTS (SELECT 1 FROM {} WHERE namespace = $1)",
            self.tables.namespaces, self.tables.records
        );
        let rows = client.query_typed(&sql, &[(&namespace, Type::TEXT)]).await.map_err(|e| error(&e))?;
        let Some(row) = rows.first() else { return Ok(Vec::new()) };
        check::same_length(usize::try_from(row.get::<_, i32>(0)).unwrap_or_default(), vector.len())?;

        let mut values = Values::default();
        let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
        let wanted = values.bind(format!("[{}]", numbers.join(",")));
        let score = match self.info.metric {
            // A vector of length 0 has no angle; 0 is the score that it has in every store.
            Metric::Cosine => format!("coalesce(nullif(1 - (vector <=> {wanted}::text::vector), 'NaN'), 0)"),
            Metric::Dot => format!("-(vector <#> {wanted}::text::vector)"),
            _ => format!("-(vector <-> {wanted}::text::vector)"),
        };
        let within = format!("namespace = {}", values.bind(namespace));
        let condition = match &query.filter {
            None => within,
            Some(filter) => format!("{within} AND {}", filter::condition(filter, &mut values)?),
        };
        let sql = format!(
            "SELECT document, score::float4 FROM (SELECT document, id, {score} AS score FROM {} WHERE {condition}) AS s
             {}",
            self.tables.records,
            best(query, &mut values)
        );
        let rows = client.query_typed(&sql, &bound(&values)).await.map_err(|e| error(&e))?;
        rows.iter().map(|r| Ok(Scored::new(document(r.get(0))?, r.get(1)))).collect()
    }

    /// BM25 with k1 1.2 and b 0.75, in SQL; rarity and average length are the namespace's.
    pub(super) async fn words(&self, query: &VectorQuery, text: &str) -> Result<Vec<Scored<Document>>> {
        let terms = words::distinct(write::terms(text));
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = Values::default();
        let terms = values.bind(format!("{{\"{}\"}}", terms.join("\",\"")));
        let namespace = values.bind(encode(&query.namespace));
        let condition = match &query.filter {
            None => "TRUE".into(),
            Some(filter) => filter::condition(filter, &mut values)?,
        };
        let records = &self.tables.records;
        let sql = format!(
            "WITH every AS (
                 SELECT count(*)::float8 AS texts, greatest(avg(size), 1)::float8 AS average
                 FROM {records} WHERE namespace = {namespace}
             ), matched AS (
                 SELECT id, term, size, counts[array_position(terms, term)]::float8 AS count
                 FROM {records} CROSS JOIN unnest({terms}::text::text[]) AS q (term)
                 WHERE namespace = {namespace} AND terms && {terms}::text::text[] AND terms @> ARRAY[term]
             ), rare AS (
                 SELECT term, ln(1 + (texts - count(*) + 0.5) / (count(*) + 0.5)) AS rarity
                 FROM matched CROSS JOIN every GROUP BY term, texts
             ), scored AS (
                 SELECT id, sum(rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * size / average))) AS score
                 FROM matched JOIN rare USING (term) CROSS JOIN every GROUP BY id
             )
             SELECT document, score::float4
             FROM scored JOIN {records} AS r USING (id) WHERE r.namespace = {namespace} AND {condition} {}",
            match best(query, &mut values) {
                // Here the condition is there already.
                tail if tail.starts_with("WHERE") => tail.replacen("WHERE", "AND", 1),
                tail => tail,
            }
        );
        let client = self.pool.get().await?;
        let rows = client.query_typed(&sql, &bound(&values)).await.map_err(|e| error(&e))?;
        rows.iter().map(|r| Ok(Scored::new(document(r.get(0))?, r.get(1)))).collect()
    }
}

/// The end of a search: bound, order, number.
fn best(query: &VectorQuery, values: &mut Values) -> String {
    let min = match query.min_score {
        Some(min) => format!("WHERE score::float4 >= {}::text::float4", values.bind(min.to_string())),
        None => String::new(),
    };
    format!("{min} ORDER BY score DESC, id LIMIT {}", i64::try_from(query.top_k).unwrap_or(i64::MAX))
}
