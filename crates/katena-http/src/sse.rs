//! Server-sent events: an incremental byte decoder after the WHATWG standard, and a stream adapter over it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use katena_core::{Error, Result};

/// The most bytes of one event, unless set otherwise: 64 MiB.
pub const MAX_EVENT_BYTES: usize = 64 << 20;

const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];
/// Buffers that grew beyond this are given back after use.
const KEPT_CAPACITY: usize = 64 << 10;

/// One event.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseEvent {
    /// The event's type, `message` if the server named none.
    pub event: Cow<'static, str>,
    /// The data lines, joined by line feeds. Invalid UTF-8 was replaced by U+FFFD.
    pub data: String,
    /// The last id that the server gave, in this event or an earlier one.
    pub id: Option<Arc<str>>,
}

impl fmt::Debug for SseEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SseEvent({}, {} bytes)", self.event, self.data.len())
    }
}

/// Decodes server-sent events from bytes that come in pieces of any size.
///
/// It follows the [WHATWG standard](https://html.spec.whatwg.org/multipage/server-sent-events.html): lines end with LF,
/// CR or CRLF; one leading BOM is skipped; comments, unknown fields, ids with NUL and bad retry values are ignored; an
/// event without data is not given; an event that the end of the stream cuts off is discarded. Ignored lines take no
/// memory, whatever their length.
///
/// ```
/// use katena_http::sse::SseDecoder;
/// let mut decoder = SseDecoder::new();
/// decoder.push(b"data: Hel")?;
/// assert!(decoder.next_event().is_none());
/// decoder.push(b"lo\r\ndata: you\r\n\r\n")?;
/// assert_eq!(decoder.next_event().unwrap().data, "Hello\nyou");
/// assert!(!decoder.finish());
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct SseDecoder {
    limit: usize,
    /// How many bytes of the BOM were matched; `None` once the start of the stream is behind.
    bom: Option<usize>,
    /// The last line ended with CR, so that an LF that follows belongs to it.
    after_cr: bool,
    /// The line in progress can't matter.
    skipping: bool,
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    event: Cow<'static, str>,
    id: Option<Arc<str>>,
    retry_ms: Option<u64>,
    ready: VecDeque<SseEvent>,
    failed: Option<Error>,
}

