//! Where a text may be cut, by level.
//!
//! A cut is a byte offset: what precedes it belongs to one chunk, what follows to the next, and white space around it to
//! neither.

use memchr::{
    memchr, memchr_iter, memchr2, memchr3_iter, memmem, memrchr, memrchr_iter, memrchr3, memrchr3_iter,
};

/// A kind of place for a cut, coarse to fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Level {
    /// Before a Markdown heading.
    Heading,
    /// At a blank line.
    Paragraph,
    /// At a line's end.
    Line,
    /// After a sentence.
    Sentence,
    /// Between words.
    Word,
    /// At a text of the caller's. One that begins with white space goes with what follows, any other with what precedes.
    Literal(String),
}

impl Level {
    /// How full a chunk must be for a cut of this level to be taken before finer levels are tried: numerator of quarters.
    pub(crate) fn quarters(&self) -> usize {
        match self {
            Self::Heading => 2,
            Self::Paragraph | Self::Line | Self::Sentence => 1,
            Self::Word | Self::Literal(_) => 0,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Heading => "heading".to_owned(),
            Self::Paragraph => "paragraph".to_owned(),
            Self::Line => "line".to_owned(),
            Self::Sentence => "sentence".to_owned(),
            Self::Word => "word".to_owned(),
            Self::Literal(text) => format!("{text:?}"),
        }
    }

    /// The last cut `c` with `lo < c <= hi`.
    pub(crate) fn last(&self, text: &str, lo: usize, hi: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let from = lo + 1;
        if from > hi {
            return None;
        }
        // One byte more, so that a separator that begins at `hi` counts.
        let until = (hi + 1).min(bytes.len());
        let region = &bytes[from..until];
        match self {
            Self::Heading => {
                memrchr_iter(b'\n', region).map(|at| from + at).find(|at| is_heading(&bytes[at + 1..]))
            }
            Self::Paragraph => {
                memrchr_iter(b'\n', region).map(|at| from + at).find(|at| is_blank(&bytes[at + 1..]))
            }
            Self::Line => memrchr(b'\n', region).map(|at| from + at),
            Self::Sentence => {
                let ascii = memrchr3_iter(b'.', b'!', b'?', &bytes[lo..hi])
                    .find_map(|at| sentence_end(text, lo + at, lo, hi));
                let wide = last_wide_stop(text, lo, hi);
                ascii.max(wide)
            }
            Self::Word => memrchr3(b' ', b'\n', b'\t', region)
                .map(|at| from + at)
                .or_else(|| last_of(&["、", "，", "\u{3000}"], text, lo, hi)),
            Self::Literal(separator) => {
                let before = keeps_with_next(separator);
                let until = if before { hi + separator.len() } else { hi }.min(bytes.len());
                let start = if before { from } else { from.saturating_sub(separator.len()) };
                let found = memmem::rfind(bytes.get(start..until)?, separator.as_bytes())? + start;
                let cut = if before { found } else { found + stop_len(separator) };
                (lo < cut && cut <= hi).then_some(cut)
            }
        }
    }

    /// The first cut `c` with `lo <= c < hi`.
    pub(crate) fn first(&self, text: &str, lo: usize, hi: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        let region = bytes.get(lo..hi)?;
        match self {
            Self::Heading => {
                memchr_iter(b'\n', region).map(|at| lo + at).find(|at| is_heading(&bytes[at + 1..]))
            }
            Self::Paragraph => {
                memchr_iter(b'\n', region).map(|at| lo + at).find(|at| is_blank(&bytes[at + 1..]))
            }
            Self::Line => memchr(b'\n', region).map(|at| lo + at),
            Self::Sentence => {
                memchr3_iter(b'.', b'!', b'?', region).find_map(|at| sentence_end(text, lo + at, lo, hi - 1))
            }
            Self::Word => memchr2(b' ', b'\n', region).map(|at| lo + at),
            Self::Literal(separator) => {
                let found = memmem::find(region, separator.as_bytes())? + lo;
                let cut = if keeps_with_next(separator) { found } else { found + stop_len(separator) };
                (cut < hi).then_some(cut)
            }
        }
    }
}

fn keeps_with_next(separator: &str) -> bool {
    separator.starts_with(char::is_whitespace)
}

/// Length of a separator without the white space that ends it.
fn stop_len(separator: &str) -> usize {
    separator.trim_end().len()
}

