//! Writing and reading back.

use katena_core::{
    CountRequest, DeleteRequest, Document, ErrorKind, Filter, GetRequest, Record, Source, UpsertRequest,
    VectorQuery, VectorStore,
};
use serde_json::json;

use super::{
    DIMS, count, find, get, ids, invalid_and_unchanged, probe, put, record, record_at, records, same_record,
};
use crate::fixtures::Numbers;
use crate::harness::{Law, cancelled, parallel};

/// Count 0, search and get give nothing, before any write.
pub async fn starts_empty(store: &dyn VectorStore) {
    let law = Law("VectorStore: starts_empty");
    for namespace in ["", "never-used"] {
        law.same("count", &count(law, store, namespace).await, &0);
        let filtered = CountRequest::new().with_namespace(namespace).with_filter(Filter::eq("a", 1));
        law.same("count with a filter", &law.ok("count", store.count(&filtered).await), &0);
        let query = VectorQuery::nearest(probe(), 5).with_namespace(namespace);
        law.check(find(law, "search", store, query).await.is_empty(), "search finds something");
        let request = GetRequest::new(["r0"]).with_namespace(namespace);
        law.check(law.ok("get", store.get(&request).await).is_empty(), "get finds something");
        let request = DeleteRequest::ids(["r0"]).with_namespace(namespace);
        law.same("deleted", &law.ok("delete", store.delete(&request).await), &0);
    }
}

/// Text, metadata, source and vector come back as they went in, in the order of the ids asked for.
pub async fn upsert_then_get(store: &dyn VectorStore) {
    let law = Law("VectorStore: upsert_then_get");
    let mut all = records(3);
    all[1].document.source = Source::new("docs/guide.pdf")
        .with_title("The guide")
        .with_mime("application/pdf")
        .with_page(3)
        .with_lines(10, 12)
        .with_span(5..42);
    let metadata = json!({
        "string": "s", "empty": "", "int": -7, "zero": 0, "big": 9_007_199_254_740_993_i64, "max": i64::MAX,
        "float": 1.25, "tiny": 1e-300, "yes": true, "no": false, "null": null, "list": [1, "two", null, [3]],
        "none": [], "object": {"a": {"b": [1, 2]}}, "a.b": 1, "with space": "x", "": "empty key",
    });
    all[2].document.metadata = metadata.as_object().cloned().unwrap_or_default();
    put(law, store, all.clone()).await;
    law.same("count", &count(law, store, "").await, &3);
    let got = get(law, store, &["r2", "r0", "r1"]).await;
    law.same("number of records", &got.len(), &3);
    for (got, wanted) in got.iter().zip([&all[2], &all[0], &all[1]]) {
        same_record(law, got, wanted);
    }
    let hits = find(law, "search", store, VectorQuery::nearest(all[1].vector.clone(), 3)).await;
    let Some(hit) = hits.iter().find(|h| h.item.id == "r1") else { law.broken("search misses a record") };
    law.same("source in a search result", &hit.item.source, &all[1].document.source);
    law.same("text in a search result", &hit.item.text, &all[1].document.text);
    law.check(hit.item.metadata.get("n") == Some(&json!(1)), "metadata are missing in a search result");
    put(law, store, Vec::new()).await;
    law.same("count after an empty upsert", &count(law, store, "").await, &3);
}

/// Unknown ids are left out, no error.
pub async fn get_skips_missing(store: &dyn VectorStore) {
    let law = Law("VectorStore: get_skips_missing");
    put(law, store, records(3)).await;
    let got = get(law, store, &["nobody", "r2", "", "r0", "it's nobody"]).await;
    let got: Vec<&str> = got.iter().map(|r| r.document.id.as_str()).collect();
    law.same("ids", &got, &vec!["r2", "r0"]);
    law.check(get(law, store, &[]).await.is_empty(), "no ids must give no records");
}

/// The same records twice count once.
pub async fn upsert_is_idempotent(store: &dyn VectorStore) {
    let law = Law("VectorStore: upsert_is_idempotent");
    for _ in 0..3 {
        put(law, store, records(5)).await;
        law.same("count", &count(law, store, "").await, &5);
    }
    let hits = find(law, "search", store, VectorQuery::nearest(probe(), 20)).await;
    law.same("search results", &super::sorted(ids(&hits)), &super::sorted(["r0", "r1", "r2", "r3", "r4"]));
}

