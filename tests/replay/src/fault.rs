//! What can go wrong between a vendor and its client.

use std::io::Write as _;

use bytes::Bytes;

use crate::rows::Row;

/// A reply as it goes over the wire.
#[derive(Debug)]
pub struct Wire {
    /// The status.
    pub status: u16,
    /// Headers beside those that frame the body.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// Bytes of a chunk; `None` for a body of known length.
    pub step: Option<usize>,
    /// Where the connection breaks.
    pub cut: Option<usize>,
    /// In the midst it falls silent.
    pub stalls: bool,
}

macro_rules! faults {
    ($($variant:ident $name:literal $intact:literal)*) => {
        /// A fault, by the name it has on the command line.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault { $(#[doc = concat!("The fault `", $name, "`.")] $variant,)* }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The fault of this name; the empty name is no fault.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// True if a right client still gets the whole answer.
            pub fn is_harmless(self) -> bool {
                match self { $(Self::$variant => $intact,)* }
            }
        }
    };
}

faults! {
    None "" true
    Bytes1 "bytes1" true
    Crlf "crlf" true
    Cr "cr" true
    Comments "comments" true
    Bom "bom" true
    NoLastBlank "nolastblank" true
    Gzip "gzip" true
    HugeLine "hugeline" true
    DupDone "dupdone" true
    WrongType "wrongctype" true
    E429 "e429" true
    E429Ms "e429s" true
    E500 "e500" true
    E503 "e503" true
    E529 "e529" true
    Reset "reset" true
    Cut50 "cut50" false
    CutUtf8 "cututf8" false
    Stall "stall" false
    Html502 "html502" false
    Empty200 "empty200" false
    BadJson "badjson" false
}

fn replace(body: &[u8], from: &[u8], to: &[u8], most: usize) -> Vec<u8> {
    let (mut out, mut at, mut done) = (Vec::with_capacity(body.len()), 0, 0);
    while at < body.len() {
        if done < most && body[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
            done += 1;
        } else {
            out.push(body[at]);
            at += 1;
        }
    }
    out
}

fn newlines(body: &[u8], end: &[u8]) -> Vec<u8> {
    replace(&replace(body, b"\r\n", b"\n", usize::MAX), b"\n", end, usize::MAX)
}

fn trimmed(body: &[u8]) -> Vec<u8> {
    let end = body.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |n| n + 1);
    body[..end].to_vec()
}

impl Fault {
    /// The reply to the `turn`th call of this row, counted from 1; `None` if the connection is dropped without one.
    pub fn apply(self, row: &Row, turn: u32) -> Option<Wire> {
        let sse_start = row.body.starts_with(b"event:") || row.body.starts_with(b"data: ");
        let content_type = match row.content_type.as_str() {
            "" if sse_start => "text/event-stream",
            "" => "application/json",
            known => known,
        };
        let sse = content_type.contains("event-stream");
        let streams = content_type.contains("stream") || content_type.contains("ndjson");
        let mut wire = Wire {
            status: row.status,
            headers: vec![("content-type", content_type.to_owned())],
            body: row.body.clone(),
            step: streams.then_some(1024),
            cut: None,
            stalls: false,
        };
        let injected = |status, header| Wire {
            status,
            headers: vec![("content-type", "application/json".to_owned()), (header, "0".to_owned())],
            body: Bytes::from_static(br#"{"error":{"message":"injected","type":"injected"}}"#),
            step: None,
            cut: None,
            stalls: false,
        };
        let body = &row.body;
        let middle = body.len() / 2;
        match self {
            Self::E429 if turn <= 2 => return Some(injected(429, "retry-after")),
            Self::E429Ms if turn <= 2 => return Some(injected(429, "retry-after-ms")),
            Self::E500 if turn <= 2 => return Some(injected(500, "retry-after")),
            Self::E503 if turn <= 2 => return Some(injected(503, "retry-after")),
            Self::E529 if turn <= 2 => return Some(injected(529, "retry-after")),
            Self::Reset if turn == 1 => return None,
            Self::Bytes1 => wire.step = Some(1),
            Self::Crlf if sse => wire.body = newlines(body, b"\r\n").into(),
            Self::Cr if sse => wire.body = newlines(body, b"\r").into(),
            Self::Comments if sse => {
                let noisy = replace(body, b"\n\n", b"\n\n: ping\n\nretry: 3000\n\n", usize::MAX);
                wire.body = [b": keep-alive\n\n", &noisy[..]].concat().into();
            }
            Self::Bom if sse => wire.body = [b"\xEF\xBB\xBF", &body[..]].concat().into(),
            Self::NoLastBlank if sse => wire.body = trimmed(body).into(),
            Self::DupDone if sse => {
                wire.body = [&body[..], b"data: [DONE]\n\ndata: [DONE]\n\n"].concat().into();
            }
            Self::HugeLine if sse => {
                let line = [&b": "[..], &vec![b'x'; 5_000_000], b"\n\n"].concat();
                wire.body = [&line[..], body].concat().into();
            }
            Self::WrongType => "text/plain".clone_into(&mut wire.headers[0].1),
            Self::Gzip => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                // A vector takes all that is written to it.
                let _ = packer.write_all(body);
                wire.body = packer.finish().unwrap_or_default().into();
                wire.headers.push(("content-encoding", "gzip".to_owned()));
            }
            Self::Cut50 => (wire.step, wire.cut) = (Some(1024), Some(middle)),
            Self::CutUtf8 => {
                let inside = (body.len() / 4..body.len()).find(|n| body[*n] >= 0xC3).unwrap_or(middle);
                (wire.step, wire.cut) = (Some(1024), Some((inside + 1).min(body.len())));
            }
            Self::Stall => (wire.step, wire.stalls) = (Some(1024), true),
            Self::Html502 => {
                wire.status = 502;
                "text/html".clone_into(&mut wire.headers[0].1);
                wire.body = Bytes::from_static(b"<html><body><h1>502 Bad Gateway</h1></body></html>");
                wire.step = None;
            }
            Self::Empty200 => wire.body = Bytes::new(),
            Self::BadJson if streams => wire.body = replace(body, b"}\n", b"\n", 1).into(),
            Self::BadJson => wire.body = body.slice(..middle.max(1).min(body.len())),
            _ => {}
        }
        Some(wire)
    }
}
