//! One of a few answers.

use std::fmt;

use katena_core::{Error, Result};

use super::OutputParser;

/// The word that a reply gives: without quotes, marks and letter case.
fn word(text: &str) -> String {
    text.trim().trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// Parses yes or no: a reply that is, or begins with, one of the words, and does not hold the opposite.
///
/// ```
/// use katena_prompts::{BooleanParser, OutputParser};
/// let parser = BooleanParser::new();
/// assert!(parser.parse("**Yes.**")?);
/// assert!(!parser.parse("No, that is wrong.")?);
/// assert!(parser.parse("Yes and no.").is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BooleanParser {
    yes: String,
    no: String,
}

impl Default for BooleanParser {
    fn default() -> Self {
        Self::new()
    }
}

impl BooleanParser {
    /// `yes` and `no`; `true` and `false` are understood too.
    pub fn new() -> Self {
        Self { yes: "yes".to_owned(), no: "no".to_owned() }
    }

    /// Sets the two words.
    pub fn with_words(mut self, yes: impl AsRef<str>, no: impl AsRef<str>) -> Self {
        (self.yes, self.no) = (yes.as_ref().to_lowercase(), no.as_ref().to_lowercase());
        self
    }
}

impl OutputParser for BooleanParser {
    type Output = bool;

    fn parse(&self, text: &str) -> Result<bool> {
        let text = text.to_lowercase();
        let words = || text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
        let first = words().next().unwrap_or_default();
        let holds = |wanted: &str| words().any(|w| w == wanted);
        match (first == self.yes || first == "true", first == self.no || first == "false") {
            (true, _) if !holds(&self.no) && !holds("false") => Ok(true),
            (_, true) if !holds(&self.yes) && !holds("true") => Ok(false),
            _ => Err(Error::invalid_output("the reply is neither yes nor no")
                .with_context("expected", format!("{} or {}", self.yes, self.no))),
        }
    }

    fn format_instructions(&self) -> String {
        format!("Answer with {} or {}, and with nothing else.", self.yes, self.no)
    }
}

/// Parses one of several names, each with its value.
///
/// ```
/// use katena_prompts::{EnumParser, OutputParser};
/// #[derive(Debug, Clone, PartialEq)]
/// enum Mood { Good, Bad }
/// let parser = EnumParser::new([("good", Mood::Good), ("bad", Mood::Bad)]);
/// assert_eq!(parser.parse("\"Good\".")?, Mood::Good);
/// assert!(parser.parse("middling").is_err());
/// assert_eq!(parser.format_instructions(), "Answer with one of these, and with nothing else: good, bad");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct EnumParser<T> {
    values: Vec<(String, T)>,
}

impl<T> fmt::Debug for EnumParser<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.iter().map(|(n, _)| n)).finish()
    }
}

impl<T> EnumParser<T> {
    /// These names with these values; letter case does not matter.
    pub fn new<S: Into<String>>(values: impl IntoIterator<Item = (S, T)>) -> Self {
        Self { values: values.into_iter().map(|(n, v)| (n.into(), v)).collect() }
    }

    fn names(&self) -> String {
        self.values.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl EnumParser<String> {
    /// These names, which are their own values.
    pub fn names_of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::new(names.into_iter().map(|n| n.into()).map(|n| (n.clone(), n)))
    }
}

impl<T: Clone + Send + Sync + 'static> OutputParser for EnumParser<T> {
    type Output = T;

    fn parse(&self, text: &str) -> Result<T> {
        let said = word(text);
        let found = self.values.iter().find(|(name, _)| word(name) == said && !said.is_empty());
        found.map(|(_, value)| value.clone()).ok_or_else(|| {
            Error::invalid_output("the reply is none of the allowed ones")
                .with_context("expected", self.names())
        })
    }

    fn format_instructions(&self) -> String {
        format!("Answer with one of these, and with nothing else: {}", self.names())
    }
}
