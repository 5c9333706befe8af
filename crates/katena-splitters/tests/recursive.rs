//! What the recursive splitter promises.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::sync::Arc;

use katena_core::{ErrorKind, Span, TextSplitter, Tokenizer};
use katena_splitters::RecursiveSplitter;

/// Words are one token per four bytes begun, so that a piece's tokens are not always the whole's.
#[derive(Debug)]
struct Quads;

impl Tokenizer for Quads {
    fn name(&self) -> &'static str {
        "quads"
    }
    fn count(&self, text: &str) -> usize {
        self.encode(text).len()
    }
    fn encode(&self, text: &str) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut start = 0;
        for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
            if c.is_whitespace() || at - start >= 4 {
                if at > start {
                    spans.push((start..at).into());
                }
                start = if c.is_whitespace() { at + c.len_utf8() } else { at };
            }
        }
        spans
    }
}

fn texts<'t>(splitter: &RecursiveSplitter, text: &'t str) -> Vec<&'t str> {
    let chunks = splitter.split(text).unwrap();
    let mut last_end = 0;
    for chunk in &chunks {
        assert_eq!(&text[chunk.offset..chunk.offset + chunk.text.len()], chunk.text);
        assert_eq!(chunk.text.trim(), chunk.text);
        assert!(!chunk.text.is_empty());
        assert!(chunk.offset <= last_end || text[last_end..chunk.offset].trim().is_empty(), "lost text");
        assert!(chunk.offset + chunk.text.len() > last_end, "nothing new");
        last_end = chunk.offset + chunk.text.len();
    }
    assert!(text[last_end..].trim().is_empty(), "lost the end");
    chunks.iter().map(|c| c.text).collect()
}

#[test]
fn prefers_paragraph_then_line_then_sentence_then_word() {
    let split = |max, text| texts(&RecursiveSplitter::chars(max), text);
    assert_eq!(split(25, "First one. Second\nline.\n\nNext."), ["First one. Second\nline.", "Next."]);
    assert_eq!(split(20, "First one. Second\nline here."), ["First one. Second", "line here."]);
    assert_eq!(split(20, "First one. Second line here."), ["First one.", "Second line here."]);
    assert_eq!(split(10, "firstsecond third"), ["firstsecon", "d third"]);
    assert_eq!(split(12, "firstsecond third"), ["firstsecond", "third"]);
    assert_eq!(split(100, " \n all of it \n"), ["all of it"]);
}

#[test]
fn a_title_stays_with_its_text() {
    let long = "word ".repeat(40);
    let text = format!("A Title\n\n{long}");
    let chunks = RecursiveSplitter::chars(100).split(&text).unwrap();
    assert!(chunks[0].text.starts_with("A Title\n\nword"), "{chunks:?}");
}

#[test]
fn a_heading_is_no_chunks_end() {
    let text = format!("{}\n\n## Heading\n\n{}", "Some text here. ".repeat(5), "Other text. ".repeat(6));
    for max in [90, 95, 100] {
        let chunks = texts(&RecursiveSplitter::chars(max), &text);
        assert!(chunks.iter().all(|c| !c.ends_with("Heading")), "{max}: {chunks:?}");
    }
    let text = text.replace("## Heading", "Plain heading");
    let chunks = texts(&RecursiveSplitter::chars(100), &text);
    assert!(chunks.iter().all(|c| !c.ends_with("heading")), "{chunks:?}");
}

#[test]
fn sections_are_kept_apart_when_they_fill_a_chunk() {
    let section = |n: u32| format!("## Part {n}\n\n{}\n\n", "Text of a part. ".repeat(4));
    let text: String = (0..4).map(section).collect();
    let chunks = texts(&RecursiveSplitter::chars(120), &text);
    assert_eq!(chunks.len(), 4);
    assert!(chunks.iter().all(|c| c.starts_with("## Part")));
}

