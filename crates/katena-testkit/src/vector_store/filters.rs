//! Filters: the same meaning in every store.

use katena_core::{
    CountRequest, DeleteRequest, Document, Filter, Record, Selector, Source, VectorQuery, VectorStore,
};
use serde_json::{Value, json};

use super::{count, find, ids, probe, put, record, sorted};
use crate::harness::Law;

/// Metadata with everything that stores tend to get wrong.
fn facts() -> Vec<Value> {
    vec![
        json!({"lang": "en", "year": 2020, "score": 1, "tags": ["a", "b"], "ok": true}),
        json!({"lang": "EN", "year": 2021, "score": 1.0, "tags": ["b"], "ok": false}),
        json!({"lang": "de", "year": 2022, "score": 1.5, "tags": []}),
        json!({"lang": "zürich ☕", "year": -5, "score": -1.5}),
        json!({"lang": null, "year": 0, "tags": null}),
        json!({}),
        json!({"lang": "100%", "year": "2020"}),
        json!({"lang": "100 percent", "tags": ["100%"]}),
        json!({"lang": "a_b", "tags": "a_b"}),
        json!({"lang": "axb", "tags": "axb"}),
        json!({"lang": "it's", "note": "say \"hi\""}),
        json!({"lang": "back\\slash", "note": "line\nbreak"}),
        json!({"big": 9_007_199_254_740_993_i64, "year": 2020}),
        json!({"big": 9_007_199_254_740_992_i64}),
        json!({"big": -9_007_199_254_740_993_i64}),
        json!({"big": i64::MAX}),
        json!({"ok": "true", "score": "1", "year": true}),
        json!({"tags": [1, 2.0, null, true, "1", "a b"]}),
        json!({"a": {"b": 1}}),
        json!({"a.b": 1, "": "empty key", "a b": "space", "$k": 1, "it's": 1, "q\"k": 1, "a[0]": 1, "k\\": 1}),
        json!({"lang": "Zebra", "year": 1e300, "score": 0.1}),
        json!({"lang": "", "tags": [""], "score": -0.0}),
        json!({"lang": "e\u{301}", "tags": [["a"], {"x": 1}]}),
    ]
}

fn f(name: &str) -> impl Fn(&str, Value) -> Filter {
    let make: fn(String, Value) -> Filter = match name {
        "eq" => Filter::Eq,
        "ne" => Filter::Ne,
        "lt" => Filter::Lt,
        "lte" => Filter::Lte,
        "gt" => Filter::Gt,
        "gte" => Filter::Gte,
        _ => Filter::Contains,
    };
    move |key, value| make(key.to_owned(), value)
}

