//! The contract of [`Tokenizer`]. The laws are async only so that all suites are called alike.

#![expect(clippy::unused_async, reason = "all suites are called alike")]

use katena_core::Tokenizer;

use crate::harness::Law;

fn texts() -> Vec<String> {
    let pieces = [
        "",
        " ",
        "x",
        "Hello, world!",
        "  two  spaces  ",
        "tab\tand\r\nnewline\n\n",
        "Donaudampfschifffahrtsgesellschaft",
        "1234567890 3.14 -5",
        "fn main() { println!(\"{}\", 1); }",
        "Zürich naïve e\u{301}",
        "👩‍👩‍👧‍👦 🇨🇭 ☕ 🦀",
        "日本語の文章です。",
        "עברית \u{202e}x",
        "a\0b",
        "\u{feff}\u{fffd}\u{10ffff}\u{200d}",
        "<|im_start|> [CLS] </s> <unk>",
    ];
    let mut texts: Vec<String> = pieces.map(str::to_owned).to_vec();
    texts.push(pieces.join(" ").repeat(20));
    texts.push("x".repeat(5000));
    texts
}

fn shown(text: &str) -> String {
    let start: String = text.chars().take(24).collect();
    format!("{start:?} ({} bytes)", text.len())
}

/// `count(t)` equals `encode(t).len()`.
pub async fn count_is_length_of_encode(tokenizer: &dyn Tokenizer) {
    let law = Law("Tokenizer: count_is_length_of_encode");
    law.check(!tokenizer.name().is_empty(), "the tokenizer has no name");
    for text in texts() {
        let (count, encoded) = (tokenizer.count(&text), tokenizer.encode(&text).len());
        law.check(count == encoded, format!("{} counts {count} but encodes to {encoded}", shown(&text)));
        law.same("the count of the same text again", &tokenizer.count(&text), &count);
    }
    law.same("the count of nothing", &tokenizer.count(""), &0);
    law.check(tokenizer.count("Hello, world!") > 0, "words have no tokens");
}

/// Token spans are in order and inside the text.
pub async fn offsets_rise(tokenizer: &dyn Tokenizer) {
    let law = Law("Tokenizer: offsets_rise");
    for text in texts() {
        let mut last = (0, 0);
        for (n, span) in tokenizer.encode(&text).into_iter().enumerate() {
            let what = format!("token {n} of {}, {}..{}", shown(&text), span.start, span.end);
            law.check(span.start <= span.end && span.end <= text.len(), format!("{what}: not inside"));
            let borders = text.is_char_boundary(span.start) && text.is_char_boundary(span.end);
            law.check(borders, format!("{what}: not on character borders"));
            let rises = span.start >= last.0 && span.end >= last.1;
            law.check(rises, format!("{what}: after {}..{}", last.0, last.1));
            last = (span.start, span.end);
        }
    }
}
