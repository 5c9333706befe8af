//! The contract of [`RecordStore`]. Each law wants an empty store.

use katena_core::{RecordStore, SourceRecord};

use crate::harness::Law;

const STRANGE: [&str; 9] = [
    "docs/zürich ☕.md",
    "it's \"quoted\" \\ $1 ?1 %_*",
    "'; DROP TABLE records; --",
    "line\nbreak",
    "e\u{301}",
    "\u{e9}",
    "../../etc/passwd",
    "CASE",
    "case",
];

fn record(scope: &str, uri: &str) -> SourceRecord {
    SourceRecord::new(scope, uri, format!("hash of {uri}"), vec![format!("{uri}#0"), format!("{uri}#1")])
}

async fn put(law: Law, store: &dyn RecordStore, namespace: &str, record: SourceRecord) {
    law.ok("putting", store.put(namespace, record).await);
}

async fn get(law: Law, store: &dyn RecordStore, namespace: &str, uri: &str) -> Option<SourceRecord> {
    law.ok("getting", store.get(namespace, uri).await)
}

async fn uris(law: Law, store: &dyn RecordStore, namespace: &str, scope: Option<&str>) -> Vec<String> {
    law.ok("listing", store.uris(namespace, scope).await)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// A record comes back as it went in; one of the same namespace and uri replaces it.
pub async fn put_then_get(store: &dyn RecordStore) {
    let law = Law("RecordStore: put_then_get");
    law.same("an unknown record", &get(law, store, "", "a.md").await, &None);
    for uri in ["a.md", ""].into_iter().chain(STRANGE) {
        put(law, store, "", record("docs", uri)).await;
    }
    for uri in ["a.md", ""].into_iter().chain(STRANGE) {
        law.same("the record", &get(law, store, "", uri).await, &Some(record("docs", uri)));
    }
    let many = (0..3000).rev().map(|n| format!("chunk {n}")).collect();
    for new in [
        record("docs", "a.md").with_complete(),
        SourceRecord::new("docs", "a.md", "other", Vec::new()),
        SourceRecord::new("other scope", "a.md", "", many).with_complete(),
    ] {
        put(law, store, "", new.clone()).await;
        law.same("the replaced record", &get(law, store, "", "a.md").await, &Some(new));
    }
    law.same("the old scope", &uris(law, store, "", Some("docs")).await.contains(&"a.md".to_owned()), &false);
    law.same("the new scope", &uris(law, store, "", Some("other scope")).await, &names(&["a.md"]));
}

/// Removed is gone; removing what is not there is no error.
pub async fn remove_is_final(store: &dyn RecordStore) {
    let law = Law("RecordStore: remove_is_final");
    law.ok("removing what is not there", store.remove("", "a.md").await);
    put(law, store, "", record("docs", "a.md")).await;
    put(law, store, "", record("docs", "b.md")).await;
    for _ in 0..2 {
        law.ok("removing", store.remove("", "a.md").await);
        law.same("the removed record", &get(law, store, "", "a.md").await, &None);
        law.same("the list", &uris(law, store, "", None).await, &names(&["b.md"]));
    }
    put(law, store, "", record("new", "a.md")).await;
    law.same("put again", &get(law, store, "", "a.md").await, &Some(record("new", "a.md")));
}

/// Lists exactly the scope's addresses, sorted.
pub async fn uris_by_scope(store: &dyn RecordStore) {
    let law = Law("RecordStore: uris_by_scope");
    law.same("an empty store", &uris(law, store, "", None).await, &Vec::new());
    for (scope, uri) in [
        ("docs", "b.md"),
        ("docs", "a.md"),
        ("docs", "Z.md"),
        ("docs", "ä.md"),
        ("docs", "a.md/x"),
        ("docs2", "c.md"),
        ("DOCS", "d.md"),
        ("", "e.md"),
        ("%", "f.md"),
    ] {
        put(law, store, "", record(scope, uri)).await;
    }
    for (scope, wanted) in [
        (Some("docs"), names(&["Z.md", "a.md", "a.md/x", "b.md", "ä.md"])),
        (Some("docs2"), names(&["c.md"])),
        (Some("DOCS"), names(&["d.md"])),
        (Some(""), names(&["e.md"])),
        (Some("%"), names(&["f.md"])),
        (Some("nobody"), Vec::new()),
        (None, names(&["Z.md", "a.md", "a.md/x", "b.md", "c.md", "d.md", "e.md", "f.md", "ä.md"])),
    ] {
        law.same(&format!("scope {scope:?}"), &uris(law, store, "", scope).await, &wanted);
    }
}

/// Records and facts of one are not seen in another.
pub async fn namespaces_are_apart(store: &dyn RecordStore) {
    let law = Law("RecordStore: namespaces_are_apart");
    let namespaces = ["", "a", "A", "a ", "it's \"ü\"", "%"];
    for name in namespaces {
        put(law, store, name, record(name, "shared.md")).await;
        law.ok("setting a fact", store.set_fact(name, "embedder", name).await);
    }
    law.ok("removing", store.remove("a", "shared.md").await);
    for name in namespaces {
        let wanted = (name != "a").then(|| record(name, "shared.md"));
        law.same(&format!("record in {name:?}"), &get(law, store, name, "shared.md").await, &wanted);
        let listed = usize::from(name != "a");
        law.same(&format!("list of {name:?}"), &uris(law, store, name, None).await.len(), &listed);
        let fact = law.ok("reading a fact", store.fact(name, "embedder").await);
        law.same(&format!("fact in {name:?}"), &fact.as_deref(), &Some(name));
    }
    law.same("a namespace never used", &uris(law, store, "never", None).await, &Vec::new());
    law.same("its fact", &law.ok("reading", store.fact("never", "embedder").await), &None);
}

/// A set fact comes back; unset is `None`.
pub async fn facts_are_kept(store: &dyn RecordStore) {
    let law = Law("RecordStore: facts_are_kept");
    law.same("an unset fact", &law.ok("reading", store.fact("", "embedder").await), &None);
    for value in ["minilm/384", "", "other ☕ 'x' \"y\" \n"] {
        law.ok("setting", store.set_fact("", "embedder", value).await);
        let fact = law.ok("reading", store.fact("", "embedder").await);
        law.same("the fact", &fact.as_deref(), &Some(value));
    }
    for name in STRANGE {
        law.ok("setting", store.set_fact("", name, name).await);
    }
    for name in STRANGE {
        let fact = law.ok("reading", store.fact("", name).await);
        law.same("a fact of a strange name", &fact.as_deref(), &Some(name));
    }
    law.same("facts among the records", &uris(law, store, "", None).await, &Vec::new());
}

/// Records and facts of that namespace only.
pub async fn clear_forgets_all(store: &dyn RecordStore) {
    let law = Law("RecordStore: clear_forgets_all");
    law.ok("clearing what is not there", store.clear("a").await);
    for name in ["a", "b", ""] {
        put(law, store, name, record("docs", "x.md")).await;
        law.ok("setting", store.set_fact(name, "embedder", "e").await);
    }
    for _ in 0..2 {
        law.ok("clearing", store.clear("a").await);
    }
    for name in ["a", "b", ""] {
        let kept = name != "a";
        law.same(&format!("record in {name:?}"), &get(law, store, name, "x.md").await.is_some(), &kept);
        law.same(&format!("list of {name:?}"), &uris(law, store, name, None).await.is_empty(), &!kept);
        let fact = law.ok("reading", store.fact(name, "embedder").await);
        law.same(&format!("fact in {name:?}"), &fact.is_some(), &kept);
    }
    put(law, store, "a", record("docs", "x.md")).await;
    law.same("put again", &get(law, store, "a", "x.md").await, &Some(record("docs", "x.md")));
}
