//! What ingestion does, counts and reports.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{Items, Lines, Notes, Picky, bad, contents, recorded};
use katena_core::fake::HashEmbedder;
use katena_core::{Context, Document, Error, ErrorKind, Query, RecordStore as _, Retriever as _, Source};
use katena_retrieval::{IngestReport, LongChunks, VectorIndex};
use katena_vectorstores::MemoryStore;

fn index() -> (VectorIndex, Picky) {
    let embedder = Picky::new();
    (VectorIndex::new(MemoryStore::new(), embedder.clone()), embedder)
}

async fn put(index: &VectorIndex, items: Items) -> IngestReport {
    index.ingest(items, Lines("")).mirror("docs").await.unwrap()
}

async fn texts(index: &VectorIndex) -> Vec<String> {
    let ids = recorded(&**index.records()).await;
    assert_eq!(ids.len() as u64, index.count().await.unwrap());
    let mut texts: Vec<String> = contents(&**index.store(), &ids).await.into_iter().map(|c| c.1).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn twice_changes_nothing_and_embeds_nothing() {
    let (index, embedder) = index();
    let items = Items::texts([("a", "one\ntwo\ntwo"), ("b", "three"), ("c", " \n")]);
    let report = put(&index, items.clone()).await.complete().unwrap();
    assert_eq!((report.added, report.empty, report.chunks_embedded, report.documents()), (2, 1, 4, 3));
    let before = contents(&**index.store(), &recorded(&**index.records()).await).await;

    let report = put(&index, items).await.complete().unwrap();
    assert_eq!((report.added, report.unchanged, report.empty, report.chunks_embedded), (0, 2, 1, 0));
    assert_eq!((report.chunks_skipped, report.documents()), (4, 3));
    assert_eq!(embedder.texts.load(Ordering::SeqCst), 4);
    assert_eq!(before, contents(&**index.store(), &recorded(&**index.records()).await).await);
}

#[tokio::test]
async fn only_changed_chunks_are_embedded_and_spans_follow() {
    let (index, embedder) = index();
    put(&index, Items::texts([("a", "one\ntwo\nthree")])).await.complete().unwrap();
    let report = put(&index, Items::texts([("a", "zero\none\nthree")])).await.complete().unwrap();
    assert_eq!((report.replaced, report.chunks_embedded, report.chunks_reused), (1, 1, 2));
    assert_eq!((report.chunks_removed, embedder.texts.load(Ordering::SeqCst)), (1, 4));
    let stored = contents(&**index.store(), &recorded(&**index.records()).await).await;
    for (_, text, source, at) in stored {
        assert_eq!(&"zero\none\nthree"[at..at + text.len()], text);
        assert_eq!(source, format!("a, line {}", "zero\none\nthree"[..at].lines().count() + 1));
    }
}

#[tokio::test]
async fn metadata_alone_costs_no_embedding() {
    let (index, embedder) = index();
    let with =
        |year: i32| Items(vec![Ok(Document::new("one\ntwo", Source::new("a")).with_metadata("year", year))]);
    put(&index, with(1)).await.complete().unwrap();
    let report = put(&index, with(2)).await.complete().unwrap();
    assert_eq!((report.replaced, report.chunks_embedded), (1, 0));
    assert_eq!(embedder.calls.load(Ordering::SeqCst), 1);
    let query = Query::new("one").with_filter(katena_core::Filter::eq("year", 2));
    assert_eq!(index.dense().retrieve(&query).await.unwrap().len(), 2);
}

#[tokio::test]
async fn mirror_deletes_within_its_scope_only() {
    let (index, _) = index();
    put(&index, Items::texts([("a", "one"), ("b", "two")])).await.complete().unwrap();
    let other = index.ingest(Items::texts([("x", "ex")]), Lines("")).mirror("other").await.unwrap();
    assert_eq!((other.added, other.removed), (1, 0));
    let report = put(&index, Items::texts([("b", "two")])).await.complete().unwrap();
    assert_eq!((report.removed, report.unchanged, report.chunks_removed), (1, 1, 1));
    assert_eq!(texts(&index).await, ["ex", "two"]);
    let plain = index.ingest(Items::texts([("c", "see")]), Lines("")).with_scope("docs").await.unwrap();
    assert_eq!((plain.added, plain.removed), (1, 0));
    assert_eq!(texts(&index).await, ["ex", "see", "two"]);
}

#[tokio::test]
async fn what_fails_to_load_keeps_its_chunks() {
    let (index, _) = index();
    put(&index, Items::texts([("a", "one"), ("b", "two")])).await.complete().unwrap();
    let report =
        put(&index, Items(vec![Err(bad("a"))]).with(Ok(Document::new("new", Source::new("b"))))).await;
    assert_eq!((report.removed, report.replaced, report.failed.len()), (0, 1, 1));
    assert_eq!(report.failed[0].0.uri, "a");
    assert_eq!(texts(&index).await, ["new", "one"]);
    let error = report.complete().unwrap_err();
    assert_eq!(error.context("uri"), Some("a"));
}

#[tokio::test]
async fn a_part_that_fails_fails_its_source() {
    let (index, _) = index();
    let page = |n: u32| Ok(Document::new(format!("page {n}"), Source::new("a.pdf").with_page(n)));
    let report = put(&index, Items(vec![page(1), Err(bad("a.pdf")), page(3)])).await;
    assert_eq!((report.failed.len(), report.added, report.documents()), (1, 0, 1));
    assert_eq!(index.count().await.unwrap(), 0);
    let report = put(&index, Items(vec![page(1), page(2)])).await.complete().unwrap();
    assert_eq!((report.added, report.chunks_embedded), (1, 2));
    let hits = index.retriever().retrieve(&Query::new("page 2")).await.unwrap();
    assert_eq!(hits[0].item.source.to_string(), "a.pdf, page 2");
}

#[tokio::test]
async fn an_incomplete_listing_removes_nothing() {
    let (index, _) = index();
    put(&index, Items::texts([("a", "one"), ("b", "two")])).await.complete().unwrap();
    let report = put(&index, Items::texts([("a", "one")]).with(Err(Error::unexpected("no more")))).await;
    assert_eq!((report.removed, report.failed.len()), (0, 1));
    assert_eq!(texts(&index).await, ["one", "two"]);
}

#[tokio::test]
async fn parts_given_apart_are_reported() {
    let (index, _) = index();
    let report = put(&index, Items::texts([("a", "one"), ("b", "two"), ("a", "three")])).await;
    assert_eq!(report.failed.len(), 1);
    assert_eq!(texts(&index).await, ["one", "two"]);
}

#[tokio::test]
async fn the_bad_document_of_a_batch_stands_alone() {
    for batch in [1, 2, 7, 64] {
        let (_, mut embedder) = index();
        embedder.refuses = "poison";
        let index = VectorIndex::new(MemoryStore::new(), embedder);
        let old = Items::texts([("d3", "old text")]);
        put(&index, old).await.complete().unwrap();
        let items = (0..10).map(|n| {
            let uri = ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"][n];
            (uri, if n == 3 { "fine\npoison\nfine too\nmore".to_owned() } else { format!("a {n}\nb {n}") })
        });
        let report = index.ingest(Items::texts(items), Lines("")).with_batch(batch).await.unwrap();
        assert_eq!((report.added, report.failed.len()), (9, 1), "batch {batch}");
        assert_eq!(report.failed[0].0.uri, "d3");
        assert_eq!(report.failed[0].1.kind(), ErrorKind::InvalidInput);
        let texts = texts(&index).await;
        assert_eq!(texts.len(), 19, "{texts:?}");
        assert!(texts.contains(&"old text".to_owned()) && !texts.iter().any(|t| t.contains("fine")));
    }
}

#[tokio::test]
async fn a_service_that_stays_away_ends_the_run() {
    let (_, mut embedder) = index();
    embedder.refuses = "";
    for (kind, calls) in [(ErrorKind::Unauthenticated, 2), (ErrorKind::Unavailable, 40)] {
        embedder.kind = kind;
        embedder.calls = Arc::default();
        let index = VectorIndex::new(MemoryStore::new(), embedder.clone());
        let text = (0..500).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n");
        let error = index.ingest(Items::texts([("a", text)]), Lines("")).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(embedder.calls.load(Ordering::SeqCst) <= calls, "{kind} after {:?}", embedder.calls);
        assert!(!index.records().get("", "a").await.unwrap().unwrap().complete);
    }
}

#[tokio::test]
async fn what_cannot_be_split_is_reported() {
    let (index, _) = index();
    let report = put(&index, Items::texts([("a", "UNSPLITTABLE"), ("b", "two"), ("", "nowhere")])).await;
    assert_eq!((report.added, report.failed.len()), (1, 2));
}

#[tokio::test]
async fn chunks_longer_than_the_embedder_reads_are_refused() {
    let (_, mut embedder) = index();
    embedder.info = embedder.info.with_max_tokens(3);
    let index = VectorIndex::new(MemoryStore::new(), embedder);
    let items = Items::texts([("a", "one two three"), ("b", "one two three four")]);
    let report = put(&index, items.clone()).await;
    assert_eq!((report.added, report.failed.len()), (1, 1));
    assert_eq!(report.failed[0].1.kind(), ErrorKind::ContextTooLong);
    assert!(report.failed[0].1.message().contains("4 tokens"), "{}", report.failed[0].1);
    assert_eq!(index.tokenizer().unwrap().count("a b"), 2);
    let report = index.ingest(items, Lines("")).with_long_chunks(LongChunks::LeaveToEmbedder).await.unwrap();
    assert_eq!((report.added, report.unchanged), (1, 1));
    let (plain, _) = self::index();
    assert_eq!(plain.tokenizer().unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn another_embedder_is_refused_or_rebuilds() {
    let store = Arc::new(MemoryStore::new());
    let first = VectorIndex::new(store.clone(), HashEmbedder::new(64));
    let items = Items::texts([("a", "one\ntwo")]);
    put(&first, items.clone()).await.complete().unwrap();

    let second = VectorIndex::new(store.clone(), HashEmbedder::new(32));
    let error = second.ingest(items.clone(), Lines("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("hash-64") && error.to_string().contains("hash-32"), "{error}");
    for retriever in
        [Arc::new(second.dense()) as Arc<dyn katena_core::Retriever>, Arc::new(second.retriever())]
    {
        assert_eq!(retriever.retrieve(&Query::new("one")).await.unwrap_err().kind(), ErrorKind::Config);
    }
    let titled = first.clone().with_titles();
    assert_eq!(titled.dense().retrieve(&Query::new("one")).await.unwrap_err().kind(), ErrorKind::Config);

    let report = second.ingest(items, Lines("")).rebuild_on_change().await.unwrap().complete().unwrap();
    assert_eq!((report.added, report.chunks_embedded, report.chunks_removed), (1, 2, 2));
    assert!(report.rebuilt.as_ref().unwrap().contains("hash-64"), "{report:?}");
    assert_eq!(second.dense().retrieve(&Query::new("one")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn another_splitter_replaces_every_source() {
    let (index, embedder) = index();
    let items = Items::texts([("a", "one\ntwo"), ("b", "three")]);
    put(&index, items.clone()).await.complete().unwrap();
    let report = index.ingest(items, Lines("other")).mirror("docs").await.unwrap();
    assert_eq!((report.replaced, report.unchanged, report.chunks_embedded), (2, 0, 0));
    assert_eq!(report.splitter_was.as_deref(), Some("lines "));
    assert_eq!(embedder.texts.load(Ordering::SeqCst), 3, "the same chunks keep their vectors");
}

#[tokio::test]
async fn records_and_store_must_belong_together() {
    let store = Arc::new(MemoryStore::new());
    let items = Items::texts([("a", "one")]);
    let index = VectorIndex::new(store.clone(), HashEmbedder::new(64));
    put(&index, items.clone()).await.complete().unwrap();
    let lost = index.clone().with_records(katena_core::fake::InMemoryRecords::new());
    let error = lost.ingest(items.clone(), Lines("")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);

    let emptied =
        VectorIndex::new(MemoryStore::new(), HashEmbedder::new(64)).with_records(index.records().clone());
    let report = emptied.ingest(items, Lines("")).await.unwrap().complete().unwrap();
    assert_eq!((report.added, report.rebuilt.is_some()), (1, true));
}

#[tokio::test]
async fn titles_are_embedded_but_not_stored() {
    let (index, _) = index();
    let index = index.with_titles();
    let items = Items::texts([("docs/remote-work.md", "Ask first."), ("docs/parking.md", "Ask first.")]);
    put(&index, items).await.complete().unwrap();
    let hits = index.dense().top_k(1).retrieve(&Query::new("remote work")).await.unwrap();
    assert_eq!(
        (hits[0].item.text.as_str(), hits[0].item.source.uri.as_str()),
        ("Ask first.", "docs/remote-work.md")
    );
}

#[tokio::test]
async fn progress_and_cancelling() {
    let (index, _) = index();
    let heard: Notes<u64> = Notes::default();
    let notes = heard.clone();
    let report = index
        .ingest(Items::texts([("a", "one\ntwo"), ("b", "three")]), Lines(""))
        .with_batch(1)
        .with_concurrency(1)
        .with_progress(Arc::new(move |p| notes.lock().unwrap().push(p.chunks_embedded)))
        .await
        .unwrap();
    assert_eq!(report.chunks_embedded, 3);
    let heard = heard.lock().unwrap().clone();
    assert!(heard.is_sorted() && heard.last() == Some(&3) && heard.contains(&1), "{heard:?}");

    let context = Context::new();
    context.cancel.cancel();
    let error = index.ingest(Items::texts([("c", "x")]), Lines("")).with_context(context).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[test]
fn no_runtime_is_needed() {
    let index = VectorIndex::new(MemoryStore::new(), HashEmbedder::new(16));
    let report = futures_util::FutureExt::now_or_never(std::future::IntoFuture::into_future(
        index.ingest(Items::texts([("a", "one")]), Lines("")),
    ));
    assert_eq!(report.unwrap().unwrap().added, 1);
}

#[test]
fn chunk_ids_are_pinned() {
    // Another way of naming chunks would embed everybody's documents again.
    let index = VectorIndex::new(MemoryStore::new(), HashEmbedder::new(16));
    let ingest = index.ingest(Items::texts([("a", "one\none")]), Lines(""));
    let _ = futures_util::FutureExt::now_or_never(std::future::IntoFuture::into_future(ingest)).unwrap();
    let record =
        futures_util::FutureExt::now_or_never(index.records().get("", "a")).unwrap().unwrap().unwrap();
    assert_eq!(record.chunks, ["93363820484c783e1fa13863e8a444df", "71f51262aa29bf3d9c3d4d174fc53333"]);
}