fn comparisons() -> Vec<Filter> {
    let mut all = Vec::new();
    for name in ["eq", "ne"] {
        let make = f(name);
        for (key, value) in [
            ("lang", json!("en")),
            ("lang", json!("100%")),
            ("lang", json!("a_b")),
            ("lang", json!("it's")),
            ("lang", json!("back\\slash")),
            ("lang", json!("zürich ☕")),
            ("lang", json!("\u{e9}")),
            ("lang", json!("")),
            ("lang", json!(null)),
            ("note", json!("say \"hi\"")),
            ("note", json!("line\nbreak")),
            ("year", json!(2020)),
            ("year", json!(2020.0)),
            ("year", json!("2020")),
            ("year", json!(-5)),
            ("year", json!(1e300)),
            ("score", json!(1)),
            ("score", json!(1.0)),
            ("score", json!("1")),
            ("score", json!(0)),
            ("score", json!(0.1)),
            ("ok", json!(true)),
            ("ok", json!(false)),
            ("ok", json!("true")),
            ("ok", json!(1)),
            ("big", json!(9_007_199_254_740_993_i64)),
            ("big", json!(9_007_199_254_740_992_i64)),
            ("big", json!(i64::MAX)),
            ("tags", json!(["a", "b"])),
            ("tags", json!(["b", "a"])),
            ("tags", json!([])),
            ("tags", json!("b")),
            ("a", json!({"b": 1})),
            ("a.b", json!(1)),
            ("", json!("empty key")),
            ("a b", json!("space")),
            ("$k", json!(1)),
            ("it's", json!(1)),
            ("q\"k", json!(1)),
            ("a[0]", json!(1)),
            ("k\\", json!(1)),
            ("nowhere", json!(1)),
        ] {
            all.push(make(key, value));
        }
    }
    for name in ["lt", "lte", "gt", "gte"] {
        let make = f(name);
        for (key, value) in [
            ("year", json!(2020)),
            ("year", json!(2020.5)),
            ("year", json!(0)),
            ("year", json!(-5)),
            ("year", json!("2020")),
            ("score", json!(1)),
            ("score", json!(-1.5)),
            ("score", json!(0.1)),
            ("big", json!(9_007_199_254_740_993_i64)),
            ("big", json!(-9_007_199_254_740_993_i64)),
            ("big", json!(0)),
            ("lang", json!("b")),
            ("lang", json!("en")),
            ("lang", json!("")),
            ("lang", json!("zürich ☕")),
            ("lang", json!(null)),
            ("ok", json!(false)),
            ("tags", json!(["a"])),
            ("a.b", json!(1)),
            ("nowhere", json!(1)),
        ] {
            all.push(make(key, value));
        }
    }
    let contains = f("contains");
    for (key, value) in [
        ("tags", json!("a")),
        ("tags", json!("b")),
        ("tags", json!("A")),
        ("tags", json!("100%")),
        ("tags", json!("%")),
        ("tags", json!("a_b")),
        ("tags", json!("_")),
        ("tags", json!("")),
        ("tags", json!("a b")),
        ("tags", json!(1)),
        ("tags", json!(1.0)),
        ("tags", json!(2)),
        ("tags", json!("1")),
        ("tags", json!(true)),
        ("tags", json!(null)),
        ("lang", json!("e")),
        ("lang", json!("E")),
        ("lang", json!("0%")),
        ("lang", json!("ü")),
        ("lang", json!("☕")),
        ("lang", json!("'")),
        ("lang", json!("\\")),
        ("lang", json!("*")),
        ("lang", json!("")),
        ("lang", json!(1)),
        ("note", json!("\"hi\"")),
        ("note", json!("\n")),
        ("year", json!(2)),
        ("nowhere", json!("a")),
    ] {
        all.push(contains(key, value));
    }
    all
}

fn combined() -> Vec<Filter> {
    let (lang, year, tags) = ("lang", "year", "tags");
    let none: Vec<Value> = Vec::new();
    let deep = |depth| (0..depth).fold(Filter::eq(lang, "en"), |inner, _| inner.not());
    let mut all = vec![
        Filter::is_in(lang, ["en", "de"]),
        Filter::is_in(lang, ["it's", "100%", "nobody"]),
        Filter::is_in(lang, none),
        Filter::is_in(lang, [json!(null), json!("en"), json!(3)]),
        Filter::is_in(year, [json!(2020.0), json!("2020"), json!(-5)]),
        Filter::is_in("score", [json!(1), json!(0.1)]),
        Filter::is_in("big", [9_007_199_254_740_993_i64, 5]),
        Filter::is_in(tags, [json!(["a", "b"]), json!([])]),
        Filter::is_in(tags, ["a"]),
        Filter::is_in("ok", [true]),
        Filter::And(Vec::new()),
        Filter::Or(Vec::new()),
        Filter::And(Vec::new()).not(),
        Filter::Or(Vec::new()).not(),
        Filter::eq(lang, "en").and(Filter::eq(year, 2020)),
        Filter::eq(lang, "en").and(Filter::eq(year, 2021)),
        Filter::eq(lang, "en").or(Filter::gt(year, 2020)),
        Filter::eq(lang, "en").or(Filter::eq(lang, "de")).and(Filter::lt(year, 2022)),
        Filter::eq(lang, "en").and(Filter::eq(year, 2020)).or(Filter::eq("a.b", 1)),
        Filter::gt(year, 2020).not(),
        Filter::eq(lang, "en").not(),
        Filter::ne(lang, "en").not(),
        Filter::is_in(lang, ["en", "de"]).not(),
        Filter::contains(tags, "b").not(),
        Filter::exists(lang).and(Filter::exists(year).not()),
        Filter::And(vec![Filter::Or(vec![Filter::And(vec![Filter::eq("ok", true)])])]),
        Filter::eq(lang, "en").and(Filter::exists("nowhere")).not(),
        Filter::lt("nowhere", 1).or(Filter::gte("nowhere", 1)).not(),
        Filter::Or((0..40).map(|n| Filter::eq(year, 2000 + n)).collect()),
        deep(9),
        deep(10),
    ];
    for key in [lang, year, tags, "a", "b", "a.b", "", "it's", "q\"k", "a[0]", "$k", "k\\", "nowhere"] {
        all.push(Filter::Exists(key.to_owned(), true));
        all.push(Filter::Exists(key.to_owned(), false));
    }
    all
}

