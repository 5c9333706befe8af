//! The contract suite and more on a real PostgreSQL: `KATENA_TEST_POSTGRES_URL`.
#![cfg(feature = "pgvector")]

mod common;

use katena_core::{
    CountRequest, Document, ErrorKind, Filter, GetRequest, Metric, Record, RecordStore, Source, SourceRecord,
    UpsertRequest, VectorQuery, VectorStore,
};
use katena_vectorstores::{PgOptions, PgVectorStore};
use serde_json::json;

fn options() -> Option<PgOptions> {
    Some(PgOptions::new(common::url("KATENA_TEST_POSTGRES_URL")?).with_collection(common::fresh_name()))
}

async fn fresh() -> Option<PgVectorStore> {
    Some(PgVectorStore::connect_with(options()?).await.expect("the test server answers"))
}

async fn fresh_with(metric: Metric) -> Option<PgVectorStore> {
    Some(PgVectorStore::connect_with(options()?.with_metric(metric)).await.expect("the test server answers"))
}

katena_testkit::vector_store_contract!(real_postgres, fresh());
katena_testkit::vector_store_contract!(real_postgres_dot, fresh_with(Metric::Dot));
katena_testkit::vector_store_contract!(real_postgres_euclidean, fresh_with(Metric::Euclidean));
katena_testkit::record_store_contract!(real_postgres_records, async { fresh().await.map(|s| s.records()) });

