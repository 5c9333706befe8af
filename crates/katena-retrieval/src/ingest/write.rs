//! The consuming half: embed, write, and settle each source once its last chunk is known to be in or not.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use katena_core::{EmbedRequest, Error, ErrorKind, Record, Result, Source, SourceRecord, UpsertRequest};

use super::Work;
use super::plan::{Incoming, Piece};
use super::source::embedded;

/// After so many lone chunks in a row failed for a reason that may pass, the service counts as away.
const LONE_FAILURES: usize = 4;

impl Incoming {
    fn fail(&self, error: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn has_failed(&self) -> bool {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Work {
    /// Embeds and writes a batch, then settles the sources that are through.
    pub(super) async fn write(&self, batch: Vec<Piece>) -> Result<()> {
        self.context.check()?;
        // A source that has failed already needs no more work.
        let (dead, live) = batch.into_iter().partition(|p| p.of.has_failed());
        self.through(dead).await?;
        let mut parts = vec![live];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.embed_and_upsert(&part).await {
                Ok(()) => {
                    self.lone_failures.store(0, Ordering::Relaxed);
                    self.count(|r| r.chunks_embedded += part.len() as u64);
                    self.through(part).await?;
                }
                Err(error) if is_fatal(&error) => return Err(error),
                Err(error) if part.len() == 1 => {
                    if error.is_temporary()
                        && self.lone_failures.fetch_add(1, Ordering::Relaxed) + 1 >= LONE_FAILURES
                    {
                        return Err(error);
                    }
                    part[0].of.fail(error);
                    self.through(part).await?;
                }
                Err(error) => {
                    tracing::debug!(%error, chunks = part.len(), "a batch was refused and is halved");
                    let rest = part.split_off(part.len() / 2);
                    parts.push(rest);
                    parts.push(part);
                }
            }
        }
        Ok(())
    }

    async fn embed_and_upsert(&self, pieces: &[Piece]) -> Result<()> {
        let request = EmbedRequest::documents(pieces.iter().map(|p| embedded(&p.chunk, self.index.titles)))
            .with_context(self.context.clone());
        let response = self.index.embedder.embed(&request).await?;
        self.report().usage += response.usage;
        if response.vectors.len() != pieces.len() {
            return Err(Error::invalid_output("the embedder did not give one vector for each text"));
        }
        let records =
            pieces.iter().zip(response.vectors).map(|(p, v)| Record::new(p.chunk.clone(), v)).collect();
        let request = UpsertRequest::new(records)
            .with_namespace(&self.index.namespace)
            .with_context(self.context.clone());
        self.index.store.upsert(request).await
    }

    /// These chunks are decided; a source whose last one is among them gets settled.
    async fn through(&self, pieces: Vec<Piece>) -> Result<()> {
        for piece in pieces {
            if piece.of.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.settle(&piece.of).await?;
            }
        }
        Ok(())
    }

    /// Every chunk is in, or the source has failed: make it so.
    pub(super) async fn settle(&self, of: &Incoming) -> Result<()> {
        let error = of.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (source, before) = (of.source.clone(), of.before.clone());
        if let Some(error) = error {
            return self.settle_failed(source, before, &of.after, error).await;
        }
        let new: HashSet<&String> = of.after.chunks.iter().collect();
        let stale: Vec<String> =
            before.iter().flat_map(|r| &r.chunks).filter(|id| !new.contains(id)).cloned().collect();
        let finished = async {
            self.update_moved(&of.moved).await?;
            self.delete(&stale).await
        };
        match finished.await {
            Ok(gone) => {
                let (records, ns) = (&self.index.records, &self.index.namespace);
                let now = records.get(ns, &source.uri).await?;
                if now.is_none_or(|r| r.hash != of.after.hash) {
                    // Nothing is taken back: the chunks may be the other one's by now, and its record names them.
                    let error =
                        Error::new(ErrorKind::Unavailable, "somebody else changed the index meanwhile");
                    self.failed(source, error);
                    return Ok(());
                }
                records.put(ns, of.after.clone().with_complete()).await?;
                let replaced = before.is_some_and(|r| r.complete);
                self.count(|r| {
                    r.chunks_removed += gone;
                    r.chunks_reused += of.reused as u64;
                    *match (of.after.chunks.is_empty(), replaced) {
                        (true, _) => &mut r.empty,
                        (false, true) => &mut r.replaced,
                        (false, false) => &mut r.added,
                    } += 1;
                });
                Ok(())
            }
            Err(error) if is_fatal(&error) => Err(error),
            // Chunks may be in their new place already; the record stays open and the next run finishes.
            Err(error) => {
                self.failed(source, error);
                Ok(())
            }
        }
    }

    /// Takes out what this run brought in of a failed source, so that it is as it was before.
    pub(super) async fn settle_failed(
        &self,
        source: Source,
        before: Option<SourceRecord>,
        after: &SourceRecord,
        error: Error,
    ) -> Result<()> {
        let old: HashSet<&String> = before.iter().flat_map(|r| &r.chunks).collect();
        let fresh: Vec<String> = after.chunks.iter().filter(|id| !old.contains(id)).cloned().collect();
        match self.delete(&fresh).await {
            Ok(_) => {
                let (records, ns) = (&self.index.records, &self.index.namespace);
                match before {
                    Some(record) => records.put(ns, record).await?,
                    None => records.remove(ns, &source.uri).await?,
                }
            }
            // The record stays open, so the next run knows what may be there.
            Err(error) => {
                tracing::warn!(uri = %source.uri, %error, "a failed document's chunks stay for now");
            }
        }
        self.failed(source, error);
        Ok(())
    }
}

/// Reasons that hold for every document alike.
fn is_fatal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Config
            | ErrorKind::Unauthenticated
            | ErrorKind::PermissionDenied
            | ErrorKind::QuotaExceeded
            | ErrorKind::Budget
            | ErrorKind::Cancelled
    )
}