/// A known id gets the new text, metadata and vector; the old ones are not found any more.
pub async fn upsert_overwrites(store: &dyn VectorStore) {
    let law = Law("VectorStore: upsert_overwrites");
    let mut old = record(0);
    old.document.text = "The zyzzyva is a weevil.".into();
    old.document = old.document.with_metadata("state", "old").with_metadata("only_old", 1);
    put(law, store, vec![old.clone(), record(1)]).await;
    let mut new = Record::new(
        Document::new("A quokka smiles.", Source::new("new.md")).with_id("r0").with_metadata("state", "new"),
        old.vector.iter().map(|x| -x).collect(),
    );
    put(law, store, vec![new.clone()]).await;
    law.same("count", &count(law, store, "").await, &2);
    let got = get(law, store, &["r0"]).await;
    law.same("number of records", &got.len(), &1);
    same_record(law, &got[0], &new);
    for (filter, wanted) in
        [(Filter::eq("state", "old"), 0), (Filter::exists("only_old"), 0), (Filter::eq("state", "new"), 1)]
    {
        let n = law.ok("count", store.count(&CountRequest::new().with_filter(filter.clone())).await);
        law.same(&format!("count of {filter:?}"), &n, &wanted);
    }
    let hits = find(law, "search", store, VectorQuery::nearest(old.vector.clone(), 10)).await;
    law.check(
        ids(&hits).iter().filter(|id| **id == "r0").count() == 1 && ids(&hits).last() == Some(&"r0"),
        "a search near the old vector must find the record once, at its new place",
    );
    if store.info().capabilities.lexical {
        let hits = find(law, "search", store, VectorQuery::lexical("zyzzyva", 10)).await;
        law.check(hits.is_empty(), "the old text is still found by its words");
        let hits = find(law, "search", store, VectorQuery::lexical("quokka", 10)).await;
        law.same("found by the new text", &ids(&hits), &vec!["r0"]);
    }
    new.vector = Numbers::new(99).vector(DIMS);
    put(law, store, vec![new.clone()]).await;
    same_record(law, &get(law, store, &["r0"]).await[0], &new);
}

/// Within one request.
pub async fn last_of_equal_ids_wins(store: &dyn VectorStore) {
    let law = Law("VectorStore: last_of_equal_ids_wins");
    let (first, mut last) = (record(0), record(7));
    last.document.id = "r0".into();
    put(law, store, vec![first, record(1), last.clone()]).await;
    law.same("count", &count(law, store, "").await, &2);
    let got = get(law, store, &["r0"]).await;
    law.same("number of records", &got.len(), &1);
    same_record(law, &got[0], &last);
}

/// Another length than the namespace has is `InvalidInput`, and nothing is written.
pub async fn wrong_dimensions_are_invalid(store: &dyn VectorStore) {
    let law = Law("VectorStore: wrong_dimensions_are_invalid");
    let with = |n: usize, dims: usize| record_at(n, Numbers::new(5).vector(dims));
    let mixed = store.upsert(UpsertRequest::new(vec![with(0, DIMS), with(1, DIMS - 1)])).await;
    invalid_and_unchanged(law, "two lengths in the first request", store, mixed, 0).await;
    put(law, store, records(2)).await;
    for dims in [0, 1, DIMS - 1, DIMS + 1, 2 * DIMS] {
        let what = format!("a record of {dims} dimensions after a good one");
        let result = store.upsert(UpsertRequest::new(vec![record(5), with(6, dims)])).await;
        invalid_and_unchanged(law, &what, store, result, 2).await;
        let result = store.upsert(UpsertRequest::new(vec![with(0, dims)])).await;
        invalid_and_unchanged(law, &format!("overwriting with {dims} dimensions"), store, result, 2).await;
        let query = VectorQuery::nearest(Numbers::new(5).vector(dims), 3);
        law.fails(
            &format!("a query of {dims} dimensions"),
            ErrorKind::InvalidInput,
            store.search(&query).await,
        );
    }
    let got = get(law, store, &["r0", "r5"]).await;
    law.same("records left", &got.len(), &1);
    same_record(law, &got[0], &record(0));
}

/// NaN and infinities are `InvalidInput`, in records and queries.
pub async fn not_finite_is_invalid(store: &dyn VectorStore) {
    let law = Law("VectorStore: not_finite_is_invalid");
    put(law, store, records(2)).await;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut vector = probe();
        vector[DIMS - 1] = bad;
        let hostile = record_at(9, vector.clone());
        let result = store.upsert(UpsertRequest::new(vec![record(8), hostile])).await;
        invalid_and_unchanged(law, &format!("a record with {bad}"), store, result, 2).await;
        let query = VectorQuery::nearest(vector, 3);
        law.fails(&format!("a query with {bad}"), ErrorKind::InvalidInput, store.search(&query).await);
    }
}

/// `InvalidInput`.
pub async fn empty_id_is_invalid(store: &dyn VectorStore) {
    let law = Law("VectorStore: empty_id_is_invalid");
    let mut nameless = record(1);
    nameless.document.id = String::new();
    let result = store.upsert(UpsertRequest::new(vec![record(0), nameless])).await;
    invalid_and_unchanged(law, "a record without id", store, result, 0).await;
}

/// 1,000 records in one request.
pub async fn large_batches_work(store: &dyn VectorStore) {
    let law = Law("VectorStore: large_batches_work");
    put(law, store, records(1000)).await;
    law.same("count", &count(law, store, "").await, &1000);
    let names: Vec<String> = (0..1000).rev().map(|n| format!("r{n}")).collect();
    let got = law.ok("get", store.get(&GetRequest::new(names.clone())).await);
    let got_names: Vec<&str> = got.iter().map(|r| r.document.id.as_str()).collect();
    law.check(got_names == names, "get of 1,000 ids does not give them all in order");
    same_record(law, &got[0], &record(999));
    let hits = find(law, "search", store, VectorQuery::nearest(record(500).vector, 1000)).await;
    law.same("number of search results", &hits.len(), &1000);
    let deleted = law.ok("delete", store.delete(&DeleteRequest::ids(names)).await);
    law.same("deleted", &deleted, &1000);
}

