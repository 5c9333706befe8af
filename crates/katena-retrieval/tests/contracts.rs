//! Retrievers and records against the contract suites.

use std::sync::Arc;

use katena_core::fake::HashEmbedder;
use katena_core::{Chunk, Document, DocumentLoader, DocumentStream, Result, TextSplitter};
use katena_retrieval::VectorIndex;
use katena_vectorstores::MemoryStore;

#[derive(Debug)]
struct Corpus;
impl DocumentLoader for Corpus {
    fn load(&self) -> DocumentStream {
        let documents: Vec<Result<Document>> = katena_testkit::corpus().into_iter().map(Ok).collect();
        Box::pin(futures_util::stream::iter(documents))
    }
}

#[derive(Debug)]
struct Whole;
impl TextSplitter for Whole {
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        Ok(vec![Chunk::of(text, 0..text.len())])
    }
    fn fingerprint(&self) -> String {
        "whole".to_owned()
    }
}

async fn index() -> VectorIndex {
    let index = VectorIndex::new(MemoryStore::new(), HashEmbedder::new(512));
    let report = index.ingest(Corpus, Whole).await.and_then(|r| r.complete()).expect("the corpus goes in");
    assert_eq!(report.added, 8);
    index
}

katena_testkit::retriever_contract!(dense, async { index().await.dense() });
katena_testkit::retriever_contract!(lexical, async { index().await.lexical() });
katena_testkit::retriever_contract!(fused, async { index().await.retriever() });
katena_testkit::retriever_contract!(shared, async {
    Arc::new(index().await.retriever()) as Arc<dyn katena_core::Retriever>
});
