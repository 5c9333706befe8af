//! Work on conversations off the caller's path.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use katena_core::{Context, Error, Result};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// When a memory condenses what was said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compaction {
    /// In a task of its own after each record, one a session at a time. Needs a tokio runtime. The memory's `settle` waits
    /// for it and gives its error, which is also logged as a warning; the next record tries again.
    #[default]
    Background,
    /// As a part of each record, under its context; its error is the record's, though the turn is kept.
    Inline,
    /// Only when the memory's `compact` is called.
    Manual,
}

/// The tasks of one memory.
#[derive(Default)]
pub(super) struct Background(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Sessions at work, and whether there is more to do for them.
    sessions: Mutex<HashMap<String, bool>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    error: Mutex<Option<Error>>,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the session off the list also when the work panics.
struct AtWork {
    shared: Arc<Shared>,
    session: String,
    is_off: bool,
}

impl AtWork {
    fn leave(mut self, sessions: &mut HashMap<String, bool>) {
        sessions.remove(&self.session);
        self.is_off = true;
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if !self.is_off {
            lock(&self.shared.sessions).remove(&self.session);
        }
    }
}

impl Background {
    /// Fails where the tasks could not run, before anything is written.
    pub(super) fn check(compaction: Compaction) -> Result<()> {
        if compaction == Compaction::Background { Self::runtime().map(drop) } else { Ok(()) }
    }

    /// The runtime that tasks will run on.
    fn runtime() -> Result<Handle> {
        let message = "compaction in the background needs a tokio runtime; choose another kind of Compaction";
        Handle::try_current().map_err(|e| Error::config(message).with_source(e))
    }

    /// Does `work` on a session, after what is already being done on it.
    fn spawn<F>(&self, runtime: &Handle, session: &str, work: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let mut sessions = lock(&self.0.sessions);
        if let Some(again) = sessions.get_mut(session) {
            *again = true;
            return;
        }
        sessions.insert(session.to_owned(), false);
        drop(sessions);
        let at_work = AtWork { shared: self.0.clone(), session: session.to_owned(), is_off: false };
        let task = runtime.spawn(async move {
            loop {
                if let Err(error) = work().await {
                    tracing::warn!(%error, "condensing a conversation failed; the next turn tries again");
                    *lock(&at_work.shared.error) = Some(error);
                    return;
                }
                let shared = at_work.shared.clone();
                let mut sessions = lock(&shared.sessions);
                match sessions.get_mut(&at_work.session) {
                    Some(again) if *again => *again = false,
                    _ => {
                        // Under the same lock: whoever records from now on starts a new task.
                        at_work.leave(&mut sessions);
                        return;
                    }
                }
            }
        });
        let mut tasks = lock(&self.0.tasks);
        tasks.retain(|t| !t.is_finished());
        tasks.push(task);
    }

    /// What follows a recorded turn: `compact` at once, in a task, or not at all. In a task it has the labels alone of
    /// `context`: the caller's deadline and cancel signal are for the caller's own work.
    pub(super) async fn follow<F>(
        &self,
        compaction: Compaction,
        session: &str,
        context: &Context,
        compact: impl Fn(String, Context) -> F + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        match compaction {
            Compaction::Manual => Ok(()),
            Compaction::Inline => compact(session.to_owned(), context.clone()).await,
            Compaction::Background => {
                let context = Context::new().with_labels(context.labels.clone());
                let name = session.to_owned();
                self.spawn(&Self::runtime()?, session, move || compact(name.clone(), context.clone()));
                Ok(())
            }
        }
    }

    /// Waits until nothing is being done.
    pub(super) async fn settle(&self) -> Result<()> {
        loop {
            let task = lock(&self.0.tasks).pop();
            match task {
                Some(task) => task
                    .await
                    .map_err(|e| Error::unexpected("condensing a conversation panicked").with_source(e))?,
                None => return lock(&self.0.error).take().map_or(Ok(()), Err),
            }
        }
    }
}
