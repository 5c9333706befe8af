//! How far a chunk may reach: by characters or by tokens.

use std::collections::VecDeque;
use std::sync::Arc;

use katena_core::Tokenizer;

/// How chunks are measured.
#[derive(Debug, Clone)]
pub(crate) enum Unit {
    Chars,
    Tokens(Arc<dyn Tokenizer>),
}

/// Finds the end of the longest piece from an offset, for offsets that only rise.
#[derive(Debug)]
pub(crate) enum Reach<'a> {
    Chars(&'a str),
    Tokens(TokenReach<'a>),
}

impl<'a> Reach<'a> {
    pub(crate) fn new(unit: &'a Unit, text: &'a str) -> Self {
        match unit {
            Unit::Chars => Self::Chars(text),
            Unit::Tokens(tokenizer) => Self::Tokens(TokenReach::new(&**tokenizer, text)),
        }
    }

    /// End of the piece of at most `limit` units that begins at `start`; an estimate for tokens.
    pub(crate) fn end(&mut self, start: usize, limit: usize) -> usize {
        match self {
            Self::Chars(text) => start + nth_char(&text[start..], limit),
            Self::Tokens(tokens) => tokens.end(start, limit),
        }
    }

    /// By how many units `piece` is over `limit`; 0 if it fits.
    pub(crate) fn excess(&self, piece: &str, limit: usize) -> usize {
        match self {
            // `end` is exact.
            Self::Chars(_) => 0,
            Self::Tokens(tokens) => tokens.tokenizer.count(piece).saturating_sub(limit),
        }
    }

    /// How many units lie between `start` and `end`; an estimate for tokens.
    pub(crate) fn units(&self, start: usize, end: usize) -> usize {
        match self {
            Self::Chars(text) => text[start..end].chars().count(),
            Self::Tokens(tokens) => {
                tokens.ends.partition_point(|e| *e <= end) - tokens.ends.partition_point(|e| *e <= start)
            }
        }
    }

    /// Where the last `count` units before `end` begin, not before `floor`.
    pub(crate) fn back(&self, floor: usize, end: usize, count: usize) -> usize {
        match self {
            Self::Chars(text) => {
                let piece = &text[floor..end];
                piece.char_indices().rev().take(count).last().map_or(end, |(at, _)| floor + at)
            }
            Self::Tokens(tokens) => {
                let last = tokens.ends.partition_point(|e| *e <= end);
                let at = last.checked_sub(count + 1).map_or(floor, |at| tokens.ends[at]);
                ceil_char(tokens.text, at.max(floor)).min(end)
            }
        }
    }
}

/// Byte length of the first `n` characters.
fn nth_char(text: &str, n: usize) -> usize {
    const BLOCK: usize = 128;
    let bytes = text.as_bytes();
    if n >= bytes.len() {
        return bytes.len();
    }
    let mut left = n;
    let mut at = 0;
    // Whole blocks are counted by vector instructions: each byte that does not continue a character begins one.
    while left >= BLOCK && at + BLOCK <= bytes.len() {
        left -= bytes[at..at + BLOCK].iter().map(|b| u8::from(b.cast_signed() >= -0x40)).sum::<u8>() as usize;
        at += BLOCK;
    }
    while at < bytes.len() {
        if bytes[at].cast_signed() >= -0x40 {
            if left == 0 {
                return at;
            }
            left -= 1;
        }
        at += 1;
    }
    at
}

/// The character border at or before `at`; the text's end for what is behind it.
pub(crate) fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil_char(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// Token ends of the text, encoded block by block, so that a text is encoded once and a huge one never at a stroke.
#[derive(Debug)]
pub(crate) struct TokenReach<'a> {
    tokenizer: &'a dyn Tokenizer,
    text: &'a str,
    /// Ends of the tokens that reach beyond the last start.
    ends: VecDeque<usize>,
    encoded: usize,
}

impl<'a> TokenReach<'a> {
    const BLOCK: usize = 16 * 1024;

    fn new(tokenizer: &'a dyn Tokenizer, text: &'a str) -> Self {
        Self { tokenizer, text, ends: VecDeque::new(), encoded: 0 }
    }

    fn end(&mut self, start: usize, limit: usize) -> usize {
        self.skip_to(start);
        while self.ends.len() <= limit && self.encoded < self.text.len() {
            self.encode_block();
        }
        match limit.checked_sub(1) {
            None => start,
            Some(_) if self.ends.len() <= limit && self.encoded == self.text.len() => self.text.len(),
            Some(last) => floor_char(self.text, self.ends[last]).max(start),
        }
    }

    fn skip_to(&mut self, start: usize) {
        while self.ends.front().is_some_and(|end| *end <= start) {
            self.ends.pop_front();
        }
        if self.ends.is_empty() && self.encoded < start {
            self.encoded = start;
        }
    }

    fn encode_block(&mut self) {
        let rest = &self.text[self.encoded..];
        let mut length = rest.len();
        if length > Self::BLOCK {
            // Ends before white space: no common tokenizer joins across a line or takes a space with what precedes.
            let window = &rest.as_bytes()[..Self::BLOCK];
            length = memchr::memrchr2(b'\n', b' ', window)
                .filter(|at| *at > Self::BLOCK / 2)
                .unwrap_or_else(|| floor_char(rest, Self::BLOCK));
        }
        let base = self.encoded;
        for span in self.tokenizer.encode(&rest[..length]) {
            let end = (base + span.end).min(base + length);
            let end = self.ends.back().map_or(end, |last| end.max(*last));
            self.ends.push_back(end);
        }
        self.encoded = base + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nth_char_counts_characters() {
        let text = "aé😀x".repeat(200);
        for n in [0, 1, 2, 3, 4, 127, 128, 129, 500, 799, 800, 801, 5000] {
            let want = text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
            assert_eq!(nth_char(&text, n), want, "{n}");
        }
    }
}
