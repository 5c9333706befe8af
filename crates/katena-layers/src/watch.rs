//! Streams that a layer looks at while they pass.

use std::pin::Pin;
use std::task::{Context as Waiting, Poll, ready};

use futures_util::{Stream, StreamExt as _};
use katena_core::{ChatEvent, ChatStream, Error, ErrorKind, Result};

/// What a layer does with a stream that passes. It is dropped with the stream, or as soon as that is over.
pub(crate) trait Watch: Send + Unpin + 'static {
    /// Each event; it may be changed.
    fn event(&mut self, _event: &mut ChatEvent) {}
    /// The error that ends the stream; it may be changed.
    fn failed(&mut self, error: Error) -> Error {
        error
    }
    /// The stream ended without `Finished` and without an error.
    fn ended(&mut self) {}
}

/// Lets a stream pass under the eyes of `watch`. It ends after `Finished` or its first error; `watch` is dropped before
/// either is handed on, so that what it holds is free by then.
pub(crate) fn watch<W: Watch>(stream: ChatStream, watch: W) -> ChatStream {
    Box::pin(Watched { stream, watch: Some(watch) })
}

struct Watched<W> {
    stream: ChatStream,
    watch: Option<W>,
}

impl<W: Watch> Stream for Watched<W> {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Waiting<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(watch) = &mut this.watch else { return Poll::Ready(None) };
        let item = match ready!(this.stream.poll_next_unpin(cx)) {
            Some(Ok(mut event)) => {
                watch.event(&mut event);
                if matches!(event, ChatEvent::Finished(_)) {
                    this.watch = None;
                }
                Some(Ok(event))
            }
            Some(Err(error)) => {
                let error = watch.failed(error);
                this.watch = None;
                Some(Err(error))
            }
            None => {
                watch.ended();
                this.watch = None;
                None
            }
        };
        Poll::Ready(item)
    }
}

/// Waits for a stream's first event. What comes back has it in front again.
///
/// # Errors
/// The stream's own if that is its first item; `Unavailable` if it ends without one.
pub(crate) async fn begin(mut stream: ChatStream) -> Result<ChatStream> {
    match stream.next().await {
        Some(Ok(first)) => Ok(Box::pin(Begun { first: Some(first), rest: stream })),
        Some(Err(error)) => Err(error),
        None => Err(Error::new(ErrorKind::Unavailable, "the stream ended before its first event")),
    }
}

struct Begun {
    first: Option<ChatEvent>,
    rest: ChatStream,
}

impl Stream for Begun {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Waiting<'_>) -> Poll<Option<Self::Item>> {
        match self.first.take() {
            Some(event) => Poll::Ready(Some(Ok(event))),
            None => self.rest.poll_next_unpin(cx),
        }
    }
}
