//! What every protocol does with bytes: frames in, events out, whole replies that may be streams and the other way round.

use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream as streams;
use katena_core::{ChatEvent, ChatResponse, ChatStream, Error, Result};
use katena_http::sse::{SseDecoder, SseStream};
use katena_http::{HttpClient, HttpReply, HttpRequest, HttpStream, Shape};
use serde_json::Value;

/// A protocol's pure decoder of a streamed reply.
pub(crate) trait StreamDecoder: Send + 'static {
    /// Takes one frame: its type (`message` if it has none) and its data.
    fn push(&mut self, event: &str, data: &str) -> Result<()>;
    /// The next decoded event.
    fn next_event(&mut self) -> Option<ChatEvent>;
    /// True once nothing more needs to be read.
    fn is_done(&self) -> bool;
    /// Ends the reply; an error if it was cut off.
    fn finish(&mut self) -> Result<()>;
}

/// Asks for a whole answer. A server that streams although it was not asked to is understood too.
#[allow(dead_code, reason = "each protocol is a feature")]
pub(crate) async fn generate(
    client: &HttpClient,
    call: HttpRequest,
    decode: impl FnOnce(Value) -> Result<ChatResponse>,
    decoder: impl StreamDecoder,
) -> Result<ChatResponse> {
    let reply = client.send(call).await?;
    read(&reply, decode, decoder)
}

/// Asks for a stream of server-sent events. A server that answers at once is understood too.
#[allow(dead_code, reason = "each protocol is a feature")]
pub(crate) async fn stream(
    client: &HttpClient,
    call: HttpRequest,
    decode: impl FnOnce(Value) -> Result<ChatResponse>,
    decoder: impl StreamDecoder,
) -> Result<ChatStream> {
    let mut body = client.open(call).await?;
    match body.shape().await? {
        Shape::Other => Ok(sse_events(body, decoder)),
        // Its whole answer, or its error, is there at once.
        Shape::Json => {
            let response = read(&body.read(client.options().max_body).await?, decode, decoder)?;
            Ok(streams::iter(ChatEvent::of_response(response).into_iter().map(Ok)).boxed())
        }
        shape => Err(body.unreadable(shape)),
    }
}

/// Reads a whole reply, which may be a stream although none was asked for.
pub(crate) fn read(
    reply: &HttpReply,
    decode: impl FnOnce(Value) -> Result<ChatResponse>,
    decoder: impl StreamDecoder,
) -> Result<ChatResponse> {
    let response = match reply.shape() {
        Shape::Other => fold_sse(&reply.body, decoder).and_then(|folded| match folded {
            Some(response) => Ok(response),
            None => reply.json::<Value>().and_then(|_| {
                Err(Error::invalid_output("the server's reply is neither JSON nor a stream of events"))
            }),
        }),
        // A page, nothing, or broken JSON: the reply knows the right words.
        _ => reply.json::<Value>().and_then(decode),
    };
    Ok(reply.complete(response.map_err(|e| reply.mark(e))?))
}

/// The answer of a stream that came whole; `None` if it is no stream of events.
fn fold_sse(body: &[u8], mut decoder: impl StreamDecoder) -> Result<Option<ChatResponse>> {
    let mut sse = SseDecoder::new();
    sse.push(body)?;
    let mut any = false;
    while let Some(event) = sse.next_event() {
        any = true;
        push(&mut decoder, &event.event, &event.data)?;
    }
    any |= sse.is_unfinished();
    if let Some(event) = sse.finish_json() {
        push(&mut decoder, &event.event, &event.data)?;
    }
    if !any {
        return Ok(None);
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        if let ChatEvent::Finished(response) = event {
            return Ok(Some(*response));
        }
    }
    Err(Error::unexpected("a finished stream without an answer"))
}

/// Asks for a whole answer of a protocol whose streams are lines of JSON. Several lines are understood too.
#[allow(dead_code, reason = "each protocol is a feature")]
pub(crate) async fn generate_ndjson(
    client: &HttpClient,
    call: HttpRequest,
    decode: impl FnOnce(Value) -> Result<ChatResponse>,
    decoder: impl StreamDecoder,
) -> Result<ChatResponse> {
    let reply = client.send(call).await?;
    let whole = match reply.json::<Value>() {
        Ok(value) => decode(value),
        Err(error) if reply.shape() == Shape::Json => fold_ndjson(&reply.body, decoder).map_err(|cut| {
            // A single text that ends too early: the reply knows the right words.
            if error.kind() == katena_core::ErrorKind::Unavailable { error } else { cut }
        }),
        Err(error) => Err(error),
    };
    Ok(reply.complete(whole.map_err(|e| reply.mark(e))?))
}

