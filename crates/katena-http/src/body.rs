//! Replies: whole, or as they come.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use katena_core::{Cancelled, ChatResponse, Error, ErrorKind, RateLimits, Result};
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep};

use crate::client::body_error;
use crate::ndjson::{MAX_LINE_BYTES, NdjsonDecoder, NdjsonStream};
use crate::secret::Redaction;
use crate::sse::{MAX_EVENT_BYTES, SseDecoder, SseStream};

/// What the first bytes of a body look like, whatever its content type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// Nothing but white space.
    Empty,
    /// A JSON object or list.
    Json,
    /// A page for people.
    Html,
    /// Anything else; server-sent events, if the caller asked for them.
    Other,
}

impl Shape {
    /// The shape of a body that starts so.
    pub fn of(start: &[u8]) -> Self {
        let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
        match start.iter().find(|b| !b.is_ascii_whitespace()) {
            None => Self::Empty,
            Some(b'{' | b'[') => Self::Json,
            Some(b'<') => Self::Html,
            Some(_) => Self::Other,
        }
    }
}

/// Facts about a reply, for its errors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) rate_limits: Option<RateLimits>,
    pub(crate) vendor: Option<Cow<'static, str>>,
    /// What was sent and must not come back in an error.
    pub(crate) sent: Redaction,
    pub(crate) headers: Headers,
}

/// The reply's headers, which can hold cookies and tokens: not shown.
#[derive(Clone, Default)]
pub(crate) struct Headers(pub(crate) Arc<HeaderMap>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} headers", self.0.len())
    }
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.0.get(name)?.to_str().ok()
    }

    pub(crate) fn mark(&self, mut error: Error) -> Error {
        if let Some(vendor) = &self.vendor {
            error = error.with_vendor(vendor.clone());
        }
        if let Some(id) = &self.request_id {
            error = error.with_request_id(id.clone());
        }
        error.map_texts(|text| self.sent.text(text))
    }

    fn complete(&self, mut response: ChatResponse) -> ChatResponse {
        response.request_id = response.request_id.or_else(|| self.request_id.clone());
        response.rate_limits = response.rate_limits.or(self.rate_limits);
        response.vendor = response.vendor.or_else(|| self.vendor.as_ref().map(ToString::to_string));
        response
    }

    fn unreadable(&self, shape: Shape) -> Error {
        let error = match shape {
            Shape::Empty => Error::new(ErrorKind::Unavailable, "the server sent an empty reply"),
            Shape::Html => Error::invalid_output(
                "the server sent an HTML page in place of data; is the base address right, or is a proxy in between?",
            ),
            _ => Error::invalid_output("the server's reply can't be understood"),
        };
        let error = match &self.content_type {
            Some(kind) => error.with_context("content type", kind.clone()),
            None => error,
        };
        self.mark(error.with_status(self.status))
    }
}

/// A whole reply with a status of success.
pub struct HttpReply {
    pub(crate) head: Head,
    /// The body, decompressed.
    pub body: Bytes,
}

impl fmt::Debug for HttpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpReply").field("head", &self.head).field("body", &self.body.len()).finish()
    }
}

impl HttpReply {
    /// The first header of that name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The HTTP status, 200 to 299.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The content type as the server gave it.
    pub fn content_type(&self) -> Option<&str> {
        self.head.content_type.as_deref()
    }

