//! Searching by vector.

use katena_core::{
    DeleteRequest, ErrorKind, Filter, Metric, Record, UpsertRequest, VectorQuery, VectorStore,
};

use super::{count, find, get, ids, probe, put, record, record_at, records, same_record, sorted};
use crate::fixtures::Numbers;
use crate::harness::Law;

fn exact(law: Law, metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
    let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let dot: f64 = pairs().map(|(x, y)| x * y).sum();
    match metric {
        Metric::Cosine => dot / (length(a) * length(b)),
        Metric::Dot => dot,
        Metric::Euclidean => -pairs().map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt(),
        other => law.broken(format!("this suite does not know the metric {other:?}")),
    }
}

/// Best first, scores as the metric defines them, within 1e-3 of exact search.
pub async fn search_finds_the_nearest(store: &dyn VectorStore) {
    let law = Law("VectorStore: search_finds_the_nearest");
    const DIMS: usize = 16;
    const N: usize = 200;
    let metric = store.info().metric;
    let mut numbers = Numbers::new(42);
    // Lengths from 0.2 to 3, so that the three metrics rank differently.
    let all: Vec<Record> = (0..N)
        .map(|n| {
            let scale = 1.6 + 1.4 * numbers.next_f32();
            record_at(n, numbers.vector(DIMS).iter().map(|x| x * scale).collect())
        })
        .collect();
    for part in all.chunks(50) {
        put(law, store, part.to_vec()).await;
    }
    let mut queries: Vec<Vec<f32>> = (0..8).map(|_| numbers.vector(DIMS)).collect();
    queries.push(all[17].vector.clone());
    queries.push(all[17].vector.iter().map(|x| -x).collect());
    for (q, query) in queries.iter().enumerate() {
        let mut wanted: Vec<f64> = all.iter().map(|r| exact(law, metric, query, &r.vector)).collect();
        wanted.sort_by(|a, b| b.total_cmp(a));
        for top_k in [1, 10, N] {
            let hits = find(law, "search", store, VectorQuery::nearest(query.clone(), top_k)).await;
            law.same("number of results", &hits.len(), &top_k);
            let different = sorted(ids(&hits)).windows(2).all(|w| w[0] != w[1]);
            law.check(different, "a record is found twice");
            for (rank, hit) in hits.iter().enumerate() {
                let found = all.iter().find(|r| r.document.id == hit.item.id);
                let Some(found) = found else { law.broken(format!("{:?} was never written", hit.item.id)) };
                let (own, score) = (exact(law, metric, query, &found.vector), f64::from(hit.score));
                law.check(
                    (score - own).abs() <= 1e-3,
                    format!("query {q}, rank {rank}: {metric:?} score {score}, by definition it is {own}"),
                );
                law.check(
                    (score - wanted[rank]).abs() <= 1e-3,
                    format!("query {q}, rank {rank}: score {score}, exact search has {} there", wanted[rank]),
                );
            }
        }
    }
}

/// Never more than asked for; fewer only if there are fewer.
pub async fn top_k_is_kept(store: &dyn VectorStore) {
    let law = Law("VectorStore: top_k_is_kept");
    put(law, store, records(12)).await;
    let all = find(law, "search", store, VectorQuery::nearest(probe(), 12)).await;
    for (top_k, wanted) in [(1, 1), (5, 5), (12, 12), (13, 12), (5000, 12)] {
        let hits = find(law, "search", store, VectorQuery::nearest(probe(), top_k)).await;
        law.same(&format!("results for top_k {top_k}"), &hits.len(), &wanted);
        law.same(&format!("the best {top_k}"), &ids(&hits), &ids(&all)[..wanted].to_vec());
    }
    // The worst four of twelve fit: a filter applied after a search of 3 would find none.
    let worst: Vec<usize> = all[8..].iter().filter_map(|h| h.item.id[1..].parse().ok()).collect();
    let query = VectorQuery::nearest(probe(), 3).with_filter(Filter::is_in("n", worst));
    let hits = find(law, "search", store, query).await;
    law.same("the best 3 of those that fit", &ids(&hits), &ids(&all)[8..11].to_vec());
}

