//! Any bytes as an answer of Ollama's: no panic, and whatever is decoded obeys the law of streaming.
#![no_main]

use katena_core::{Accumulator, ChatEvent};
use katena_http::ndjson::NdjsonDecoder;
use katena_llms::ollama::{OllamaStreamDecoder, decode_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) {
        // An error is as good as an answer; both must come without a panic.
        let _ = decode_response(value, "fuzz");
    }
    let mut lines = NdjsonDecoder::new().with_max_line_bytes(1 << 20);
    let _ = lines.push(data);
    let _ = lines.finish();
    for forced in [false, true] {
        let mut decoder = OllamaStreamDecoder::new();
        if forced {
            decoder = decoder.with_forced_call();
        }
        let mut answer = Accumulator::new();
        let mut finished = 0;
        for line in String::from_utf8_lossy(data).lines() {
            if decoder.push(line).is_err() {
                break;
            }
        }
        let ended = decoder.finish().is_ok();
        while let Some(event) = decoder.next_event() {
            finished += usize::from(matches!(event, ChatEvent::Finished(_)));
            answer.push(&event).expect("events in order");
        }
        assert_eq!(finished, usize::from(ended));
        assert_eq!(answer.finish().is_ok(), ended);
    }
});
