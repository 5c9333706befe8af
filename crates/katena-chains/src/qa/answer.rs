//! What goes into a question-answering chain and what comes out.

use std::collections::HashSet;
use std::fmt;

use katena_core::{Document, Filter, FinishReason, Message, Usage};
use serde::{Deserialize, Serialize};

/// A question to documents.
///
/// ```
/// use katena_chains::Question;
/// use katena_core::Filter;
/// let question = Question::new("How long is the warranty?").with_filter(Filter::eq("lang", "en"));
/// assert_eq!(question.text, "How long is the warranty?");
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Question {
    /// The question.
    pub text: String,
    /// Only documents that it fits.
    pub filter: Option<Filter>,
    /// At most so many passages; the retriever's own setting if unset.
    pub top_k: Option<usize>,
    /// What the retriever is asked, if not the text: a rewritten follow-up question, or plain search words.
    pub search: Option<String>,
    /// What was said before the question, for the model that answers; not counted in the prompt's tokens.
    pub history: Vec<Message>,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("bytes", &self.text.len())
            .field("top_k", &self.top_k)
            .field("history", &self.history.len())
            .finish_non_exhaustive()
    }
}

impl Question {
    /// A question to all documents.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
    /// Sets the filter.
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }
    /// Sets the most passages.
    pub fn with_top_k(mut self, top_k: usize) -> Self {
        self.top_k = Some(top_k);
        self
    }
    /// Sets what the retriever is asked instead.
    pub fn with_search(mut self, search: impl Into<String>) -> Self {
        self.search = Some(search.into());
        self
    }
    /// Sets what was said before.
    pub fn with_history(mut self, history: Vec<Message>) -> Self {
        self.history = history;
        self
    }
}

impl From<&str> for Question {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Question {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// A numbered passage that an answer may rest on.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Passage {
    /// Its number in the prompt and in the marks of the answer, from 1.
    pub number: usize,
    /// The passage: its text is the quote, its source says where it stands.
    pub document: Document,
    /// The retriever's score.
    pub score: f32,
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage")
            .field("number", &self.number)
            .field("document", &self.document)
            .field("score", &self.score)
            .finish()
    }
}

impl Passage {
    /// A passage.
    pub fn new(number: usize, document: Document, score: f32) -> Self {
        Self { number, document, score }
    }
}

impl fmt::Display for Passage {
    /// The source, then the quote: `docs/guide.pdf, page 3: "…"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

/// How it is known that an answer rests on a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CitationOrigin {
    /// The model put the mark.
    NamedByModel,
    /// The model put no mark; the words of the answer were found in the passage.
    MatchedByText,
}

/// A place in the answer and the passage that it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Citation {
    /// The passage's number.
    pub number: usize,
    /// How it is known.
    pub origin: CitationOrigin,
    /// Byte offset in the answer's text: where the mark stands, or would stand.
    pub at: usize,
}

impl Citation {
    /// A citation.
    pub fn new(number: usize, origin: CitationOrigin, at: usize) -> Self {
        Self { number, origin, at }
    }
}

/// What came of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AnswerKind {
    /// The model answered from the passages.
    Answered,
    /// Nothing relevant was found; the model was not asked.
    NothingRelevant,
    /// The model found no answer in the passages.
    DeclinedByModel,
}

/// An answer with the passages that it rests on.
///
/// `Display` prints the text with all marks, those found by matching included.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The text, with the model's marks `[n]` that point to a passage. What a listener saw as preview is this.
    pub text: String,
    /// The passages that were found, best first, numbered from 1.
    pub sources: Vec<Passage>,
    /// What the answer rests on, by place in the text. Every number is one of `sources`.
    pub citations: Vec<Citation>,
    /// True if the documents hold an answer, as far as retriever and model could tell.
    pub found: bool,
    /// What came of the question.
    pub kind: AnswerKind,
    /// Why the model stopped; none if it was not asked.
    pub finish: Option<FinishReason>,
    /// Token counts of the model's call.
    pub usage: Usage,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("bytes", &self.text.len())
            .field("sources", &self.sources.len())
            .field("citations", &self.citations)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// An answer that a model gave.
    pub fn new(text: impl Into<String>, sources: Vec<Passage>, citations: Vec<Citation>) -> Self {
        Self {
            text: text.into(),
            sources,
            citations,
            found: true,
            kind: AnswerKind::Answered,
            finish: None,
            usage: Usage::default(),
        }
    }

    /// Sets what came of the question, and with it `found`.
    pub fn with_kind(mut self, kind: AnswerKind) -> Self {
        self.kind = kind;
        self.found = kind == AnswerKind::Answered;
        self
    }

    /// Sets why the model stopped.
    pub fn with_finish(mut self, finish: FinishReason) -> Self {
        self.finish = Some(finish);
        self
    }

    /// Sets the token counts.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Numbers that the answer names and no passage holds, each once: a sign that the model made them up.
    ///
    /// ```
    /// use katena_chains::{Answer, Passage};
    /// use katena_core::{Document, Source};
    /// let passage = Passage::new(1, Document::new("25 days, or 1,250 euros", Source::new("a.md")), 1.0);
    /// let answer = Answer::new("26 days [1], or 1250 euros.", vec![passage], Vec::new());
    /// assert_eq!(answer.unsupported_numbers(), ["26"]);
    /// ```
    pub fn unsupported_numbers(&self) -> Vec<String> {
        let held: HashSet<String> = self.sources.iter().flat_map(|p| numbers(&p.document.text)).collect();
        let mut unsupported: Vec<String> = Vec::new();
        for number in numbers(&without_marks(&self.text)) {
            if !held.contains(&number) && !unsupported.contains(&number) {
                unsupported.push(number);
            }
        }
        unsupported
    }

    /// The passages that the answer rests on, each once, in the order of their first citation.
    pub fn cited(&self) -> Vec<&Passage> {
        let mut cited: Vec<&Passage> = Vec::new();
        for citation in &self.citations {
            if let Some(passage) = self.sources.iter().find(|p| p.number == citation.number)
                && !cited.iter().any(|p| p.number == passage.number)
            {
                cited.push(passage);
            }
        }
        cited
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut from = 0;
        for citation in self.citations.iter().filter(|c| c.origin == CitationOrigin::MatchedByText) {
            if let Some(text) = self.text.get(from..citation.at) {
                write!(f, "{text} [{}]", citation.number)?;
                from = citation.at;
            }
        }
        f.write_str(self.text.get(from..).unwrap_or_default())
    }
}

/// The numbers of a text, without separators of thousands; `1,250` is `1250`, `3.5` stays.
fn numbers(text: &str) -> Vec<String> {
    let joined = text.split(|c: char| !(c.is_ascii_digit() || c == ',' || c == '.'));
    let plain = joined.map(|n| n.trim_matches([',', '.']).replace(',', ""));
    plain.filter(|n| n.starts_with(|c: char| c.is_ascii_digit())).collect()
}

/// The text without marks like `[1]` and `[1, 2]`, and without the space before them. Other brackets stay.
pub(crate) fn without_marks(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for (n, piece) in text.split('[').enumerate() {
        match piece.split_once(']') {
            Some((mark, rest)) if n > 0 && is_mark(mark) => {
                plain.truncate(plain.trim_end_matches(' ').len());
                plain.push_str(rest);
            }
            _ => {
                plain.push_str(if n > 0 { "[" } else { "" });
                plain.push_str(piece);
            }
        }
    }
    plain
}

fn is_mark(inside: &str) -> bool {
    let digit = inside.bytes().any(|b| b.is_ascii_digit());
    digit && inside.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b' ')
}