    /// The vendor's id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.head.request_id.as_deref()
    }

    /// What the vendor says is left of the account's limits.
    pub fn rate_limits(&self) -> Option<RateLimits> {
        self.head.rate_limits
    }

    /// Adds what the reply's head tells to a chat response: request id, rate limits, vendor.
    pub fn complete(&self, response: ChatResponse) -> ChatResponse {
        self.head.complete(response)
    }

    /// What the body looks like.
    pub fn shape(&self) -> Shape {
        Shape::of(&self.body)
    }

    /// Adds vendor and request id to an error about this reply, and takes out of it what was sent as a secret.
    pub fn mark(&self, error: Error) -> Error {
        self.head.mark(error)
    }

    /// The body read as JSON.
    ///
    /// # Errors
    /// Kind `Unavailable` for an empty or cut-off body, `InvalidOutput` for an HTML page or other bad JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let body = self.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.body);
        serde_json::from_slice(body).map_err(|e| match self.shape() {
            Shape::Json if e.is_eof() => self.head.mark(
                Error::new(ErrorKind::Unavailable, "the server's JSON reply was cut off")
                    .with_status(self.head.status)
                    .with_source(e),
            ),
            // Marked with its cause: that may repeat a text of the body.
            shape => self.head.mark(self.head.unreadable(shape).with_source(e)),
        })
    }
}

/// A reply with a status of success whose body is still coming; a stream of its bytes, decompressed.
///
/// Dropping it closes the connection. It ends with an error of kind `Timeout` after a silence longer than the idle timeout or at
/// the deadline, `Cancelled` at the cancel signal, `Unavailable` if the connection breaks; nothing comes after an error.
pub struct HttpStream {
    head: Head,
    /// The most bytes of one event or line.
    limit: usize,
    front: VecDeque<Bytes>,
    body: Option<BoxStream<'static, reqwest::Result<Bytes>>>,
    idle_timeout: Duration,
    idle: Pin<Box<Sleep>>,
    waiting_since: Option<Instant>,
    deadline: Option<Pin<Box<Sleep>>>,
    cancelled: Cancelled,
}

impl fmt::Debug for HttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStream").field("head", &self.head).finish_non_exhaustive()
    }
}

impl HttpStream {
    /// Needs a runtime's timer: call it within one.
    pub(crate) fn new(
        head: Head,
        response: reqwest::Response,
        limit: usize,
        idle_timeout: Duration,
        context: &katena_core::Context,
    ) -> Self {
        Self::over(head, response.bytes_stream().boxed(), limit, idle_timeout, context)
    }

    fn over(
        head: Head,
        body: BoxStream<'static, reqwest::Result<Bytes>>,
        limit: usize,
        idle_timeout: Duration,
        context: &katena_core::Context,
    ) -> Self {
        Self {
            head,
            limit,
            front: VecDeque::new(),
            body: Some(body),
            idle_timeout,
            idle: Box::pin(tokio::time::sleep(idle_timeout)),
            waiting_since: None,
            deadline: context.deadline.map(|at| Box::pin(tokio::time::sleep_until(Instant::from_std(at)))),
            cancelled: context.cancel.cancelled(),
        }
    }

    /// The HTTP status, 200 to 299.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first header of that name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The content type as the server gave it.
    pub fn content_type(&self) -> Option<&str> {
        self.head.content_type.as_deref()
    }

