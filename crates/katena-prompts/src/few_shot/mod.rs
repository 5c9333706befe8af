//! Examples within a prompt.

mod select;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, Context, Message, Result, Run};

pub use select::{ExampleSelector, FixedExamples, LengthSelector, SimilaritySelector};

use crate::chat::ChatPrompt;
use crate::template::PromptTemplate;
use crate::vars::Vars;

#[derive(Clone)]
enum Shape {
    Text(PromptTemplate, String),
    Chat(ChatPrompt),
}

/// Chooses examples for the variables of a prompt and puts them, written by a template, into one more variable: a text, or
/// messages for a [placeholder](crate::ChatPromptBuilder::placeholder). A chain from [`Vars`] to [`Vars`].
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChainExt, fake::EchoChat};
/// use katena_prompts::{ChatPrompt, FewShot, FixedExamples, PromptTemplate, vars};
/// let examples = FixedExamples::new([vars! { "q" => "1+1", "a" => "2" }, vars! { "q" => "2+3", "a" => "5" }]);
/// let few_shot = FewShot::text("examples", PromptTemplate::fstring("Q: {q}\nA: {a}")?, examples);
/// let prompt = ChatPrompt::builder().user("{examples}\n\nQ: {q}\nA:").build()?;
/// let chain = few_shot.then(prompt).chat(EchoChat::new()).text();
/// assert_eq!(chain.run(vars! { "q" => "4+4" }).await?, "Q: 1+1\nA: 2\n\nQ: 2+3\nA: 5\n\nQ: 4+4\nA:");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct FewShot {
    name: String,
    shape: Shape,
    selector: Arc<dyn ExampleSelector>,
}

impl fmt::Debug for FewShot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FewShot")
            .field("name", &self.name)
            .field("selector", &self.selector)
            .finish_non_exhaustive()
    }
}

impl FewShot {
    /// Examples as a text, with an empty line between them.
    pub fn text(
        name: impl Into<String>,
        example: PromptTemplate,
        selector: impl ExampleSelector + 'static,
    ) -> Self {
        let shape = Shape::Text(example, "\n\n".to_owned());
        Self { name: name.into(), shape, selector: Arc::new(selector) }
    }

    /// Examples as messages, usually of the user and the assistant in turn.
    pub fn chat(
        name: impl Into<String>,
        example: ChatPrompt,
        selector: impl ExampleSelector + 'static,
    ) -> Self {
        Self { name: name.into(), shape: Shape::Chat(example), selector: Arc::new(selector) }
    }

    /// Sets what stands between two examples that are text.
    pub fn with_separator(mut self, separator: impl Into<String>) -> Self {
        if let Shape::Text(_, between) = &mut self.shape {
            *between = separator.into();
        }
        self
    }

    /// The variables with the examples.
    ///
    /// # Errors
    /// The selector's own; `InvalidInput` if an example lacks a variable of its template.
    pub async fn fill(&self, vars: Vars, context: &Context) -> Result<Vars> {
        let examples = self.selector.select(&vars, context).await?;
        match &self.shape {
            Shape::Text(template, between) => {
                let texts: Result<Vec<String>> = examples.iter().map(|e| template.render(e)).collect();
                Ok(vars.with(self.name.clone(), texts?.join(between)))
            }
            Shape::Chat(prompt) => {
                let mut messages: Vec<Message> = Vec::new();
                for example in &examples {
                    messages.extend(prompt.render(example)?);
                }
                Ok(vars.with_messages(self.name.clone(), messages))
            }
        }
    }
}

#[async_trait]
impl Chain for FewShot {
    type Input = Vars;
    type Output = Vars;
    async fn call(&self, input: Vars, run: &Run) -> Result<Vars> {
        self.fill(input, run.context()).await
    }
}

#[cfg(test)]
#[path = "few_shot_tests.rs"]
mod tests;
