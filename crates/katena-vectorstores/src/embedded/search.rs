//! Both searches: the candidates best first, the filter on each until there are enough.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use katena_core::{Document, Metric, Scored, VectorQuery};
use katena_sqlite::DbResult;
use katena_sqlite::rusqlite::Connection;

use super::cache::Cache;
use super::rows::{self, Namespace};
use crate::check;
use crate::words;

pub(super) fn nearest(
    db: &Connection,
    caches: &Mutex<HashMap<String, Cache>>,
    metric: Metric,
    query: &VectorQuery,
    vector: &[f32],
) -> DbResult<Vec<Scored<Document>>> {
    let matrix = {
        // The transaction's snapshot is taken by its first read. Under the lock, each is as new as those before or
        // newer, so that the cache never runs ahead of the file as `db` sees it.
        let mut caches = caches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(namespace) = Namespace::find(db, &query.namespace)? else { return Ok(Vec::new()) };
        let cache = caches.entry(query.namespace.clone()).or_insert_with(|| Cache::new(&namespace));
        cache.refresh(db, &namespace)?
    };
    if matrix.len() == 0 {
        return Ok(Vec::new());
    }
    check::same_length(matrix.dimensions(), vector.len())?;
    let mut hits = matrix.scores(metric, vector, query.min_score);
    let mut found = Vec::new();
    while found.len() < query.top_k
        && let Some(hit) = hits.pop()
    {
        if fits(db, query, hit.key)? {
            found.push(Scored::new(rows::document(db, hit.key)?, hit.score));
        }
    }
    Ok(found)
}

pub(super) fn words(db: &Connection, query: &VectorQuery, text: &str) -> DbResult<Vec<Scored<Document>>> {
    let mut found = Vec::new();
    let Some(namespace) = Namespace::find(db, &query.namespace)? else { return Ok(found) };
    // Words hold no quotes; within quotes nothing is an operator.
    let words = words::distinct(words::split(text)).iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>();
    if words.is_empty() {
        return Ok(found);
    }
    let mut statement = db.prepare_cached(
        "SELECT w.rowid, w.rank FROM vector_words w CROSS JOIN vector_records r ON r.key = w.rowid
         WHERE w.vector_words MATCH ?1 AND r.namespace = ?2 ORDER BY w.rank, w.rowid",
    )?;
    let mut rows = statement.query((words.join(" OR "), namespace.id))?;
    while found.len() < query.top_k
        && let Some(row) = rows.next()?
    {
        let score = -row.get::<_, f64>(1)? as f32;
        if query.min_score.is_some_and(|m| score < m) {
            break;
        }
        let key = row.get(0)?;
        if fits(db, query, key)? {
            found.push(Scored::new(rows::document(db, key)?, score));
        }
    }
    Ok(found)
}

fn fits(db: &Connection, query: &VectorQuery, key: i64) -> DbResult<bool> {
    let Some(filter) = &query.filter else { return Ok(true) };
    let mut statement = db.prepare_cached("SELECT metadata FROM vector_records WHERE key = ?1")?;
    let mut rows = statement.query([key])?;
    let Some(row) = rows.next()? else { return Err(rows::damaged("a record is missing").into()) };
    Ok(filter.matches(&rows::metadata(row.get_ref(0)?)?))
}
