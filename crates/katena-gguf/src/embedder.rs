//! What every engine does alike with an embedder's file: which vectors belong together must not depend on the engine.

use std::path::Path;

use katena_core::{EmbedRole, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::Header;

/// What happens to a text with more tokens than the embedder reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlong {
    /// The call fails with `ContextTooLong`, naming the text.
    #[default]
    Refuse,
    /// Its beginning counts, the rest does not.
    Truncate,
}

/// How the vectors of a text's tokens become one. Every engine handles all of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
}

impl Pooling {
    /// What the file says (llama.cpp's `pooling_type`), if it names one of these.
    pub fn of(header: &Header) -> Option<Self> {
        match header.arch_number("pooling_type") {
            Some(1) => Some(Self::Mean),
            Some(2) => Some(Self::Cls),
            Some(3) => Some(Self::Last),
            _ => None,
        }
    }

    /// The pooling asked for, else the file's.
    ///
    /// # Errors
    /// `Unsupported` if the file is a reranker's or says nothing.
    pub fn choose(header: &Header, asked: Option<Self>) -> Result<Self> {
        asked.or_else(|| Self::of(header)).ok_or_else(|| match header.arch_number("pooling_type") {
            Some(4) => Error::unsupported("the model is a reranker, not an embedder"),
            _ => Error::unsupported(
                "the file does not say how its vectors are pooled; name it with `with_pooling`",
            ),
        })
    }

    /// The name in an embedder's identity.
    fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
        }
    }
}

/// Texts to the tokens that an embedder reads: prefix, marks, limit.
///
/// ```
/// use katena_core::EmbedRole;
/// use katena_gguf::{EmbedText, Overlong};
/// let ids = |text: &str| Ok(text.bytes().map(i32::from).collect());
/// let text = EmbedText::new("q:", "", (Some(1), Some(2)), 8, Overlong::Truncate, ids)?;
/// assert_eq!(text.encode(0, "abc", EmbedRole::Document, ids)?, [1, 97, 98, 99, 2]);
/// assert_eq!(text.max_tokens(), 4, "8, less two marks and the longer prefix");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug)]
pub struct EmbedText {
    query: String,
    document: String,
    begin: Option<i32>,
    end: Option<i32>,
    window: usize,
    prefix_tokens: usize,
    overlong: Overlong,
}

impl EmbedText {
    /// `marks`: the tokens before and after each text; `window`: most tokens of a text, marks included; `ids`: the vocabulary.
    ///
    /// # Errors
    /// `Config` if a prefix leaves no room for the text, and those of `ids`.
    pub fn new(
        query: impl Into<String>,
        document: impl Into<String>,
        (begin, end): (Option<i32>, Option<i32>),
        window: usize,
        overlong: Overlong,
        ids: impl Fn(&str) -> Result<Vec<i32>>,
    ) -> Result<Self> {
        let (query, document) = (query.into(), document.into());
        let prefix_tokens = ids(&query)?.len().max(ids(&document)?.len());
        let new = Self { query, document, begin, end, window, prefix_tokens, overlong };
        if prefix_tokens + new.marks() >= window {
            return Err(Error::config("the embedder's prefix leaves no room for the text"));
        }
        Ok(new)
    }

    fn marks(&self) -> usize {
        usize::from(self.begin.is_some()) + usize::from(self.end.is_some())
    }

    /// Most tokens of a text itself.
    pub fn max_tokens(&self) -> usize {
        self.window - self.marks() - self.prefix_tokens
    }

    /// Names the space of the vectors: the model, the file's hash, pooling, limit and prefixes. Vectors of embedders with the
    /// same identity may be compared.
    ///
    /// # Errors
    /// Those of reading the file.
    pub fn identity(&self, name: &str, file: &Path, pooling: Pooling) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(file)?)?;
        let hash = &hasher.finalize().to_hex()[..32];
        let mut identity = format!("{name}@{hash}/{}/{}", pooling.as_str(), self.window);
        if !self.query.is_empty() || !self.document.is_empty() {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&(self.query.len() as u64).to_le_bytes());
            hasher.update(self.query.as_bytes());
            hasher.update(self.document.as_bytes());
            identity = format!("{identity}/{}", &hasher.finalize().to_hex()[..16]);
        }
        Ok(identity)
    }

    /// The tokens of text number `index` of a request, prefix and marks included, at least one.
    ///
    /// # Errors
    /// `ContextTooLong` for a text that is too long unless such texts are cut, `InvalidInput` for an empty one without marks,
    /// and those of `ids`.
    pub fn encode(
        &self,
        index: usize,
        text: &str,
        role: EmbedRole,
        ids: impl Fn(&str) -> Result<Vec<i32>>,
    ) -> Result<Vec<i32>> {
        let prefix = if role == EmbedRole::Query { &self.query } else { &self.document };
        let mut body = if prefix.is_empty() { ids(text)? } else { ids(&format!("{prefix}{text}"))? };
        let most = self.window - self.marks();
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
        let tokens: Vec<i32> = self.begin.into_iter().chain(body).chain(self.end).collect();
        if tokens.is_empty() {
            return Err(Error::invalid_input("an empty text has no vector in this model")
                .with_context("text", index.to_string()));
        }
        Ok(tokens)
    }
}
