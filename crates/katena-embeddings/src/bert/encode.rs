//! Texts to the tokens that the network reads, within its limit.

use std::sync::Arc;

use katena_core::{EmbedRole, Error, ErrorKind, Result};
use katena_gguf::WordPiece;

use super::options::{BertOptions, Overlong};

/// Begin and end mark.
const MARKS: usize = 2;

/// Knows the vocabulary, the marks, the prefixes and the limit.
#[derive(Debug)]
pub(super) struct Encoder {
    words: Arc<WordPiece>,
    query: String,
    document: String,
    /// Most tokens, marks included.
    window: usize,
    prefix_tokens: usize,
    overlong: Overlong,
}

impl Encoder {
    pub(super) fn new(words: WordPiece, window: usize, options: &BertOptions) -> Result<Self> {
        let tokens = |prefix: &str| words.ids(prefix).len();
        let prefix_tokens = tokens(&options.query_prefix).max(tokens(&options.document_prefix));
        if prefix_tokens + MARKS >= window {
            return Err(Error::config("the embedder's prefix leaves no room for the text"));
        }
        Ok(Self {
            words: Arc::new(words),
            query: options.query_prefix.clone(),
            document: options.document_prefix.clone(),
            window,
            prefix_tokens,
            overlong: options.overlong,
        })
    }

    /// Most tokens of a text itself.
    pub(super) fn max_tokens(&self) -> usize {
        self.window - MARKS - self.prefix_tokens
    }

    pub(super) fn tokenizer(&self) -> Arc<WordPiece> {
        self.words.clone()
    }

    /// What the prefixes add to the identity.
    pub(super) fn prefix_tag(&self) -> String {
        if self.query.is_empty() && self.document.is_empty() {
            return String::new();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.query.len() as u64).to_le_bytes());
        hasher.update(self.query.as_bytes());
        hasher.update(self.document.as_bytes());
        format!("/{}", &hasher.finalize().to_hex()[..16])
    }

    /// The tokens of text number `index`, marks included.
    pub(super) fn encode(&self, index: usize, text: &str, role: EmbedRole) -> Result<Vec<u32>> {
        let prefix = if role == EmbedRole::Query { &self.query } else { &self.document };
        let ids = |text: &str| self.words.ids(text);
        let mut body = if prefix.is_empty() { ids(text) } else { ids(&format!("{prefix}{text}")) };
        let most = self.window - MARKS;
        if body.len() > most {
            if self.overlong == Overlong::Refuse {
                return Err(Error::new(
                    ErrorKind::ContextTooLong,
                    "a text is longer than the embedder reads; split it, or choose truncation",
                )
                .with_context("text", index.to_string())
                .with_context("tokens", body.len().to_string())
                .with_context("max_tokens", most.to_string()));
            }
            body.truncate(most);
        }
        let (begin, end) = self.words.marks();
        let all = std::iter::once(begin).chain(body).chain(std::iter::once(end));
        // The vocabulary's numbers count from 0.
        Ok(all.map(i32::cast_unsigned).collect())
    }
}
