//! Any text: an error, or a finite number that prints as one.
#![no_main]

use katena_chains::evaluate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(value) = evaluate(text) {
        assert!(value.as_f64().is_finite());
        assert!(value.to_string().parse::<f64>().is_ok(), "{value}");
    }
});
