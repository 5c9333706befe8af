//! Any bytes: a header or an error, and each tensor's numbers or an error, in memory bounded by the bytes.
#![no_main]

use std::io::Cursor;

use katena_gguf::{Header, Keep, tensor_numbers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for keep in [Keep::Small, Keep::Vocabulary] {
        let Ok(header) = Header::parse(Cursor::new(data), data.len() as u64, keep) else { continue };
        for info in header.tensor_infos() {
            let _ = tensor_numbers(&mut Cursor::new(data), info);
        }
    }
});