impl fmt::Debug for SseDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseDecoder")
            .field("pending", &(self.line.len() + self.data.len()))
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl Default for SseDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl SseDecoder {
    /// A decoder at the start of a stream, with events of at most [`MAX_EVENT_BYTES`].
    pub fn new() -> Self {
        Self {
            limit: MAX_EVENT_BYTES,
            bom: Some(0),
            after_cr: false,
            skipping: false,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            event: Cow::Borrowed(""),
            id: None,
            retry_ms: None,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Sets the most bytes of one event.
    pub fn with_max_event_bytes(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Takes the next bytes. Events that they complete are then given by [`next_event`](Self::next_event).
    ///
    /// # Errors
    /// Kind `InvalidOutput` once an event is larger than the limit. Events completed before stay available; later
    /// calls fail in the same way.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.take(bytes).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The next complete event.
    pub fn next_event(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    /// The reconnection time in milliseconds that the server last asked for.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// True if an event or a line has begun that is not complete.
    pub fn is_unfinished(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    /// Ends the stream. True if an unfinished event or line was discarded.
    pub fn finish(&mut self) -> bool {
        let unfinished = self.is_unfinished();
        self.line = Vec::new();
        self.data = Vec::new();
        self.has_data = false;
        self.event = Cow::Borrowed("");
        unfinished
    }

    /// Ends the stream. The unfinished event, if its data is a whole JSON object or list, or `[DONE]`: some servers leave out
    /// the last blank line. The standard discards such an event, and [`finish`](Self::finish) does.
    pub fn finish_json(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        if self.failed.is_none() && !self.skipping && !line.is_empty() {
            self.line(&line).ok()?;
        }
        let whole = self.has_data
            && (self.data.trim_ascii() == b"[DONE]"
                || matches!(self.data.trim_ascii_start().first(), Some(b'{' | b'['))
                    && serde_json::from_slice::<serde::de::IgnoredAny>(&self.data).is_ok());
        if whole {
            self.dispatch();
        }
        self.finish();
        self.ready.pop_front()
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
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            if rest[0] == b'\n' {
                rest = &rest[1..];
            }
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', rest) {
            let (head, tail) = rest.split_at(end);
            if std::mem::take(&mut self.skipping) {
                // The ignored line is over.
            } else if self.line.is_empty() {
                self.line(head)?;
            } else {
                self.grow(head)?;
                let mut line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.skipping) {
                    self.line(&line)?;
                }
                line.clear();
                if line.capacity() <= KEPT_CAPACITY {
                    self.line = line;
                }
            }
            rest = match tail {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                _ => &tail[1..],
            };
        }
        self.grow(rest)
    }

    /// Adds to the line in progress, unless it is one that will be ignored.
    fn grow(&mut self, piece: &[u8]) -> Result<()> {
        if self.skipping || piece.is_empty() {
            return Ok(());
        }
        // The longest name and its colon are six bytes: after them it is known whether the line matters.
        if self.line.len() < 6 {
            let mut start = [0; 6];
            let mut n = 0;
            for (to, from) in start.iter_mut().zip(self.line.iter().chain(piece)) {
                *to = *from;
                n += 1;
            }
            if !may_matter(&start[..n]) {
                self.line.clear();
                self.skipping = true;
                return Ok(());
            }
        }
        self.check(self.line.len() + piece.len())?;
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn check(&self, more: usize) -> Result<()> {
        if self.data.len() + self.event.len() + more > self.limit {
            return Err(Error::invalid_output("a server-sent event is larger than the limit")
                .with_context("limit", format!("{} bytes", self.limit)));
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<()> {
        if line.is_empty() {
            self.dispatch();
            return Ok(());
        }
        let (name, value) = match line {
            // By far the most common line, worth not searching for its colon.
            [b'd', b'a', b't', b'a', b':', value @ ..] => (&b"data"[..], value),
            _ => match memchr::memchr(b':', line) {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (line, &[][..]),
            },
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                self.check(value.len() + 1)?;
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => {
                self.check(value.len())?;
                self.event = Cow::Owned(String::from_utf8_lossy(value).into_owned());
            }
            b"id" if !value.contains(&0) => {
                self.check(value.len())?;
                self.id = Some(Arc::from(&*String::from_utf8_lossy(value)));
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // Digits only; a number beyond u64 is as bogus as no number.
                self.retry_ms =
                    std::str::from_utf8(value).ok().and_then(|v| v.parse().ok()).or(self.retry_ms);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) {
        let event = std::mem::replace(&mut self.event, Cow::Borrowed(""));
        if !std::mem::take(&mut self.has_data) {
            return;
        }
        let data = String::from_utf8(std::mem::take(&mut self.data))
            .unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned());
        let event = if event.is_empty() { Cow::Borrowed("message") } else { event };
        self.ready.push_back(SseEvent { event, data, id: self.id.clone() });
    }
}

/// True if a line that starts so may be one of the known fields.
fn may_matter(start: &[u8]) -> bool {
    FIELDS.iter().any(|field| match start.strip_prefix(*field) {
        Some(rest) => rest.first().is_none_or(|b| *b == b':'),
        None => field.starts_with(start),
    })
}

/// What may come without an event beyond twice the limit of one.
const SLACK: usize = 64 << 10;

/// The events of a stream of bytes. Ends after the first error; bytes of more than twice an event's limit without any event
/// are one.
#[derive(Debug)]
pub struct SseStream<S> {
    bytes: Option<S>,
    decoder: SseDecoder,
    error: Option<Error>,
    /// Bytes since the last event.
    ignored: usize,
    json_remainder: bool,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> SseStream<S> {
    /// Decodes `bytes` with a new decoder.
    pub fn new(bytes: S) -> Self {
        Self::with_decoder(bytes, SseDecoder::new())
    }

    /// Decodes `bytes` with this decoder, which may have its own limit or hold events already.
    pub fn with_decoder(bytes: S, decoder: SseDecoder) -> Self {
        Self { bytes: Some(bytes), decoder, error: None, ignored: 0, json_remainder: false }
    }

    /// Gives the last event even if the blank line after it is missing, when its data is a whole JSON object or list.
    pub fn with_json_remainder(mut self) -> Self {
        self.json_remainder = true;
        self
    }

    /// Drops the source, so that its connection is freed.
    ///
    /// A source that is at its end already is read to it first, without waiting: its connection can then be used again.
    pub fn close(&mut self) {
        if let Some(mut bytes) = self.bytes.take() {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            for _ in 0..4 {
                if !matches!(Pin::new(&mut bytes).poll_next(&mut cx), Poll::Ready(Some(Ok(_)))) {
                    break;
                }
            }
        }
    }
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Stream for SseStream<S> {
    type Item = Result<SseEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.decoder.next_event() {
                return Poll::Ready(Some(Ok(event)));
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
                            Error::invalid_output("the server sends bytes without end and no event")
                        });
                    }
                }
                Some(Err(error)) => this.error = Some(error),
                None => {
                    this.bytes = None;
                    if this.json_remainder {
                        return Poll::Ready(this.decoder.finish_json().map(Ok));
                    }
                    this.decoder.finish();
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
