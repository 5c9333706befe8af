//! Two handles on one file always agree with the store in memory.
#![cfg(feature = "embedded")]

use katena_core::{
    CountRequest, DeleteRequest, Document, Filter, Record, Selector, Source, UpsertRequest, VectorQuery,
    VectorStore,
};
use katena_vectorstores::{EmbeddedStore, MemoryStore};

/// Numbers without a pattern (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn vector(&mut self, dimensions: usize) -> Vec<f32> {
        (0..dimensions).map(|_| self.next(2001) as f32 / 1000.0 - 1.0).collect()
    }

    fn records(&mut self, dimensions: usize) -> Vec<Record> {
        let mut record = |_| {
            let n = self.next(60);
            let text = format!("text {} of {n}", self.next(1000));
            let document = Document::new(text, Source::new("notes")).with_id(format!("r{n}"));
            Record::new(document.with_metadata("n", n), self.vector(dimensions))
        };
        (0..7).map(&mut record).collect()
    }
}

async fn write(
    numbers: &mut Numbers,
    dimensions: &mut usize,
    one: &dyn VectorStore,
    model: &dyn VectorStore,
) {
    let delete = match numbers.next(8) {
        0 => DeleteRequest::ids((0..5).map(|_| format!("r{}", numbers.next(60)))),
        1 => DeleteRequest::new(Selector::Filter(Filter::lt("n", numbers.next(30)))),
        2 if numbers.next(4) == 0 => {
            *dimensions = 3 + usize::try_from(numbers.next(40)).unwrap_or(0);
            DeleteRequest::new(Selector::All)
        }
        _ => {
            let records = numbers.records(*dimensions);
            for store in [one, model] {
                store.upsert(UpsertRequest::new(records.clone())).await.expect("writes");
            }
            return;
        }
    };
    let deleted = one.delete(&delete).await.expect("deletes");
    assert_eq!(deleted, model.delete(&delete).await.expect("deletes"));
}

#[tokio::test]
async fn two_handles_agree_with_the_store_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shared.katena");
    let handles = [EmbeddedStore::open(&file).unwrap(), EmbeddedStore::open(&file).unwrap()];
    let model = MemoryStore::new();
    let mut numbers = Numbers(0x5eed_cafe);
    let mut dimensions = 8;
    for step in 0..300 {
        let writer = &handles[usize::from(numbers.next(2) == 0)];
        write(&mut numbers, &mut dimensions, writer, &model).await;
        let query = VectorQuery::nearest(numbers.vector(dimensions), 5)
            .with_filter(Filter::gte("n", numbers.next(20)));
        let wanted = model.search(&query).await.unwrap();
        let words = VectorQuery::lexical(format!("text {}", numbers.next(60)), 100);
        let with_words = model.search(&words).await.unwrap().len();
        for handle in &handles {
            assert_eq!(handle.search(&query).await.unwrap(), wanted, "step {step}");
            assert_eq!(handle.search(&words).await.unwrap().len(), with_words, "step {step}");
            let count = handle.count(&CountRequest::new()).await.unwrap();
            assert_eq!(count, model.count(&CountRequest::new()).await.unwrap(), "step {step}");
        }
    }
    handles[0].database().check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_go_on_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path().join("busy.katena")).unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let mut numbers = Numbers(7);
            for _ in 0..60 {
                store.upsert(UpsertRequest::new(numbers.records(16))).await.unwrap();
                store.delete(&DeleteRequest::ids([format!("r{}", numbers.next(60))])).await.unwrap();
            }
        }
    });
    let searchers = (1..4).map(|seed| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut numbers = Numbers(seed);
            for _ in 0..100 {
                let hits = store.search(&VectorQuery::nearest(numbers.vector(16), 100)).await.unwrap();
                let mut ids: Vec<&str> = hits.iter().map(|h| h.item.id.as_str()).collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), hits.len(), "one record twice");
            }
        })
    });
    for searcher in searchers.collect::<Vec<_>>() {
        searcher.await.unwrap();
    }
    writer.await.unwrap();
}
