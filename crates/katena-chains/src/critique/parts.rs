//! What goes into a critique and what comes out.

use std::fmt;

/// A rule that a text must keep: how to criticise, how to revise.
///
/// ```
/// use katena_chains::Principle;
/// let principle = Principle::new("polite", "Is it rude to anybody?", "Rewrite it politely.");
/// assert_eq!(principle.name, "polite");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principle {
    /// Its name, for steps, critiques and errors.
    pub name: String,
    /// What the critic looks for.
    pub critique_request: String,
    /// What the reviser does about it.
    pub revision_request: String,
}

impl fmt::Debug for Principle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principle({})", self.name)
    }
}

impl Principle {
    /// A principle by its name and its two requests.
    pub fn new(
        name: impl Into<String>,
        critique_request: impl Into<String>,
        revision_request: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            critique_request: critique_request.into(),
            revision_request: revision_request.into(),
        }
    }
}

/// A text to criticise, and what it answers.
///
/// ```
/// use katena_chains::Draft;
/// assert_eq!(Draft::from("Dear Ada, …").text, "Dear Ada, …");
/// assert_eq!(Draft::from(("Write to Ada!", "Dear Ada, …")).input, "Write to Ada!");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Draft {
    /// The question or task; may be empty.
    pub input: String,
    /// The text.
    pub text: String,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("input", &self.input.len()).field("text", &self.text.len()).finish()
    }
}

impl Draft {
    /// A text without a question.
    pub fn new(text: impl Into<String>) -> Self {
        Self { input: String::new(), text: text.into() }
    }

    /// Sets what the text answers.
    pub fn with_input(mut self, input: impl Into<String>) -> Self {
        self.input = input.into();
        self
    }
}

impl From<&str> for Draft {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Draft {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl<Q: Into<String>, T: Into<String>> From<(Q, T)> for Draft {
    fn from((input, text): (Q, T)) -> Self {
        Self::new(text).with_input(input)
    }
}

/// What the critic said by one principle in one round.
///
/// ```
/// use katena_chains::Critique;
/// assert!(!Critique::new("polite", 1, "Nothing to say.").needs_revision);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Critique {
    /// The principle's name.
    pub principle: String,
    /// The round, from 1.
    pub round: usize,
    /// The critique.
    pub text: String,
    /// True if the principle was broken and the text revised for it.
    pub needs_revision: bool,
}

impl fmt::Debug for Critique {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Critique")
            .field("principle", &self.principle)
            .field("round", &self.round)
            .field("bytes", &self.text.len())
            .field("needs_revision", &self.needs_revision)
            .finish()
    }
}

impl Critique {
    /// A critique that asks for no revision.
    pub fn new(principle: impl Into<String>, round: usize, text: impl Into<String>) -> Self {
        Self { principle: principle.into(), round, text: text.into(), needs_revision: false }
    }
}

/// A text that was criticised. `Display` prints the text.
///
/// ```
/// use katena_chains::Revised;
/// assert_eq!(Revised::new("Dear Ada, …").to_string(), "Dear Ada, …");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revised {
    /// The text after the last revision, or the draft if there was none.
    pub text: String,
    /// All critiques, in order.
    pub critiques: Vec<Critique>,
    /// True if the text is not the draft.
    pub revised: bool,
}

impl fmt::Debug for Revised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revised")
            .field("bytes", &self.text.len())
            .field("critiques", &self.critiques)
            .field("revised", &self.revised)
            .finish()
    }
}

impl fmt::Display for Revised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Revised {
    /// A text without critiques.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), critiques: Vec::new(), revised: false }
    }
}
