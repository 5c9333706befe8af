//! Any bytes, any split: the same events.
#![no_main]

use katena_http::sse::{SseDecoder, SseEvent};
use libfuzzer_sys::fuzz_target;

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<SseEvent>, bool) {
    let mut decoder = SseDecoder::new();
    let failed = pieces.map(|piece| decoder.push(piece)).any(|r| r.is_err());
    decoder.finish();
    (std::iter::from_fn(|| decoder.next_event()).collect(), failed)
}

fuzz_target!(|data: &[u8]| {
    let Some((split, text)) = data.split_first() else { return };
    let whole = decode(std::iter::once(text));
    let split = usize::from(*split).max(1);
    assert_eq!(decode(text.chunks(split)), whole);
    assert_eq!(decode(text.chunks(1)), whole);
});
