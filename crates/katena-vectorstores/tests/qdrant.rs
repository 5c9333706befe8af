//! The contract suite and more on what speaks Qdrant's gRPC: `KATENA_TEST_QDRANT_URL`. In our own runs that is a
//! substitute, not Qdrant's server, hence the names.
#![cfg(feature = "qdrant")]

mod common;

use katena_core::{
    CountRequest, DeleteRequest, Document, ErrorKind, Filter, Metric, Record, Source, UpsertRequest,
    VectorQuery, VectorStore,
};
use katena_vectorstores::{QdrantOptions, QdrantSearch, QdrantStore};
use serde_json::json;

fn options() -> Option<QdrantOptions> {
    Some(QdrantOptions::new(common::url("KATENA_TEST_QDRANT_URL")?).with_collection(common::fresh_name()))
}

async fn fresh() -> Option<QdrantStore> {
    Some(QdrantStore::connect_with(options()?).await.expect("the test server answers"))
}

async fn fresh_with(metric: Metric) -> Option<QdrantStore> {
    Some(QdrantStore::connect_with(options()?.with_metric(metric)).await.expect("the test server answers"))
}

katena_testkit::vector_store_contract!(sub_qdrant, fresh());
katena_testkit::vector_store_contract!(sub_qdrant_dot, fresh_with(Metric::Dot));
katena_testkit::vector_store_contract!(sub_qdrant_euclidean, fresh_with(Metric::Euclidean));

fn record(id: &str, text: &str, vector: Vec<f32>) -> Record {
    Record::new(Document::new(text, Source::new("notes")).with_id(id), vector)
}

/// The server can't tell parts of strings: what fits must be found behind many that don't.
#[tokio::test]
async fn a_filter_on_this_side_still_finds_enough() {
    let Some(store) = fresh().await else { return };
    let records = (0..600_u16).map(|n| {
        let mut one = record(&n.to_string(), "x", vec![1.0, f32::from(n)]);
        one.document
            .metadata
            .insert("name".into(), json!(format!("item {n} {}", if n % 100 == 7 { "rare" } else { "" })));
        one
    });
    store.upsert(UpsertRequest::new(records.collect())).await.unwrap();
    let rare = Filter::contains("name", "rare");
    let hits =
        store.search(&VectorQuery::nearest(vec![1.0, 0.0], 4).with_filter(rare.clone())).await.unwrap();
    let ids: Vec<&str> = hits.iter().map(|h| h.item.id.as_str()).collect();
    assert_eq!(ids, ["7", "107", "207", "307"]);
    assert_eq!(store.count(&CountRequest::new().with_filter(rare)).await.unwrap(), 6);
    let by_order = Filter::gte("name", "item 590");
    // 59x, and 6 to 9 with what begins like them.
    let wanted = 10 + 4 + 4 * 10;
    assert_eq!(store.count(&CountRequest::new().with_filter(by_order)).await.unwrap(), wanted);
}

#[tokio::test]
async fn an_emptied_namespace_takes_another_length() {
    let Some(store) = fresh().await else { return };
    store.upsert(UpsertRequest::new(vec![record("a", "x", vec![1.0, 0.0])])).await.unwrap();
    let longer = || UpsertRequest::new(vec![record("b", "y", vec![1.0, 0.0, 0.0])]);
    assert_eq!(store.upsert(longer()).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(store.delete(&DeleteRequest::ids(["a", "a", "nobody"])).await.unwrap(), 1);
    store.upsert(longer()).await.unwrap();
    let hits = store.search(&VectorQuery::nearest(vec![1.0, 0.0, 0.0], 4)).await.unwrap();
    assert_eq!(hits.len(), 1);
}

#[tokio::test]
async fn another_handle_sees_what_a_removed_collection_was() {
    let Some(options) = options() else { return };
    let one = QdrantStore::connect_with(options.clone()).await.unwrap();
    let two = QdrantStore::connect_with(options.with_search(QdrantSearch::Approximate)).await.unwrap();
    let request = || UpsertRequest::new(vec![record("a", "x", vec![1.0, 0.0])]);
    one.upsert(request()).await.unwrap();
    two.upsert(request()).await.unwrap();
    assert_eq!(one.delete(&DeleteRequest::new(katena_core::Selector::All)).await.unwrap(), 1);
    assert!(two.search(&VectorQuery::nearest(vec![1.0, 0.0], 1)).await.unwrap().is_empty());
    two.upsert(request()).await.unwrap();
    assert_eq!(one.count(&CountRequest::new()).await.unwrap(), 1);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let error = QdrantStore::connect("http://127.0.0.1:1").await.unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::Unavailable, true), "{error:?}");
}
