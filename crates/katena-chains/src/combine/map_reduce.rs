//! One call for each document, then one over what came of them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use katena_core::{
    Chain, ChatModel, ChatRequest, Document, Error, ErrorKind, Event, FinishReason, Result, Run, Tokenizer,
};
use katena_prompts::{ChatPrompt, Vars};
use serde_json::json;

use super::common::{
    Budget, CONCURRENCY, Combined, Mapped, Numbered, OnFailure, Overflow, bounded, map, numbered, options,
    too_long,
};
use super::input::{DocumentInput, DocumentQuestion};
use super::prompts::{Builtin, builtin};
use super::quote::quote;
use crate::llm::ask::{Ask, check};

/// Most rounds of collapsing, unless told otherwise.
const ROUNDS: usize = 8;

/// Asks about each document by itself, then about what came of them: any number of documents, of which none must be longer than
/// [the budget](Self::with_tokens).
///
/// 1. Map: one call a document, at most [`with_concurrency`](Self::with_concurrency) at once. Each partial answer is told as
///    [`Event::Custom`] `partial` with `document` and `text`.
/// 2. Collapse: as long as the partial answers don't fit into the budget together, neighbours that do are made one, told as
///    `collapsed` with `round`, `documents` and `text`. A round that does not shrink them ends the chain with an error, and so
///    does [the round limit](Self::with_rounds).
/// 3. Reduce: one call over what is left. It streams.
///
/// The order of the documents is kept. Frames as in [`StuffDocuments`](crate::StuffDocuments); partial answers are data too.
/// Cancelling ends all calls.
///
/// # Errors
/// As [`StuffDocuments`](crate::StuffDocuments); the context names the document, and `ContextTooLong` is also the error of a
/// collapse that leads nowhere.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::MapReduceDocuments;
/// use katena_core::{ChainExt, Document, Source, fake::ScriptedChat};
/// let model = ScriptedChat::texts(["A ferry.", "Some bread.", "A ferry and some bread."]);
/// let summary = MapReduceDocuments::summary(model).with_concurrency(1).reported();
/// let documents = ["The ferry …", "The bread …"].map(|text| Document::new(text, Source::new("a.md")));
/// let report = summary.run(documents.to_vec()).await?;
/// assert_eq!(report.output.text, "A ferry and some bread.");
/// assert_eq!(report.notes("partial").count(), 2);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct MapReduceDocuments<I = Vec<Document>> {
    parts: Parts,
    input: PhantomData<fn(I)>,
}

#[derive(Clone)]
struct Parts {
    map: Ask,
    collapse: Ask,
    reduce: Ask,
    budget: Budget,
    concurrency: usize,
    rounds: usize,
    on_failure: OnFailure,
}

options!(MapReduceDocuments, [map, collapse, reduce]);

impl MapReduceDocuments<DocumentQuestion> {
    /// Answers a question.
    pub fn qa(model: impl ChatModel + 'static) -> Self {
        let [map, collapse, reduce] = [Builtin::MapQa, Builtin::CollapseQa, Builtin::ReduceQa].map(builtin);
        Self::of(Arc::new(model), map, collapse, reduce)
    }
}

impl MapReduceDocuments<Vec<Document>> {
    /// Writes a summary.
    pub fn summary(model: impl ChatModel + 'static) -> Self {
        let [map, reduce] = [Builtin::MapSummary, Builtin::ReduceSummary].map(builtin);
        Self::of(Arc::new(model), map, reduce.clone(), reduce)
    }
}

impl<I: DocumentInput> MapReduceDocuments<I> {
    /// Asks with prompts of your own over `documents` (one of them, or partial answers) and the variables of `I`. Partial answers
    /// are collapsed with `reduce`, unless [`with_collapse_prompt`](Self::with_collapse_prompt) says otherwise.
    ///
    /// # Errors
    /// `Config` if a prompt does not use `documents`, or uses a variable that `I` does not have.
    pub fn new(model: impl ChatModel + 'static, map: ChatPrompt, reduce: ChatPrompt) -> Result<Self> {
        Self::check(&map)?;
        Self::check(&reduce)?;
        Ok(Self::of(Arc::new(model), map, reduce.clone(), reduce))
    }

