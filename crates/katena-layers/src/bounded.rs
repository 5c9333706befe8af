//! Work that ends at a context's cancel signal or deadline, whoever else it is shared with.

use std::pin::Pin;
use std::task::{Poll, ready};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use katena_core::{Cancelled, ChatEvent, ChatStream, Context, Error, Result};

use crate::clock::{Nap, Stopped, Time, past_deadline};

/// Waits for `work` until the signal or the deadline.
pub(crate) async fn bounded<T>(
    context: &Context,
    time: &Time,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    time.within(context, None, work).await.map_err(Stopped::into_error)?
}

/// Ends a stream with an error at the signal or the deadline.
pub(crate) fn bounded_stream(stream: ChatStream, context: &Context, time: &Time) -> ChatStream {
    let cancelled = context.cancel.cancelled();
    Bounded { stream: Some(stream), context: context.clone(), time: time.clone(), cancelled, nap: None }
        .boxed()
}

struct Bounded {
    stream: Option<ChatStream>,
    context: Context,
    time: Time,
    cancelled: Cancelled,
    nap: Option<Nap>,
}

impl Bounded {
    /// Why the stream must end now; pending if it need not.
    fn end(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Error> {
        if self.cancelled.poll_unpin(cx).is_ready() {
            return Poll::Ready(Error::cancelled());
        }
        if self.nap.is_none() {
            let Some(left) = self.time.left(&self.context) else { return Poll::Pending };
            match self.time.nap(left) {
                Ok(nap) => self.nap = Some(nap),
                Err(error) => return Poll::Ready(error),
            }
        }
        if let Some(nap) = &mut self.nap {
            ready!(nap.poll_unpin(cx));
        }
        Poll::Ready(past_deadline())
    }
}

impl Stream for Bounded {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        if !this.context.cancel.is_cancelled()
            && let Poll::Ready(item) = stream.poll_next_unpin(cx)
        {
            if matches!(item, None | Some(Err(_))) {
                this.stream = None;
            }
            return Poll::Ready(item);
        }
        let error = ready!(this.end(cx));
        this.stream = None;
        Poll::Ready(Some(Err(error)))
    }
}
