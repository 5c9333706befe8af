//! OpenAI's vocabularies.

use std::fmt;

use katena_core::{Span, Tokenizer};
use tiktoken::CoreBpe;

use crate::reach::floor_char;

/// Counts tokens as OpenAI's models do, with vocabularies that are built in: no download, no network.
///
/// Special tokens such as `<|endoftext|>` in a text are text to it.
///
/// ```
/// use katena_core::Tokenizer;
/// use katena_splitters::TiktokenTokenizer;
///
/// let tokenizer = TiktokenTokenizer::o200k();
/// assert_eq!(tokenizer.count("hello world"), 2);
/// assert_eq!(tokenizer.encode("hello world")[1], (5..11).into());
/// ```
#[derive(Clone, Copy)]
pub struct TiktokenTokenizer {
    name: &'static str,
    encoding: &'static CoreBpe,
}

impl TiktokenTokenizer {
    /// `cl100k_base`: GPT-4, GPT-3.5, text-embedding-3. The first call loads it (about 60 ms).
    pub fn cl100k() -> Self {
        Self::named("cl100k_base")
    }

    /// `o200k_base`: GPT-4o and later. The first call loads it (about 130 ms).
    pub fn o200k() -> Self {
        Self::named("o200k_base")
    }

    fn named(name: &'static str) -> Self {
        // Both names are in the crate's table.
        let encoding = tiktoken::get_encoding(name).unwrap_or_else(|| unreachable!("{name} is built in"));
        Self { name, encoding }
    }
}

impl Tokenizer for TiktokenTokenizer {
    fn name(&self) -> &str {
        self.name
    }

    fn count(&self, text: &str) -> usize {
        self.encoding.count(text)
    }

    fn encode(&self, text: &str) -> Vec<Span> {
        let tokens = self.encoding.encode(text);
        let mut at = 0;
        tokens
            .iter()
            .map(|token| {
                let start = at;
                at += self.encoding.decode(std::slice::from_ref(token)).len();
                // A token may end inside a character; its span then ends before it.
                (floor_char(text, start)..floor_char(text, at)).into()
            })
            .collect()
    }
}

impl fmt::Debug for TiktokenTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TiktokenTokenizer({})", self.name)
    }
}
