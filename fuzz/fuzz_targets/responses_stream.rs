//! Any bytes as a streamed reply: no panic, and whatever is decoded obeys the law of streaming.
#![no_main]

use katena_core::{Accumulator, ChatEvent};
use katena_http::sse::SseDecoder;
use katena_llms::openai_responses::{ResponsesStreamDecoder, decode_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) {
        // An error is as good as an answer; both must come without a panic.
        let _ = decode_response(value, "fuzz");
    }
    let mut sse = SseDecoder::new().with_max_event_bytes(1 << 20);
    let _ = sse.push(data);
    let mut decoder = ResponsesStreamDecoder::new("fuzz");
    let mut answer = Accumulator::new();
    let mut finished = 0;
    let mut take = |decoder: &mut ResponsesStreamDecoder| {
        while let Some(event) = decoder.next_event() {
            finished += usize::from(matches!(event, ChatEvent::Finished(_)));
            answer.push(&event).expect("events in order");
        }
    };
    while let Some(event) = sse.next_event() {
        let pushed = decoder.push(&event.event, &event.data);
        take(&mut decoder);
        if pushed.is_err() {
            return;
        }
    }
    let ended = decoder.finish().is_ok();
    take(&mut decoder);
    assert_eq!(finished, usize::from(ended));
    assert_eq!(answer.finish().is_ok(), ended);
});
