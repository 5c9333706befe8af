//! Newline-delimited JSON: an incremental byte decoder, and a stream adapter over it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use katena_core::{Error, ErrorKind, Result};

/// The most bytes of one line, unless set otherwise: 64 MiB.
pub const MAX_LINE_BYTES: usize = 64 << 20;

const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Splits [newline-delimited JSON](https://github.com/ndjson/ndjson-spec) that comes in pieces of any size into lines.
///
/// Lines end with LF, CR or CRLF, which no JSON text holds raw; one leading BOM is skipped, white space around a line is
/// cut off, and empty lines are not given. Lines are not parsed, but for the last one: without its line end it counts if
/// it is whole JSON.
///
/// ```
/// use katena_http::ndjson::NdjsonDecoder;
/// let mut decoder = NdjsonDecoder::new();
/// decoder.push(b"{\"n\":1}\r\n{\"n\"")?;
/// assert_eq!(decoder.next_line().as_deref(), Some("{\"n\":1}"));
/// assert_eq!(decoder.next_line(), None);
/// decoder.push(b":2}")?;
/// decoder.finish()?;
/// assert_eq!(decoder.next_line().as_deref(), Some("{\"n\":2}"));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct NdjsonDecoder {
    limit: usize,
    /// How many bytes of the BOM were matched; `None` once the start of the stream is behind.
    bom: Option<usize>,
    line: Vec<u8>,
    ready: VecDeque<String>,
    failed: Option<Error>,
}

impl fmt::Debug for NdjsonDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NdjsonDecoder")
            .field("pending", &self.line.len())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl Default for NdjsonDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl NdjsonDecoder {
    /// A decoder at the start of a stream, with lines of at most [`MAX_LINE_BYTES`].
    pub fn new() -> Self {
        Self { limit: MAX_LINE_BYTES, bom: Some(0), line: Vec::new(), ready: VecDeque::new(), failed: None }
    }

    /// Sets the most bytes of one line.
    pub fn with_max_line_bytes(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Takes the next bytes. Lines that they complete are then given by [`next_line`](Self::next_line).
    ///
    /// # Errors
    /// Kind `InvalidOutput` once a line is longer than the limit. Lines completed before stay available; later calls
    /// fail in the same way.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.take(bytes).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The next line, without its end and without the white space around it. Invalid UTF-8 is replaced by U+FFFD.
    pub fn next_line(&mut self) -> Option<String> {
        self.ready.pop_front()
    }

    /// Ends the stream: what stands there without a line end is a line if it is whole JSON.
    ///
    /// # Errors
    /// Kind `Unavailable` if it is not: the stream was cut off. An error of [`push`](Self::push) stays.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let rest = std::mem::take(&mut self.line);
        match serde_json::from_slice::<serde::de::IgnoredAny>(&rest) {
            _ if rest.trim_ascii().is_empty() => Ok(()),
            Ok(_) => {
                self.give(&rest);
                Ok(())
            }
            Err(e) => {
                Err(Error::new(ErrorKind::Unavailable, "the stream was cut off within a line").with_source(e))
            }
        }
    }

    fn take(&mut self, mut rest: &[u8]) -> Result<()> {
        while let Some(matched) = self.bom {
            let Some(&byte) = rest.first() else { return Ok(()) };
            if byte == BOM[matched] {
                rest = &rest[1..];
                self.bom = (matched + 1 < BOM.len()).then_some(matched + 1);
            } else {
                self.bom = None;
                // What looked like a BOM was the start of a line.
                self.grow(&BOM[..matched])?;
            }
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            if self.line.is_empty() {
                let line = rest[..end].trim_ascii_start();
                self.check(line.len())?;
                self.give(line);
            } else {
                self.grow(&rest[..end])?;
                let line = std::mem::take(&mut self.line);
                self.give(&line);
            }
            rest = &rest[end + 1..];
        }
        self.grow(rest)
    }

    fn check(&self, more: usize) -> Result<()> {
        if self.line.len() + more > self.limit {
            return Err(Error::invalid_output("a line of the reply is longer than the limit")
                .with_context("limit", format!("{} bytes", self.limit)));
        }
        Ok(())
    }

    fn grow(&mut self, piece: &[u8]) -> Result<()> {
        // White space at the start of a line takes no memory.
        let piece = if self.line.is_empty() { piece.trim_ascii_start() } else { piece };
        self.check(piece.len())?;
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn give(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        if !line.is_empty() {
            self.ready.push_back(String::from_utf8_lossy(line).into_owned());
        }
    }
}

/// What may come without a line beyond twice the limit of one.
const SLACK: usize = 64 << 10;

/// The lines of a stream of bytes. Ends after the first error; bytes of more than twice a line's limit without any line
/// are one.
///
/// ```
/// use bytes::Bytes;
/// use futures_util::{FutureExt, StreamExt, stream};
/// use katena_http::ndjson::NdjsonStream;
/// let bytes = stream::iter([Ok(Bytes::from("{}\n[1")), Ok(Bytes::from(",2]"))]);
/// let lines: Vec<_> = NdjsonStream::new(bytes).map(|line| line.unwrap()).collect().now_or_never().unwrap();
/// assert_eq!(lines, ["{}", "[1,2]"]);
/// ```
#[derive(Debug)]
pub struct NdjsonStream<S> {
    bytes: Option<S>,
    decoder: NdjsonDecoder,
    error: Option<Error>,
    /// Bytes since the last line.
    ignored: usize,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> NdjsonStream<S> {
    /// Decodes `bytes` with a new decoder.
    pub fn new(bytes: S) -> Self {
        Self::with_decoder(bytes, NdjsonDecoder::new())
    }

    /// Decodes `bytes` with this decoder, which may have its own limit or hold lines already.
    pub fn with_decoder(bytes: S, decoder: NdjsonDecoder) -> Self {
        Self { bytes: Some(bytes), decoder, error: None, ignored: 0 }
    }
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Stream for NdjsonStream<S> {
    type Item = Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(line) = this.decoder.next_line() {
                return Poll::Ready(Some(Ok(line)));
            }
            if let Some(error) = this.error.take() {
                this.bytes = None;
                return Poll::Ready(Some(Err(error)));
            }
            let Some(bytes) = &mut this.bytes else { return Poll::Ready(None) };
            match ready!(Pin::new(bytes).poll_next(cx)) {
                Some(Ok(piece)) => {
                    this.error = this.decoder.push(&piece).err();
                    this.ignored = if this.decoder.ready.is_empty() { this.ignored + piece.len() } else { 0 };
                    if this.ignored > this.decoder.limit.saturating_mul(2).saturating_add(SLACK) {
                        this.error.get_or_insert_with(|| {
                            Error::invalid_output("the server sends bytes without end and no line")
                        });
                    }
                }
                Some(Err(error)) => this.error = Some(error),
                None => {
                    this.error = this.decoder.finish().err();
                    this.bytes = None;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "ndjson_tests.rs"]
mod tests;
