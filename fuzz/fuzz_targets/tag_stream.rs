#![no_main]

use katena_prompts::{OutputParser, XmlTag};
use libfuzzer_sys::fuzz_target;

// The pieces of a stream are what the whole text gives, wherever it is cut.
fuzz_target!(|input: (String, u8)| {
    let (text, cut) = input;
    let text = text.replace('\u{1}', "<answer>").replace('\u{2}', "</answer>");
    let tag = XmlTag::new("answer");
    let whole = tag.parse(&text).ok();
    let mut stream = tag.stream();
    let mut out = String::new();
    let chars: Vec<char> = text.chars().collect();
    for piece in chars.chunks(usize::from(cut).max(1)) {
        out.push_str(&stream.push(&piece.iter().collect::<String>()));
    }
    let cut = stream.finish().ok().map(|rest| out + &rest);
    assert_eq!(cut, whole);
});
