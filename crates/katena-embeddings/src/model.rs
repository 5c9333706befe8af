//! Which model, and how long its vectors are.

use std::borrow::Cow;

use katena_core::{Error, Result};

/// A model's name and the length of its vectors, which an embedder must know before its first call.
///
/// A bare name is looked up in the vendor's table of documented models. A name that is not in it needs its dimensions
/// from the caller, or [`unmeasured`](Self::unmeasured) and the embedder's `connect`, which asks the server. Otherwise
/// the constructor fails with an error of kind `Config`.
///
/// ```
/// use katena_embeddings::EmbedModel;
/// let known: EmbedModel = "text-embedding-3-small".into();
/// let own = EmbedModel::new("nomic-embed-text-v1.5", 768).with_max_tokens(8192);
/// assert_eq!(own.name(), "nomic-embed-text-v1.5");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedModel {
    name: String,
    size: Size,
    max_tokens: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    InTable,
    Stated(usize),
    Unmeasured,
}

/// A documented model: name, dimensions, most tokens of a text.
pub(crate) type Known = (&'static str, usize, Option<usize>);

/// What a constructor needs.
pub(crate) struct Resolved {
    pub(crate) name: String,
    /// 0 if still to be measured.
    pub(crate) dimensions: usize,
    pub(crate) max_tokens: Option<usize>,
}

impl EmbedModel {
    /// A model whose vectors are as long as stated.
    pub fn new(name: impl Into<String>, dimensions: usize) -> Self {
        Self { name: name.into(), size: Size::Stated(dimensions), max_tokens: None }
    }

    /// A model of which nobody knows the dimensions yet: call the embedder's `connect` before anything else.
    pub fn unmeasured(name: impl Into<String>) -> Self {
        Self { name: name.into(), size: Size::Unmeasured, max_tokens: None }
    }

    /// Sets the most tokens of one text.
    pub fn with_max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// The vendor's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks the model up in `table` under `key`, which is its name without what the vendor puts around it.
    pub(crate) fn resolve(self, key: &str, table: &[Known]) -> Result<Resolved> {
        if self.name.trim().is_empty() {
            return Err(Error::config("the model's name is empty"));
        }
        let known = table.iter().find(|(name, ..)| *name == key);
        let dimensions = match self.size {
            Size::Stated(0) => return Err(Error::config("a model has at least 1 dimension")),
            Size::Stated(n) => n,
            Size::Unmeasured => 0,
            Size::InTable => known.map(|k| k.1).ok_or_else(|| {
                let message = "the length of this model's vectors is not known; state it with EmbedModel::new, or \
                               measure it with EmbedModel::unmeasured and connect";
                Error::config(message).with_context("model", self.name.clone())
            })?,
        };
        Ok(Resolved { dimensions, max_tokens: self.max_tokens.or(known.and_then(|k| k.2)), name: self.name })
    }

    /// As [`resolve`](Self::resolve), under its own name.
    #[allow(dead_code, reason = "each vendor is a feature")]
    pub(crate) fn resolve_by_name(self, table: &[Known]) -> Result<Resolved> {
        let key = self.name.clone();
        self.resolve(&key, table)
    }
}

impl From<&str> for EmbedModel {
    fn from(name: &str) -> Self {
        Self { name: name.into(), size: Size::InTable, max_tokens: None }
    }
}

impl From<String> for EmbedModel {
    fn from(name: String) -> Self {
        Self { name, size: Size::InTable, max_tokens: None }
    }
}

/// What happens to a text that is longer than the model reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Truncate {
    /// The vendor is asked to refuse it.
    #[default]
    Refuse,
    /// Its end is cut off.
    End,
}

/// How vectors come over the wire. Both forms are read, whichever is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Lists of numbers; what a server sends that is not asked for anything else.
    #[default]
    Floats,
    /// Little-endian 32-bit floats in base64: about a quarter of the bytes.
    Base64,
}

/// Texts put before each text by its role, as many open models want it (`"query: "`, `"passage: "`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prefixes {
    pub(crate) query: String,
    pub(crate) document: String,
}

impl Prefixes {
    pub(crate) fn apply<'t>(&self, role: katena_core::EmbedRole, text: &'t str) -> Cow<'t, str> {
        let prefix = match role {
            katena_core::EmbedRole::Query => &self.query,
            _ => &self.document,
        };
        if prefix.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{prefix}{text}")) }
    }
}
