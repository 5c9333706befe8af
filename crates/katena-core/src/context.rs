//! What travels with every call: labels, deadline, cancel signal.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Instant;

use futures_util::future::{Either, select};

use crate::error::{Error, ErrorKind, Result};

/// Names that say on whose behalf a call is made (tenant, feature, session, …), for ledgers and traces.
///
/// ```
/// use katena_core::Labels;
/// let labels = Labels::new().with("tenant", "acme").with("feature", "ask");
/// assert_eq!(labels.get("tenant"), Some("acme"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Option<Arc<BTreeMap<String, String>>>);

impl Labels {
    /// No labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one label.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Arc::make_mut(self.0.get_or_insert_default()).insert(name.into(), value.into());
        self
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(String::as_str)
    }

    /// All labels, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|m| m.iter().map(|(k, v)| (k.as_str(), v.as_str())))
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|m| m.is_empty())
    }

    /// These labels, and those of `outer` that are not set here.
    pub fn merged_over(self, outer: &Labels) -> Labels {
        if self.is_empty() {
            return outer.clone();
        }
        let Some(theirs) = &outer.0 else { return self };
        let mut all = (**theirs).clone();
        all.extend(self.iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
        Labels(Some(Arc::new(all)))
    }
}

#[derive(Default)]
struct CancelState {
    cancelled: AtomicBool,
    wakers: Mutex<CancelWaiters>,
}

#[derive(Default)]
struct CancelWaiters {
    next: u64,
    wakers: Vec<(u64, Waker)>,
    children: Vec<Weak<CancelState>>,
}

impl CancelState {
    fn waiters(&self) -> std::sync::MutexGuard<'_, CancelWaiters> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        let (wakers, children) = {
            let mut w = self.waiters();
            (std::mem::take(&mut w.wakers), std::mem::take(&mut w.children))
        };
        for (_, waker) in wakers {
            waker.wake();
        }
        children.iter().filter_map(Weak::upgrade).for_each(|c| c.cancel());
    }
}

/// A signal that asks a running call to stop. Clones share it; a [child](Cancel::child) hears its parent but not the reverse.
#[derive(Clone, Default)]
pub struct Cancel(Arc<CancelState>);

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("cancelled", &self.is_cancelled()).finish()
    }
}

impl Cancel {
    /// A signal that has not been given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal, to this one, its clones and its children. Cannot be taken back.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// True once the signal was given.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// A signal of its own that is also given when this one is.
    pub fn child(&self) -> Cancel {
        let child = Cancel::new();
        let mut waiters = self.0.waiters();
        waiters.children.retain(|c| c.strong_count() > 0);
        waiters.children.push(Arc::downgrade(&child.0));
        drop(waiters);
        if self.is_cancelled() {
            child.cancel();
        }
        child
    }

    /// Resolves when the signal is given.
    pub fn cancelled(&self) -> Cancelled {
        Cancelled { state: self.0.clone(), id: None }
    }

    /// Runs `future` until it is done or the signal is given, whichever comes first.
    ///
    /// # Errors
    /// Kind `Cancelled` if the signal came first.
    pub async fn guard<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        match select(std::pin::pin!(future), self.cancelled()).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(Error::cancelled()),
        }
    }
}

/// Future of [`Cancel::cancelled`].
pub struct Cancelled {
    state: Arc<CancelState>,
    id: Option<u64>,
}

impl fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancelled")
    }
}

impl Future for Cancelled {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        let state = self.state.clone();
        let mut waiters = state.waiters();
        if state.cancelled.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        let id = self.id.unwrap_or_else(|| {
            waiters.next += 1;
            waiters.next
        });
        self.id = Some(id);
        match waiters.wakers.iter_mut().find(|(i, _)| *i == id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => waiters.wakers.push((id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.state.waiters().wakers.retain(|(i, _)| *i != id);
        }
    }
}

/// What travels with every request: on whose behalf, until when, and how to stop it.
///
/// It is in no serde form, cache key or recording.
///
/// ```
/// use katena_core::{Context, Labels};
/// let context = Context::new().with_labels(Labels::new().with("tenant", "acme"));
/// assert!(context.check().is_ok());
/// context.cancel.cancel();
/// assert!(context.check().is_err());
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Context {
    /// On whose behalf the call is made.
    pub labels: Labels,
    /// When the call must be over.
    pub deadline: Option<Instant>,
    /// The signal that stops it.
    pub cancel: Cancel,
}

impl Context {
    /// No labels, no deadline, not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the labels.
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    /// Sets the deadline.
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the cancel signal.
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// This context inside `outer`: own labels win, the earlier deadline counts, `outer`'s signal is taken.
    pub fn within(self, outer: &Context) -> Context {
        let deadline = match (self.deadline, outer.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Context { labels: self.labels.merged_over(&outer.labels), deadline, cancel: outer.cancel.clone() }
    }

    /// Fails if the call must not go on.
    ///
    /// # Errors
    /// Kind `Cancelled` after the signal, `Timeout` after the deadline.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        if self.deadline.is_some_and(|d| d <= Instant::now()) {
            return Err(Error::new(ErrorKind::Timeout, "the deadline has passed"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_hears_its_parent_but_not_the_reverse() {
        use futures_util::FutureExt as _;
        let parent = Cancel::new();
        let (a, b) = (parent.child(), parent.child());
        a.cancel();
        assert!(!parent.is_cancelled() && !b.is_cancelled());
        assert!(b.cancelled().now_or_never().is_none());
        parent.cancel();
        assert!(b.cancelled().now_or_never().is_some() && parent.child().is_cancelled());
    }

    #[test]
    fn inner_labels_win_and_the_earlier_deadline_counts() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(9);
        let outer = Context::new()
            .with_labels(Labels::new().with("tenant", "outer").with("feature", "x"))
            .with_deadline(now);
        let inner = Context::new()
            .with_labels(Labels::new().with("tenant", "inner"))
            .with_deadline(later)
            .within(&outer);
        assert_eq!(inner.labels.get("tenant"), Some("inner"));
        assert_eq!(inner.labels.get("feature"), Some("x"));
        assert_eq!(inner.deadline, Some(now));
    }
}
