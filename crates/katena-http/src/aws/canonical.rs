//! The canonical form of a request, which is what is signed.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::sigv4::PathEncoding;

/// Headers that proxies change or that the transport adds.
const UNSIGNED: [&str; 7] =
    ["authorization", "connection", "expect", "te", "transfer-encoding", "user-agent", "x-amzn-trace-id"];

/// Lower-case names; values trimmed, runs of white space within them one space; equal names joined in order.
pub(super) fn canonical_headers(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        let name = name.trim().to_ascii_lowercase();
        if UNSIGNED.contains(&name.as_str()) {
            continue;
        }
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        match all.iter_mut().find(|(n, _)| *n == name) {
            Some((_, values)) => values.extend([",", &value]),
            None => all.push((name, value)),
        }
    }
    all
}

pub(super) fn signed_names(headers: &[(String, String)]) -> String {
    headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";")
}

/// Everything but letters, digits and `-._~` as `%XX`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn decode(text: &str, plus_is_space: bool) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push((high * 16 + low) as u8);
            rest = &tail[2..];
        } else {
            bytes.push(if plus_is_space && *first == b'+' { b' ' } else { *first });
            rest = tail;
        }
    }
    bytes
}

/// The path as it is sent, normalized and encoded as the setting says.
pub(super) fn canonical_path(path: &str, encoding: PathEncoding) -> String {
    let path = if path.starts_with('/') { Cow::Borrowed(path) } else { Cow::Owned(format!("/{path}")) };
    let segments: Vec<&str> = match encoding {
        PathEncoding::AsSent => path.split('/').collect(),
        _ => normalized(&path),
    };
    // As sent: what may not stand in a path is encoded, what is encoded stays.
    let once = |segment: &&str| encode(&decode(segment, false));
    match encoding {
        PathEncoding::Twice => segments.iter().map(|s| encode(s.as_bytes())).collect::<Vec<_>>().join("/"),
        _ => segments.iter().map(once).collect::<Vec<_>>().join("/"),
    }
}

/// The segments without empty ones, `.` and `..`; the slashes at both ends stay.
fn normalized(path: &str) -> Vec<&str> {
    let mut kept = vec![""];
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                if kept.len() > 1 {
                    kept.pop();
                }
            }
            other => kept.push(other),
        }
    }
    let open = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if open || kept.len() == 1 {
        kept.push("");
    }
    kept
}

pub(super) fn query_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(&decode(name, true)), encode(&decode(value, true)))
        })
        .collect()
}

pub(super) fn joined(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

pub(super) fn canonical_query(query: &str) -> String {
    joined(query_pairs(query))
}