fn record(id: &str, text: &str, vector: Vec<f32>) -> Record {
    Record::new(Document::new(text, Source::new("notes")).with_id(id), vector)
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_start_at_once_share_the_tables() {
    let Some(options) = options() else { return };
    let starts = (0..8).map(|_| tokio::spawn(PgVectorStore::connect_with(options.clone())));
    for (n, start) in starts.collect::<Vec<_>>().into_iter().enumerate() {
        let store = start.await.unwrap().unwrap();
        store.upsert(UpsertRequest::new(vec![record(&n.to_string(), "x", vec![1.0])])).await.unwrap();
        assert_eq!(store.count(&CountRequest::new()).await.unwrap(), n as u64 + 1);
    }
}

/// U+0000 and its neighbours, which PostgreSQL refuses or we encode.
#[tokio::test]
async fn control_characters_survive_and_filters_see_them() {
    let Some(store) = fresh().await else { return };
    for (n, text) in ["a\0b", "a\u{1}b", "a\u{2}b", "\0", "\u{1}\u{2}\u{2}"].into_iter().enumerate() {
        let mut one = record(&format!("id{text}"), text, vec![n as f32, 1.0]);
        one.document.metadata.insert(format!("k{text}"), json!([text, {text: text}]));
        one.document.metadata.insert("s".into(), json!(text));
        store.upsert(UpsertRequest::new(vec![one.clone()]).with_namespace(text)).await.unwrap();
        let got = store.get(&GetRequest::new([format!("id{text}")]).with_namespace(text)).await.unwrap();
        assert_eq!(got, [one]);
        for (filter, fits) in [
            (Filter::eq("s", text), 1),
            (Filter::contains(format!("k{text}"), text), 1),
            (Filter::contains("s", "\u{2}"), u64::from(text.contains('\u{2}'))),
            (Filter::gte("s", "a\u{1}"), u64::from(text >= "a\u{1}")),
        ] {
            let count = CountRequest::new().with_namespace(text).with_filter(filter.clone());
            assert_eq!(store.count(&count).await.unwrap(), fits, "{text:?} {filter:?}");
        }
    }
}

/// Numbers where a database's exact arithmetic and ours part.
#[tokio::test]
async fn filters_on_extreme_numbers_mean_the_same() {
    let Some(store) = fresh().await else { return };
    let big = 9_007_199_254_740_993_i64;
    let numbers = [
        json!(big),
        json!(big - 1),
        json!(big as f64),
        json!(-big),
        json!(0),
        json!(-0.0),
        json!(1e17),
        json!(100_000_000_000_000_001_i64),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(1.8e19),
        json!(f64::MAX),
        json!(f64::MIN_POSITIVE),
        json!(5e-324),
        json!(0.1),
        json!(1),
        json!(1.0),
    ];
    let values: Vec<_> =
        numbers.iter().cloned().chain([json!([1, 2]), json!([1.0, 2]), json!({"a": 0.0})]).collect();
    let records: Vec<Record> = values
        .iter()
        .enumerate()
        .map(|(n, value)| {
            let mut one = record(&n.to_string(), "x", vec![1.0]);
            one.document.metadata.insert("n".into(), value.clone());
            one
        })
        .collect();
    store.upsert(UpsertRequest::new(records.clone())).await.unwrap();
    for value in &values {
        let v = || ("n".to_owned(), value.clone());
        let filters = [
            Filter::Eq(v().0, v().1),
            Filter::Ne(v().0, v().1),
            Filter::Lt(v().0, v().1),
            Filter::Lte(v().0, v().1),
            Filter::Gt(v().0, v().1),
            Filter::Gte(v().0, v().1),
            Filter::Contains(v().0, v().1),
            Filter::In(v().0, vec![v().1, json!(1)]),
        ];
        for filter in filters {
            let fits = records.iter().filter(|r| filter.matches(&r.document.metadata)).count();
            let count = CountRequest::new().with_filter(filter.clone());
            assert_eq!(store.count(&count).await.unwrap(), fits as u64, "{filter:?}");
        }
    }
}

#[tokio::test]
async fn a_broken_connection_is_replaced() {
    let Some(url) = common::url("KATENA_TEST_POSTGRES_URL") else { return };
    let name = common::fresh_name();
    let options = PgOptions::new(format!("{url}?application_name={name}")).with_collection(&name);
    let store = PgVectorStore::connect_with(options).await.unwrap();
    let one = || UpsertRequest::new(vec![record("a", "x", vec![1.0])]);
    store.upsert(one()).await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // As in a restart: the server ends the store's connections.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    assert!(!client.query(end, &[&name]).await.unwrap().is_empty());
    let mut last = store.upsert(one()).await;
    if let Err(error) = &last {
        assert!(error.is_temporary(), "{error:?}");
        last = store.upsert(one()).await;
    }
    last.unwrap();
}

#[tokio::test]
async fn failures_have_their_kind() {
    let Some(url) = common::url("KATENA_TEST_POSTGRES_URL") else { return };
    let no_database = url.rsplit_once('/').map(|(server, _)| format!("{server}/no_such_database")).unwrap();
    assert_eq!(PgVectorStore::connect(no_database).await.unwrap_err().kind(), ErrorKind::NotFound);
    let nobody = PgVectorStore::connect("postgres://x@127.0.0.1:1/db").await.unwrap_err();
    assert_eq!((nobody.kind(), nobody.is_temporary()), (ErrorKind::Unavailable, true), "{nobody:?}");
    let unreadable = PgVectorStore::connect("postgres://x@host:port/db").await.unwrap_err();
    assert_eq!(unreadable.kind(), ErrorKind::Config);
    let name =
        PgVectorStore::connect_with(PgOptions::new(url).with_collection("x".repeat(49))).await.unwrap_err();
    assert_eq!(name.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_collection_with_a_hostile_name_is_a_name() {
    let Some(options) = options() else { return };
    let name = format!("\"; DROP TABLE x; --{}", &common::fresh_name()[9..]);
    let store = PgVectorStore::connect_with(options.with_collection(name)).await.unwrap();
    store.upsert(UpsertRequest::new(vec![record("a", "honey", vec![0.0, 1.0])])).await.unwrap();
    assert_eq!(store.search(&VectorQuery::lexical("honey", 1)).await.unwrap().len(), 1);
    store.records().put("", SourceRecord::new("s", "u", "h", vec![])).await.unwrap();
    assert_eq!(store.records().uris("", None).await.unwrap(), ["u"]);
}
