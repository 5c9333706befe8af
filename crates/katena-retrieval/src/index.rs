//! The index: a store, an embedder, and the records of what is in.

use std::sync::Arc;

use katena_core::fake::InMemoryRecords;
use katena_core::{
    CountRequest, DocumentLoader, Embedder, Error, RecordStore, Result, TextSplitter, Tokenizer, VectorStore,
};

use crate::ingest::Ingest;
use crate::retrieve::{DenseRetriever, FusedRetriever, LexicalRetriever};

/// Fact under which an index names the embedder that made its vectors.
pub(crate) const EMBEDDER_FACT: &str = "embedder";
/// Fact under which an index names the splitter that cut its chunks last.
pub(crate) const SPLITTER_FACT: &str = "splitter";

/// A vector store, the embedder that fills it, and the records of what is in. Clones share all three.
///
/// The records of what is in are those that the store keeps beside its vectors. For a store without any, name a place by
/// [`with_records`](VectorIndex::with_records): ingesting into a durable store without durable records is refused, as
/// nobody would know after a restart which chunks belong to which source.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_core::fake::HashEmbedder;
/// use katena_retrieval::VectorIndex;
/// use katena_vectorstores::MemoryStore;
/// # use katena_core::*;
/// # #[derive(Debug)] struct Notes;
/// # impl DocumentLoader for Notes {
/// #     fn load(&self) -> DocumentStream {
/// #         let note = Document::new("Cats sleep.\nDogs bark.", Source::new("notes.txt"));
/// #         Box::pin(futures_util::stream::iter([Ok(note)]))
/// #     }
/// # }
/// # #[derive(Debug)] struct Lines;
/// # impl TextSplitter for Lines {
/// #     fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
/// #         let at = |line: &str| line.as_ptr() as usize - text.as_ptr() as usize;
/// #         Ok(text.lines().map(|l| Chunk::of(text, at(l)..at(l) + l.len())).collect())
/// #     }
/// #     fn fingerprint(&self) -> String { "lines".into() }
/// # }
///
/// let index = VectorIndex::new(MemoryStore::new(), HashEmbedder::new(256));
/// let report = index.ingest(Notes, Lines).await?.complete()?;
/// assert_eq!((report.added, report.chunks_embedded), (1, 2));
///
/// let found = index.retriever().top_k(1).retrieve(&Query::new("Do dogs bark?")).await?;
/// assert_eq!(found[0].item.to_string(), "notes.txt, line 2: \"Dogs bark.\"");
/// # Ok::<(), Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct VectorIndex {
    pub(crate) store: Arc<dyn VectorStore>,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) records: Arc<dyn RecordStore>,
    pub(crate) own_records: bool,
    pub(crate) namespace: String,
    pub(crate) titles: bool,
}

impl VectorIndex {
    /// An index over `store`, filled and asked through `embedder`, in the default namespace.
    pub fn new(store: impl VectorStore + 'static, embedder: impl Embedder + 'static) -> Self {
        let records = store.records();
        Self {
            own_records: records.is_none(),
            records: records.unwrap_or_else(|| Arc::new(InMemoryRecords::new())),
            store: Arc::new(store),
            embedder: Arc::new(embedder),
            namespace: String::new(),
            titles: false,
        }
    }

    /// Keeps the records of what is in here; as durable as the store.
    pub fn with_records(mut self, records: impl RecordStore + 'static) -> Self {
        self.records = Arc::new(records);
        self.own_records = false;
        self
    }

    /// Works in this namespace of store and records; the empty one is the default.
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Embeds each chunk under the title of its document (the file's name where it has none), so that a passage is found
    /// by what its document is about. The chunk's text in the store stays the exact slice. An index with titles and one
    /// without do not mix.
    ///
    /// With all-MiniLM-L6-v2 and a handbook cut into chunks of 100 tokens, the right passage of 60 questions was among four
    /// 56 times with titles and 55 times without, and questions without an answer were told apart slightly better.
    pub fn with_titles(mut self) -> Self {
        self.titles = true;
        self
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn VectorStore> {
        &self.store
    }

    /// The embedder.
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.embedder
    }

    /// The records.
    pub fn records(&self) -> &Arc<dyn RecordStore> {
        &self.records
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The embedder's own tokenizer, so that a splitter measures in the tokens that count.
    ///
    /// # Errors
    /// Kind `Unsupported` if the embedder has none.
    pub fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>> {
        self.embedder.tokenizer().ok_or_else(|| {
            Error::unsupported("this embedder has no tokenizer of its own; split by characters instead")
                .with_context("embedder", self.embedder.info().model.clone())
        })
    }

    /// Number of chunks in the index.
    ///
    /// # Errors
    /// The store's own.
    pub async fn count(&self) -> Result<u64> {
        self.store.count(&CountRequest::new().with_namespace(&self.namespace)).await
    }

    /// Brings the loader's documents in; await it, or set options first.
    pub fn ingest(
        &self,
        loader: impl DocumentLoader + 'static,
        splitter: impl TextSplitter + 'static,
    ) -> Ingest {
        Ingest::new(self.clone(), Arc::new(loader), Arc::new(splitter))
    }

    /// Search by vector and by words where the store can do both, else by vector.
    pub fn retriever(&self) -> FusedRetriever {
        FusedRetriever::new(self.clone())
    }

    /// Search by vector alone.
    pub fn dense(&self) -> DenseRetriever {
        DenseRetriever::new(self.clone())
    }

    /// Search by words alone; needs a store that can.
    pub fn lexical(&self) -> LexicalRetriever {
        LexicalRetriever::new(self.clone())
    }

    /// How this index's embedder is named among the facts.
    pub(crate) fn embedder_name(&self) -> String {
        let info = self.embedder.info();
        let titles = if self.titles { ", under titles" } else { "" };
        format!("{} ({} dimensions{titles})", info.model, info.dimensions)
    }

    /// Refuses to ask with another embedder than the one that made the index.
    pub(crate) async fn check_embedder(&self) -> Result<()> {
        match self.records.fact(&self.namespace, EMBEDDER_FACT).await? {
            Some(made_with) if made_with != self.embedder_name() => {
                Err(other_embedder(&made_with, &self.embedder_name()))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn other_embedder(made_with: &str, asked_with: &str) -> Error {
    Error::config("the index was made with another embedder; their vectors cannot be compared")
        .with_context("index", made_with)
        .with_context("embedder", asked_with)
}
