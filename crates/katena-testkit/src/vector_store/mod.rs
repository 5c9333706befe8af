//! The contract of [`VectorStore`]. Each law wants an empty store.

mod delete;
mod filters;
mod lexical;
mod search;
mod write;

pub use delete::*;
pub use filters::*;
pub use lexical::*;
pub use search::*;
pub use write::*;

use katena_core::{
    CountRequest, Document, GetRequest, Record, Result, Scored, Source, UpsertRequest, VectorQuery,
    VectorStore,
};

use crate::fixtures::Numbers;
use crate::harness::Law;

const DIMS: usize = 8;

/// Record `n`: id `r<n>`, a text, the fact `n`, a random vector that is not of length 1.
fn record(n: usize) -> Record {
    let document = Document::new(format!("Text of record {n}."), Source::new(format!("notes/{n}.md")))
        .with_id(format!("r{n}"))
        .with_metadata("n", n)
        .with_metadata("even", n.is_multiple_of(2));
    Record::new(document, Numbers::new(n as u64 + 1).vector(DIMS))
}

/// Record `n` at another place.
fn record_at(n: usize, vector: Vec<f32>) -> Record {
    Record::new(record(n).document, vector)
}

fn records(n: usize) -> Vec<Record> {
    (0..n).map(record).collect()
}

/// A query vector that is no record's.
fn probe() -> Vec<f32> {
    Numbers::new(1_000_003).vector(DIMS)
}

async fn put(law: Law, store: &dyn VectorStore, records: Vec<Record>) {
    law.ok("upsert", store.upsert(UpsertRequest::new(records)).await);
}

async fn count(law: Law, store: &dyn VectorStore, namespace: &str) -> u64 {
    law.ok("count", store.count(&CountRequest::new().with_namespace(namespace)).await)
}

async fn get(law: Law, store: &dyn VectorStore, ids: &[&str]) -> Vec<Record> {
    law.ok("get", store.get(&GetRequest::new(ids.iter().copied())).await)
}

async fn find(law: Law, what: &str, store: &dyn VectorStore, query: VectorQuery) -> Vec<Scored<Document>> {
    let hits = law.ok(what, store.search(&query).await);
    falling(law, what, &hits);
    hits
}

fn falling(law: Law, what: &str, hits: &[Scored<Document>]) {
    law.check(hits.iter().all(|h| h.score.is_finite()), format!("{what}: a score is not finite"));
    law.check(hits.is_sorted_by(|a, b| a.score >= b.score), format!("{what}: scores do not fall"));
}

fn ids(hits: &[Scored<Document>]) -> Vec<&str> {
    hits.iter().map(|h| h.item.id.as_str()).collect()
}

fn sorted<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
    ids.sort();
    ids
}

/// The same record, its vector within float noise and numbers in the metadata whatever their spelling.
fn same_record(law: Law, got: &Record, wanted: &Record) {
    let (g, w) = (&got.document, &wanted.document);
    law.same("id", &g.id, &w.id);
    law.same("text", &g.text, &w.text);
    law.same("source", &g.source, &w.source);
    law.check(
        same_json(&g.metadata.clone().into(), &w.metadata.clone().into()),
        format!("metadata of {:?}: got {:?}, wanted {:?}", w.id, g.metadata, w.metadata),
    );
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
    let same = got.vector.len() == wanted.vector.len() && got.vector.iter().zip(&wanted.vector).all(near);
    law.check(same, format!("vector of {:?}: got {:?}, wanted {:?}", w.id, got.vector, wanted.vector));
}

fn same_json(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        (Number(x), Number(y)) if x.is_f64() || y.is_f64() => x.as_f64() == y.as_f64(),
        (Array(x), Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same_json(x, y)),
        (Object(x), Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same_json(v, w)))
        }
        _ => a == b,
    }
}

/// Checks that a call failed as invalid and that the store holds as much as before.
async fn invalid_and_unchanged(law: Law, what: &str, store: &dyn VectorStore, result: Result<()>, held: u64) {
    law.fails(what, katena_core::ErrorKind::InvalidInput, result);
    law.same(&format!("count after {what}"), &count(law, store, "").await, &held);
}