    /// Replaces the prompt of each document.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_map_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        Self::check(&prompt)?;
        self.parts.map.prompt = prompt;
        Ok(self)
    }

    /// Replaces the prompt that makes several partial answers one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_collapse_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        Self::check(&prompt)?;
        self.parts.collapse.prompt = prompt;
        Ok(self)
    }

    /// Replaces the prompt of the last call.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_reduce_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        Self::check(&prompt)?;
        self.parts.reduce.prompt = prompt;
        Ok(self)
    }

    /// Maps with a model of its own, usually a smaller one.
    pub fn with_map_model(mut self, model: impl ChatModel + 'static) -> Self {
        self.parts.map.model = Arc::new(model);
        self
    }

    /// Runs at most so many calls at once (default 4).
    pub fn with_concurrency(mut self, calls: usize) -> Self {
        self.parts.concurrency = calls;
        self
    }

    /// Collapses at most so many times (default 8).
    pub fn with_rounds(mut self, rounds: usize) -> Self {
        self.parts.rounds = rounds;
        self
    }

    /// Says what happens when the call over one document fails (default: the chain fails).
    pub fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.parts.on_failure = on_failure;
        self
    }

    fn check(prompt: &ChatPrompt) -> Result<()> {
        check(prompt, &["documents"], I::VARIABLES)
    }

    fn of(model: Arc<dyn ChatModel>, map: ChatPrompt, collapse: ChatPrompt, reduce: ChatPrompt) -> Self {
        let parts = Parts {
            map: Ask::new(model.clone(), map),
            collapse: Ask::new(model.clone(), collapse),
            reduce: Ask::new(model, reduce),
            budget: Budget::default(),
            concurrency: CONCURRENCY,
            rounds: ROUNDS,
            on_failure: OnFailure::Fail,
        };
        Self { parts, input: PhantomData }
    }
}

/// A partial answer and the documents that it comes from.
struct Partial {
    documents: Vec<usize>,
    text: String,
    cut_off: bool,
}

impl Parts {
    /// The partial answer of one document.
    async fn ask_one(&self, number: usize, vars: &Vars, run: &Run) -> Result<Partial> {
        run.step(&format!("document {number}"), |step| async move {
            let said = self.map.say(vars, &step.quiet()).await?;
            let value = json!({"document": number, "text": said.text});
            step.emit(Event::Custom { name: "partial".into(), value }).await;
            let cut_off = said.finish == FinishReason::Length;
            Ok(Partial { documents: vec![number], text: said.text, cut_off })
        })
        .await
    }

    /// One partial answer in place of several.
    async fn merge(&self, group: Vec<Partial>, round: usize, vars: &Vars, run: &Run) -> Result<Partial> {
        let documents: Vec<usize> = group.iter().flat_map(|p| p.documents.iter().copied()).collect();
        let vars = vars.clone().with("documents", quotes(&group));
        run.step(&format!("collapse {round}"), |step| async move {
            let said = self.collapse.say(&vars, &step.quiet()).await?;
            let value = json!({"round": round, "documents": documents, "text": said.text});
            step.emit(Event::Custom { name: "collapsed".into(), value }).await;
            let cut_off = said.finish == FinishReason::Length || group.iter().any(|p| p.cut_off);
            Ok(Partial { documents, text: said.text, cut_off })
        })
        .await
    }