/// Nothing below it.
pub async fn min_score_cuts(store: &dyn VectorStore) {
    let law = Law("VectorStore: min_score_cuts");
    put(law, store, records(12)).await;
    let all = find(law, "search", store, VectorQuery::nearest(probe(), 12)).await;
    law.same("number of results", &all.len(), &12);
    for cut in [1, 4, 11] {
        let between = f32::midpoint(all[cut - 1].score, all[cut].score);
        let query = VectorQuery::nearest(probe(), 12).with_min_score(between);
        let hits = find(law, "search", store, query).await;
        law.same(&format!("results of at least {between}"), &ids(&hits), &ids(&all)[..cut].to_vec());
    }
    let query = VectorQuery::nearest(probe(), 12).with_min_score(all[0].score + 1.0);
    law.check(find(law, "search", store, query).await.is_empty(), "no score is as high as that");
    let query = VectorQuery::nearest(probe(), 2).with_min_score(all[11].score - 1.0);
    law.same("top_k beside a low bound", &find(law, "search", store, query).await.len(), &2);
}

/// The same id in two namespaces is two records; searches and deletes stay inside.
pub async fn namespaces_are_apart(store: &dyn VectorStore) {
    let law = Law("VectorStore: namespaces_are_apart");
    let names = ["", "team", "TEAM", "team ", "it's \"ünïcode\"; --", "a/b.c%_*"];
    for (n, name) in names.iter().enumerate() {
        let mut own = record(n + 10);
        own.document.id = "shared".into();
        let mine = Record::new(record(n).document.with_id(format!("only{n}")), record(n).vector);
        let request = UpsertRequest::new(vec![own, mine]).with_namespace(*name);
        law.ok("upsert", store.upsert(request).await);
    }
    // Another length in another namespace is nobody's business.
    let other = record_at(0, Numbers::new(3).vector(3));
    law.ok(
        "upsert of other dimensions",
        store.upsert(UpsertRequest::new(vec![other]).with_namespace("short")).await,
    );
    for (n, name) in names.iter().enumerate() {
        law.same(&format!("count in {name:?}"), &count(law, store, name).await, &2);
        let request =
            katena_core::GetRequest::new(["shared", "only0", "only1", "only2", "only3", "only4", "only5"]);
        let got = law.ok("get", store.get(&request.with_namespace(*name)).await);
        law.same(&format!("records in {name:?}"), &got.len(), &2);
        law.check(
            got[0].document.metadata.get("n") == Some(&serde_json::json!(n + 10)),
            format!("{name:?} has another namespace's record"),
        );
        let query = VectorQuery::nearest(probe(), 50).with_namespace(*name);
        let hits = find(law, "search", store, query).await;
        law.same(
            &format!("search in {name:?}"),
            &sorted(ids(&hits)),
            &sorted(["shared", &format!("only{n}")]),
        );
    }
    let delete = DeleteRequest::ids(["shared", "only0"]).with_namespace("team");
    law.same("deleted by id", &law.ok("delete", store.delete(&delete).await), &1);
    let filter = katena_core::Selector::Filter(Filter::exists("n"));
    let delete = DeleteRequest::new(filter).with_namespace("TEAM");
    law.same("deleted by filter", &law.ok("delete", store.delete(&delete).await), &2);
    let delete = DeleteRequest::new(katena_core::Selector::All).with_namespace("team ");
    law.same("all deleted", &law.ok("delete", store.delete(&delete).await), &2);
    let left: Vec<u64> = {
        let mut left = Vec::new();
        for name in names {
            left.push(count(law, store, name).await);
        }
        left
    };
    law.same("counts after deleting in three of them", &left, &vec![2, 1, 0, 0, 2, 2]);
    let mut mine = record(10);
    mine.document.id = "shared".into();
    same_record(law, &get(law, store, &["shared"]).await[0], &mine);
}

/// Neither is `InvalidInput`; text without that capability is `Unsupported`.
pub async fn query_needs_vector_or_text(store: &dyn VectorStore) {
    let law = Law("VectorStore: query_needs_vector_or_text");
    put(law, store, records(3)).await;
    let mut neither = VectorQuery::nearest(probe(), 3);
    neither.vector = None;
    law.fails("a query for nothing", ErrorKind::InvalidInput, store.search(&neither).await);
    if !store.info().capabilities.lexical {
        let query = VectorQuery::lexical("text", 3);
        law.fails("a query by words", ErrorKind::Unsupported, store.search(&query).await);
    }
}
