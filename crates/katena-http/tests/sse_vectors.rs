//! The shared vectors of server-sent events, at every split.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;

use base64::Engine as _;
use katena_http::sse::{SseDecoder, SseEvent};
use serde_json::Value;

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<SseEvent>, Option<u64>) {
    let mut decoder = SseDecoder::new();
    for piece in pieces {
        decoder.push(piece).unwrap();
        decoder.push(&[]).unwrap();
    }
    decoder.finish();
    (std::iter::from_fn(|| decoder.next_event()).collect(), decoder.retry_ms())
}

#[test]
fn all_vectors_at_every_split() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/sse/sse_vectors.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: the shared SSE vectors are not beside this checkout");
        return;
    };
    let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut passed = 0;
    for vector in &vectors {
        let name = vector["name"].as_str().unwrap();
        let body = base64::prelude::BASE64_STANDARD.decode(vector["body_b64"].as_str().unwrap()).unwrap();
        let (events, retry) = decode([&body[..]]);
        let expected = vector["events"].as_array().unwrap();
        // Of a long row of events the vector lists the first ones and says how many there are.
        let count = vector["n"].as_u64().unwrap_or(expected.len() as u64);
        assert_eq!(events.len() as u64, count, "{name}");
        assert!(count == expected.len() as u64 || vector["events_truncated"] == true, "{name}");
        for (event, expected) in events.iter().zip(expected) {
            assert_eq!(event.event, expected["event"].as_str().unwrap(), "{name}");
            match expected["data_len"].as_u64() {
                Some(length) => assert_eq!(event.data.len() as u64, length, "{name}"),
                None => assert_eq!(event.data, expected["data"].as_str().unwrap(), "{name}"),
            }
            if let Some(id) = expected.get("id") {
                assert_eq!(event.id.as_deref(), id.as_str(), "{name}");
            }
        }
        if let Some(expected) = vector.get("retry") {
            assert_eq!(retry, expected.as_u64(), "{name}");
        }
        assert_eq!(decode(body.chunks(1)).0, events, "{name}, byte by byte");
        // Every split in two; for the few large bodies their first part stands for the rest.
        for at in 0..=body.len().min(2000) {
            assert_eq!(decode([&body[..at], &body[at..]]).0, events, "{name}, split at {at}");
        }
        if body.len() <= 100 {
            for i in 0..=body.len() {
                for j in i..=body.len() {
                    assert_eq!(decode([&body[..i], &body[i..j], &body[j..]]).0, events, "{name}, {i}, {j}");
                }
            }
        }
        passed += 1;
    }
    println!("{passed} of {} vectors", vectors.len());
    assert!(passed >= 42, "{passed}");
}
