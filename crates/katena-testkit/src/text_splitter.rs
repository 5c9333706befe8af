//! The contract of [`TextSplitter`]. The laws are async only so that all suites are called alike.

#![expect(clippy::unused_async, reason = "all suites are called alike")]

use std::fmt;
use std::sync::Arc;

use katena_core::{Chunk, TextSplitter, Tokenizer};

use crate::fixtures::Numbers;
use crate::harness::Law;

/// The limit that every chunk of a splitter keeps, and how it is measured.
///
/// ```
/// use katena_testkit::text_splitter::SplitterLimit;
/// let limit = SplitterLimit::chars(5);
/// assert!(limit.holds("héllo") && !limit.holds("too long"));
/// ```
#[derive(Clone)]
pub struct SplitterLimit(Option<(usize, Arc<Measure>)>);

type Measure = dyn Fn(&str) -> usize + Send + Sync;

impl fmt::Debug for SplitterLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SplitterLimit").field(&self.0.as_ref().map(|(max, _)| max)).finish()
    }
}

impl SplitterLimit {
    /// The splitter has no limit.
    pub fn none() -> Self {
        Self(None)
    }
    /// At most `max` characters.
    pub fn chars(max: usize) -> Self {
        Self::measured(max, |text| text.chars().count())
    }
    /// At most `max` bytes.
    pub fn bytes(max: usize) -> Self {
        Self::measured(max, str::len)
    }
    /// At most `max` of the tokenizer's tokens.
    pub fn tokens(max: usize, tokenizer: impl Tokenizer + 'static) -> Self {
        Self::measured(max, move |text| tokenizer.count(text))
    }
    /// At most `max` of whatever is measured.
    pub fn measured(max: usize, measure: impl Fn(&str) -> usize + Send + Sync + 'static) -> Self {
        Self(Some((max, Arc::new(measure))))
    }
    /// True if the text keeps the limit.
    pub fn holds(&self, text: &str) -> bool {
        self.0.as_ref().is_none_or(|(max, measure)| measure(text) <= *max)
    }
}

/// Prose, markup, code, lists, many scripts, and texts of few characters.
fn texts() -> Vec<String> {
    let sentence = "The ferry leaves at half past six; the last one, on weekdays, at ten. ";
    let paragraphs: Vec<String> =
        (0..30).map(|n| format!("Paragraph {n}. {}", sentence.repeat(1 + n % 4))).collect();
    let mut texts: Vec<String> = [
        "",
        " ",
        "\n",
        "\r\n\t \u{a0}\u{3000}\n",
        "x",
        " x ",
        "\n\n\nx\n\n\n",
        "one two",
        "a\n\n\n\nb\n\n\n\nc",
        "no_spaces_at_all_but_rather_long_so_that_it_must_be_cut_somewhere_in_the_middle_of_it",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push(sentence.repeat(40));
    texts.push(paragraphs.join("\n\n"));
    texts.push(paragraphs.join("\r\n\r\n"));
    texts.push(
        format!("# Title\n\n{sentence}\n\n## Part\n\n- one\n- two\n\n```rust\nfn main() {{}}\n```\n\n")
            .repeat(12),
    );
    texts.push("| a | b |\n|---|---|\n| 1 | 2 |\n".repeat(40));
    texts.push(format!("   {}   ", sentence.repeat(10).replace(' ', "     ")));
    texts
}

/// Combining marks, emoji, NUL, CRLF, right-to-left, no spaces.
fn strange() -> Vec<String> {
    let mut texts: Vec<String> = [
        "👩‍👩‍👧‍👦 🇨🇭 ☕ ",
        "e\u{301}\u{302}\u{303} o\u{308} ",
        "日本語の文章です。句点で切れます。",
        "🦀",
        "a\0b \0 ",
        "one\r\ntwo\rthree\n",
        "\u{202e}עברית وعربي\u{202c} ",
        "\u{feff}bom \u{2028}\u{2029}\u{85} \u{fffd}\u{10ffff} ",
        "\u{200b}\u{200d}\u{ad}x ",
        "ßﬀİı ",
        "नमस्ते दुनिया। ",
    ]
    .iter()
    .flat_map(|piece| [(*piece).to_owned(), piece.repeat(200)])
    .collect();
    let mut numbers = Numbers::new(11);
    let mut any = String::new();
    while any.len() < 4000 {
        any.extend(char::from_u32((numbers.next_u64() % 0x11_0000) as u32));
        if numbers.next_u64().is_multiple_of(6) {
            any.push([' ', '\n', '.', '\t'][(numbers.next_u64() % 4) as usize]);
        }
    }
    texts.push(any);
    texts
}

fn shown(text: &str) -> String {
    let start: String = text.chars().take(24).collect();
    format!("{start:?} ({} bytes)", text.len())
}

fn split<'t>(law: Law, splitter: &dyn TextSplitter, text: &'t str) -> Vec<Chunk<'t>> {
    law.ok(&format!("splitting {}", shown(text)), splitter.split(text))
}

