//! What an ingestion did.

use std::sync::Arc;

use katena_core::{Error, Result, Source, Usage};

/// What an ingestion did. A document is one source address here; its pages or rows are its parts. Each document that
/// the loader named is counted once.
#[must_use = "documents may have failed; look at `failed` or call `.complete()?`"]
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct IngestReport {
    /// Documents that were not in before.
    pub added: u64,
    /// Documents that are in as they are; the store was not touched.
    pub unchanged: u64,
    /// Documents that were in and differ now, or were cut by another splitter.
    pub replaced: u64,
    /// Documents that were in and are no longer listed (only with `mirror`).
    pub removed: u64,
    /// Documents without any text to find.
    pub empty: u64,
    /// Documents that are not in, or only as they were before, and why. An empty address: the listing itself failed.
    pub failed: Vec<(Source, Error)>,
    /// Chunks that were embedded and written.
    pub chunks_embedded: u64,
    /// Chunks of changed documents whose vectors were there already.
    pub chunks_reused: u64,
    /// Chunks of unchanged documents.
    pub chunks_skipped: u64,
    /// Chunks that were deleted.
    pub chunks_removed: u64,
    /// Why everything that was in was thrown away first, if it was.
    pub rebuilt: Option<String>,
    /// The splitter that cut the index before, if it was another one.
    pub splitter_was: Option<String>,
    /// The embedder's token counts.
    pub usage: Usage,
}

impl IngestReport {
    /// Number of documents that the loader named; removed ones not among them.
    pub fn documents(&self) -> u64 {
        self.added + self.unchanged + self.replaced + self.empty + self.failed.len() as u64
    }

    /// This report, if every document is in; shared, so that it may be left unread.
    ///
    /// # Errors
    /// The first document's failure, with the number of failed ones.
    pub fn complete(self) -> Result<Arc<Self>> {
        match self.failed.first() {
            None => Ok(Arc::new(self)),
            Some((source, error)) => {
                let error = if error.context("uri").is_none() && !source.uri.is_empty() {
                    error.clone().with_context("uri", source.uri.clone())
                } else {
                    error.clone()
                };
                Err(error.with_context("failed documents", self.failed.len().to_string()))
            }
        }
    }
}

/// How far an ingestion is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestProgress {
    /// Documents of which the outcome is known.
    pub documents: u64,
    /// Documents that failed so far.
    pub failed: u64,
    /// Chunks embedded so far.
    pub chunks_embedded: u64,
    /// Chunks that needed no embedding so far.
    pub chunks_skipped: u64,
}

/// Hears of an ingestion's progress; called often, so it must be quick.
pub type ProgressFn = Arc<dyn Fn(&IngestProgress) + Send + Sync>;
