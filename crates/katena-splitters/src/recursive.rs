//! The recursive splitter.

use std::fmt;
use std::sync::Arc;

use katena_core::{Chunk, Error, Result, TextSplitter, Tokenizer};
use unicode_segmentation::UnicodeSegmentation;

use crate::cut::Level;
use crate::reach::{Reach, Unit, floor_char};

/// Cuts a text into chunks of at most so many characters or tokens, at the coarsest place that fills a chunk well.
///
/// Places for a cut, coarse to fine: before a Markdown heading, at a blank line, at a line's end, after a sentence,
/// between words. A coarse cut that would leave the chunk nearly empty (a heading: less than half full; paragraph, line and
/// sentence: less than a quarter) gives way to a finer one that fills it, so that a title keeps the text that it heads; if
/// there is none, it is taken after all. Only a word longer than a whole chunk is broken, between grapheme clusters where
/// possible. White space at a chunk's borders belongs to no chunk. A heading is not left alone at a chunk's end.
///
/// ```
/// use katena_core::TextSplitter;
/// use katena_splitters::RecursiveSplitter;
///
/// let splitter = RecursiveSplitter::chars(30).with_overlap(10);
/// let chunks = splitter.split("One two three four. Five six seven eight nine ten.")?;
/// let texts: Vec<&str> = chunks.iter().map(|c| c.text).collect();
/// assert_eq!(texts, ["One two three four.", "four. Five six seven eight", "eight nine ten."]);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct RecursiveSplitter {
    max: usize,
    overlap: usize,
    unit: Unit,
    levels: Vec<Level>,
}

impl RecursiveSplitter {
    /// Chunks of at most `max` characters (Unicode scalar values).
    pub fn chars(max: usize) -> Self {
        Self::new(max, Unit::Chars)
    }

    /// Chunks of at most `max` tokens, as `tokenizer` counts them for the chunk alone. The text is encoded once, and each
    /// chunk counted once more to be sure.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use katena_core::{Span, TextSplitter, Tokenizer};
    /// use katena_splitters::RecursiveSplitter;
    ///
    /// #[derive(Debug)]
    /// struct Letters;
    /// impl Tokenizer for Letters {
    ///     fn name(&self) -> &str { "letters" }
    ///     fn count(&self, text: &str) -> usize { text.chars().count() }
    ///     fn encode(&self, text: &str) -> Vec<Span> {
    ///         text.char_indices().map(|(at, c)| (at..at + c.len_utf8()).into()).collect()
    ///     }
    /// }
    /// let chunks = RecursiveSplitter::tokens(8, Arc::new(Letters)).split("one two three four")?;
    /// let texts: Vec<&str> = chunks.iter().map(|c| c.text).collect();
    /// assert_eq!(texts, ["one two", "three", "four"]);
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    pub fn tokens(max: usize, tokenizer: Arc<dyn Tokenizer>) -> Self {
        Self::new(max, Unit::Tokens(tokenizer))
    }

    fn new(max: usize, unit: Unit) -> Self {
        let levels = vec![Level::Heading, Level::Paragraph, Level::Line, Level::Sentence, Level::Word];
        Self { max, overlap: 0, unit, levels }
    }

    /// Repeats up to `overlap` units of a chunk's end at the next one's beginning (0 by default), from a line's or
    /// sentence's beginning if one lies there, else from a word's. Must be smaller than the limit.
    pub fn with_overlap(mut self, overlap: usize) -> Self {
        self.overlap = overlap;
        self
    }

    /// Replaces the places for cuts by texts, coarse to fine. A separator that begins with white space (`"\n## "`) goes
    /// with what follows it, any other (`". "`, `"。"`) with what precedes it. An empty one is not needed: a piece that
    /// holds none of them is cut between characters anyway.
    ///
    /// ```
    /// use katena_core::TextSplitter;
    /// use katena_splitters::RecursiveSplitter;
    ///
    /// let splitter = RecursiveSplitter::chars(12).with_separators(["\nfn ", "\n", " "]);
    /// let chunks = splitter.split("fn a() {}\nfn b() {}")?;
    /// assert_eq!(chunks[1].text, "fn b() {}");
    /// # Ok::<(), katena_core::Error>(())
    /// ```
    pub fn with_separators<S: Into<String>>(mut self, separators: impl IntoIterator<Item = S>) -> Self {
        self.levels = separators
            .into_iter()
            .map(Into::into)
            .filter(|s: &String| !s.is_empty())
            .map(Level::Literal)
            .collect();
        self
    }

    /// The most units that a chunk has.
    pub fn max(&self) -> usize {
        self.max
    }

    fn check(&self) -> Result<()> {
        if self.max == 0 {
            return Err(Error::config("a chunk's limit must be at least 1"));
        }
        if self.overlap >= self.max {
            return Err(Error::config(format!(
                "the overlap ({}) must be smaller than the limit ({})",
                self.overlap, self.max
            )));
        }
        Ok(())
    }