fn check_slices(law: Law, text: &str, chunks: &[Chunk<'_>]) {
    for chunk in chunks {
        let range = chunk.offset..chunk.offset.saturating_add(chunk.text.len());
        law.check(
            text.get(range.clone()) == Some(chunk.text),
            format!("a chunk of {} is not the text at {range:?}: {}", shown(text), shown(chunk.text)),
        );
    }
}

fn check_order(law: Law, text: &str, chunks: &[Chunk<'_>]) {
    for pair in chunks.windows(2) {
        law.check(
            pair[0].offset < pair[1].offset,
            format!("offsets of {} do not rise: {} then {}", shown(text), pair[0].offset, pair[1].offset),
        );
    }
}

fn check_nothing_lost(law: Law, text: &str, chunks: &[Chunk<'_>]) {
    let mut covered = vec![false; text.len()];
    for chunk in chunks {
        let end = (chunk.offset + chunk.text.len()).min(text.len());
        covered[chunk.offset.min(end)..end].fill(true);
    }
    for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        law.check(covered[at], format!("{c:?} at byte {at} of {} is in no chunk", shown(text)));
    }
}

fn check_not_blank(law: Law, text: &str, chunks: &[Chunk<'_>]) {
    for chunk in chunks {
        let blank = chunk.text.trim().is_empty();
        law.check(!blank, format!("{} has a blank chunk {}", shown(text), shown(chunk.text)));
    }
    if text.trim().is_empty() {
        law.check(chunks.is_empty(), format!("{} is blank but has chunks", shown(text)));
    }
}

/// Each chunk is the text at its offset.
pub async fn slices_with_offsets(splitter: &dyn TextSplitter) {
    let law = Law("TextSplitter: slices_with_offsets");
    for text in texts() {
        let chunks = split(law, splitter, &text);
        check_slices(law, &text, &chunks);
        let span = chunks.last().map(Chunk::span);
        law.check(span.is_none_or(|s| s.end <= text.len()), "a span ends behind its text");
    }
}

/// Offsets rise.
pub async fn in_order(splitter: &dyn TextSplitter) {
    let law = Law("TextSplitter: in_order");
    for text in texts() {
        check_order(law, &text, &split(law, splitter, &text));
    }
}

/// Every character that is not white space is in a chunk.
pub async fn nothing_is_lost(splitter: &dyn TextSplitter) {
    let law = Law("TextSplitter: nothing_is_lost");
    for text in texts() {
        check_nothing_lost(law, &text, &split(law, splitter, &text));
    }
}

/// None is empty or white space alone; a blank text gives none.
pub async fn no_empty_chunks(splitter: &dyn TextSplitter) {
    let law = Law("TextSplitter: no_empty_chunks");
    for text in texts() {
        check_not_blank(law, &text, &split(law, splitter, &text));
    }
}

/// No chunk is longer than the splitter's limit.
pub async fn limit_is_kept(splitter: &dyn TextSplitter, limit: &SplitterLimit) {
    let law = Law("TextSplitter: limit_is_kept");
    let Some((max, measure)) = &limit.0 else {
        return law.skip("no limit was stated");
    };
    for text in texts().into_iter().chain(strange()) {
        for chunk in split(law, splitter, &text) {
            let length = measure(chunk.text);
            law.check(
                length <= *max,
                format!(
                    "a chunk of {} has length {length}, the limit is {max}: {}",
                    shown(&text),
                    shown(chunk.text)
                ),
            );
        }
    }
    let long = texts().concat().repeat(1 + max / 1000);
    law.check(split(law, splitter, &long).len() > 1, "a text far over the limit stays in one chunk");
}

/// Always.
pub async fn same_text_same_chunks(splitter: &dyn TextSplitter) {
    let law = Law("TextSplitter: same_text_same_chunks");
    for text in texts().into_iter().chain(strange()) {
        let first = split(law, splitter, &text);
        let copy = text.clone();
        law.check(first == split(law, splitter, &copy), format!("{} was cut otherwise", shown(&text)));
    }
}

/// Combining marks, emoji, NUL, CRLF; never a cut inside a character.
pub async fn any_unicode(splitter: &dyn TextSplitter) {
    let law = Law("TextSplitter: any_unicode");
    for text in strange() {
        let chunks = split(law, splitter, &text);
        check_slices(law, &text, &chunks);
        check_order(law, &text, &chunks);
        check_nothing_lost(law, &text, &chunks);
        check_not_blank(law, &text, &chunks);
    }
}

/// One line of 1 MiB without spaces, and 1 MiB of newlines.
pub async fn huge_inputs_end(splitter: &dyn TextSplitter) {
    let law = Law("TextSplitter: huge_inputs_end");
    const MIB: usize = 1 << 20;
    for text in ["x".repeat(MIB), "\n".repeat(MIB), "ab\n".repeat(MIB / 3), format!("{}x", " ".repeat(MIB))] {
        let chunks = split(law, splitter, &text);
        check_slices(law, &text, &chunks);
        check_nothing_lost(law, &text, &chunks);
        check_not_blank(law, &text, &chunks);
    }
}

/// Equal settings, equal fingerprint. `twin` is made as `splitter` was.
pub async fn fingerprint_tells_settings(splitter: &dyn TextSplitter, twin: &dyn TextSplitter) {
    let law = Law("TextSplitter: fingerprint_tells_settings");
    let print = splitter.fingerprint();
    law.check(!print.is_empty(), "the fingerprint is empty");
    split(law, splitter, "Use must not change it.");
    law.same("the fingerprint after use", &splitter.fingerprint(), &print);
    law.same("the fingerprint of one made alike", &twin.fingerprint(), &print);
    for text in texts() {
        let same = split(law, splitter, &text) == split(law, twin, &text);
        law.check(same, format!("equal fingerprints cut {} differently", shown(&text)));
    }
}
