//! What goes into a chain and what comes out of it is judged before anybody sees it.

mod judge;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    BoxChain, Chain, ChainExt as _, ChatModel, ChatRequest, Error, ErrorKind, Event, Moderation,
    ModerationModel, Result, Run,
};
use katena_prompts::ChatPrompt;
use serde_json::json;

use crate::llm::ask::check;
use judge::{ChatJudge, Judge};

/// Which sides of a chain are judged.
///
/// ```
/// use katena_chains::ModeratedSides;
/// assert_eq!(ModeratedSides::default(), ModeratedSides::Both);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModeratedSides {
    /// What goes in. The output streams as it does without moderation.
    Input,
    /// What comes out.
    Output,
    /// Both.
    #[default]
    Both,
}

/// What happens to a text that was flagged.
///
/// ```
/// use katena_chains::OnFlagged;
/// assert_eq!(OnFlagged::default(), OnFlagged::Block);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFlagged {
    /// An error of kind `Refused` that names the categories. A flagged input does not reach the chain.
    #[default]
    Block,
    /// It passes, and the output says what was flagged.
    Pass,
}

/// A chain's output with the judgements. `Display` prints the output.
///
/// ```
/// use katena_chains::Moderated;
/// assert!(!Moderated::new("Hello").is_flagged());
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Moderated<O> {
    /// The chain's output.
    pub output: O,
    /// The judgement of the input, if it was judged.
    pub input_judgement: Option<Moderation>,
    /// The judgement of the output, if it was judged.
    pub output_judgement: Option<Moderation>,
}

impl<O> fmt::Debug for Moderated<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moderated")
            .field("input_judgement", &self.input_judgement)
            .field("output_judgement", &self.output_judgement)
            .finish_non_exhaustive()
    }
}

impl<O: fmt::Display> fmt::Display for Moderated<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.output.fmt(f)
    }
}

impl<O> Moderated<O> {
    /// An output that was not judged.
    pub fn new(output: O) -> Self {
        Self { output, input_judgement: None, output_judgement: None }
    }

    /// True if a side was flagged.
    pub fn is_flagged(&self) -> bool {
        [&self.input_judgement, &self.output_judgement].into_iter().flatten().any(|j| j.flagged)
    }
}

type Describe<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;

/// Lets a chain's input and output pass only if a judge finds nothing in them.
///
/// The judge is a [`ModerationModel`], or [a chat model with categories](Self::by_chat). Nothing is shown before it was judged: where
/// the output is judged, the chain runs quietly, and its text is shown afterwards. With [`ModeratedSides::Input`] the chain streams as
/// it does by itself. The judgements are told as [`Event::Custom`] `moderation` with `side`, `flagged` and `categories`. If a judge
/// fails, nothing passes. A text without words is not judged.
///
/// # Errors
/// `Refused` for a flagged text, with `side` and `categories` in the context; `InvalidOutput` for a judgement that does not fit;
/// `Config` for a chat judge without categories; those of the judge and of the chain.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::Moderate;
/// use katena_core::{ChainExt, ErrorKind, fake::{EchoChat, FakeModeration}, func};
/// let chain = func(async |q: String, _run| Ok(q)).chat(EchoChat::new()).text();
/// let safe = Moderate::new(chain, FakeModeration::new(["rude"]));
/// assert_eq!(safe.run("Hello").await?.output, "Hello");
/// let error = safe.run("Say something rude").await.unwrap_err();
/// assert_eq!((error.kind(), error.context("categories")), (ErrorKind::Refused, Some("rude")));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct Moderate<I, O> {
    chain: BoxChain<I, O>,
    judge: Judge,
    input: Describe<I>,
    output: Describe<O>,
    sides: ModeratedSides,
    on_flagged: OnFlagged,
}

impl<I, O> Clone for Moderate<I, O> {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            judge: self.judge.clone(),
            input: self.input.clone(),
            output: self.output.clone(),
            sides: self.sides,
            on_flagged: self.on_flagged,
        }
    }
}

impl<I, O> fmt::Debug for Moderate<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moderate")
            .field("judge", &self.judge)
            .field("sides", &self.sides)
            .field("on_flagged", &self.on_flagged)
            .finish_non_exhaustive()
    }
}

impl<I: AsRef<str> + Send + 'static, O: AsRef<str> + Send + 'static> Moderate<I, O> {
    /// Lets a moderation model judge both sides of a chain.
    pub fn new(
        chain: impl Chain<Input = I, Output = O> + 'static,
        judge: impl ModerationModel + 'static,
    ) -> Self {
        Self::of(chain, Judge::Model(Arc::new(judge)), texts(), texts())
    }

    /// Lets a chat model judge both sides of a chain, by [categories](Self::category).
    pub fn by_chat(
        chain: impl Chain<Input = I, Output = O> + 'static,
        judge: impl ChatModel + 'static,
    ) -> Self {
        Self::of(chain, Judge::Chat(Box::new(ChatJudge::new(Arc::new(judge)))), texts(), texts())
    }
}

fn texts<T: AsRef<str>>() -> Describe<T> {
    Arc::new(|value: &T| value.as_ref().to_owned())
}

impl<I: Send + 'static, O: Send + 'static> Moderate<I, O> {
    fn of(
        chain: impl Chain<Input = I, Output = O> + 'static,
        judge: Judge,
        input: Describe<I>,
        output: Describe<O>,
    ) -> Self {
        let (sides, on_flagged) = (ModeratedSides::Both, OnFlagged::Block);
        Self { chain: chain.boxed(), judge, input, output, sides, on_flagged }
    }

