//! Recorded traffic of Ollama's chat, replayed through the decoders in process.

#![cfg(feature = "ollama")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod recorded;

use katena_core::{Accumulator, ChatResponse, Result};
use katena_http::ndjson::NdjsonDecoder;
use katena_llms::ollama::{OllamaStreamDecoder, decode_response};
use recorded::{Row, fold};

fn decode_stream(body: &[u8], split: usize) -> Result<ChatResponse> {
    let mut lines = NdjsonDecoder::new();
    let mut decoder = OllamaStreamDecoder::new();
    let mut answer = Accumulator::new();
    let mut ended = false;
    let mut pieces = body.chunks(split);
    while !ended {
        match pieces.next() {
            Some(piece) => lines.push(piece)?,
            None => {
                lines.finish()?;
                ended = true;
            }
        }
        while let Some(line) = lines.next_line() {
            decoder.push(&line)?;
            fold(&mut answer, || decoder.next_event());
        }
    }
    decoder.finish()?;
    fold(&mut answer, || decoder.next_event());
    answer.finish()
}

fn decode(row: &Row) -> Result<ChatResponse> {
    let whole = decode_stream(&row.body, row.body.len());
    for split in [1, 7, 100] {
        assert_eq!(
            decode_stream(&row.body, split).map_err(|e| e.to_string()),
            whole.clone().map_err(|e| e.to_string())
        );
    }
    match serde_json::from_slice(&row.body) {
        Ok(value) => {
            let response = decode_response(value, "ollama")?;
            assert_eq!(response.message, whole?.message, "a whole reply is a stream of one line");
            Ok(response)
        }
        Err(_) => whole,
    }
}

#[test]
fn recorded_answers_are_understood() {
    if let Some(all) = recorded::judge("ollama", "ollama.chat", decode) {
        assert!(all > 0);
    }
}

#[test]
fn damaged_replies_break_no_law() {
    recorded::damage("ollama", "ollama.chat", |body| {
        if let Ok(value) = serde_json::from_slice(body) {
            // An error is as good as an answer.
            let _ = decode_response(value, "ollama");
        }
        decode_stream(body, 64)
    });
}
