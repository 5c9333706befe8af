//! Ingestion: documents in, chunk by chunk, and only what is new.
//!
//! How it goes for one source (an address with its pages or rows), so that a crash at any moment is repaired by running
//! again:
//! 1. Hash its documents and the splitter's fingerprint. The record says the same, complete: nothing to do.
//! 2. Split; name each chunk by a hash of address, text and occurrence. Put a record that is *not* complete and names
//!    every old and new chunk, before the first write.
//! 3. Embed and write the chunks that the store does not have, in batches that cross sources.
//! 4. When all are in: bring moved chunks up to date, delete those that are gone, put the complete record.
//!
//! A source of which a chunk is refused goes back to what it was.

mod guard;
mod plan;
mod report;
mod source;
mod write;

use std::fmt;
use std::future::IntoFuture;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use katena_core::{Context, DocumentLoader, Result, TextSplitter};

pub use report::{IngestProgress, IngestReport, ProgressFn};

use crate::index::VectorIndex;

/// What happens to chunks that are longer than the embedder reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LongChunks {
    /// Their document fails with the reason, before anything of it is written (needs the embedder's tokenizer).
    #[default]
    Refuse,
    /// The embedder truncates or refuses them, as it was set up.
    LeaveToEmbedder,
}

/// An ingestion that starts when it is awaited.
///
/// Documents are loaded and split while others are embedded; what waits in between is bounded, so memory depends on the
/// largest single source and not on the number of sources. Dropping the future stops it; running it again repairs.
///
/// # Errors
/// A document's failure is in the report. The whole ends with an error if it cannot go on: cancelled, credentials,
/// another embedder than the index was made with, records that cannot be read, or a service that stays away.
#[must_use = "an ingestion does nothing until it is awaited"]
pub struct Ingest {
    index: VectorIndex,
    loader: Arc<dyn DocumentLoader>,
    splitter: Arc<dyn TextSplitter>,
    scope: String,
    mirror: bool,
    rebuild: Rebuild,
    long_chunks: LongChunks,
    batch: usize,
    concurrency: usize,
    context: Context,
    progress: Option<ProgressFn>,
}

/// Whether what is there is thrown away first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rebuild {
    Never,
    OnChange,
    Always,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest")
            .field("index", &self.index)
            .field("loader", &self.loader)
            .field("splitter", &self.splitter)
            .field("scope", &self.scope)
            .field("mirror", &self.mirror)
            .field("batch", &self.batch)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

impl Ingest {
    pub(crate) fn new(
        index: VectorIndex,
        loader: Arc<dyn DocumentLoader>,
        splitter: Arc<dyn TextSplitter>,
    ) -> Self {
        Self {
            index,
            loader,
            splitter,
            scope: String::new(),
            mirror: false,
            rebuild: Rebuild::Never,
            long_chunks: LongChunks::default(),
            batch: 32,
            concurrency: 2,
            context: Context::new(),
            progress: None,
        }
    }

    /// Records the documents under this scope; deletes nothing.
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// Makes the scope hold exactly what the loader lists: documents of this scope that are no longer listed go, if the
    /// listing was complete. A document that fails to load keeps what is in.
    pub fn mirror(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self.mirror = true;
        self
    }

    /// If the index was made with another embedder, throws away everything in its namespace and starts anew, instead of
    /// refusing. The report says so in [`rebuilt`](IngestReport::rebuilt).
    pub fn rebuild_on_change(mut self) -> Self {
        if self.rebuild == Rebuild::Never {
            self.rebuild = Rebuild::OnChange;
        }
        self
    }

    /// Throws the namespace away and makes it anew, whatever is there.
    pub fn rebuild(mut self) -> Self {
        self.rebuild = Rebuild::Always;
        self
    }

    /// Says what happens to chunks that are longer than the embedder reads.
    pub fn with_long_chunks(mut self, long_chunks: LongChunks) -> Self {
        self.long_chunks = long_chunks;
        self
    }

    /// Embeds so many chunks in one request (default 32, at least 1).
    pub fn with_batch(mut self, chunks: usize) -> Self {
        self.batch = chunks.max(1);
        self
    }

    /// Has so many requests to embedder and store under way at once (default 2, at least 1).
    pub fn with_concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests.max(1);
        self
    }

    /// Sets labels, deadline and cancel signal of every request.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Tells of the progress.
    pub fn with_progress(mut self, progress: ProgressFn) -> Self {
        self.progress = Some(progress);
        self
    }

    async fn run(self) -> Result<IngestReport> {
        self.context.check()?;
        let job = Work {
            index: self.index,
            splitter: self.splitter,
            scope: self.scope,
            long_chunks: self.long_chunks,
            context: self.context,
            progress: self.progress,
            report: Mutex::default(),
            lone_failures: AtomicUsize::new(0),
        };
        job.check_facts(self.rebuild).await?;

        // No task is spawned: both halves move while this future is polled. What may wait between them is bounded.
        let (sender, mut receiver) = tokio::sync::mpsc::channel(self.batch * self.concurrency.max(2));
        let produce = job.produce(self.loader.load(), sender);
        let consume = async {
            let batches = stream::poll_fn(move |cx| receiver.poll_recv(cx)).chunks(self.batch);
            let mut settled = batches.map(|batch| job.write(batch)).buffer_unordered(self.concurrency);
            while let Some(result) = settled.next().await {
                result?;
            }
            Ok(())
        };
        let guarded = async { futures_util::future::try_join(produce, consume).await };
        let (listed, ()) = job.context.cancel.guard(guarded).await?;

        if self.mirror
            && let Some(listed) = listed
        {
            job.remove_unlisted(&listed).await?;
        }
        job.tell();
        Ok(job.report.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl IntoFuture for Ingest {
    type Output = Result<IngestReport>;
    type IntoFuture = BoxFuture<'static, Result<IngestReport>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// What both halves of a running ingestion share.
struct Work {
    index: VectorIndex,
    splitter: Arc<dyn TextSplitter>,
    scope: String,
    long_chunks: LongChunks,
    context: Context,
    progress: Option<ProgressFn>,
    report: Mutex<IngestReport>,
    /// Lone chunks in a row that failed for a reason that may pass.
    lone_failures: AtomicUsize,
}

impl Work {
    fn report(&self) -> MutexGuard<'_, IngestReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl FnOnce(&mut IngestReport)) {
        change(&mut self.report());
        self.tell();
    }

    fn tell(&self) {
        if let Some(progress) = &self.progress {
            let now = {
                let r = self.report();
                IngestProgress {
                    documents: r.documents(),
                    failed: r.failed.len() as u64,
                    chunks_embedded: r.chunks_embedded,
                    chunks_skipped: r.chunks_skipped + r.chunks_reused,
                }
            };
            progress(&now);
        }
    }
}