    /// The cut that ends the chunk at `start`, behind `behind` and not behind `reach`, the end of what fits.
    fn cut(&self, text: &str, start: usize, behind: usize, reach: usize) -> usize {
        // White space behind the chunk costs nothing, and a break in it is as good as one before it.
        let hi = text.len() - text[reach..].trim_start().len();
        if hi == text.len() {
            return hi;
        }
        for level in &self.levels {
            let lo = behind.max(start + (reach - start) * level.quarters() / 4);
            if let Some(cut) = level.last(text, lo, hi) {
                return avoid_orphan(text, start, behind, cut);
            }
        }
        for level in &self.levels {
            if let Some(cut) = level.last(text, behind, hi) {
                return cut;
            }
        }
        // No character may be halved, and no letter from its accents, unless one letter has more of them than fit.
        let context = floor_char(text, (reach + 4).min(text.len())).max(reach);
        let window = &text[start..context];
        window
            .grapheme_indices(true)
            .rev()
            .map(|(at, _)| start + at)
            .find(|at| *at <= reach)
            .filter(|at| *at > behind)
            .unwrap_or(reach)
    }

    /// Where the chunk after the one that ended at `end` begins.
    fn next_start(&self, text: &str, reach: &Reach<'_>, start: usize, end: usize) -> usize {
        if self.overlap == 0 || end == text.len() {
            return end;
        }
        let earliest = reach.back(start, end, self.overlap);
        if earliest <= start || earliest >= end {
            return end;
        }
        // A break right before the earliest place counts: the chunk then begins there.
        let from = floor_char(text, earliest - 1);
        let cut = self.levels.iter().filter(|l| **l != Level::Heading).find_map(|l| l.first(text, from, end));
        let at = cut.unwrap_or(earliest);
        let begin = at + (text[at..end].len() - text[at..end].trim_start().len());
        if begin > start && begin < end { begin } else { end }
    }
}

/// Moves a cut before a heading that would stand alone at the chunk's end.
fn avoid_orphan(text: &str, start: usize, behind: usize, cut: usize) -> usize {
    let piece = text[start..cut].trim_end();
    let Some(line_at) = memchr::memrchr(b'\n', piece.as_bytes()) else { return cut };
    let line = piece[line_at + 1..].trim();
    let heads = if line.starts_with('#') {
        true
    } else {
        // A short line of its own between blank lines that does not end like a sentence, an item or a row.
        let alone = piece[..line_at].ends_with(['\n', '\r'])
            && text[cut..].trim_start_matches('\r').starts_with('\n');
        let blank_after = text[start + piece.len()..].trim_start_matches([' ', '\t', '\r']).starts_with('\n');
        alone
            && blank_after
            && line.len() <= 60
            && line.starts_with(char::is_alphanumeric)
            && line.ends_with(char::is_alphanumeric)
    };
    let before = start + piece[..line_at].trim_end().len();
    if heads && before > behind { before } else { cut }
}

impl TextSplitter for RecursiveSplitter {
    /// # Errors
    /// `Config` for a limit of 0 or an overlap that is not smaller than it; `InvalidInput` where one character alone has
    /// more tokens than the limit.
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        self.check()?;
        let mut reach = Reach::new(&self.unit, text);
        let mut chunks = Vec::new();
        let mut start = 0;
        // What lies before `behind` is in a chunk already.
        let mut behind = 0;
        loop {
            start += text[start..].len() - text[start..].trim_start().len();
            behind = behind.max(start);
            behind += text[behind..].len() - text[behind..].trim_start().len();
            if behind == text.len() {
                return Ok(chunks);
            }
            let mut limit = self.max;
            let (cut, piece) = loop {
                let end = reach.end(start, limit);
                if end <= behind {
                    if behind > start {
                        // The overlap leaves no room for anything new.
                        start = behind;
                        limit = self.max;
                        continue;
                    }
                    // Tokens of a piece are not always the tokens of the whole there.
                    let first = text[start..].chars().next().map_or(0, char::len_utf8);
                    let piece = &text[start..start + first];
                    if reach.excess(piece, self.max) == 0 {
                        break (start + first, piece);
                    }
                    return Err(too_small(self.max, start));
                }
                let cut = self.cut(text, start, behind, end);
                let piece = text[start..cut].trim_end();
                let excess = reach.excess(piece, self.max);
                if excess == 0 {
                    break (cut, piece);
                }
                let units = reach.units(start, start + piece.len()).min(limit);
                limit = if limit == 1 { 0 } else { units.saturating_sub(excess).clamp(1, limit - 1) };
            };
            chunks.push(Chunk { text: piece, offset: start });
            behind = start + piece.len();
            start = self.next_start(text, &reach, start, behind);
            if start == behind {
                start = cut;
            }
        }
    }

    fn fingerprint(&self) -> String {
        let unit = match &self.unit {
            Unit::Chars => "chars".to_owned(),
            Unit::Tokens(tokenizer) => format!("tokens of {}", tokenizer.name()),
        };
        let levels: Vec<String> = self.levels.iter().map(Level::name).collect();
        format!("recursive 1, {} {unit}, overlap {}, at {}", self.max, self.overlap, levels.join(" "))
    }
}

fn too_small(max: usize, at: usize) -> Error {
    Error::invalid_input(format!(
        "the character at byte {at} has more than {max} tokens, the limit of a chunk"
    ))
}

impl fmt::Debug for RecursiveSplitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecursiveSplitter({})", self.fingerprint())
    }
}