    /// The vendor's id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.head.request_id.as_deref()
    }

    /// Waits for the first bytes that are not white space and says what they look like. Nothing is taken from the
    /// stream.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn shape(&mut self) -> Result<Shape> {
        // White space beyond this is no reply that anybody sends.
        const ENOUGH: usize = 64 << 10;
        let mut seen: Vec<u8> = self.front.iter().flatten().copied().collect();
        loop {
            let shape = Shape::of(&seen);
            let bom_may_come = b"\xEF\xBB\xBF".starts_with(&seen);
            if shape != Shape::Empty && !bom_may_come || seen.len() > ENOUGH {
                return Ok(shape);
            }
            match std::future::poll_fn(|cx| self.poll_body(cx)).await {
                Some(piece) => {
                    let piece = piece?;
                    seen.extend_from_slice(&piece);
                    self.front.push_back(piece);
                }
                None => return Ok(shape),
            }
        }
    }

    /// Reads the rest of the body, at most `limit` bytes.
    ///
    /// # Errors
    /// Those of the stream, and `InvalidOutput` beyond the limit.
    pub async fn read(mut self, limit: usize) -> Result<HttpReply> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if body.len() + piece.len() > limit {
                return Err(self.head.mark(too_large(limit)));
            }
            if body.is_empty() && self.body.is_none() && self.front.is_empty() {
                return Ok(HttpReply { head: self.head, body: piece });
            }
            body.extend_from_slice(&piece);
        }
        Ok(HttpReply { head: self.head, body: body.freeze() })
    }

    /// The error for a body that is none of what the caller understands.
    pub fn unreadable(&self, shape: Shape) -> Error {
        self.head.unreadable(shape)
    }

    /// A function that adds what the reply's head tells to a chat response: request id, rate limits, vendor.
    pub fn completer(&self) -> impl Fn(ChatResponse) -> ChatResponse + Send + Sync + 'static {
        let head = self.head.clone();
        move |response| head.complete(response)
    }

    /// A function that adds vendor and request id to errors about this reply, and takes out of them what was sent as a
    /// secret.
    pub fn marker(&self) -> impl Fn(Error) -> Error + Send + Sync + 'static {
        let head = self.head.clone();
        move |error| head.mark(error)
    }

    /// Decodes server-sent events, each at most as large as the client's limit of a whole reply.
    pub fn into_sse(self) -> SseStream<Self> {
        let decoder = SseDecoder::new().with_max_event_bytes(self.limit.min(MAX_EVENT_BYTES));
        SseStream::with_decoder(self, decoder)
    }

    /// Decodes newline-delimited JSON, each line at most as large as the client's limit of a whole reply.
    pub fn into_ndjson(self) -> NdjsonStream<Self> {
        let decoder = NdjsonDecoder::new().with_max_line_bytes(self.limit.min(MAX_LINE_BYTES));
        NdjsonStream::with_decoder(self, decoder)
    }

    #[cfg(feature = "aws")]
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let failure = if Pin::new(&mut self.cancelled).poll(cx).is_ready() {
            Error::cancelled()
        } else if self.deadline.as_mut().is_some_and(|d| d.as_mut().poll(cx).is_ready()) {
            Error::new(ErrorKind::Timeout, "the deadline has passed")
        } else {
            // The data first: a timer that ran out while nobody looked must not hide what has arrived.
            match body.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    self.waiting_since = None;
                    return Poll::Ready(Some(Ok(piece)));
                }
                Poll::Ready(None) => {
                    self.body = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => body_error(error),
                Poll::Pending => {
                    // Only the time that the consumer itself waits counts as silence. The timer is set anew only when it
                    // runs out too early: setting it for each piece would cost more than reading it.
                    let now = Instant::now();
                    let since = *self.waiting_since.get_or_insert(now);
                    loop {
                        if self.idle.as_mut().poll(cx).is_pending() {
                            return Poll::Pending;
                        }
                        let until = later(since, self.idle_timeout);
                        if until <= Instant::now() {
                            break;
                        }
                        self.idle.as_mut().reset(until);
                    }
                    Error::new(ErrorKind::Timeout, "the server fell silent in the midst of its reply")
                        .with_context("idle timeout", format!("{:?}", self.idle_timeout))
                }
            }
        };
        self.body = None;
        Poll::Ready(Some(Err(self.head.mark(failure))))
    }
}

impl Stream for HttpStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.front.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(piece))),
            None => self.poll_body(cx),
        }
    }
}

pub(crate) fn too_large(limit: usize) -> Error {
    Error::invalid_output("the server's reply is larger than the limit")
        .with_context("limit", format!("{limit} bytes"))
}

/// The moment after `wait`; a wait without end is thirty years.
pub(crate) fn after(wait: Duration) -> Instant {
    later(Instant::now(), wait)
}

fn later(from: Instant, wait: Duration) -> Instant {
    from.checked_add(wait).unwrap_or_else(|| from + Duration::from_secs(30 * 365 * 86_400))
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
