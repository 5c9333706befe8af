//! Deleting.

use katena_core::{
    CountRequest, DeleteRequest, Filter, GetRequest, Selector, UpsertRequest, VectorQuery, VectorStore,
};

use super::{count, find, get, ids, probe, put, record, record_at, records, sorted};
use crate::fixtures::Numbers;
use crate::harness::Law;

async fn left(law: Law, store: &dyn VectorStore, wanted: &[&str]) {
    law.same("count", &count(law, store, "").await, &(wanted.len() as u64));
    let everyone: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
    let got = law.ok("get", store.get(&GetRequest::new(everyone)).await);
    law.same("get", &sorted(got.iter().map(|r| r.document.id.as_str())), &sorted(wanted.iter().copied()));
    let hits = find(law, "search", store, VectorQuery::nearest(probe(), 20)).await;
    law.same("search", &sorted(ids(&hits)), &sorted(wanted.iter().copied()));
    if store.info().capabilities.lexical {
        let hits = find(law, "search", store, VectorQuery::lexical("record", 20)).await;
        law.same("search by words", &sorted(ids(&hits)), &sorted(wanted.iter().copied()));
    }
}

/// Gone from get, search and count; unknown ids are no error.
pub async fn delete_by_id(store: &dyn VectorStore) {
    let law = Law("VectorStore: delete_by_id");
    put(law, store, records(6)).await;
    let request = DeleteRequest::ids(["r1", "nobody", "r4", "it's nobody"]);
    law.same("deleted", &law.ok("delete", store.delete(&request).await), &2);
    left(law, store, &["r0", "r2", "r3", "r5"]).await;
    law.same("deleted again", &law.ok("delete", store.delete(&request).await), &0);
    let nothing = DeleteRequest::ids(Vec::<String>::new());
    law.same("deleted by no ids", &law.ok("delete", store.delete(&nothing).await), &0);
    left(law, store, &["r0", "r2", "r3", "r5"]).await;
    put(law, store, vec![record(1)]).await;
    left(law, store, &["r0", "r1", "r2", "r3", "r5"]).await;
}

/// Gone from get, search and count.
pub async fn delete_by_filter(store: &dyn VectorStore) {
    let law = Law("VectorStore: delete_by_filter");
    put(law, store, records(6)).await;
    let delete =
        async |filter| law.ok("delete", store.delete(&DeleteRequest::new(Selector::Filter(filter))).await);
    law.same("deleted by what fits nothing", &delete(Filter::eq("n", 77)).await, &0);
    law.same("deleted by an empty `or`", &delete(Filter::Or(Vec::new())).await, &0);
    left(law, store, &["r0", "r1", "r2", "r3", "r4", "r5"]).await;
    law.same("deleted", &delete(Filter::eq("even", true).and(Filter::gte("n", 2))).await, &2);
    left(law, store, &["r0", "r1", "r3", "r5"]).await;
    law.same("deleted by `not`", &delete(Filter::eq("n", 0).not()).await, &3);
    left(law, store, &["r0"]).await;
}

/// Gone from get, search and count.
pub async fn delete_all(store: &dyn VectorStore) {
    let law = Law("VectorStore: delete_all");
    let all = DeleteRequest::new(Selector::All);
    law.same("deleted from an empty store", &law.ok("delete", store.delete(&all).await), &0);
    put(law, store, records(6)).await;
    law.same("deleted", &law.ok("delete", store.delete(&all).await), &6);
    left(law, store, &[]).await;
    let filtered = CountRequest::new().with_filter(Filter::exists("n"));
    law.same("count with a filter", &law.ok("count", store.count(&filtered).await), &0);
    put(law, store, records(2)).await;
    left(law, store, &["r0", "r1"]).await;
}

/// An emptied namespace takes vectors of another length.
pub async fn delete_all_frees_the_dimension(store: &dyn VectorStore) {
    let law = Law("VectorStore: delete_all_frees_the_dimension");
    for dims in [8, 5, 16] {
        let made = |n: usize| record_at(n, Numbers::new(n as u64).vector(dims));
        let request = UpsertRequest::new(vec![made(0), made(1)]);
        law.ok(&format!("upsert of {dims} dimensions into an emptied store"), store.upsert(request).await);
        let hits = find(law, "search", store, VectorQuery::nearest(made(1).vector, 5)).await;
        law.same(&format!("results with {dims} dimensions"), &hits.len(), &2);
        law.same("dimensions of the vector", &get(law, store, &["r0"]).await[0].vector.len(), &dims);
        law.ok("delete", store.delete(&DeleteRequest::new(Selector::All)).await);
    }
}