    /// Makes the partial answers fewer until they fit.
    async fn collapse(&self, mut partials: Vec<Partial>, vars: &Vars, run: &Run) -> Result<Vec<Partial>> {
        let mut round = 0;
        loop {
            let before = self.size(&partials);
            if before <= self.budget.tokens {
                return Ok(partials);
            }
            round += 1;
            let stuck = |why: &str| {
                Error::new(
                    ErrorKind::ContextTooLong,
                    format!(
                        "the partial answers have {before} tokens, more than the {} of a prompt, {why}",
                        self.budget.tokens
                    ),
                )
            };
            if round > self.rounds {
                return Err(stuck("after the last round of collapsing"));
            }
            let groups = self.groups(partials);
            if groups.iter().all(|group| group.len() == 1) {
                return Err(stuck("and no two of them fit into one"));
            }
            let work = groups.into_iter().map(|mut group| -> BoxFuture<'_, Result<Partial>> {
                match (group.pop(), group.is_empty()) {
                    (Some(alone), true) => Box::pin(async move { Ok(alone) }),
                    (last, _) => {
                        group.extend(last);
                        Box::pin(self.merge(group, round, vars, run))
                    }
                }
            });
            partials = bounded(work.collect(), self.concurrency).await?;
            if self.size(&partials) >= before {
                return Err(stuck("and collapsing them made them no shorter"));
            }
        }
    }

    /// Neighbours that fit into one prompt.
    fn groups(&self, partials: Vec<Partial>) -> Vec<Vec<Partial>> {
        let mut groups: Vec<(usize, Vec<Partial>)> = Vec::new();
        for partial in partials {
            let size = self.size(std::slice::from_ref(&partial));
            match groups.last_mut() {
                Some((sum, group)) if *sum + size <= self.budget.tokens => {
                    *sum += size;
                    group.push(partial);
                }
                _ => groups.push((size, vec![partial])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Tokens of the quotes, with one for the space after each.
    fn size(&self, partials: &[Partial]) -> usize {
        partials.iter().map(|p| self.budget.count(&quote(1000, &p.text)) + 1).sum()
    }
}

fn quotes(partials: &[Partial]) -> String {
    let quotes: Vec<String> = partials.iter().enumerate().map(|(n, p)| quote(n + 1, &p.text)).collect();
    quotes.join("\n\n")
}

/// The quotes, and the numbers of the documents that are not whole. Looked at before the first call is made.
fn fitted(documents: &[Numbered], budget: &Budget) -> Result<(Vec<String>, Vec<usize>)> {
    let (mut quotes, mut cut) = (Vec::new(), Vec::new());
    for document in documents {
        let Some((quoted, whole)) = budget.fit(document, budget.tokens)? else {
            return Err(document.blame(too_long(budget.count(&document.document.text), budget.tokens)));
        };
        if !whole {
            cut.push(document.number);
        }
        quotes.push(quoted);
    }
    Ok((quotes, cut))
}

#[async_trait]
impl<I: DocumentInput> Chain for MapReduceDocuments<I> {
    type Input = I;
    type Output = Combined;

    async fn call(&self, input: I, run: &Run) -> Result<Combined> {
        let (documents, vars) = input.into_parts()?;
        let documents = numbered(documents)?;
        let parts = &self.parts;
        let (quotes, trimmed) = fitted(&documents, &parts.budget)?;

        let ask = |n: usize, document: &Numbered| -> BoxFuture<'_, Result<Partial>> {
            let (vars, number) = (vars.clone().with("documents", quotes[n].clone()), document.number);
            Box::pin(async move { parts.ask_one(number, &vars, run).await })
        };
        let Mapped { done, failed } = map(&documents, ask, parts.concurrency, parts.on_failure, run).await?;
        let left = parts.collapse(done, &vars, run).await?;

        let cut_off = left.iter().filter(|p| p.cut_off).flat_map(|p| p.documents.iter().copied()).collect();
        let vars = vars.with("documents", self::quotes(&left));
        let said = run.step("reduce", |step| async move { parts.reduce.say(&vars, &step).await }).await?;
        Ok(Combined { text: said.text, finish: said.finish, trimmed, cut_off, failed })
    }
}