/// Parallel upserts all arrive.
pub async fn concurrent_writers_lose_nothing(store: &dyn VectorStore) {
    let law = Law("VectorStore: concurrent_writers_lose_nothing");
    const WRITERS: usize = 8;
    parallel(WRITERS, |writer| async move {
        for batch in 0..5 {
            let own = (0..5).map(|n| record(writer * 100 + batch * 10 + n));
            // One record that all writers write must not trip them over each other.
            let all = own.chain([record(9999)]).collect();
            law.ok("a parallel upsert", store.upsert(UpsertRequest::new(all)).await);
            find(law, "a search among writers", store, VectorQuery::nearest(probe(), 3)).await;
        }
    });
    law.same("count", &count(law, store, "").await, &(WRITERS as u64 * 25 + 1));
    for writer in 0..WRITERS {
        let id = format!("r{}", writer * 100 + 44);
        law.same(&format!("records of {id}"), &get(law, store, &[&id]).await.len(), &1);
    }
}

/// Any id, text and metadata, emoji, quotes and newlines included.
pub async fn unicode_survives(store: &dyn VectorStore) {
    let law = Law("VectorStore: unicode_survives");
    let long = "long-".repeat(60);
    let strange = [
        "👩‍👩‍👧‍👦 🇨🇭 ☕",
        "it's \"quoted\" `so` \\ and $1 ?1 :x @y {0} %s",
        "line\nbreak\r\ntab\t\u{2028}\u{85}",
        "'; DROP TABLE records; --",
        "e\u{301} is not \u{e9}",
        "\u{202e}עברית \u{feff}\u{fffd}\u{10ffff}",
        "日本語",
        "../../etc/passwd",
        " padded ",
        "PADDED",
        "padded",
        &long,
    ];
    let made: Vec<Record> = strange
        .iter()
        .enumerate()
        .map(|(n, s)| {
            let document = Document::new(format!("{s} {s}"), Source::new(*s).with_title(*s)).with_id(*s);
            Record::new(document.with_metadata(*s, *s).with_metadata("n", n), record(n).vector)
        })
        .collect();
    put(law, store, made.clone()).await;
    law.same("count", &count(law, store, "").await, &(strange.len() as u64));
    let got = get(law, store, &strange).await;
    law.same("number of records", &got.len(), &strange.len());
    for (got, wanted) in got.iter().zip(&made) {
        same_record(law, got, wanted);
    }
    for (n, s) in strange.iter().enumerate() {
        let query = VectorQuery::nearest(record(n).vector, 20).with_filter(Filter::eq(*s, *s));
        let hits = find(law, "search", store, query).await;
        law.same(&format!("found by {s:?}"), &ids(&hits), &vec![*s]);
    }
    // Not every engine can keep NUL; one that can't must say so.
    let nul = Record::new(
        Document::new("a\0b", Source::new("nul.txt")).with_id("nul").with_metadata("nul", "c\0d"),
        probe(),
    );
    match store.upsert(UpsertRequest::new(vec![nul.clone()])).await {
        Ok(()) => {
            let got = get(law, store, &["nul"]).await;
            law.same("records with NUL", &got.len(), &1);
            same_record(law, &got[0], &nul);
        }
        Err(error) => law.check(
            error.kind() == ErrorKind::InvalidInput,
            format!("a text with NUL is kept or `invalid_input`, but it failed so: {error:?}"),
        ),
    }
    let deleted = law.ok("delete", store.delete(&DeleteRequest::ids(strange)).await);
    law.same("deleted", &deleted, &(strange.len() as u64));
}

/// A cancelled context is `Cancelled`.
pub async fn cancelled_before_the_call(store: &dyn VectorStore) {
    let law = Law("VectorStore: cancelled_before_the_call");
    let kind = ErrorKind::Cancelled;
    put(law, store, records(2)).await;
    let upsert = UpsertRequest::new(vec![record(5)]).with_context(cancelled());
    law.fails("a cancelled upsert", kind, store.upsert(upsert).await);
    let search = VectorQuery::nearest(probe(), 3).with_context(cancelled());
    law.fails("a cancelled search", kind, store.search(&search).await);
    let get = GetRequest::new(["r0"]).with_context(cancelled());
    law.fails("a cancelled get", kind, store.get(&get).await);
    let delete = DeleteRequest::ids(["r0"]).with_context(cancelled());
    law.fails("a cancelled delete", kind, store.delete(&delete).await);
    let counted = CountRequest::new().with_context(cancelled());
    law.fails("a cancelled count", kind, store.count(&counted).await);
    law.same("count afterwards", &count(law, store, "").await, &2);
}
