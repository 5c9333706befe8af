//! Recorded traffic of Cohere's chat, replayed through the decoders in process.

#![cfg(feature = "cohere")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod recorded;

use katena_core::{Accumulator, ChatResponse, Result};
use katena_http::sse::SseDecoder;
use katena_llms::cohere::{CohereStreamDecoder, decode_response};
use recorded::{Row, fold};

fn decode_stream(body: &[u8], split: usize) -> Result<ChatResponse> {
    let mut sse = SseDecoder::new();
    let mut decoder = CohereStreamDecoder::new("cohere");
    let mut answer = Accumulator::new();
    for piece in body.chunks(split) {
        sse.push(piece)?;
        while let Some(event) = sse.next_event() {
            decoder.push(&event.event, &event.data)?;
            fold(&mut answer, || decoder.next_event());
        }
    }
    decoder.finish()?;
    fold(&mut answer, || decoder.next_event());
    answer.finish()
}

fn decode(row: &Row) -> Result<ChatResponse> {
    if let Ok(value) = serde_json::from_slice(&row.body) {
        return decode_response(value, "cohere");
    }
    let whole = decode_stream(&row.body, row.body.len());
    for split in [1, 7, 100] {
        assert_eq!(
            decode_stream(&row.body, split).map_err(|e| e.to_string()),
            whole.clone().map_err(|e| e.to_string())
        );
    }
    whole
}

#[test]
fn recorded_answers_are_understood() {
    if let Some(all) = recorded::judge("cohere", "cohere.chat", decode) {
        assert!(all > 0);
    }
}

#[test]
fn damaged_replies_break_no_law() {
    recorded::damage("cohere", "cohere.chat", |body| {
        if let Ok(value) = serde_json::from_slice(body) {
            // An error is as good as an answer.
            let _ = decode_response(value, "cohere");
        }
        decode_stream(body, 64)
    });
}
