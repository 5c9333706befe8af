//! One answer for each document, and the best of them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, ChatModel, ChatRequest, Document, Error, Event, Result, Run, Tokenizer};
use katena_prompts::ChatPrompt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::common::{
    Budget, CONCURRENCY, FailedDocument, Mapped, OnFailure, Overflow, map, numbered, options, too_long,
};
use super::input::{DocumentInput, DocumentQuestion};
use super::prompts::{Builtin, builtin};
use crate::llm::ask::{Ask, check};

/// Asks each document by itself for an answer with a score from 0 to 100, and gives the best.
///
/// At most [`with_concurrency`](Self::with_concurrency) calls run at once. The score comes by a schema; a reply that does not
/// fit, or a score outside of the range, is sent back with the reason. Of equal scores the first document's wins. Each answer is
/// told as [`Event::Custom`] `candidate` with `document`, `score` and `text`; the best one as [`Event::Text`].
///
/// # Errors
/// As [`StuffDocuments`](crate::StuffDocuments); the context names the document.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::MapRerankDocuments;
/// use katena_core::{ChainExt, Document, Source, fake::ScriptedChat};
/// let replies = [r#"{"answer": "Unknown.", "score": 0}"#, r#"{"answer": "At 8.", "score": 95}"#];
/// let qa = MapRerankDocuments::qa(ScriptedChat::texts(replies)).with_concurrency(1);
/// let documents = ["Bread rests an hour.", "The ferry leaves at 8."].map(|t| Document::new(t, Source::new("a.md")));
/// let best = qa.run(("When does the ferry leave?", documents.to_vec())).await?;
/// assert_eq!((best.text.as_str(), best.score, best.number), ("At 8.", 95, 2));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct MapRerankDocuments<I = DocumentQuestion> {
    parts: Parts,
    input: PhantomData<fn(I)>,
}

#[derive(Clone)]
struct Parts {
    ask: Ask,
    budget: Budget,
    concurrency: usize,
    on_failure: OnFailure,
}

options!(MapRerankDocuments, [ask]);

/// The answer of one document.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The document's place in the input, from 1.
    pub number: usize,
    /// The model's answer.
    pub text: String,
    /// How well the document answers, 0 to 100, as the model says.
    pub score: u8,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, text, score } = self;
        f.debug_struct("Candidate")
            .field("number", number)
            .field("bytes", &text.len())
            .field("score", score)
            .finish()
    }
}

/// The best answer, and the others.
#[derive(Clone)]
#[non_exhaustive]
pub struct Ranked {
    /// The best answer.
    pub text: String,
    /// Its score, 0 to 100. At 0 no document answers.
    pub score: u8,
    /// Its document's place in the input, from 1.
    pub number: usize,
    /// Its document.
    pub document: Document,
    /// All answers, best first.
    pub candidates: Vec<Candidate>,
    /// Numbers (from 1) of the documents of which the model saw only a beginning, or nothing.
    pub trimmed: Vec<usize>,
    /// Documents that were skipped because their call failed.
    pub failed: Vec<FailedDocument>,
}

impl fmt::Debug for Ranked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranked")
            .field("score", &self.score)
            .field("number", &self.number)
            .field("candidates", &self.candidates)
            .field("trimmed", &self.trimmed)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Ranked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename = "scored_answer")]
struct Scored {
    /// The answer.
    answer: String,
    /// 0 to 100.
    score: Score,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "f64")]
struct Score(u8);

impl TryFrom<f64> for Score {
    type Error = String;
    fn try_from(score: f64) -> Result<Self, String> {
        match score {
            0.0..=100.0 => Ok(Self(score.round() as u8)),
            _ => Err(format!("the score {score} is not between 0 and 100")),
        }
    }
}

impl JsonSchema for Score {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Score".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "minimum": 0, "maximum": 100})
    }
}

impl MapRerankDocuments<DocumentQuestion> {
    /// Answers a question.
    pub fn qa(model: impl ChatModel + 'static) -> Self {
        Self::of(model, builtin(Builtin::RerankQa))
    }
}

impl<I: DocumentInput> MapRerankDocuments<I> {
    /// Asks with a prompt of your own over `documents` (one of them) and the variables of `I`. It should say what the score means;
    /// the schema asks for `answer` and `score`.
    ///
    /// # Errors
    /// `Config` if the prompt does not use `documents`, or uses a variable that `I` does not have.
    pub fn new(model: impl ChatModel + 'static, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["documents"], I::VARIABLES)?;
        Ok(Self::of(model, prompt))
    }

    /// Replaces the prompt.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["documents"], I::VARIABLES)?;
        self.parts.ask.prompt = prompt;
        Ok(self)
    }

    /// Runs at most so many calls at once (default 4).
    pub fn with_concurrency(mut self, calls: usize) -> Self {
        self.parts.concurrency = calls;
        self
    }

    /// Says what happens when the call over one document fails (default: the chain fails).
    pub fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.parts.on_failure = on_failure;
        self
    }

    fn of(model: impl ChatModel + 'static, prompt: ChatPrompt) -> Self {
        let parts = Parts {
            ask: Ask::new(Arc::new(model), prompt),
            budget: Budget::default(),
            concurrency: CONCURRENCY,
            on_failure: OnFailure::Fail,
        };
        Self { parts, input: PhantomData }
    }
}

#[async_trait]
impl<I: DocumentInput> Chain for MapRerankDocuments<I> {
    type Input = I;
    type Output = Ranked;

    async fn call(&self, input: I, run: &Run) -> Result<Ranked> {
        let (documents, vars) = input.into_parts()?;
        let documents = numbered(documents)?;
        let parts = &self.parts;
        let (mut quotes, mut trimmed) = (Vec::new(), Vec::new());
        for document in &documents {
            let fitted = parts.budget.fit(document, parts.budget.tokens)?;
            if fitted.as_ref().is_none_or(|(_, whole)| !whole) {
                trimmed.push(document.number);
            }
            let Some((quoted, _)) = fitted else {
                return Err(document
                    .blame(too_long(parts.budget.count(&document.document.text), parts.budget.tokens)));
            };
            quotes.push(quoted);
        }

        let ask = |n: usize, number: usize| {
            let vars = vars.clone().with("documents", quotes[n].clone());
            async move {
                run.step(&format!("document {number}"), |step| async move {
                    let scored: Scored = parts.ask.typed(&vars, &step.quiet()).await?;
                    let (text, score) = (scored.answer.trim().to_owned(), scored.score.0);
                    if text.is_empty() && score > 0 {
                        return Err(Error::invalid_output("the model gave a score without an answer"));
                    }
                    let value = json!({"document": number, "score": score, "text": text});
                    step.emit(Event::Custom { name: "candidate".into(), value }).await;
                    Ok(Candidate { number, text, score })
                })
                .await
            }
        };
        let Mapped { done: mut candidates, failed } =
            map(&documents, |n, d| Box::pin(ask(n, d.number)), parts.concurrency, parts.on_failure, run)
                .await?;
        candidates.sort_by(|a, b| b.score.cmp(&a.score).then(a.number.cmp(&b.number)));
        let best = candidates[0].clone();
        run.emit(Event::Text(best.text.clone())).await;
        let document = documents.into_iter().find(|d| d.number == best.number);
        Ok(Ranked {
            text: best.text,
            score: best.score,
            number: best.number,
            document: document.map(|d| d.document).unwrap_or_default(),
            candidates,
            trimmed,
            failed,
        })
    }
}
