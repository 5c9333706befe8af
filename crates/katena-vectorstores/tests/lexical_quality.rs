//! How often the search by words puts the right passage first: XQuAD-en, 240 passages, 1,190 questions.
#![expect(clippy::print_stderr, reason = "prints what it measures, or why it is skipped")]

mod common;

use std::io::Read;
use std::path::Path;

use katena_core::{Document, Record, Source, UpsertRequest, VectorQuery, VectorStore};
use katena_vectorstores::MemoryStore;
use serde_json::Value;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evals/retrieval/xquad.en.jsonl.gz");

fn lines() -> Option<Vec<Value>> {
    if !Path::new(DATA).exists() {
        eprintln!("skipped: {DATA} is not there");
        return None;
    }
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(DATA).expect("as expected"))
        .read_to_string(&mut text)
        .expect("as expected");
    Some(text.lines().map(|l| serde_json::from_str(l).expect("is JSON")).collect())
}

async fn recall_at_1(name: &str, store: &dyn VectorStore, lines: &[Value]) -> f64 {
    let of = |kind: &'static str| lines.iter().filter(move |l| l["type"] == kind);
    let records = of("passage").map(|p| {
        let text = p["text"].as_str().expect("as expected");
        Record::new(
            Document::new(text, Source::new("xquad")).with_id(p["id"].as_str().expect("as expected")),
            vec![1.0],
        )
    });
    store.upsert(UpsertRequest::new(records.collect())).await.expect("as expected");
    let (mut right, mut in_five, mut asked) = (0, 0, 0);
    for question in of("qa") {
        let query = VectorQuery::lexical(question["question"].as_str().expect("as expected"), 5);
        let hits = store.search(&query).await.expect("as expected");
        asked += 1;
        let found = |n: usize| hits.iter().take(n).any(|h| question["passage"] == h.item.id.as_str());
        right += usize::from(found(1));
        in_five += usize::from(found(5));
    }
    let share = f64::from(u32::try_from(right).expect("as expected")) / f64::from(asked);
    eprintln!("{name}: R@1 {share:.4}, R@5 {:.4}", in_five as f64 / f64::from(asked));
    share
}

#[tokio::test]
async fn in_memory() {
    let Some(lines) = lines() else { return };
    assert!(recall_at_1("memory", &MemoryStore::new(), &lines).await >= 0.91);
}

#[cfg(feature = "embedded")]
#[tokio::test]
async fn embedded() {
    let Some(lines) = lines() else { return };
    let dir = tempfile::tempdir().expect("as expected");
    let store = katena_vectorstores::EmbeddedStore::open(dir.path().join("x.katena")).expect("as expected");
    assert!(recall_at_1("embedded", &store, &lines).await >= 0.91);
}

#[cfg(feature = "pgvector")]
#[tokio::test]
async fn real_postgres() {
    let (Some(lines), Some(url)) = (lines(), common::url("KATENA_TEST_POSTGRES_URL")) else { return };
    let options = katena_vectorstores::PgOptions::new(url).with_collection(common::fresh_name());
    let store = katena_vectorstores::PgVectorStore::connect_with(options).await.unwrap();
    assert!(recall_at_1("pgvector", &store, &lines).await >= 0.91);
}

#[cfg(feature = "qdrant")]
#[tokio::test]
async fn sub_qdrant() {
    let (Some(lines), Some(url)) = (lines(), common::url("KATENA_TEST_QDRANT_URL")) else { return };
    let options = katena_vectorstores::QdrantOptions::new(url).with_collection(common::fresh_name());
    let store = katena_vectorstores::QdrantStore::connect_with(options).await.unwrap();
    assert!(recall_at_1("qdrant", &store, &lines).await >= 0.91);
}
