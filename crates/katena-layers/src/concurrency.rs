//! A limit on calls at once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use katena_core::{ChatStream, Context, Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::around::{Answer, Around, Call, layer_for};
use crate::clock::{Stopped, Time, with_clock};
use crate::watch::{Watch, watch};

/// Lets only so many calls run at once; the others wait in the order in which they came.
///
/// A stream is a call until it ends or is dropped: a consumer that holds a stream without reading holds a permit, and one
/// that asks the same model between two events of a stream can wait for itself. Waiting ends at the cancel signal, at the
/// deadline, and after the longest wait if one is set.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, ErrorKind, Message, fake::EchoChat};
/// use katena_layers::Concurrency;
/// let limit = Concurrency::new(1);
/// let model = EchoChat::new().layer(limit.clone());
/// let stream = model.stream(&ChatRequest::new([Message::user("hello")])).await.unwrap();
/// assert_eq!(limit.free(), 0);
/// drop(stream);
/// assert_eq!(limit.free(), 1);
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Concurrency {
    slots: Arc<Semaphore>,
    max_wait: Option<Duration>,
    time: Time,
}

impl Concurrency {
    /// At most so many calls at once; at least 1.
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self { slots: Arc::new(Semaphore::new(limit)), max_wait: None, time: Time::default() }
    }

    /// Refuses a call that has waited so long, as `Unavailable`; zero refuses at once.
    pub fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }

    /// How many more calls could start now.
    pub fn free(&self) -> usize {
        self.slots.available_permits()
    }

    async fn enter(&self, context: &Context) -> Result<OwnedSemaphorePermit> {
        let full = || {
            Error::new(ErrorKind::Unavailable, "too many calls at once").with_context("layer", "concurrency")
        };
        if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            return Ok(permit);
        }
        if self.max_wait.is_some_and(|wait| wait.is_zero()) {
            return Err(full());
        }
        match self.time.within(context, self.max_wait, self.slots.clone().acquire_owned()).await {
            Ok(permit) => permit.map_err(|e| Error::unexpected("the permits are gone").with_source(e)),
            Err(Stopped::Limit) => Err(full()),
            Err(stopped) => Err(stopped.into_error()),
        }
    }
}

with_clock!(Concurrency);
layer_for!(Concurrency: ChatModel, Embedder, Reranker, VectorStore, Retriever, Tool, ChatHistory, Memory, RecordStore);

/// Held for its drop.
struct Held(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Watch for Held {}

impl Around for Concurrency {
    async fn call<T, F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        let _permit = self.enter(call.context).await?;
        attempt().await
    }

    async fn stream<F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<ChatStream>
    where
        F: Future<Output = Result<ChatStream>> + Send,
    {
        let permit = self.enter(call.context).await?;
        Ok(watch(attempt().await?, Held(permit)))
    }
}

#[cfg(test)]
#[path = "concurrency_tests.rs"]
mod tests;
