//! Before the first write: do index, embedder, store and records belong together? And after the last: what has to go?

use std::collections::HashSet;

use katena_core::{CountRequest, DeleteRequest, Error, Result, Selector};

use super::{Rebuild, Work};
use crate::index::{EMBEDDER_FACT, SPLITTER_FACT, other_embedder};

impl Work {
    /// Refuses, or with `rebuild` throws away, an index that another embedder made.
    pub(super) async fn check_facts(&self, rebuild: Rebuild) -> Result<()> {
        let index = &self.index;
        if index.own_records && index.store.info().capabilities.durable {
            return Err(Error::config(
                "a durable store needs records that are kept as well; name them by `with_records`",
            )
            .with_context("store", index.store.info().engine.clone()));
        }
        let (ns, mine) = (&index.namespace, index.embedder_name());
        // Counted before the facts are read: whoever else is at work here sets the fact before its first chunk.
        let stored = self.stored().await?;
        match index.records.fact(ns, EMBEDDER_FACT).await? {
            _ if rebuild == Rebuild::Always => self.throw_away("asked for".to_owned()).await?,
            Some(made_with) if made_with != mine => {
                if rebuild == Rebuild::Never {
                    return Err(other_embedder(&made_with, &mine));
                }
                self.throw_away(format!("made with the embedder {made_with}, now {mine}")).await?;
            }
            None if stored > 0 => {
                let what = "the store holds chunks that the records know nothing of";
                if rebuild == Rebuild::Never {
                    return Err(Error::config(format!(
                        "{what}; name the records that belong to it, another namespace, or choose to rebuild"
                    ))
                    .with_context("chunks", stored.to_string()));
                }
                self.throw_away(what.to_owned()).await?;
            }
            _ if stored == 0 && self.expects_chunks().await? && self.stored().await? == 0 => {
                self.throw_away("the store was empty although the records name chunks".to_owned()).await?;
            }
            _ => {}
        }
        index.records.set_fact(ns, EMBEDDER_FACT, &mine).await?;
        let splitter = self.splitter.fingerprint();
        let before = index.records.fact(ns, SPLITTER_FACT).await?;
        if before.as_ref() != Some(&splitter) {
            index.records.set_fact(ns, SPLITTER_FACT, &splitter).await?;
            self.report().splitter_was = before;
        }
        Ok(())
    }

    async fn stored(&self) -> Result<u64> {
        self.index.store.count(&CountRequest::new().with_namespace(&self.index.namespace)).await
    }

    /// True if some source is recorded as completely in, with chunks.
    async fn expects_chunks(&self) -> Result<bool> {
        let (records, ns) = (&self.index.records, &self.index.namespace);
        for uri in records.uris(ns, None).await? {
            if records.get(ns, &uri).await?.is_some_and(|r| r.complete && !r.chunks.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn throw_away(&self, why: String) -> Result<()> {
        let (index, ns) = (&self.index, &self.index.namespace);
        // Until all is gone no embedder fits, so that a crash in between is noticed by whoever comes next.
        index.records.set_fact(ns, EMBEDDER_FACT, "none: a rebuild was interrupted").await?;
        let all = DeleteRequest::new(Selector::All).with_namespace(ns).with_context(self.context.clone());
        let gone = index.store.delete(&all).await?;
        index.records.clear(ns).await?;
        tracing::info!(reason = %why, chunks = gone, "the index is made anew");
        let mut report = self.report();
        report.chunks_removed += gone;
        report.rebuilt = Some(why);
        Ok(())
    }

    /// Removes the scope's sources that are not in a complete listing.
    pub(super) async fn remove_unlisted(&self, listed: &HashSet<String>) -> Result<()> {
        let (index, ns) = (&self.index, &self.index.namespace);
        for uri in index.records.uris(ns, Some(&self.scope)).await? {
            if listed.contains(&uri) {
                continue;
            }
            self.context.check()?;
            let Some(record) = index.records.get(ns, &uri).await? else { continue };
            let gone = self.delete(&record.chunks).await?;
            index.records.remove(ns, &uri).await?;
            self.count(|r| {
                r.removed += 1;
                r.chunks_removed += gone;
            });
        }
        Ok(())
    }

    /// Deletes chunks, a bounded number in one request.
    pub(super) async fn delete(&self, ids: &[String]) -> Result<u64> {
        let mut gone = 0;
        for ids in ids.chunks(super::plan::IDS_AT_ONCE) {
            let request = DeleteRequest::ids(ids.iter().cloned())
                .with_namespace(&self.index.namespace)
                .with_context(self.context.clone());
            gone += self.index.store.delete(&request).await?;
        }
        Ok(gone)
    }
}