#[test]
fn letters_keep_their_accents_and_flags_stay_whole() {
    for text in
        ["e\u{301}".repeat(50), "👩‍👩‍👧‍👦".repeat(20), "🇩🇪".repeat(30), "\r\n".repeat(3) + &"한국어".repeat(20)]
    {
        let chunks = texts(&RecursiveSplitter::chars(15), &text);
        for chunk in chunks {
            assert!(chunk.chars().count() <= 15);
            assert!(!chunk.starts_with(['\u{301}', '\u{200d}']), "{chunk:?}");
        }
    }
    // One letter with more accents than fit must be cut all the same.
    let text = format!("e{}", "\u{301}".repeat(1000));
    assert_eq!(texts(&RecursiveSplitter::chars(10), &text).len(), 101);
}

#[test]
fn limits_hold_for_any_text() {
    let samples = [
        "The quick brown fox. Jumps over! The lazy dog? Yes.\n\nA new paragraph,\r\nwith lines.\n\n\n# H\n- item\n".repeat(30),
        "日本語の文章です。これは二番目の文です！".repeat(60),
        "x".repeat(5000),
        "a\n".repeat(3000),
        "word\u{a0}word\u{3000}word\0\u{feff} ".repeat(100),
        "\n".repeat(1 << 20),
        format!("{}{}{}", "a ".repeat(100), " ".repeat(9000), "b".repeat(100)),
    ];
    for text in &samples {
        for max in [1, 2, 3, 7, 40, 250] {
            for overlap in [0, 1, max / 3, max - 1] {
                if overlap >= max {
                    continue;
                }
                let small = &text[..text.floor_char_boundary_of(20_000)];
                for chunk in texts(&RecursiveSplitter::chars(max).with_overlap(overlap), small) {
                    assert!(chunk.chars().count() <= max);
                }
                let splitter = RecursiveSplitter::tokens(max, Arc::new(Quads)).with_overlap(overlap);
                for chunk in texts(&splitter, small) {
                    assert!(Quads.count(chunk) <= max, "{chunk:?}");
                }
            }
        }
    }
}

trait FloorBoundary {
    fn floor_char_boundary_of(&self, at: usize) -> usize;
}

impl FloorBoundary for String {
    fn floor_char_boundary_of(&self, at: usize) -> usize {
        (0..=at.min(self.len())).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}

#[test]
fn overlap_repeats_the_end_and_no_more() {
    let text = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu";
    let chunks = RecursiveSplitter::chars(24).with_overlap(8).split(text).unwrap();
    assert!(chunks.len() > 2);
    for pair in chunks.windows(2) {
        let shared = pair[0].span().end - pair[1].offset;
        assert!((1..=8).contains(&shared), "{pair:?}");
        assert!(text.as_bytes()[pair[1].offset - 1] == b' ', "begins at a word: {pair:?}");
    }
}

#[test]
fn own_separators() {
    let code = "use a;\nfn one() {\n  1\n}\nfn two() {\n  2\n}\n";
    let chunks = texts(&RecursiveSplitter::chars(20).with_separators(["\nfn ", "\n", " ", ""]), code);
    assert_eq!(chunks, ["use a;", "fn one() {\n  1\n}", "fn two() {\n  2\n}"]);
    let chunks = texts(&RecursiveSplitter::chars(8).with_separators(["; ", ","]), "one; two,three");
    assert_eq!(chunks, ["one;", "two,", "three"]);
}

#[test]
fn unusable_settings_are_errors() {
    let kind = |s: RecursiveSplitter| s.split("text").unwrap_err().kind();
    assert_eq!(kind(RecursiveSplitter::chars(0)), ErrorKind::Config);
    assert_eq!(kind(RecursiveSplitter::chars(5).with_overlap(5)), ErrorKind::Config);
}

#[test]
fn fingerprints_tell_settings() {
    let all = [
        RecursiveSplitter::chars(10),
        RecursiveSplitter::chars(11),
        RecursiveSplitter::chars(10).with_overlap(2),
        RecursiveSplitter::chars(10).with_separators(["\n"]),
        RecursiveSplitter::tokens(10, Arc::new(Quads)),
    ]
    .map(|s| s.fingerprint());
    for (n, one) in all.iter().enumerate() {
        assert!(all.iter().skip(n + 1).all(|other| other != one), "{one}");
    }
}
