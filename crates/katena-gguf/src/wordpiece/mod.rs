//! BERT's tokenizer: clean, split into words and punctuation, then the longest known pieces of each word.
//!
//! After Devlin et al., "BERT" (2018), and the reference implementation's rules: control characters vanish, Chinese
//! characters stand alone, accents and case go if the model says so, a word over 100 characters or with an unknown part
//! is one unknown token.

mod table;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::fmt;

use katena_core::{Error, Result, Span, Tokenizer};
use unicode_normalization::char::decompose_canonical;
use unicode_properties::{GeneralCategory as G, UnicodeGeneralCategory};

use crate::Header;
use table::{Place, Table};
pub use vocabulary::Casing;

/// Longer words are unknown.
const MAX_WORD_CHARS: usize = 100;
/// What begins a word in the file's vocabulary.
const WORD_MARK: char = '\u{2581}';

/// A WordPiece vocabulary. Thread-safe, no locks; `count` and `encode` run on the caller's thread.
pub struct WordPiece {
    table: Table,
    name: String,
    words: usize,
    unknown: i32,
    begin: i32,
    end: i32,
    lowercase: bool,
    strip_accents: bool,
}

impl fmt::Debug for WordPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WordPiece").field("name", &self.name).finish_non_exhaustive()
    }
}

trait Sink {
    fn token(&mut self, id: i32, span: impl FnOnce() -> Span);
}

struct Count(usize);
impl Sink for Count {
    #[inline]
    fn token(&mut self, _: i32, _: impl FnOnce() -> Span) {
        self.0 += 1;
    }
}
impl Sink for Vec<Span> {
    fn token(&mut self, _: i32, span: impl FnOnce() -> Span) {
        self.push(span());
    }
}
impl Sink for Vec<i32> {
    fn token(&mut self, id: i32, _: impl FnOnce() -> Span) {
        self.push(id);
    }
}

/// The word that is being collected, normalised.
#[derive(Default)]
struct Word {
    bytes: Vec<u8>,
    chars: usize,
    /// Where its first byte stood in the text.
    start: usize,
    /// Original start and end of each byte's character; empty while bytes and text agree.
    origin: Vec<(usize, usize)>,
    hashes: Vec<u64>,
    ids: Vec<(i32, usize, usize)>,
}

impl Word {
    #[inline]
    fn push_ascii(&mut self, byte: u8, at: usize) {
        if self.bytes.is_empty() {
            self.start = at;
        }
        if !self.origin.is_empty() || self.start + self.bytes.len() != at {
            self.remember();
            self.origin.push((at, at + 1));
        }
        self.bytes.push(byte);
        self.chars += 1;
    }

    /// From here on bytes and text differ.
    fn remember(&mut self) {
        for n in self.origin.len()..self.bytes.len() {
            self.origin.push((self.start + n, self.start + n + 1));
        }
    }

    fn push(&mut self, c: char, from: usize, to: usize) {
        if self.bytes.is_empty() {
            self.start = from;
        }
        self.remember();
        let mut buffer = [0; 4];
        for byte in c.encode_utf8(&mut buffer).bytes() {
            self.bytes.push(byte);
            self.origin.push((from, to));
        }
        self.chars += 1;
    }

    fn span(&self, from: usize, to: usize) -> Span {
        if self.origin.is_empty() {
            Span { start: self.start + from, end: self.start + to }
        } else {
            Span { start: self.origin[from].0, end: self.origin[to - 1].1 }
        }
    }
}

/// What a byte below 128 is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ascii {
    Letter,
    Space,
    Punctuation,
    Control,
}

const ASCII: [Ascii; 128] = {
    let mut table = [Ascii::Letter; 128];
    let mut n = 0;
    while n < 128 {
        let byte = n as u8;
        table[n] = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => Ascii::Space,
            _ if byte.is_ascii_punctuation() => Ascii::Punctuation,
            _ if byte.is_ascii_control() => Ascii::Control,
            _ => Ascii::Letter,
        };
        n += 1;
    }
    table
};

fn is_chinese(c: char) -> bool {
    matches!(c as u32,
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F
        | 0x2B920..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}

fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_punctuation();
    }
    matches!(
        c.general_category(),
        G::ConnectorPunctuation
            | G::DashPunctuation
            | G::OpenPunctuation
            | G::ClosePunctuation
            | G::InitialPunctuation
            | G::FinalPunctuation
            | G::OtherPunctuation
    )
}