/// Asks for a stream of lines of JSON. A server that answers at once sends one line.
#[allow(dead_code, reason = "each protocol is a feature")]
pub(crate) async fn stream_ndjson(
    client: &HttpClient,
    call: HttpRequest,
    decoder: impl StreamDecoder,
) -> Result<ChatStream> {
    let mut body = client.open(call).await?;
    match body.shape().await? {
        Shape::Json => {
            let (mark, complete) = (body.marker(), body.completer());
            let lines = body.into_ndjson().map(|line| line.map(|data| ("message", data)));
            Ok(events(lines, decoder, mark, complete))
        }
        shape => Err(body.unreadable(shape)),
    }
}

/// The answer of lines that came whole.
fn fold_ndjson(body: &[u8], mut decoder: impl StreamDecoder) -> Result<ChatResponse> {
    let mut lines = katena_http::ndjson::NdjsonDecoder::new();
    lines.push(body)?;
    lines.finish()?;
    while let Some(line) = lines.next_line() {
        decoder.push("message", &line)?;
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        if let ChatEvent::Finished(response) = event {
            return Ok(*response);
        }
    }
    Err(Error::unexpected("a finished stream without an answer"))
}

struct Events<S, D> {
    /// Gone, and with them the connection, once nothing more is to be read.
    frames: Option<S>,
    decoder: D,
    /// How the stream ended, once it has; given after the events that came before.
    end: Option<Result<()>>,
}

/// Hands a frame to the decoder. Where a server left out the blank line before `[DONE]`, the two came as one event.
fn push(decoder: &mut impl StreamDecoder, event: &str, data: &str) -> Result<()> {
    match data.strip_suffix("\n[DONE]") {
        Some(data) => {
            decoder.push(event, data)?;
            decoder.push("message", "[DONE]")
        }
        None => decoder.push(event, data),
    }
}

/// Drops the frames. A source that is at its end already is read to it first, without waiting: its connection can then
/// be used again.
fn drain(mut frames: Pin<Box<impl futures_util::Stream>>) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..4 {
        if !matches!(frames.as_mut().poll_next(&mut cx), std::task::Poll::Ready(Some(_))) {
            break;
        }
    }
}

fn sse_events(body: HttpStream, decoder: impl StreamDecoder) -> ChatStream {
    let (mark, complete) = (body.marker(), body.completer());
    let frames: SseStream<HttpStream> = body.into_sse().with_json_remainder();
    let frames = frames.map(|event| event.map(|e| (e.event, e.data)));
    events(frames, decoder, mark, complete)
}

/// Events of any frames: `(type, data)` as the decoder takes them. The connection is closed as soon as the decoder is done.
pub(crate) fn events<F, E, T, D>(
    frames: F,
    decoder: D,
    mark: impl Fn(Error) -> Error + Send + 'static,
    complete: impl Fn(ChatResponse) -> ChatResponse + Send + 'static,
) -> ChatStream
where
    D: StreamDecoder,
    F: futures_util::Stream<Item = Result<(E, T)>> + Send + 'static,
    E: AsRef<str> + Send + 'static,
    T: AsRef<str> + Send + 'static,
{
    let state = Events { frames: Some(Box::pin(frames)), decoder, end: None };
    let next = async |mut s: Events<Pin<Box<F>>, D>| loop {
        if let Some(event) = s.decoder.next_event() {
            return Some((Ok(event), s));
        }
        if let Some(end) = s.end.replace(Ok(())) {
            return end.err().map(|error| (Err(error), s));
        }
        let frame = match &mut s.frames {
            Some(frames) => frames.next().await,
            None => None,
        };
        s.end = match frame {
            Some(Ok((event, data))) => match push(&mut s.decoder, event.as_ref(), data.as_ref()) {
                Ok(()) if s.decoder.is_done() => Some(s.decoder.finish()),
                Ok(()) => None,
                Err(error) => Some(Err(error)),
            },
            Some(Err(error)) => Some(Err(error)),
            None => Some(s.decoder.finish()),
        };
        if s.end.is_some()
            && let Some(frames) = s.frames.take()
        {
            drain(frames);
        }
    };
    streams::unfold(state, next)
        .map(move |item| match item {
            Ok(ChatEvent::Finished(response)) => Ok(ChatEvent::Finished(Box::new(complete(*response)))),
            Ok(event) => Ok(event),
            Err(error) => Err(mark(error)),
        })
        .boxed()
}
