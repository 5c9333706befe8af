//! Splitters and tokenizers: text to chunks, measured.

use std::fmt;
use std::sync::Arc;

use crate::document::Span;
use crate::error::Result;

/// A piece of a text: a slice of it, nothing copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'t> {
    /// The piece.
    pub text: &'t str,
    /// Where it starts in the text, in bytes.
    pub offset: usize,
}

impl<'t> Chunk<'t> {
    /// The piece of `text` at `range`, which must lie on character borders.
    pub fn of(text: &'t str, range: std::ops::Range<usize>) -> Self {
        Self { text: &text[range.clone()], offset: range.start }
    }

    /// Its byte range in the text.
    pub fn span(&self) -> Span {
        Span { start: self.offset, end: self.offset + self.text.len() }
    }
}

/// Cuts a text into chunks. Sync and CPU only; async code calls it on a blocking thread when texts are large.
///
/// # Contract
/// - `slices_with_offsets`: each chunk is the text at its offset.
/// - `in_order`: offsets rise.
/// - `nothing_is_lost`: every character that is not white space is in a chunk.
/// - `no_empty_chunks`: none is empty or white space alone; a blank text gives none.
/// - `limit_is_kept`: no chunk is longer than the splitter's limit.
/// - `same_text_same_chunks`: always.
/// - `any_unicode`: combining marks, emoji, NUL, CRLF; never a cut inside a character.
/// - `huge_inputs_end`: one line of 1 MiB without spaces, and 1 MiB of newlines.
/// - `fingerprint_tells_settings`: equal settings, equal fingerprint.
pub trait TextSplitter: fmt::Debug + Send + Sync {
    /// The chunks, in order.
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>>;

    /// Names the way of cutting: kind, sizes, separators, tokenizer. Another fingerprint may cut otherwise.
    fn fingerprint(&self) -> String;
}

macro_rules! forward {
    ($($ptr:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<S: TextSplitter + ?Sized> TextSplitter for $ptr {
            fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
                (**self).split(text)
            }
            fn fingerprint(&self) -> String {
                (**self).fingerprint()
            }
        }
    )*};
}
forward!(Arc<S>, Box<S>);

/// Counts and finds a model's tokens. Splitters, memories and chains measure with it.
///
/// # Contract
/// - `count_is_length_of_encode`: `count(t)` equals `encode(t).len()`.
/// - `offsets_rise`: token spans are in order and inside the text.
pub trait Tokenizer: fmt::Debug + Send + Sync {
    /// Names the vocabulary.
    fn name(&self) -> &str;

    /// Number of tokens of a text, without any begin or end marks.
    fn count(&self, text: &str) -> usize;

    /// The byte span of each token, in order. A token that is part of a character has an empty span or its character's.
    fn encode(&self, text: &str) -> Vec<Span>;
}

#[deny(clippy::missing_trait_methods)]
impl<T: Tokenizer + ?Sized> Tokenizer for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn count(&self, text: &str) -> usize {
        (**self).count(text)
    }
    fn encode(&self, text: &str) -> Vec<Span> {
        (**self).encode(text)
    }
}
