//! Any bytes as a binary event stream of Converse: no panic, and whatever is decoded obeys the law of streaming.
#![no_main]

use katena_core::{Accumulator, ChatEvent};
use katena_http::aws::EventStreamDecoder;
use katena_llms::bedrock::{ConverseStreamDecoder, decode_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) {
        let _ = decode_response(value, "fuzz");
    }
    let mut frames = EventStreamDecoder::new().with_max_frame_bytes(1 << 20);
    let _ = frames.push(data);
    let mut events = Vec::new();
    while let Some(frame) = frames.next_frame() {
        events.push((frame.event_type().to_owned(), String::from_utf8_lossy(&frame.payload).into_owned()));
    }
    // Checksums that fit are rare in random bytes, so lines of `type payload` are events too.
    for line in String::from_utf8_lossy(data).lines() {
        let (kind, payload) = line.split_once(' ').unwrap_or((line, ""));
        events.push((kind.to_owned(), payload.to_owned()));
    }
    let mut decoder = ConverseStreamDecoder::new("fuzz");
    let mut answer = Accumulator::new();
    let mut finished = 0;
    let mut take = |decoder: &mut ConverseStreamDecoder| {
        while let Some(event) = decoder.next_event() {
            finished += usize::from(matches!(event, ChatEvent::Finished(_)));
            answer.push(&event).expect("events in order");
        }
    };
    for (kind, payload) in events {
        let pushed = decoder.push(&kind, &payload);
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