async fn fill(law: Law, store: &dyn VectorStore) -> Vec<Record> {
    let made: Vec<Record> = facts()
        .into_iter()
        .enumerate()
        .map(|(n, facts)| {
            let mut document =
                Document::new(format!("Text {n}."), Source::new("facts.md")).with_id(format!("f{n}"));
            document.metadata = facts.as_object().cloned().unwrap_or_default();
            Record::new(document, record(n).vector)
        })
        .collect();
    put(law, store, made.clone()).await;
    made
}

/// Every filter gives exactly what [`Filter::matches`] says, inside the search. All disagreements are listed.
pub async fn filters_mean_the_same(store: &dyn VectorStore) {
    let law = Law("VectorStore: filters_mean_the_same");
    let made = fill(law, store).await;
    let filters: Vec<Filter> = comparisons().into_iter().chain(combined()).collect();
    let mut wrong = Vec::new();
    for filter in &filters {
        let fits = made.iter().filter(|r| filter.matches(&r.document.metadata));
        let wanted = sorted(fits.map(|r| r.document.id.as_str()));
        let query = VectorQuery::nearest(probe(), 100).with_filter(filter.clone());
        match store.search(&query).await {
            Ok(hits) if sorted(ids(&hits)) == wanted => {}
            Ok(hits) => wrong.push(format!("{filter:?}: found {:?}, wanted {wanted:?}", sorted(ids(&hits)))),
            Err(error) => wrong.push(format!("{filter:?}: search failed: {error:?}")),
        }
        match store.count(&CountRequest::new().with_filter(filter.clone())).await {
            Ok(n) if n == wanted.len() as u64 => {}
            Ok(n) => wrong.push(format!("{filter:?}: counted {n}, wanted {}", wanted.len())),
            Err(error) => wrong.push(format!("{filter:?}: count failed: {error:?}")),
        }
    }
    law.check(
        wrong.is_empty(),
        format!("{} disagreements in {} filters:\n{}", wrong.len(), filters.len(), wrong.join("\n")),
    );
}

/// Quotes and wildcards in keys and values match literally.
pub async fn hostile_filter_values_are_data(store: &dyn VectorStore) {
    let law = Law("VectorStore: hostile_filter_values_are_data");
    let hostile = [
        "' OR '1'='1",
        "'; DROP TABLE records; --",
        "\" OR \"\"=\"",
        "') OR 1=1 --",
        "%",
        "_",
        "*",
        "?",
        "$1",
        ":name",
        "\\",
        "\\'",
        "$.n",
        "{\"$ne\": null}",
        "n' IS NOT NULL OR 'n",
        "'\\u0000",
    ];
    put(law, store, (0..4).map(record).collect()).await;
    for (n, text) in hostile.iter().enumerate() {
        let none = [
            Filter::eq("n", *text),
            Filter::eq(*text, 1),
            Filter::contains("n", *text),
            Filter::contains(*text, *text),
            Filter::is_in(*text, [*text]),
            Filter::gt(*text, *text),
            Filter::exists(*text),
        ];
        for filter in none {
            let query = VectorQuery::nearest(probe(), 50).with_filter(filter.clone());
            let hits = find(law, &format!("search with {filter:?}"), store, query).await;
            law.check(hits.is_empty(), format!("{filter:?} fits nothing but finds {:?}", ids(&hits)));
            let request = DeleteRequest::new(Selector::Filter(filter.clone()));
            let deleted = law.ok(&format!("delete with {filter:?}"), store.delete(&request).await);
            law.same(&format!("deleted with {filter:?}"), &deleted, &0);
        }
        let own = Record::new(
            Document::new("Hostile.", Source::new("x")).with_id("own").with_metadata(*text, *text),
            record(20 + n).vector,
        );
        put(law, store, vec![own]).await;
        for filter in [Filter::eq(*text, *text), Filter::contains(*text, *text), Filter::exists(*text)] {
            let query = VectorQuery::nearest(probe(), 50).with_filter(filter.clone());
            let hits = find(law, &format!("search with {filter:?}"), store, query).await;
            law.same(&format!("found with {filter:?}"), &ids(&hits), &vec!["own"]);
        }
        let delete = DeleteRequest::new(Selector::Filter(Filter::eq(*text, *text)));
        law.same("deleted", &law.ok("delete", store.delete(&delete).await), &1);
    }
    law.same("count afterwards", &count(law, store, "").await, &4);
}
