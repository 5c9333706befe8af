//! A crash at any step of an ingestion, then run again: nothing lost, nothing doubled, nothing orphaned.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Crash, Crashing, Fuse, Items, Lines, contents, recorded};
use katena_core::CountRequest;
use katena_core::VectorStore as _;
use katena_core::fake::{HashEmbedder, InMemoryRecords};
use katena_retrieval::VectorIndex;
use katena_vectorstores::MemoryStore;

fn lines(of: std::ops::Range<u32>) -> String {
    of.map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n")
}

fn before() -> Items {
    Items::texts([
        ("a.md", "one\ntwo\nthree\nthree\nfour".to_owned()),
        ("b.md", lines(0..9)),
        ("gone.md", "old\nolder".to_owned()),
        ("same.md", "same\nsame".to_owned()),
    ])
}

fn after() -> Items {
    Items::texts([
        ("a.md", "zero\none\nthree\nfive".to_owned()),
        ("b.md", lines(4..13)),
        ("new.md", "brand\nnew".to_owned()),
        ("same.md", "same\nsame".to_owned()),
    ])
}

struct World {
    store: Arc<MemoryStore>,
    records: Arc<InMemoryRecords>,
}

impl World {
    fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new()), records: Arc::new(InMemoryRecords::new()) }
    }
    fn index(&self, fuse: &Arc<Fuse>, dimensions: usize) -> VectorIndex {
        let store = Crashing { inner: self.store.clone(), fuse: fuse.clone() };
        let records = Crashing { inner: self.records.clone(), fuse: fuse.clone() };
        VectorIndex::new(store, HashEmbedder::new(dimensions)).with_records(records)
    }
    async fn ingest(&self, items: Items, fuse: &Arc<Fuse>, dimensions: usize) -> bool {
        let index = self.index(fuse, dimensions);
        let ingest = index.ingest(items, Lines("")).mirror("docs").with_batch(3).rebuild_on_change();
        tokio::select! {
            report = std::future::IntoFuture::into_future(ingest) => report.and_then(|r| r.complete()).is_ok(),
            () = fuse.blown.notified(), if fuse.how == Crash::Killed => false,
        }
    }
    async fn state(&self) -> (Vec<(String, String, String, usize)>, u64) {
        let ids = recorded(&*self.records).await;
        let count = self.store.count(&CountRequest::new()).await.unwrap();
        assert_eq!(ids.len() as u64, count, "the store holds what the records do not name, or the reverse");
        (contents(&*self.store, &ids).await, count)
    }
}

fn never() -> Arc<Fuse> {
    Fuse::new(usize::MAX, Crash::Before)
}

async fn check(dimensions: usize) {
    let clean = World::new();
    assert!(clean.ingest(after(), &never(), dimensions).await);
    let expected = clean.state().await;
    assert_eq!(expected.1, 17);

    for how in [Crash::Before, Crash::After, Crash::Half, Crash::Killed] {
        let mut crashes = 0;
        for at in 0.. {
            let world = World::new();
            assert!(world.ingest(before(), &never(), 64).await);
            let fuse = Fuse::new(at, how);
            let ended_well = world.ingest(after(), &fuse, dimensions).await;
            if fuse.steps.load(Ordering::SeqCst) <= at {
                assert!(ended_well);
                break;
            }
            assert!(!ended_well, "a crash at step {at} went unnoticed");
            crashes += 1;
            assert!(world.ingest(after(), &never(), dimensions).await, "{how:?} at {at}");
            assert_eq!(world.state().await, expected, "{how:?} at {at}");
        }
        assert!(crashes > 15, "only {crashes} steps");
    }
}

#[tokio::test]
async fn a_changed_folder() {
    check(64).await;
}

#[tokio::test]
async fn a_rebuild_with_another_embedder() {
    check(32).await;
}

#[tokio::test]
async fn a_first_ingestion_crashed_twice() {
    let clean = World::new();
    assert!(clean.ingest(after(), &never(), 64).await);
    let expected = clean.state().await;
    for first in 0..12 {
        for second in 0..12 {
            let world = World::new();
            world.ingest(before(), &Fuse::new(first, Crash::Killed), 64).await;
            world.ingest(after(), &Fuse::new(second, Crash::Half), 64).await;
            assert!(world.ingest(after(), &never(), 64).await);
            assert_eq!(world.state().await, expected, "{first}, {second}");
        }
    }
}

#[tokio::test]
async fn two_at_once_on_one_index() {
    let clean = World::new();
    assert!(clean.ingest(after(), &never(), 64).await);
    let expected = clean.state().await;

    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(katena_vectorstores::EmbeddedStore::open(dir.path().join("two.katena")).unwrap());
    for start in [Items::texts::<String>([]), before()] {
        let first = VectorIndex::new(store.clone(), HashEmbedder::new(64));
        let ingest = |items, batch| first.ingest(items, Lines("")).mirror("docs").with_batch(batch);
        ingest(start, 3).await.unwrap().complete().map(drop).unwrap();
        let (a, b) = futures_util::future::join(
            std::future::IntoFuture::into_future(ingest(after(), 1)),
            std::future::IntoFuture::into_future(ingest(after(), 4)),
        )
        .await;
        a.and_then(|r| r.complete()).map(drop).unwrap();
        b.and_then(|r| r.complete()).map(drop).unwrap();
        let ids = recorded(&**first.records()).await;
        assert_eq!(first.count().await.unwrap(), expected.1);
        assert_eq!(contents(&*store, &ids).await, expected.0);
    }
}
