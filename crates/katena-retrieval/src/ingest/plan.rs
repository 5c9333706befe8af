//! The producing half: load, gather, hash, split, and find out what is to be done.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use katena_core::{
    Document, DocumentStream, Error, GetRequest, Record, Result, Source, SourceRecord, UpsertRequest,
};
use tokio::sync::mpsc::Sender;

use super::Work;
use super::source::{Gathered, cut, hash};

/// Ids in one request to the store.
pub(super) const IDS_AT_ONCE: usize = 256;

/// A source on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) source: Source,
    pub(super) before: Option<SourceRecord>,
    pub(super) after: SourceRecord,
    /// Chunks that were in with the same text at another place, or with other metadata.
    pub(super) moved: Vec<Document>,
    pub(super) reused: usize,
    pub(super) remaining: AtomicUsize,
    pub(super) error: Mutex<Option<Error>>,
}

/// A chunk to be embedded and written.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) of: Arc<Incoming>,
    pub(super) chunk: Document,
}

/// CPU work off the async threads, where there is a runtime to take it.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => match runtime.spawn_blocking(work).await {
            Ok(result) => result,
            Err(e) => Err(Error::unexpected("splitting the document did not come to an end").with_source(e)),
        },
        Err(_) => work(),
    }
}

impl Work {
    /// Loads everything and sends the chunks that need embedding. Gives the addresses listed, if the listing is complete.
    pub(super) async fn produce(
        &self,
        mut documents: DocumentStream,
        sender: Sender<Piece>,
    ) -> Result<Option<HashSet<String>>> {
        let mut listed: HashSet<String> = HashSet::new();
        let mut whole = true;
        let mut open: Option<Gathered> = None;
        while let Some(item) = documents.next().await {
            self.context.check()?;
            let (uri, part) = match &item {
                Ok(part) => (part.source.uri.clone(), None),
                Err(error) => match error.context("uri") {
                    Some(uri) => (uri.to_owned(), Some(error.clone())),
                    None => {
                        whole = false;
                        tracing::warn!(%error, "the listing is not complete");
                        self.count(|r| r.failed.push((Source::default(), error.clone())));
                        continue;
                    }
                },
            };
            if open.as_ref().is_none_or(|g| g.source.uri != uri) {
                if let Some(done) = open.take() {
                    self.take_in(done, &sender).await?;
                }
                let again = !listed.insert(uri.clone());
                let error = again.then(|| {
                    Error::invalid_input("the loader gave the parts of one address apart from each other")
                        .with_context("uri", uri.clone())
                });
                open = Some(Gathered { source: Source::new(uri), parts: Vec::new(), error });
            }
            let Some(gathered) = &mut open else { continue };
            match (item, part) {
                (Ok(part), _) if gathered.error.is_none() => {
                    if gathered.parts.is_empty() {
                        gathered.source.title.clone_from(&part.source.title);
                        gathered.source.mime.clone_from(&part.source.mime);
                    }
                    gathered.parts.push(part);
                }
                (_, Some(error)) => {
                    gathered.parts.clear();
                    gathered.error.get_or_insert(error);
                }
                _ => {}
            }
        }
        if let Some(done) = open.take() {
            self.take_in(done, &sender).await?;
        }
        Ok(whole.then_some(listed))
    }

    /// Brings one source in, or notes why not.
    async fn take_in(&self, gathered: Gathered, sender: &Sender<Piece>) -> Result<()> {
        let Gathered { source, parts, error } = gathered;
        if let Some(error) = error {
            self.failed(source, error);
            return Ok(());
        }
        if source.uri.is_empty() {
            self.failed(source, Error::invalid_input("the document's source has no address"));
            return Ok(());
        }
        let (index, ns) = (&self.index, &self.index.namespace);
        let before = index.records.get(ns, &source.uri).await?;
        let (splitter, embedder, long) = (self.splitter.clone(), index.embedder.clone(), self.long_chunks);
        let titles = index.titles;
        let known = before.as_ref().filter(|r| r.complete).map(|r| r.hash.clone());
        let uri = source.uri.clone();
        let work = move || {
            let hash = hash(&parts, &*splitter)?;
            if known.as_ref() == Some(&hash) {
                return Ok((hash, None));
            }
            let chunks = cut(&uri, &parts, &*splitter, &*embedder, long, titles)?;
            Ok((hash, Some(chunks)))
        };
        match off_thread(work).await {
            Ok((_, None)) => self.unchanged(before).await,
            Ok((hash, Some(chunks))) => self.changed(source, before, hash, chunks, sender).await,
            Err(error) => {
                self.failed(source, error);
                Ok(())
            }
        }
    }

