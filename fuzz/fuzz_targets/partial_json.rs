#![no_main]

use katena_prompts::{JsonStream, parse_markdown, parse_partial};
use libfuzzer_sys::fuzz_target;

// Any text gives a value or nothing; right JSON gives itself; a stream gives the same however it is cut.
fuzz_target!(|text: &str| {
    let partial = parse_partial(text);
    let _ = parse_markdown(text);
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        if !text.contains(['e', 'E', '.']) && !text.contains("-0") && text.len() < 64 {
            assert_eq!(partial, Some(value));
        }
    }
    let mut whole = JsonStream::new();
    whole.push(text);
    let mut pieces = JsonStream::new();
    for c in text.chars() {
        pieces.push(c.encode_utf8(&mut [0; 4]));
    }
    assert_eq!(whole.value(), pieces.value());
});
