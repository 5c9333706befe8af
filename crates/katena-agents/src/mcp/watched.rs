//! A reader that breaks off when a line grows beyond the limit.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use katena_core::{Error, Result};
use tokio::io::{AsyncRead, ReadBuf};

/// Why a connection ended, for the calls that it leaves behind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fault(Arc<Mutex<Option<Error>>>);

impl Fault {
    pub(crate) fn set(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    pub(crate) fn get(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads lines of at most `limit` bytes; a longer one ends the stream, and the fault says so. Dropping the line alone would leave
/// the call that it answers waiting.
#[derive(Debug)]
pub(crate) struct Watched<R> {
    inner: R,
    limit: usize,
    line: usize,
    fault: Fault,
}

impl<R> Watched<R> {
    pub(crate) fn new(inner: R, limit: usize, fault: Fault) -> Self {
        Self { inner, limit, line: 0, fault }
    }

    fn count(&mut self, bytes: &[u8]) -> Result<()> {
        for (n, piece) in bytes.split(|b| *b == b'\n').enumerate() {
            self.line = if n == 0 { self.line + piece.len() } else { piece.len() };
            if self.line > self.limit {
                return Err(Error::invalid_output("a message is larger than the limit")
                    .with_context("limit", format!("{} bytes", self.limit)));
            }
        }
        Ok(())
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let counted = this.count(&buf.filled()[before..]);
        Poll::Ready(counted.map_err(|error| {
            this.fault.set(error.clone());
            std::io::Error::new(std::io::ErrorKind::InvalidData, error)
        }))
    }
}