impl WordPiece {
    /// The vocabulary of a BERT file whose header was read with its vocabulary.
    ///
    /// # Errors
    /// `InvalidInput` if the vocabulary or one of its special tokens is missing.
    pub fn new(header: &Header, name: String) -> Result<Self> {
        let missing = || Error::invalid_input("the model file has no usable WordPiece vocabulary");
        let texts = header.texts("tokenizer.ggml.tokens").ok_or_else(missing)?;
        let special = |key: &str, usual: u64| -> Result<i32> {
            let id = header.number(&format!("tokenizer.ggml.{key}")).unwrap_or(usual);
            i32::try_from(id).ok().filter(|id| (*id as usize) < texts.len()).ok_or_else(missing)
        };
        // The numbers of the published BERT vocabularies; the file format's defaults too.
        let begin = special("bos_token_id", header.number("tokenizer.ggml.cls_token_id").unwrap_or(101))?;
        let (unknown, end) = (special("unknown_token_id", 100)?, special("seperator_token_id", 102)?);
        let marks = [begin, unknown, end, special("padding_token_id", 0)?, special("mask_token_id", 103)?];
        let pieces = texts.iter().enumerate().filter_map(|(id, text)| {
            let id = i32::try_from(id).ok().filter(|id| !marks.contains(id))?;
            Some(match text.strip_prefix(WORD_MARK) {
                Some(word) => (id, Place::Start, word),
                None => (id, Place::Inside, text.as_str()),
            })
        });
        let lowercase = header.flag("tokenizer.ggml.normalizer.lowercase").unwrap_or(true);
        let strip_accents = header.flag("tokenizer.ggml.normalizer.strip_accents").unwrap_or(lowercase);
        let table = Table::new(pieces);
        Ok(Self { table, name, words: texts.len(), unknown, begin, end, lowercase, strip_accents })
    }

    /// The ids of a text's tokens, without begin and end marks.
    pub fn ids(&self, text: &str) -> Vec<i32> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        self.run(text, &mut ids);
        ids
    }

    /// How many ids there are.
    pub fn words(&self) -> usize {
        self.words
    }

    /// The id of a word with an unknown part.
    pub fn unknown(&self) -> i32 {
        self.unknown
    }

    /// The mark before a text and the one after it.
    pub fn marks(&self) -> (i32, i32) {
        (self.begin, self.end)
    }

    fn run(&self, text: &str, sink: &mut impl Sink) {
        let mut word = Word::default();
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte < 128 {
                match ASCII[byte as usize] {
                    Ascii::Letter => {
                        let byte = if self.lowercase { byte.to_ascii_lowercase() } else { byte };
                        word.push_ascii(byte, at);
                    }
                    Ascii::Space => self.finish(&mut word, sink),
                    Ascii::Punctuation => {
                        self.finish(&mut word, sink);
                        word.push_ascii(byte, at);
                        self.finish(&mut word, sink);
                    }
                    Ascii::Control => {}
                }
                at += 1;
                continue;
            }
            let Some(c) = text[at..].chars().next() else { break };
            let to = at + c.len_utf8();
            self.other(c, at, to, &mut word, sink);
            at = to;
        }
        self.finish(&mut word, sink);
    }

    /// A character beyond ASCII.
    fn other(&self, c: char, from: usize, to: usize, word: &mut Word, sink: &mut impl Sink) {
        if c == '\u{FFFD}' || matches!(c.general_category(), G::Control | G::Format | G::PrivateUse) {
            return;
        }
        if c.is_whitespace() {
            return self.finish(word, sink);
        }
        let alone = is_chinese(c);
        if alone {
            self.finish(word, sink);
        }
        let mut add = |c: char| {
            if is_punctuation(c) {
                self.finish(word, sink);
                word.push(c, from, to);
                self.finish(word, sink);
            } else {
                word.push(c, from, to);
            }
        };
        let mut cased = |c: char| {
            if self.lowercase { c.to_lowercase().for_each(&mut add) } else { add(c) }
        };
        if self.strip_accents {
            decompose_canonical(c, |d| {
                if d.general_category() != G::NonspacingMark {
                    cased(d);
                }
            });
        } else {
            cased(c);
        }
        if alone {
            self.finish(word, sink);
        }
    }

    #[inline]
    fn finish(&self, word: &mut Word, sink: &mut impl Sink) {
        if word.bytes.is_empty() {
            return;
        }
        self.pieces(word, sink);
        word.bytes.clear();
        word.origin.clear();
        word.chars = 0;
    }

    fn pieces(&self, word: &mut Word, sink: &mut impl Sink) {
        word.ids.clear();
        let len = word.bytes.len();
        let (mut at, mut place) = (0, Place::Start);
        if word.chars <= MAX_WORD_CHARS {
            while at < len {
                let Some((id, n)) = self.table.longest(&word.bytes[at..], place, &mut word.hashes) else {
                    break;
                };
                word.ids.push((id, at, at + n));
                at += n;
                place = Place::Inside;
            }
        }
        if at == len {
            for &(id, from, to) in &word.ids {
                sink.token(id, || word.span(from, to));
            }
        } else {
            sink.token(self.unknown, || word.span(0, len));
        }
    }
}

impl Tokenizer for WordPiece {
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self, text: &str) -> usize {
        let mut count = Count(0);
        self.run(text, &mut count);
        count.0
    }

    fn encode(&self, text: &str) -> Vec<Span> {
        let mut spans = Vec::with_capacity(text.len() / 3 + 2);
        self.run(text, &mut spans);
        spans
    }
}
