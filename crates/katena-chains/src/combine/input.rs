//! What goes into the chains over documents.

use std::fmt;

use katena_core::{Document, Error, Result};
use katena_prompts::Vars;

/// What a chain over documents is given: the documents and the other variables of its prompts.
///
/// `Vec<Document>` is one, for summaries; [`DocumentQuestion`] is one, for questions. A type of your own brings its own
/// variables for prompts of your own:
///
/// ```
/// use katena_chains::{DocumentInput, StuffDocuments};
/// use katena_core::{ChainExt, Document, Result, Role, Source, fake::ScriptedChat};
/// use katena_prompts::{ChatPrompt, Vars};
///
/// struct Letter { tone: &'static str, notes: Vec<Document> }
/// impl DocumentInput for Letter {
///     const VARIABLES: &'static [&'static str] = &["tone"];
///     fn into_parts(self) -> Result<(Vec<Document>, Vars)> {
///         Ok((self.notes, Vars::new().with("tone", self.tone)))
///     }
/// }
///
/// # futures_util::FutureExt::now_or_never(async {
/// let model = ScriptedChat::texts(["Dear Ada, …"]);
/// let prompt = ChatPrompt::fstring([(Role::User, "Write a {tone} letter from these notes.\n\n{documents}")])?;
/// let write = StuffDocuments::<Letter>::new(model, prompt)?;
/// let notes = vec![Document::new("Ada won.", Source::new("notes.md"))];
/// assert_eq!(write.run(Letter { tone: "warm", notes }).await?.text, "Dear Ada, …");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub trait DocumentInput: Send + 'static {
    /// Names of the variables besides `documents`.
    const VARIABLES: &'static [&'static str];

    /// The documents and the variables.
    fn into_parts(self) -> Result<(Vec<Document>, Vars)>;
}

impl DocumentInput for Vec<Document> {
    const VARIABLES: &'static [&'static str] = &[];

    fn into_parts(self) -> Result<(Vec<Document>, Vars)> {
        Ok((self, Vars::new()))
    }
}

/// A question and the documents that may hold its answer.
///
/// ```
/// use katena_chains::DocumentQuestion;
/// let question = DocumentQuestion::new("How long is the warranty?", vec![]);
/// assert_eq!(question.question, "How long is the warranty?");
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct DocumentQuestion {
    /// The question.
    pub question: String,
    /// The documents, in the order in which they are read.
    pub documents: Vec<Document>,
}

impl fmt::Debug for DocumentQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentQuestion")
            .field("bytes", &self.question.len())
            .field("documents", &self.documents.len())
            .finish()
    }
}

impl DocumentQuestion {
    /// A question to these documents.
    pub fn new(question: impl Into<String>, documents: Vec<Document>) -> Self {
        Self { question: question.into(), documents }
    }
}

impl<S: Into<String>> From<(S, Vec<Document>)> for DocumentQuestion {
    fn from((question, documents): (S, Vec<Document>)) -> Self {
        Self::new(question, documents)
    }
}

impl DocumentInput for DocumentQuestion {
    const VARIABLES: &'static [&'static str] = &["question"];

    fn into_parts(self) -> Result<(Vec<Document>, Vars)> {
        if self.question.trim().is_empty() {
            return Err(Error::invalid_input("the question has no words"));
        }
        Ok((self.documents, Vars::new().with("question", self.question)))
    }
}
