//! All documents in one prompt.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, ChatModel, ChatRequest, Document, Result, Run, Tokenizer};
use katena_prompts::ChatPrompt;

use super::common::{Budget, Combined, Numbered, Overflow, numbered, options, too_long};
use super::input::{DocumentInput, DocumentQuestion};
use super::prompts::{Builtin, builtin};
use crate::llm::ask::{Ask, check};

/// Puts all documents into one prompt: one call, and the model sees everything at once.
///
/// Documents stand in numbered frames, as data; what looks like a frame or a citation mark in them is made unusable. The
/// answer streams. Documents without text are left out.
///
/// # Errors
/// `InvalidInput` without documents, `ContextTooLong` over [the budget](Self::with_tokens), `Refused`, `InvalidOutput` for an
/// empty reply, and those of the model.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::StuffDocuments;
/// use katena_core::{ChainExt, Document, Source, fake::ScriptedChat};
/// let documents = vec![Document::new("The ferry leaves at 8.", Source::new("ferry.md"))];
///
/// let qa = StuffDocuments::qa(ScriptedChat::texts(["At 8."]));
/// assert_eq!(qa.run(("When does the ferry leave?", documents.clone())).await?.text, "At 8.");
///
/// let summary = StuffDocuments::summary(ScriptedChat::texts(["A ferry at 8."]));
/// assert_eq!(summary.run(documents).await?.text, "A ferry at 8.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct StuffDocuments<I = Vec<Document>> {
    parts: Parts,
    input: PhantomData<fn(I)>,
}

#[derive(Clone)]
struct Parts {
    ask: Ask,
    budget: Budget,
}

options!(StuffDocuments, [ask]);

impl StuffDocuments<DocumentQuestion> {
    /// Answers a question.
    pub fn qa(model: impl ChatModel + 'static) -> Self {
        Self::of(model, builtin(Builtin::StuffQa))
    }
}

impl StuffDocuments<Vec<Document>> {
    /// Writes a summary.
    pub fn summary(model: impl ChatModel + 'static) -> Self {
        Self::of(model, builtin(Builtin::StuffSummary))
    }
}

impl<I: DocumentInput> StuffDocuments<I> {
    /// Asks with a prompt of your own over `documents` and the variables of `I`.
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

    fn of(model: impl ChatModel + 'static, prompt: ChatPrompt) -> Self {
        let parts = Parts { ask: Ask::new(Arc::new(model), prompt), budget: Budget::default() };
        Self { parts, input: PhantomData }
    }
}

/// The quotes that fit, and the numbers of the documents that are not whole.
fn fill(documents: &[Numbered], budget: &Budget) -> Result<(String, Vec<usize>)> {
    let (mut text, mut cut) = (String::new(), Vec::new());
    let mut room = budget.tokens;
    for document in documents {
        let Ok(quoted) = budget.fit(document, room) else {
            // Every single one may fit: it is all of them that don't.
            let all = documents.iter().map(|d| budget.count(&d.document.text)).sum();
            return Err(too_long(all, budget.tokens));
        };
        match quoted {
            Some((quoted, whole)) => {
                room = room.saturating_sub(budget.count(&quoted) + 1);
                if !text.is_empty() {
                    text.push_str("\n\n");
                }
                text.push_str(&quoted);
                if !whole {
                    room = 0;
                    cut.push(document.number);
                }
            }
            None => {
                room = 0;
                cut.push(document.number);
            }
        }
    }
    if text.is_empty() {
        return Err(too_long(budget.count(&documents[0].document.text), budget.tokens));
    }
    Ok((text, cut))
}

#[async_trait]
impl<I: DocumentInput> Chain for StuffDocuments<I> {
    type Input = I;
    type Output = Combined;

    async fn call(&self, input: I, run: &Run) -> Result<Combined> {
        let (documents, vars) = input.into_parts()?;
        let (text, cut) = fill(&numbered(documents)?, &self.parts.budget)?;
        let said = self.parts.ask.say(&vars.with("documents", text), run).await?;
        let mut combined = Combined::new(said.text, said.finish);
        combined.trimmed = cut;
        Ok(combined)
    }
}
