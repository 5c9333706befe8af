//! Checkpoints that live as long as the process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::checkpoint::{Checkpoint, CheckpointInfo, CheckpointStore, EffectKey};
use crate::error::Result;

#[derive(Default)]
struct Thread {
    checkpoints: Vec<Checkpoint>,
    effects: HashMap<EffectKey, String>,
}

/// A checkpoint store that lives as long as the process: for tests, and for questions to a person within one process.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{CheckpointStore, MemoryCheckpoints};
/// let store = MemoryCheckpoints::new();
/// assert!(store.latest("thread").await?.is_none());
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Default)]
pub struct MemoryCheckpoints(Mutex<HashMap<String, Thread>>);

impl fmt::Debug for MemoryCheckpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryCheckpoints")
    }
}

impl MemoryCheckpoints {
    /// No threads.
    pub fn new() -> Self {
        Self::default()
    }

    fn threads(&self) -> MutexGuard<'_, HashMap<String, Thread>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    fn owned_by(&self, owner: u64) -> bool {
        self.checkpoints.last().is_some_and(|c| c.info.owner == owner)
    }
}

#[async_trait]
impl CheckpointStore for MemoryCheckpoints {
    async fn put(&self, thread: &str, checkpoint: Checkpoint) -> Result<()> {
        let mut threads = self.threads();
        let newest = threads.get(thread).and_then(|t| t.checkpoints.last());
        checkpoint.info.check_follows(thread, newest.map(|c| (c.info.step, c.info.owner)))?;
        threads.entry(thread.to_owned()).or_default().checkpoints.push(checkpoint);
        Ok(())
    }

    async fn latest(&self, thread: &str) -> Result<Option<Checkpoint>> {
        Ok(self.threads().get(thread).and_then(|t| t.checkpoints.last().cloned()))
    }

    async fn get(&self, thread: &str, step: u64) -> Result<Option<Checkpoint>> {
        let Ok(step) = usize::try_from(step) else { return Ok(None) };
        Ok(self.threads().get(thread).and_then(|t| t.checkpoints.get(step).cloned()))
    }

    async fn list(&self, thread: &str) -> Result<Vec<CheckpointInfo>> {
        let threads = self.threads();
        let checkpoints = threads.get(thread).map_or(&[][..], |t| &t.checkpoints);
        Ok(checkpoints.iter().map(|c| c.info.clone()).collect())
    }

    async fn delete(&self, thread: &str) -> Result<()> {
        self.threads().remove(thread);
        Ok(())
    }

    async fn effect(&self, thread: &str, owner: u64, key: &EffectKey) -> Result<Option<String>> {
        match self.threads().get(thread) {
            Some(t) if t.owned_by(owner) => Ok(t.effects.get(key).cloned()),
            _ => Err(Checkpoint::conflict(thread)),
        }
    }

    async fn record_effect(&self, thread: &str, owner: u64, key: EffectKey, result: String) -> Result<()> {
        match self.threads().get_mut(thread) {
            Some(t) if t.owned_by(owner) && !t.effects.contains_key(&key) => {
                t.effects.insert(key, result);
                Ok(())
            }
            _ => Err(Checkpoint::conflict(thread)),
        }
    }
}
