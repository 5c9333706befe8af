//! Streams under way, by key. Each reader sees all events from the first on; whichever reader is polled drives the
//! source, so that neither a slow nor a vanished one stops the others.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Wake, Waker};

use futures_util::{Stream, StreamExt as _};
use katena_core::{ChatEvent, ChatStream, Result};

#[derive(Default)]
pub(super) struct Hubs {
    next: AtomicU64,
    table: Mutex<HashMap<String, (u64, Weak<Hub>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hubs {
    /// Reads along with the stream of this key, or with a new one (then `true`).
    pub(super) fn join(self: &Arc<Self>, key: &str, start: impl FnOnce() -> ChatStream) -> (Reader, bool) {
        let mut table = lock(&self.table);
        let under_way = table.get(key).and_then(|(_, weak)| weak.upgrade());
        let led = under_way.is_none();
        let hub = under_way.unwrap_or_else(|| {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let landing = Landing { hubs: self.clone(), key: key.to_owned(), id };
            let state = State { source: Some((start(), landing)), events: Vec::new() };
            let hub = Arc::new(Hub { state: Mutex::new(state), fan: Arc::default() });
            table.insert(key.to_owned(), (id, Arc::downgrade(&hub)));
            hub
        });
        drop(table);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        (Reader { hub, at: 0, id }, led)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.table).len()
    }
}

struct Landing {
    hubs: Arc<Hubs>,
    key: String,
    id: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut table = lock(&self.hubs.table);
        if table.get(&self.key).is_some_and(|(id, _)| *id == self.id) {
            table.remove(&self.key);
        }
    }
}

struct Hub {
    state: Mutex<State>,
    fan: Arc<Fan>,
}

struct State {
    /// Gone once the stream has ended.
    source: Option<(ChatStream, Landing)>,
    events: Vec<Result<ChatEvent>>,
}

/// Wakes every reader that waits.
#[derive(Default)]
struct Fan(Mutex<HashMap<u64, Waker>>);

impl Wake for Fan {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *lock(&self.0));
        waiting.into_values().for_each(Waker::wake);
    }
}

pub(super) struct Reader {
    hub: Arc<Hub>,
    at: usize,
    id: u64,
}

impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.hub.fan.0).remove(&self.id);
    }
}

impl Stream for Reader {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let hub = self.hub.clone();
        let mut state = lock(&hub.state);
        if let Some(event) = state.events.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(event.clone()));
        }
        let Some((source, _)) = &mut state.source else { return Poll::Ready(None) };
        // Before the source is asked: an event that comes meanwhile must find us waiting.
        lock(&hub.fan.0).insert(self.id, cx.waker().clone());
        let waker = Waker::from(hub.fan.clone());
        let Poll::Ready(item) = source.poll_next_unpin(&mut std::task::Context::from_waker(&waker)) else {
            return Poll::Pending;
        };
        let ended = !matches!(&item, Some(Ok(event)) if !matches!(event, ChatEvent::Finished(_)));
        let source = if ended { state.source.take() } else { None };
        if let Some(event) = &item {
            state.events.push(event.clone());
            self.at += 1;
        }
        drop(state);
        drop(source);
        lock(&hub.fan.0).remove(&self.id);
        hub.fan.clone().wake();
        Poll::Ready(item)
    }
}
