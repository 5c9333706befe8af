//! Checkpoint stores with faults.

use async_trait::async_trait;
use katena_core::*;

use super::caught;

/// A checkpoint store with one fault.
#[derive(Debug)]
struct Checkpoints(MemoryCheckpoints, Fault);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    KnowsAll,
    LosesBodies,
    TakesAnyStep,
    TakesAnyOwner,
    NewestFirst,
    Overwrites,
    OneThread,
    KeepsEffects,
    ManyWinners,
    CutsText,
}

fn checkpoints(fault: Fault) -> Checkpoints {
    Checkpoints(MemoryCheckpoints::new(), fault)
}

impl Checkpoints {
    fn thread<'n>(&self, thread: &'n str) -> &'n str {
        if self.1 == Fault::OneThread { "" } else { thread }
    }

    /// The owner's number, or the true one where anybody may write.
    async fn owner(&self, thread: &str, owner: u64) -> Result<u64> {
        let newest = self.0.latest(thread).await?;
        Ok(newest.filter(|_| self.1 == Fault::TakesAnyOwner).map_or(owner, |c| c.info.owner))
    }
}

#[async_trait]
impl CheckpointStore for Checkpoints {
    async fn put(&self, thread: &str, mut checkpoint: Checkpoint) -> Result<()> {
        let thread = self.thread(thread);
        if self.1 == Fault::LosesBodies {
            checkpoint.body = String::new();
        }
        if self.1 == Fault::CutsText {
            checkpoint.body.truncate(50);
        }
        if self.1 == Fault::TakesAnyOwner && checkpoint.info.owner != checkpoint.info.step {
            checkpoint.info.owner = self.owner(thread, checkpoint.info.owner).await?;
        }
        match self.0.put(thread, checkpoint).await {
            Err(_) if matches!(self.1, Fault::TakesAnyStep | Fault::ManyWinners) => Ok(()),
            done => done,
        }
    }
    async fn latest(&self, thread: &str) -> Result<Option<Checkpoint>> {
        self.0.latest(self.thread(thread)).await
    }
    async fn get(&self, thread: &str, step: u64) -> Result<Option<Checkpoint>> {
        self.0.get(self.thread(thread), step).await
    }
    async fn list(&self, thread: &str) -> Result<Vec<CheckpointInfo>> {
        let mut all = self.0.list(self.thread(thread)).await?;
        if self.1 == Fault::NewestFirst {
            all.reverse();
        }
        Ok(all)
    }
    async fn delete(&self, thread: &str) -> Result<()> {
        if self.1 == Fault::KeepsEffects { Ok(()) } else { self.0.delete(self.thread(thread)).await }
    }
    async fn effect(&self, thread: &str, owner: u64, key: &EffectKey) -> Result<Option<String>> {
        let thread = self.thread(thread);
        match self.0.effect(thread, self.owner(thread, owner).await?, key).await {
            Err(_) if self.1 == Fault::KnowsAll => Ok(Some("null".into())),
            done => done,
        }
    }
    async fn record_effect(&self, thread: &str, owner: u64, key: EffectKey, result: String) -> Result<()> {
        let thread = self.thread(thread);
        match self.0.record_effect(thread, self.owner(thread, owner).await?, key, result).await {
            Err(_) if self.1 == Fault::Overwrites => Ok(()),
            done => done,
        }
    }
}

katena_testkit::checkpoint_store_contract!(right_checkpoints, async { checkpoints(Fault::None) });

caught! {
    checkpoints_of_unknown_threads: checkpoint_store::starts_empty(checkpoints(Fault::KnowsAll));
    checkpoints_without_bodies: checkpoint_store::put_then_get(checkpoints(Fault::LosesBodies));
    checkpoints_of_any_step: checkpoint_store::put_is_compare_and_set(checkpoints(Fault::TakesAnyStep));
    checkpoints_of_any_owner: checkpoint_store::only_the_owner_writes(checkpoints(Fault::TakesAnyOwner));
    checkpoints_in_the_wrong_order: checkpoint_store::list_is_in_order(checkpoints(Fault::NewestFirst));
    effects_recorded_twice: checkpoint_store::effects_are_recorded_once(checkpoints(Fault::Overwrites));
    checkpoints_of_one_thread: checkpoint_store::threads_are_apart(checkpoints(Fault::OneThread));
    checkpoints_that_stay: checkpoint_store::delete_forgets(checkpoints(Fault::KeepsEffects));
    checkpoints_of_many_winners: checkpoint_store::concurrent_puts_have_one_winner(checkpoints(Fault::ManyWinners));
    checkpoints_that_are_cut: checkpoint_store::any_text_survives(checkpoints(Fault::CutsText));
}
