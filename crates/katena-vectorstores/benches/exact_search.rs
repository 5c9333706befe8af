//! Exact search over 384 dimensions in memory and in a file, and the first search after opening a file.
#![expect(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use katena_core::{Document, Filter, Record, Source, UpsertRequest, VectorQuery, VectorStore};
use katena_vectorstores::{EmbeddedStore, MemoryStore};

const DIMENSIONS: usize = 384;

/// Numbers without a pattern, between -1 and 1 (xorshift).
fn vector(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..DIMENSIONS).map(|_| next()).collect()
}

fn text(n: u64) -> String {
    let words = (0..120_u64).map(|i| format!("word{}", (n * 7919 + i * i * 31) % 5000));
    words.collect::<Vec<_>>().join(" ")
}

async fn fill(store: &dyn VectorStore, rows: u64) {
    let record = |n: u64| {
        let document = Document::new(text(n), Source::new("bench.md")).with_id(n.to_string());
        Record::new(document.with_metadata("n", n), vector(n))
    };
    for first in (0..rows).step_by(1000) {
        let records = (first..(first + 1000).min(rows)).map(record).collect();
        store.upsert(UpsertRequest::new(records)).await.expect("the store takes it");
    }
}

fn exact_search(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let search = |store: &dyn VectorStore, query: &VectorQuery| {
        let hits = runtime.block_on(store.search(query)).expect("the store answers");
        assert_eq!(hits.len(), query.top_k);
    };
    let nearest = VectorQuery::nearest(vector(u64::MAX), 10);
    let filtered = nearest.clone().with_filter(Filter::lt("n", 100));
    let words = VectorQuery::lexical("word17 word4711 word99", 10);
    let mut group = criterion.benchmark_group("search");
    group.sample_size(20);
    for rows in [10_000, 100_000] {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("bench.katena");
        let memory = MemoryStore::new();
        let embedded = EmbeddedStore::open(&path).expect("a file");
        runtime.block_on(fill(&memory, rows));
        runtime.block_on(fill(&embedded, rows));
        let stores: [(&str, &dyn VectorStore); 2] = [("memory", &memory), ("embedded", &embedded)];
        for (name, store) in stores {
            group.bench_function(format!("{name}/{rows}/nearest"), |b| b.iter(|| search(store, &nearest)));
            group.bench_function(format!("{name}/{rows}/filtered"), |b| b.iter(|| search(store, &filtered)));
            group.bench_function(format!("{name}/{rows}/words"), |b| b.iter(|| search(store, &words)));
        }
        drop(embedded);
        group.bench_function(format!("embedded/{rows}/open"), |b| {
            b.iter(|| EmbeddedStore::open(&path).expect("the file opens"));
        });
        group.bench_function(format!("embedded/{rows}/first nearest"), |b| {
            let open = || EmbeddedStore::open(&path).expect("the file opens");
            b.iter_batched(open, |store| search(&store, &nearest), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, exact_search);
criterion_main!(benches);
