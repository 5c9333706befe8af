//! One document after another, each improving the answer so far.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, ChatModel, ChatRequest, Document, Event, FinishReason, Result, Run, Tokenizer};
use katena_prompts::{ChatPrompt, Vars};
use serde_json::json;

use super::common::{Budget, Combined, Numbered, Overflow, numbered, options, too_long};
use super::input::{DocumentInput, DocumentQuestion};
use super::prompts::{Builtin, builtin};
use crate::llm::ask::{Ask, Said, check};

/// Reads one document after another and improves the answer each time: as many calls as documents, in their order.
///
/// The last call streams; each earlier answer is told as [`Event::Custom`] `partial` with `document` and `text`. The answer so
/// far and the next document share [the budget](Self::with_tokens). Frames as in [`StuffDocuments`](crate::StuffDocuments).
///
/// # Errors
/// As [`StuffDocuments`](crate::StuffDocuments); the context names the document.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::RefineDocuments;
/// use katena_core::{ChainExt, Document, Source, fake::ScriptedChat};
/// let page = |n| Document::new(format!("Chapter {n} …"), Source::new("book.md").with_page(n));
/// let summary = RefineDocuments::summary(ScriptedChat::texts(["One.", "One and two."])).reported();
/// let report = summary.run(vec![page(1), page(2)]).await?;
/// assert_eq!(report.output.text, "One and two.");
/// assert_eq!(report.notes("partial").next().unwrap()["text"], "One.");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct RefineDocuments<I = Vec<Document>> {
    parts: Parts,
    input: PhantomData<fn(I)>,
}

#[derive(Clone)]
struct Parts {
    first: Ask,
    refine: Ask,
    budget: Budget,
}

options!(RefineDocuments, [first, refine]);

impl RefineDocuments<DocumentQuestion> {
    /// Answers a question.
    pub fn qa(model: impl ChatModel + 'static) -> Self {
        Self::of(model, builtin(Builtin::FirstQa), builtin(Builtin::RefineQa))
    }
}

impl RefineDocuments<Vec<Document>> {
    /// Writes a summary.
    pub fn summary(model: impl ChatModel + 'static) -> Self {
        Self::of(model, builtin(Builtin::FirstSummary), builtin(Builtin::RefineSummary))
    }
}

impl<I: DocumentInput> RefineDocuments<I> {
    /// Asks with prompts of your own: `first` over `documents` (one of them) and the variables of `I`, `refine` also over
    /// `existing`, the answer so far.
    ///
    /// # Errors
    /// `Config` if a prompt does not use `documents` or `existing`, or uses a variable that `I` does not have.
    pub fn new(model: impl ChatModel + 'static, first: ChatPrompt, refine: ChatPrompt) -> Result<Self> {
        check(&first, &["documents"], I::VARIABLES)?;
        check(&refine, &["documents", "existing"], I::VARIABLES)?;
        Ok(Self::of(model, first, refine))
    }

    /// Replaces the prompt of the first document.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_first_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["documents"], I::VARIABLES)?;
        self.parts.first.prompt = prompt;
        Ok(self)
    }

    /// Replaces the prompt of the other documents.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_refine_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["documents", "existing"], I::VARIABLES)?;
        self.parts.refine.prompt = prompt;
        Ok(self)
    }

    fn of(model: impl ChatModel + 'static, first: ChatPrompt, refine: ChatPrompt) -> Self {
        let model: Arc<dyn ChatModel> = Arc::new(model);
        let (first, refine) = (Ask::new(model.clone(), first), Ask::new(model, refine));
        Self { parts: Parts { first, refine, budget: Budget::default() }, input: PhantomData }
    }
}

impl Parts {
    /// The answer after `document`, and whether the model saw all of it.
    async fn read(
        &self,
        document: &Numbered,
        existing: Option<&str>,
        vars: &Vars,
        run: &Run,
    ) -> Result<(Option<Said>, bool)> {
        let room = self.budget.tokens.saturating_sub(existing.map_or(0, |text| self.budget.count(text)));
        let Some((quoted, whole)) = self.budget.fit(document, room)? else { return Ok((None, false)) };
        let vars = vars.clone().with("documents", quoted);
        let said = match existing {
            Some(existing) => self.refine.say(&vars.with("existing", existing), run).await?,
            None => self.first.say(&vars, run).await?,
        };
        Ok((Some(said), whole))
    }
}

#[async_trait]
impl<I: DocumentInput> Chain for RefineDocuments<I> {
    type Input = I;
    type Output = Combined;

    async fn call(&self, input: I, run: &Run) -> Result<Combined> {
        let (documents, vars) = input.into_parts()?;
        let documents = numbered(documents)?;
        let mut existing: Option<Said> = None;
        let (mut trimmed, mut cut_off) = (Vec::new(), Vec::new());
        for (n, document) in documents.iter().enumerate() {
            let last = n + 1 == documents.len();
            let so_far = existing.as_ref().map(|said| said.text.clone());
            let (said, whole) = run
                .step(&format!("document {}", document.number), |step| {
                    let (vars, parts) = (&vars, &self.parts);
                    async move {
                        let asking = if last { step.clone() } else { step.quiet() };
                        let (said, whole) = parts.read(document, so_far.as_deref(), vars, &asking).await?;
                        if let (Some(said), false) = (&said, last) {
                            let value = json!({"document": document.number, "text": said.text});
                            step.emit(Event::Custom { name: "partial".into(), value }).await;
                        }
                        Ok((said, whole))
                    }
                })
                .await
                .map_err(|error| document.blame(error))?;
            if !whole {
                trimmed.push(document.number);
            }
            if let Some(said) = said {
                if said.finish == FinishReason::Length && !last {
                    cut_off.push(document.number);
                }
                existing = Some(said);
            }
        }
        let Some(said) = existing else {
            return Err(too_long(
                self.parts.budget.count(&documents[0].document.text),
                self.parts.budget.tokens,
            ));
        };
        let mut combined = Combined::new(said.text, said.finish);
        (combined.trimmed, combined.cut_off) = (trimmed, cut_off);
        Ok(combined)
    }
}