/// What follows a newline is an ATX heading.
fn is_heading(rest: &[u8]) -> bool {
    let hashes = rest.iter().take(7).take_while(|b| **b == b'#').count();
    (1..=6).contains(&hashes) && rest.get(hashes) == Some(&b' ')
}

/// What follows a newline is a blank line.
fn is_blank(rest: &[u8]) -> bool {
    // A line of more white space than this is no paragraph break that anybody wrote.
    rest.iter().take(64).find(|b| !matches!(b, b' ' | b'\t' | b'\r')) == Some(&b'\n')
}

/// If the stop at byte `at` ends a sentence, the cut after it and after closing quotes and brackets.
fn sentence_end(text: &str, at: usize, lo: usize, hi: usize) -> Option<usize> {
    let after = &text[at + 1..];
    let closing: usize = after
        .chars()
        .take(3)
        .take_while(|c| matches!(c, '"' | '\'' | ')' | ']' | '*' | '_' | '”' | '’' | '»'))
        .map(char::len_utf8)
        .sum();
    let cut = at + 1 + closing;
    let rest = &text[cut..];
    let next = rest.chars().next()?;
    if !next.is_whitespace() || cut <= lo || cut > hi {
        return None;
    }
    if text.as_bytes()[at] == b'.' {
        let following = rest.chars().take(8).find(|c| !c.is_whitespace())?;
        if following.is_lowercase() || is_abbreviated(&text.as_bytes()[..at]) {
            return None;
        }
    }
    Some(cut)
}

/// The word before a full stop is an initial or a common abbreviation.
fn is_abbreviated(before: &[u8]) -> bool {
    let tail = &before[before.len().saturating_sub(8)..];
    let word = tail.rsplit(|b| !b.is_ascii_alphabetic() && *b != b'.').next().unwrap_or_default();
    match word {
        [single] => single.is_ascii_uppercase(),
        b"Mr" | b"Mrs" | b"Ms" | b"Dr" | b"Prof" | b"St" | b"No" | b"vs" | b"Fig" | b"Sec" | b"cf"
        | b"e.g" | b"i.e" | b"approx" => true,
        _ => false,
    }
}

fn last_wide_stop(text: &str, lo: usize, hi: usize) -> Option<usize> {
    last_of(&["。", "！", "？"], text, lo, hi)
}

/// The cut after the last of `marks`, which are three bytes long each.
fn last_of(marks: &[&str], text: &str, lo: usize, hi: usize) -> Option<usize> {
    let region = &text.as_bytes()[lo..hi];
    if region.is_ascii() {
        return None;
    }
    let found = marks.iter().filter_map(|mark| memmem::rfind(region, mark.as_bytes())).max()?;
    let cut = lo + found + 3;
    (cut > lo && cut <= hi).then_some(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_says() {
        let text = "Dr. Smith paid 3.50 e.g. for tea. \"Really?\" she said. Yes.";
        let mut cuts = Vec::new();
        let mut from = 0;
        while let Some(cut) = Level::Sentence.first(text, from, text.len()) {
            cuts.push(&text[from..cut]);
            from = cut;
        }
        assert_eq!(cuts, ["Dr. Smith paid 3.50 e.g. for tea.", " \"Really?\"", " she said."]);
        assert_eq!(Level::Sentence.last(text, 0, text.len()), Some(text.len() - 5));
    }

    #[test]
    fn a_cut_lies_behind_lo_and_not_behind_hi() {
        let text = "ab cd\n\nef";
        assert_eq!(Level::Paragraph.last(text, 0, 5), Some(5));
        assert_eq!(Level::Paragraph.last(text, 5, 9), None);
        assert_eq!(Level::Word.last(text, 0, 2), Some(2));
        assert_eq!(Level::Word.last(text, 2, 4), None);
        assert_eq!(Level::Literal("b ".into()).last(text, 0, 5), Some(2));
        assert_eq!(Level::Literal("\n\ne".into()).last(text, 0, 5), Some(5));
    }

    #[test]
    fn headings_and_blank_lines() {
        let text = "intro\n\n# One\ntext\n \t\n## Two\n#no";
        assert_eq!(Level::Heading.last(text, 0, text.len()), text.find("\n## Two"));
        assert_eq!(Level::Heading.first(text, 0, text.len()), text.find("\n# One"));
        assert_eq!(Level::Paragraph.last(text, 0, text.len()), text.find("\n \t\n"));
    }
}
