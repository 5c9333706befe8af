//! The caller's end of an answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use futures_util::{FutureExt, Stream};
use katena_core::{Cancelled, ChatEvent, Context, Error, Result};
use tokio::sync::mpsc;

use super::thread::ended;
use crate::handover::Sender;

/// Events as they come; dropping it tells the model's thread to stop.
pub(super) struct Events<W> {
    receiver: mpsc::Receiver<Result<ChatEvent>>,
    thread: Sender<W>,
    /// Says that an answer is under way.
    _answer: Arc<()>,
    cancelled: Cancelled,
    done: bool,
}

impl<W> Events<W> {
    pub(super) fn new(
        receiver: mpsc::Receiver<Result<ChatEvent>>,
        thread: Sender<W>,
        answer: Arc<()>,
        context: &Context,
    ) -> Self {
        Self { receiver, thread, _answer: answer, cancelled: context.cancel.cancelled(), done: false }
    }

    fn end(&mut self) {
        self.done = true;
        self.receiver.close();
        self.thread.wake();
    }
}

impl<W> Stream for Events<W> {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.cancelled.poll_unpin(cx).is_ready() {
            self.end();
            return Poll::Ready(Some(Err(Error::cancelled())));
        }
        let event = ready!(self.receiver.poll_recv(cx));
        // There is room again.
        self.thread.wake();
        match event {
            Some(Ok(ChatEvent::Finished(_)) | Err(_)) => self.end(),
            Some(_) => {}
            None => {
                self.end();
                return Poll::Ready(Some(Err(ended())));
            }
        }
        Poll::Ready(event)
    }
}

impl<W> Drop for Events<W> {
    fn drop(&mut self) {
        if !self.done {
            self.end();
        }
    }
}
