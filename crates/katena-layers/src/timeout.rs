//! Limits on how long a call may take.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Waiting, Poll};
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use katena_core::{ChatEvent, ChatStream, Context, Error, ErrorKind, Result};

use crate::around::{Answer, Around, Call, layer_for};
use crate::clock::{Nap, Stopped, Time, past_deadline, with_clock};

/// Ends calls that take too long, with an error of kind `Timeout`.
///
/// - A call with one answer has the total limit (600 s).
/// - A stream has the idle limit (120 s): the longest wait for its beginning and between two events. It runs only while the
///   consumer waits, and what has come is looked at before the clock, so a slow consumer is not taken for a slow vendor. How
///   long the whole stream may take is not limited unless [`with_stream_total`](Timeout::with_stream_total) says so.
/// - The context's deadline ends calls and streams too. That error is not temporary: no further try can be in time.
///
/// The time to connect is the HTTP client's own setting.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
/// # runtime.block_on(async {
/// use std::{sync::Arc, time::Duration};
/// use katena_core::{ErrorKind, FnTool, Layer, Run, Tool, ToolCall};
/// use katena_layers::Timeout;
/// let slow = FnTool::new("slow", "Takes its time.", async |_: serde_json::Value, _run: Run| {
///     tokio::time::sleep(Duration::from_secs(60)).await;
///     Ok("done")
/// });
/// let slow: Arc<dyn Tool> = Timeout::total(Duration::from_secs(5)).layer(Arc::new(slow));
/// let error = slow.call(ToolCall::new("1", "slow", "{}"), &Run::new()).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Timeout {
    total: Option<Duration>,
    idle: Option<Duration>,
    stream_total: Option<Duration>,
    time: Time,
}

impl Default for Timeout {
    fn default() -> Self {
        Self {
            total: Some(Duration::from_secs(600)),
            idle: Some(Duration::from_secs(120)),
            stream_total: None,
            time: Time::default(),
        }
    }
}

impl Timeout {
    /// Limits calls with one answer; streams keep the usual idle limit.
    pub fn total(total: Duration) -> Self {
        Self { total: Some(total), ..Self::default() }
    }

    /// Limits the waits of streams; calls with one answer keep the usual total.
    pub fn idle(idle: Duration) -> Self {
        Self { idle: Some(idle), ..Self::default() }
    }

    /// Sets the longest time of a call with one answer.
    pub fn with_total(mut self, total: Duration) -> Self {
        self.total = Some(total);
        self
    }

    /// Sets the longest wait for a stream's beginning and between two of its events.
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Sets the longest time of a whole stream, the consumer's own time included.
    pub fn with_stream_total(mut self, total: Duration) -> Self {
        self.stream_total = Some(total);
        self
    }

    fn until(&self, context: &Context) -> Until {
        let own = self.stream_total.map(|total| self.time.now() + total.min(Duration::from_secs(1 << 31)));
        match (own, context.deadline) {
            (Some(own), Some(deadline)) if own < deadline => Until::Own(own),
            (Some(own), None) => Until::Own(own),
            (_, Some(deadline)) => Until::Deadline(deadline),
            (None, None) => Until::Never,
        }
    }
}

with_clock!(Timeout);
layer_for!(Timeout: ChatModel, Embedder, Reranker, VectorStore, Retriever, Tool, ChatHistory, Memory, RecordStore);

fn too_slow(what: &str, limit: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("{what} within {} s", limit.as_secs_f64()))
        .with_context("layer", "timeout")
}

impl Around for Timeout {
    async fn call<T, F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<T>
    where
        T: Answer,
        F: Future<Output = Result<T>> + Send,
    {
        match self.time.within(call.context, self.total, attempt()).await {
            Ok(result) => result,
            Err(Stopped::Limit) => Err(too_slow("no answer", self.total.unwrap_or_default())),
            Err(stopped) => Err(stopped.into_error()),
        }
    }

    async fn stream<F>(&self, call: Call<'_>, mut attempt: impl FnMut() -> F + Send) -> Result<ChatStream>
    where
        F: Future<Output = Result<ChatStream>> + Send,
    {
        let until = self.until(call.context);
        let limit = [self.idle, self.stream_total].into_iter().flatten().min();
        let stream = match self.time.within(call.context, limit, attempt()).await {
            Ok(result) => result?,
            Err(Stopped::Limit) => {
                return Err(too_slow("the stream did not begin", limit.unwrap_or_default()));
            }
            Err(stopped) => return Err(stopped.into_error()),
        };
        if self.idle.is_none() && matches!(until, Until::Never) {
            return Ok(stream);
        }
        Ok(Box::pin(Timed {
            stream: Some(stream),
            nap: None,
            idle: self.idle,
            until,
            stream_total: self.stream_total,
            time: self.time.clone(),
        }))
    }
}

/// When a stream must be over, and who says so.
#[derive(Debug, Clone, Copy)]
enum Until {
    Never,
    Own(Instant),
    Deadline(Instant),
}

struct Timed {
    /// `None` once it is over.
    stream: Option<ChatStream>,
    /// Runs only while the consumer waits.
    nap: Option<Nap>,
    idle: Option<Duration>,
    until: Until,
    stream_total: Option<Duration>,
    time: Time,
}

impl Timed {
    fn left(&self) -> Option<Duration> {
        match self.until {
            Until::Never => None,
            Until::Own(at) | Until::Deadline(at) => Some(at.saturating_duration_since(self.time.now())),
        }
    }

    fn over(&self) -> Error {
        match self.until {
            Until::Deadline(_) => past_deadline(),
            _ => too_slow("the stream did not finish", self.stream_total.unwrap_or_default()),
        }
    }

    /// The error if the wait is over.
    fn poll_nap(&mut self, cx: &mut Waiting<'_>) -> Option<Error> {
        if self.nap.is_none() {
            let limit = self.idle.into_iter().chain(self.left()).min()?;
            match self.time.nap(limit) {
                Ok(nap) => self.nap = Some(nap),
                Err(error) => return Some(error),
            }
        }
        if self.nap.as_mut()?.poll_unpin(cx).is_pending() {
            return None;
        }
        Some(match self.left() {
            Some(left) if left.is_zero() => self.over(),
            _ => too_slow("the stream sent nothing", self.idle.unwrap_or_default()),
        })
    }
}

impl Stream for Timed {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Waiting<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        let error = match stream.poll_next_unpin(cx) {
            Poll::Ready(item) => {
                this.nap = None;
                let more = matches!(&item, Some(Ok(event)) if !matches!(event, ChatEvent::Finished(_)));
                if !more {
                    this.stream = None;
                    return Poll::Ready(item);
                }
                if this.left().is_none_or(|left| !left.is_zero()) {
                    return Poll::Ready(item);
                }
                this.over()
            }
            Poll::Pending => match this.poll_nap(cx) {
                None => return Poll::Pending,
                Some(error) => error,
            },
        };
        // The call behind it ends with the stream.
        this.stream = None;
        this.nap = None;
        Poll::Ready(Some(Err(error)))
    }
}

#[cfg(test)]
#[path = "timeout_tests.rs"]
mod tests;
