//! Texts to the tokens that the network reads, within its limit.

use std::sync::Arc;

use katena_core::{EmbedRole, Result};
use katena_gguf::{EmbedText, WordPiece};

use super::options::BertOptions;

/// A vocabulary with the marks, the prefixes and the limit.
#[derive(Debug)]
pub(super) struct Encoder {
    words: Arc<WordPiece>,
    text: EmbedText,
}

impl Encoder {
    pub(super) fn new(words: WordPiece, window: usize, options: &BertOptions) -> Result<Self> {
        let (begin, end) = words.marks();
        let (query, document) = (&options.query_prefix, &options.document_prefix);
        let ids = |text: &str| Ok(words.ids(text));
        let text = EmbedText::new(query, document, (Some(begin), Some(end)), window, options.overlong, ids)?;
        Ok(Self { words: Arc::new(words), text })
    }

    /// Prefixes, marks and limit.
    pub(super) fn text(&self) -> &EmbedText {
        &self.text
    }

    pub(super) fn tokenizer(&self) -> Arc<WordPiece> {
        self.words.clone()
    }

    /// The tokens of text number `index`, marks included.
    pub(super) fn encode(&self, index: usize, text: &str, role: EmbedRole) -> Result<Vec<u32>> {
        let ids = self.text.encode(index, text, role, |text| Ok(self.words.ids(text)))?;
        // The vocabulary's numbers count from 0.
        Ok(ids.into_iter().map(i32::cast_unsigned).collect())
    }
}
