//! What comes out.

use std::fmt;

use katena_core::Span;
use serde::{Deserialize, Serialize};

use crate::extract::FailedPiece;

/// Words of a text that state a fact.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Evidence {
    /// The words, as the text has them.
    pub quote: String,
    /// Where they stand in the text, in bytes.
    pub span: Span,
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({}..{})", self.span.start, self.span.end)
    }
}

impl Evidence {
    /// Words and their place.
    pub fn new(quote: impl Into<String>, span: impl Into<Span>) -> Self {
        Self { quote: quote.into(), span: span.into() }
    }
}

/// A fact. `Display` prints `(subject, relation, object)`.
///
/// ```
/// use katena_chains::{Evidence, Triple};
/// let text = "Ada wrote programs.";
/// let fact = Triple::new("Ada", "wrote", "programs", Evidence::new(&text[..18], 0..18));
/// assert_eq!(fact.to_string(), "(Ada, wrote, programs)");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Triple {
    /// Of whom or what.
    pub subject: String,
    /// What is said of it.
    pub relation: String,
    /// With whom or what.
    pub object: String,
    /// The places in the text that state it, at least one.
    pub evidence: Vec<Evidence>,
}

impl fmt::Debug for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Triple").field("evidence", &self.evidence).finish_non_exhaustive()
    }
}

impl fmt::Display for Triple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {}, {})", self.subject, self.relation, self.object)
    }
}

impl Triple {
    /// A fact and its evidence.
    pub fn new(
        subject: impl Into<String>,
        relation: impl Into<String>,
        object: impl Into<String>,
        evidence: Evidence,
    ) -> Self {
        Self {
            subject: subject.into(),
            relation: relation.into(),
            object: object.into(),
            evidence: vec![evidence],
        }
    }
}

/// The facts of a text.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Triples {
    /// The facts, in the order of the text's pieces.
    pub triples: Vec<Triple>,
    /// How many were dropped because their evidence is not in the text.
    pub unfounded: usize,
    /// How many were dropped because a part was empty.
    pub incomplete: usize,
    /// How many were merged into an earlier one that says the same.
    pub merged: usize,
    /// Pieces that were skipped because their call failed.
    pub failed: Vec<FailedPiece>,
}

impl Triples {
    /// Facts of a text that was read whole.
    pub fn new(triples: Vec<Triple>) -> Self {
        Self { triples, unfounded: 0, incomplete: 0, merged: 0, failed: Vec::new() }
    }
}
