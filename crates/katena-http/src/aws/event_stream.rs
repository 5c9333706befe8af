//! AWS's binary event stream: an incremental decoder of frames, and a stream adapter over it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream;
use katena_core::{Error, ErrorKind, Result};

use crate::body::HttpStream;

/// The most bytes of one frame, unless set otherwise: 24 MiB of payload, as AWS sends at most, and its headers.
pub const MAX_FRAME_BYTES: usize = (24 << 20) + MAX_HEADER_BYTES + OVERHEAD;
/// The most bytes of a frame's headers.
const MAX_HEADER_BYTES: usize = 128 << 10;
/// Lengths and checksum in front, checksum at the end.
const OVERHEAD: usize = PRELUDE + 4;
const PRELUDE: usize = 12;

/// CRC-32 as gzip has it.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut value, mut bit) = (n as u32, 0);
        while bit < 8 {
            value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[n] = value;
        n += 1;
    }
    table
};

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| CRC[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8))
}

/// The value of a frame's header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderValue {
    /// Text.
    Text(String),
    /// Yes or no.
    Bool(bool),
    /// A whole number of any width; a timestamp as milliseconds since 1970.
    Number(i64),
    /// Bytes; an UUID as its 16.
    Bytes(Bytes),
}

/// One frame: what it is, and what it carries.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// Headers in order.
    pub headers: Vec<(String, HeaderValue)>,
    /// The payload, JSON as a rule.
    pub payload: Bytes,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} {}, {} bytes)", self.message_type(), self.event_type(), self.payload.len())
    }
}

impl Frame {
    /// A header's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(n, value)| match value {
            HeaderValue::Text(text) if n == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// `event`, `exception` or `error`; `event` if the frame doesn't say.
    pub fn message_type(&self) -> &str {
        self.text(":message-type").unwrap_or("event")
    }

    /// Which event, or which exception; empty if the frame doesn't say.
    pub fn event_type(&self) -> &str {
        let name = match self.message_type() {
            "exception" => ":exception-type",
            "error" => ":error-code",
            _ => ":event-type",
        };
        self.text(name).unwrap_or_default()
    }
}

/// Decodes frames from bytes that come in pieces of any size.
///
/// After [the Smithy specification](https://smithy.io/2.0/aws/amazon-eventstream.html): both checksums are checked, and
/// lengths before any memory is taken for them.
///
/// ```
/// use katena_http::aws::EventStreamDecoder;
/// let mut decoder = EventStreamDecoder::new();
/// // The smallest frame: no headers, no payload.
/// decoder.push(&[0, 0, 0, 16, 0, 0, 0, 0, 5, 194, 72, 235])?;
/// assert!(decoder.next_frame().is_none());
/// decoder.push(&[125, 152, 200, 255])?;
/// assert!(decoder.next_frame().unwrap().payload.is_empty());
/// decoder.finish()?;
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct EventStreamDecoder {
    limit: usize,
    buffer: BytesMut,
    /// The length of the frame in progress, once its prelude was checked.
    length: Option<usize>,
    ready: VecDeque<Frame>,
    failed: Option<Error>,
}