    pub(super) fn failed(&self, source: Source, error: Error) {
        tracing::warn!(uri = %source.uri, %error, "a document is not in");
        self.count(|r| r.failed.push((source, error)));
    }

    async fn unchanged(&self, before: Option<SourceRecord>) -> Result<()> {
        let Some(mut record) = before else { return Ok(()) };
        let chunks = record.chunks.len() as u64;
        if record.scope != self.scope {
            record.scope.clone_from(&self.scope);
            self.index.records.put(&self.index.namespace, record).await?;
        }
        self.count(|r| {
            r.chunks_skipped += chunks;
            *(if chunks == 0 { &mut r.empty } else { &mut r.unchanged }) += 1;
        });
        Ok(())
    }

    async fn changed(
        &self,
        source: Source,
        before: Option<SourceRecord>,
        hash: String,
        chunks: Vec<Document>,
        sender: &Sender<Piece>,
    ) -> Result<()> {
        let ids: Vec<String> = chunks.iter().map(|c| c.id.clone()).collect();
        let after = SourceRecord::new(&self.scope, &source.uri, hash, ids);
        let known: HashSet<&str> = before.iter().flat_map(|r| &r.chunks).map(String::as_str).collect();

        let mut pending = after.clone();
        let new: HashSet<&str> = after.chunks.iter().map(String::as_str).collect();
        pending.chunks.extend(known.iter().filter(|id| !new.contains(*id)).map(|id| (*id).to_owned()));
        self.index.records.put(&self.index.namespace, pending).await?;

        let (fresh, moved, reused) = match self.compare(chunks, &known).await {
            Ok(found) => found,
            Err(error) => return self.settle_failed(source, before, &after, error).await,
        };
        let remaining = AtomicUsize::new(fresh.len());
        let error = Mutex::default();
        let of = Arc::new(Incoming { source, before, after, moved, reused, remaining, error });
        if fresh.is_empty() {
            return self.settle(&of).await;
        }
        for chunk in fresh {
            if sender.send(Piece { of: of.clone(), chunk }).await.is_err() {
                // The other half has ended, with the error that will be reported.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Which chunks need embedding, which are in but have moved, and how many are in at all.
    async fn compare(
        &self,
        chunks: Vec<Document>,
        known: &HashSet<&str>,
    ) -> Result<(Vec<Document>, Vec<Document>, usize)> {
        let (mut fresh, mut moved, mut reused) = (Vec::new(), Vec::new(), 0);
        let (maybe, new): (Vec<_>, Vec<_>) = chunks.into_iter().partition(|c| known.contains(c.id.as_str()));
        fresh.extend(new);
        let mut maybe = maybe.into_iter().peekable();
        while maybe.peek().is_some() {
            let some: Vec<Document> = maybe.by_ref().take(IDS_AT_ONCE).collect();
            let mut there = self.get(&some).await?.into_iter().peekable();
            for chunk in some {
                match there.next_if(|r| r.document.id == chunk.id) {
                    None => fresh.push(chunk),
                    Some(record) => {
                        reused += 1;
                        if record.document != chunk {
                            moved.push(chunk);
                        }
                    }
                }
            }
        }
        Ok((fresh, moved, reused))
    }

    async fn get(&self, chunks: &[Document]) -> Result<Vec<Record>> {
        let request = GetRequest::new(chunks.iter().map(|c| c.id.as_str()))
            .with_namespace(&self.index.namespace)
            .with_context(self.context.clone());
        self.index.store.get(&request).await
    }

    /// Gives chunks that are in their new place, with the vectors they have.
    pub(super) async fn update_moved(&self, moved: &[Document]) -> Result<()> {
        for some in moved.chunks(IDS_AT_ONCE) {
            let mut records = self.get(some).await?;
            if records.len() != some.len() {
                return Err(Error::unexpected("chunks vanished from the store during the ingestion"));
            }
            for (record, chunk) in records.iter_mut().zip(some) {
                record.document = chunk.clone();
            }
            let request = UpsertRequest::new(records)
                .with_namespace(&self.index.namespace)
                .with_context(self.context.clone());
            self.index.store.upsert(request).await?;
        }
        Ok(())
    }
}
