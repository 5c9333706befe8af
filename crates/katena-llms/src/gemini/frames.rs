//! Server-sent events among which the server may write a bare JSON text: its error, in the midst of an answer.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream as streams;
use katena_core::{ChatEvent, ChatResponse, ChatStream, Result};
use katena_http::sse::{MAX_EVENT_BYTES, SseDecoder, SseStream};
use katena_http::{HttpClient, HttpRequest, Shape};
use serde_json::Value;

use crate::shell::{self, StreamDecoder};

/// Asks for a stream of server-sent events. A server that answers at once, or with a list of chunks, is understood
/// too.
pub(super) async fn stream(
    client: &HttpClient,
    call: HttpRequest,
    decode: impl FnOnce(Value) -> Result<ChatResponse>,
    decoder: impl StreamDecoder,
) -> Result<ChatStream> {
    let mut body = client.open(call).await?;
    match body.shape().await? {
        Shape::Other => {
            let (mark, complete) = (body.marker(), body.completer());
            let mut bare = BareJson::new();
            let bytes = body.map(move |piece| piece.map(|piece| bare.wrap(piece)));
            let limit = client.options().max_body.min(MAX_EVENT_BYTES);
            let sse = SseDecoder::new().with_max_event_bytes(limit);
            let frames = SseStream::with_decoder(bytes, sse).with_json_remainder();
            let frames = frames.map(|event| event.map(|e| (e.event, e.data)));
            Ok(shell::events(frames, decoder, mark, complete))
        }
        Shape::Json => {
            let response = shell::read(&body.read(client.options().max_body).await?, decode, decoder)?;
            Ok(streams::iter(ChatEvent::of_response(response).into_iter().map(Ok)).boxed())
        }
        shape => Err(body.unreadable(shape)),
    }
}

/// Makes events of bare JSON texts: a line that begins with a bracket is no field of an event, and would be skipped.
pub(super) struct BareJson {
    line_start: bool,
    after_cr: bool,
    within: bool,
}

impl BareJson {
    pub(super) fn new() -> Self {
        Self { line_start: true, after_cr: false, within: false }
    }

    /// The next bytes, with `data:` before each line of a bare JSON text. It ends with an empty line.
    pub(super) fn wrap(&mut self, piece: Bytes) -> Bytes {
        let mut out: Option<BytesMut> = None;
        for (at, &byte) in piece.iter().enumerate() {
            let ends = matches!(byte, b'\n' | b'\r');
            let begins = self.line_start && !self.within && matches!(byte, b'{' | b'[');
            if begins || self.line_start && self.within && !ends {
                let out = out.get_or_insert_with(|| BytesMut::from(&piece[..at]));
                // An event before it may lack its end.
                out.put_slice(if begins { b"\ndata:" } else { b"data:" });
            }
            // The two bytes of CRLF end one line.
            let empty_line = self.line_start && ends && !(byte == b'\n' && self.after_cr);
            self.within = begins || self.within && !empty_line;
            self.after_cr = byte == b'\r';
            self.line_start = ends;
            if let Some(out) = &mut out {
                out.put_u8(byte);
            }
        }
        out.map_or(piece, BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str, split: usize) -> Vec<String> {
        let (mut bare, mut sse) = (BareJson::new(), SseDecoder::new());
        for piece in text.as_bytes().chunks(split) {
            sse.push(&bare.wrap(Bytes::copy_from_slice(piece))).unwrap();
        }
        let mut events: Vec<String> = std::iter::from_fn(|| sse.next_event()).map(|e| e.data).collect();
        events.extend(sse.finish_json().map(|e| e.data));
        events
    }

    #[test]
    fn a_bare_text_is_an_event_however_it_is_cut() {
        let error = "{\n  \"error\": {\n    \"message\": \"busy\"\n  }\n}\n";
        for end in ["\n", "\r\n"] {
            let text = format!("data: {{\"a\":1}}\n\n: note\ndata: {{\"b\":\ndata: 2}}\n\n{error}")
                .replace('\n', end);
            for split in [1, 2, 3, 7, 1000] {
                let got = events(&text, split);
                assert_eq!(got[..2], ["{\"a\":1}".to_owned(), "{\"b\":\n2}".to_owned()], "{end:?} {split}");
                let value: Value = serde_json::from_str(&got[2]).unwrap();
                assert_eq!(value["error"]["message"], "busy");
                assert_eq!(got.len(), 3);
            }
        }
    }

    #[test]
    fn other_bytes_stay_as_they_are() {
        let text = Bytes::from_static(b"data: {}\r\n\r\nevent: x\ndata: [1]\n\n");
        assert_eq!(BareJson::new().wrap(text.clone()), text);
    }
}
