//! Signatures of parts, as they travel in a message.
//!
//! The vendor signs any part (`thoughtSignature`), and wants each signature back at the part where it stood. A
//! message has a place for signatures in [`Part::Reasoning`] only, which every vendor may leave out. So:
//!
//! - a signed thought is reasoning with its text and signature;
//! - a signature of another part is reasoning without text right before the part that it signs;
//! - a signature at an empty text is reasoning without text, too.
//!
//! What precedes the vendor's own bytes says which of the three it is, and that the signature is this vendor's: one
//! that is not is never sent there.

use katena_core::Part;

const THOUGHT: &str = "gemini:thought:";
const NEXT: &str = "gemini:next:";
const ALONE: &str = "gemini:alone:";

/// Whose signature it is, with the vendor's own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed<'a> {
    /// The reasoning's own.
    Thought(&'a str),
    /// That of the part after it.
    Next(&'a str),
    /// That of an empty text.
    Alone(&'a str),
    /// Another vendor's.
    Foreign,
}

pub(super) fn of_thought(signature: &str) -> String {
    format!("{THOUGHT}{signature}")
}

/// The part that carries the signature of the part after it.
pub(super) fn of_next(signature: &str) -> Part {
    Part::Reasoning { text: String::new(), signature: Some(format!("{NEXT}{signature}")) }
}

/// The part for a signature at an empty text.
pub(super) fn alone(signature: &str) -> Part {
    Part::Reasoning { text: String::new(), signature: Some(format!("{ALONE}{signature}")) }
}

pub(super) fn read(signature: &str) -> Signed<'_> {
    let after = |tag| signature.strip_prefix(tag);
    after(THOUGHT)
        .map(Signed::Thought)
        .or_else(|| after(NEXT).map(Signed::Next))
        .or_else(|| after(ALONE).map(Signed::Alone))
        .unwrap_or(Signed::Foreign)
}