impl fmt::Debug for EventStreamDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStreamDecoder")
            .field("pending", &self.buffer.len())
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl Default for EventStreamDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl EventStreamDecoder {
    /// A decoder at the start of a stream, with frames of at most [`MAX_FRAME_BYTES`].
    pub fn new() -> Self {
        Self {
            limit: MAX_FRAME_BYTES,
            buffer: BytesMut::new(),
            length: None,
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Sets the most bytes of one frame, everything counted.
    pub fn with_max_frame_bytes(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Takes the next bytes. Frames that they complete are then given by [`next_frame`](Self::next_frame).
    ///
    /// # Errors
    /// Kind `InvalidOutput` for a bad checksum, a length out of range, or headers that can't be read. Frames completed
    /// before stay available; later calls fail in the same way.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.take(bytes).inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// The next complete frame.
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// Kind `Unavailable` if it was cut off within a frame; the error of [`push`](Self::push) if there was one.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.buffer = BytesMut::new();
        Err(Error::new(ErrorKind::Unavailable, "the event stream is truncated: it ended within a frame"))
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        loop {
            let wanted = self.length.unwrap_or(PRELUDE);
            let missing = wanted - self.buffer.len().min(wanted);
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() < wanted {
                return Ok(());
            }
            if self.length.is_none() {
                self.length = Some(self.prelude()?);
            } else {
                self.length = None;
                let frame = self.buffer.split().freeze();
                self.ready.push_back(frame_of(frame)?);
            }
        }
    }

    /// Checks the prelude and gives the frame's length.
    fn prelude(&self) -> Result<usize> {
        let mut prelude = &self.buffer[..];
        let (total, headers, crc) =
            (prelude.get_u32() as usize, prelude.get_u32() as usize, prelude.get_u32());
        let bad = |what: &'static str| {
            Err(Error::invalid_output(what).with_context("length", format!("{total}, headers {headers}")))
        };
        if total > self.limit {
            return bad("a frame of the event stream is too large");
        }
        if total < OVERHEAD {
            return bad("a frame of the event stream is too small");
        }
        if crc32(&self.buffer[..8]) != crc {
            return bad("the crc of a frame's prelude is wrong");
        }
        if headers > MAX_HEADER_BYTES || headers > total - OVERHEAD {
            return bad("the header length of a frame is out of range");
        }
        Ok(total)
    }
}

fn frame_of(frame: Bytes) -> Result<Frame> {
    let end = frame.len() - 4;
    if crc32(&frame[..end]) != (&frame[end..]).get_u32() {
        return Err(Error::invalid_output("the crc of a frame is wrong"));
    }
    let headers_end = PRELUDE + (&frame[4..8]).get_u32() as usize;
    let mut bytes = frame.slice(PRELUDE..headers_end);
    let mut headers = Vec::new();
    while bytes.has_remaining() {
        headers.push(
            header(&mut bytes).ok_or_else(|| Error::invalid_output("a header of a frame can't be read"))?,
        );
    }
    Ok(Frame { headers, payload: frame.slice(headers_end..end) })
}

fn header(bytes: &mut Bytes) -> Option<(String, HeaderValue)> {
    let n = usize::from(bytes.try_get_u8().ok()?);
    let name = String::from_utf8(cut(bytes, n)?.to_vec()).ok()?;
    let value = match bytes.try_get_u8().ok()? {
        0 => HeaderValue::Bool(true),
        1 => HeaderValue::Bool(false),
        2 => HeaderValue::Number(bytes.try_get_i8().ok()?.into()),
        3 => HeaderValue::Number(bytes.try_get_i16().ok()?.into()),
        4 => HeaderValue::Number(bytes.try_get_i32().ok()?.into()),
        5 | 8 => HeaderValue::Number(bytes.try_get_i64().ok()?),
        kind @ (6 | 7) => {
            let n = usize::from(bytes.try_get_u16().ok()?);
            let value = cut(bytes, n)?;
            if kind == 6 {
                HeaderValue::Bytes(value)
            } else {
                HeaderValue::Text(String::from_utf8(value.to_vec()).ok()?)
            }
        }
        9 => HeaderValue::Bytes(cut(bytes, 16)?),
        _ => return None,
    };
    Some((name, value))
}

fn cut(bytes: &mut Bytes, n: usize) -> Option<Bytes> {
    (bytes.len() >= n).then(|| bytes.split_to(n))
}

/// The frames of a stream of bytes. Ends after the first error; a stream that is cut within a frame is one.
///
/// ```
/// use futures_util::{FutureExt, StreamExt, stream};
/// use katena_http::aws::EventStream;
/// let cut = stream::iter([Ok(vec![0, 0, 0, 16].into())]);
/// let first = EventStream::new(cut).next().now_or_never().unwrap();
/// assert!(first.unwrap().is_err());
/// ```
#[derive(Debug)]
pub struct EventStream<S> {
    bytes: Option<S>,
    decoder: EventStreamDecoder,
    error: Option<Error>,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> EventStream<S> {
    /// Decodes `bytes` with a new decoder.
    pub fn new(bytes: S) -> Self {
        Self::with_decoder(bytes, EventStreamDecoder::new())
    }

    /// Decodes `bytes` with this decoder, which may have its own limit or hold frames already.
    pub fn with_decoder(bytes: S, decoder: EventStreamDecoder) -> Self {
        Self { bytes: Some(bytes), decoder, error: None }
    }
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> Stream for EventStream<S> {
    type Item = Result<Frame>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.decoder.next_frame() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if let Some(error) = this.error.take() {
                this.bytes = None;
                return Poll::Ready(Some(Err(error)));
            }
            let Some(bytes) = &mut this.bytes else { return Poll::Ready(None) };
            match ready!(Pin::new(bytes).poll_next(cx)) {
                Some(Ok(piece)) => this.error = this.decoder.push(&piece).err(),
                Some(Err(error)) => this.error = Some(error),
                None => {
                    this.bytes = None;
                    this.error = this.decoder.finish().err();
                }
            }
        }
    }
}

impl HttpStream {
    /// Decodes AWS's binary event stream, each frame at most as large as the client's limit of a whole reply.
    pub fn into_event_stream(self) -> EventStream<Self> {
        let limit = self.limit().min(MAX_FRAME_BYTES);
        EventStream::with_decoder(self, EventStreamDecoder::new().with_max_frame_bytes(limit))
    }
}

#[cfg(test)]
#[path = "event_stream_tests.rs"]
mod tests;
