//! The tokenizer of a loaded model, with offsets found from the bytes of its pieces.

use std::fmt;
use std::sync::Arc;

use katena_core::{Span, Tokenizer};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

/// Asks the loaded vocabulary, which is read-only and needs no lock.
pub(crate) struct PieceTokenizer {
    model: Arc<LlamaModel>,
    name: String,
}

impl fmt::Debug for PieceTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PieceTokenizer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// llama.cpp counts bytes in 32 bits; longer texts are read in parts.
const PART: usize = 256 << 20;

impl PieceTokenizer {
    pub(crate) fn new(model: Arc<LlamaModel>, name: String) -> Self {
        Self { model, name }
    }

    fn tokens(&self, text: &str) -> Vec<LlamaToken> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let mut cut = rest.len().min(PART);
            while !rest.is_char_boundary(cut) {
                cut -= 1;
            }
            let (part, tail) = rest.split_at(cut);
            tokens.extend(self.model.vocab().tokenize(part.as_bytes(), false, false));
            rest = tail;
        }
        tokens
    }
}

/// The span of each piece in `text`. A piece that begins with a space that the text lacks (SentencePiece puts one before
/// the first word) counts without it; bytes that are nowhere give an empty span.
fn spans(text: &str, pieces: impl Iterator<Item = Vec<u8>>) -> Vec<Span> {
    let bytes = text.as_bytes();
    let mut at = 0;
    pieces
        .map(|piece| {
            let mut piece = piece.as_slice();
            if !bytes[at..].starts_with(piece) && piece.first() == Some(&b' ') {
                piece = &piece[1..];
            }
            let start = at;
            if bytes[at..].starts_with(piece) {
                at += piece.len();
            }
            // A token may be part of a character: its span is that character's.
            let whole = |mut n: usize, up: i8| {
                while !text.is_char_boundary(n) {
                    n = if up > 0 { n + 1 } else { n - 1 };
                }
                n
            };
            Span { start: whole(start, -1), end: whole(at, 1) }
        })
        .collect()
}

impl Tokenizer for PieceTokenizer {
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self, text: &str) -> usize {
        self.tokens(text).len()
    }

    fn encode(&self, text: &str) -> Vec<Span> {
        let vocab = self.model.vocab();
        spans(text, self.tokens(text).into_iter().map(|t| vocab.token_to_piece(t, true, None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_spans() {
        let pieces = |p: &[&[u8]]| p.iter().map(|b| b.to_vec()).collect::<Vec<_>>();
        let got = spans("a 🦙b", pieces(&[b"a", b" ", b"\xf0", b"\x9f\xa6", b"\x99", b"b"]).into_iter());
        let want = [(0, 1), (1, 2), (2, 6), (2, 6), (2, 6), (6, 7)];
        assert_eq!(got.iter().map(|s| (s.start, s.end)).collect::<Vec<_>>(), want);
        let got = spans("hi you", pieces(&[b" hi", b" you"]).into_iter());
        assert_eq!(got.iter().map(|s| (s.start, s.end)).collect::<Vec<_>>(), [(0, 2), (2, 6)]);
        let got = spans("x", pieces(&[b"?", b"x"]).into_iter());
        assert_eq!(got.iter().map(|s| (s.start, s.end)).collect::<Vec<_>>(), [(0, 0), (0, 1)]);
    }
}
