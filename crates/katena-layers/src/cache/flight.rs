//! Calls under way, by key. Nobody leads: whoever waits also drives the call, and it ends when nobody waits any more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use katena_core::Result;

type Call<T> = BoxFuture<'static, Result<T>>;

pub(super) struct Flights<T: Clone>(Mutex<Table<T>>);

struct Table<T: Clone> {
    next: u64,
    calls: HashMap<String, (u64, WeakShared<Call<T>>)>,
}

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::new(Table { next: 0, calls: HashMap::new() }))
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    fn table(&self) -> MutexGuard<'_, Table<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The call under way with this key, or a new one (then `true`).
    pub(super) fn join(
        self: &Arc<Self>,
        key: &str,
        start: impl FnOnce() -> Call<T>,
    ) -> (Shared<Call<T>>, bool) {
        let mut table = self.table();
        if let Some(call) = table.calls.get(key).and_then(|(_, weak)| weak.upgrade()) {
            return (call, false);
        }
        table.next += 1;
        let id = table.next;
        let landing = Landing { flights: self.clone(), key: key.to_owned(), id };
        let work = start();
        let call = async move {
            let _landing = landing;
            work.await
        }
        .boxed()
        .shared();
        if let Some(weak) = call.downgrade() {
            table.calls.insert(key.to_owned(), (id, weak));
        }
        (call, true)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table().calls.len()
    }
}

/// Takes the call out of the table when it is done or dropped.
struct Landing<T: Clone + Send + Sync + 'static> {
    flights: Arc<Flights<T>>,
    key: String,
    id: u64,
}

impl<T: Clone + Send + Sync + 'static> Drop for Landing<T> {
    fn drop(&mut self) {
        let mut table = self.flights.table();
        if table.calls.get(&self.key).is_some_and(|(id, _)| *id == self.id) {
            table.calls.remove(&self.key);
        }
    }
}
