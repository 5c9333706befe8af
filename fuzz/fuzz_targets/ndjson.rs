//! Any bytes, any split: the same lines.
#![no_main]

use katena_http::ndjson::NdjsonDecoder;
use libfuzzer_sys::fuzz_target;

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, bool, bool) {
    let mut decoder = NdjsonDecoder::new().with_max_line_bytes(1 << 10);
    let failed = pieces.map(|piece| decoder.push(piece)).any(|r| r.is_err());
    let cut = decoder.finish().is_err();
    (std::iter::from_fn(|| decoder.next_line()).collect(), failed, cut)
}

fuzz_target!(|data: &[u8]| {
    let Some((split, text)) = data.split_first() else { return };
    let whole = decode(std::iter::once(text));
    let split = usize::from(*split).max(1);
    assert_eq!(decode(text.chunks(split)), whole);
    assert_eq!(decode(text.chunks(1)), whole);
});