    /// As [`new`](Self::new), for any input and output: what the two functions say of them is judged, and what `output` says
    /// is shown.
    pub fn with_texts(
        chain: impl Chain<Input = I, Output = O> + 'static,
        judge: impl ModerationModel + 'static,
        input: impl Fn(&I) -> String + Send + Sync + 'static,
        output: impl Fn(&O) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::of(chain, Judge::Model(Arc::new(judge)), Arc::new(input), Arc::new(output))
    }

    /// As [`by_chat`](Self::by_chat), for any input and output.
    pub fn by_chat_with_texts(
        chain: impl Chain<Input = I, Output = O> + 'static,
        judge: impl ChatModel + 'static,
        input: impl Fn(&I) -> String + Send + Sync + 'static,
        output: impl Fn(&O) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::of(
            chain,
            Judge::Chat(Box::new(ChatJudge::new(Arc::new(judge)))),
            Arc::new(input),
            Arc::new(output),
        )
    }

    /// Adds a category for a chat judge, with a description. A moderation model has its own: with one, the first call is an
    /// error of kind `Config`.
    pub fn category(mut self, name: impl Into<String>, description: impl Into<String>) -> Self {
        match &mut self.judge {
            Judge::Chat(judge) => judge.categories.push((name.into(), description.into())),
            Judge::Model(_) => self.judge = Judge::Wrong("a moderation model has categories of its own"),
            Judge::Wrong(_) => {}
        }
        self
    }

    /// Says which sides are judged (default: both).
    pub fn with_sides(mut self, sides: ModeratedSides) -> Self {
        self.sides = sides;
        self
    }

    /// Says what happens to a flagged text (default: an error).
    pub fn with_on_flagged(mut self, on_flagged: OnFlagged) -> Self {
        self.on_flagged = on_flagged;
        self
    }

    /// Asks a chat judge with a prompt of your own over `text` and `categories`, a list of names and descriptions.
    ///
    /// # Errors
    /// `Config` if one of the two is missing, another variable is used, or the judge is no chat model.
    pub fn with_prompt(mut self, prompt: ChatPrompt) -> Result<Self> {
        check(&prompt, &["text", "categories"], &[])?;
        match &mut self.judge {
            Judge::Chat(judge) => judge.ask.prompt = prompt,
            _ => return Err(Error::config("only a chat model is asked with a prompt")),
        }
        Ok(self)
    }

    /// Asks a chat judge with the options of this request (temperature, most tokens, …). With a moderation model, the first
    /// call is an error of kind `Config`.
    pub fn with_request(mut self, request: ChatRequest) -> Self {
        match &mut self.judge {
            Judge::Chat(judge) => judge.ask.request = Some(request),
            Judge::Model(_) => self.judge = Judge::Wrong("a moderation model takes no chat request"),
            Judge::Wrong(_) => {}
        }
        self
    }

    async fn judged(&self, side: &'static str, text: &str, run: &Run) -> Result<Moderation> {
        if text.trim().is_empty() {
            return Ok(Moderation::default());
        }
        let judgement = run
            .step(&format!("moderate {side}"), |step| async move {
                let mut judgement = self.judge.judge(text, &step.quiet()).await?;
                judgement.flagged |= !names(&judgement).is_empty();
                let flagged = names(&judgement);
                let value = json!({"side": side, "flagged": judgement.flagged, "categories": flagged});
                step.emit(Event::Custom { name: "moderation".into(), value }).await;
                Ok(judgement)
            })
            .await
            .map_err(|error| error.with_context("moderation", format!("of the {side}")))?;
        if judgement.flagged && self.on_flagged == OnFlagged::Block {
            let categories = names(&judgement).join(", ");
            let words = match categories.as_str() {
                "" => format!("the {side} was flagged"),
                _ => format!("the {side} was flagged: {categories}"),
            };
            return Err(Error::new(ErrorKind::Refused, words)
                .with_context("side", side)
                .with_context("categories", categories));
        }
        Ok(judgement)
    }
}

fn names(judgement: &Moderation) -> Vec<&str> {
    judgement.categories.iter().filter(|(_, score)| score.flagged).map(|(name, _)| name.as_str()).collect()
}

#[async_trait]
impl<I: Send + 'static, O: Send + 'static> Chain for Moderate<I, O> {
    type Input = I;
    type Output = Moderated<O>;

    async fn call(&self, input: I, run: &Run) -> Result<Moderated<O>> {
        self.judge.check()?;
        let mut input_judgement = None;
        if self.sides != ModeratedSides::Output {
            let text = (self.input)(&input);
            input_judgement = Some(self.judged("input", &text, run).await?);
        }
        if self.sides == ModeratedSides::Input {
            let mut moderated = Moderated::new(self.chain.call(input, run).await?);
            moderated.input_judgement = input_judgement;
            return Ok(moderated);
        }
        let output = self.chain.call(input, &run.quiet()).await?;
        let text = (self.output)(&output);
        let output_judgement = Some(self.judged("output", &text, run).await?);
        if !text.is_empty() {
            run.emit(Event::Text(text)).await;
        }
        let mut moderated = Moderated::new(output);
        (moderated.input_judgement, moderated.output_judgement) = (input_judgement, output_judgement);
        Ok(moderated)
    }
}
