//! The prompt that fits a model.

use std::fmt;
use std::sync::Arc;

use katena_core::ModelInfo;

use crate::chat::ChatPrompt;

type Test = Arc<dyn Fn(&ModelInfo) -> bool + Send + Sync>;

/// Chooses a prompt by the model's name and abilities; the first that fits counts.
///
/// ```
/// use katena_core::{ChatModel, fake::EchoChat};
/// use katena_prompts::{ChatPrompt, PromptSelector};
/// let plain = ChatPrompt::builder().user("Answer as JSON: {question}").build()?;
/// let short = ChatPrompt::builder().user("{question}").build()?;
/// let selector = PromptSelector::new(plain).when(|model| model.capabilities.json_schema, short);
/// assert_eq!(selector.select(EchoChat::new().info()).variables(), ["question"]);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct PromptSelector {
    cases: Vec<(Test, ChatPrompt)>,
    default: ChatPrompt,
}

impl fmt::Debug for PromptSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptSelector")
            .field("cases", &self.cases.len())
            .field("default", &self.default)
            .finish()
    }
}

impl PromptSelector {
    /// The prompt of models that no case fits.
    pub fn new(default: ChatPrompt) -> Self {
        Self { cases: Vec::new(), default }
    }

    /// Adds a case.
    pub fn when(
        mut self,
        fits: impl Fn(&ModelInfo) -> bool + Send + Sync + 'static,
        prompt: ChatPrompt,
    ) -> Self {
        self.cases.push((Arc::new(fits), prompt));
        self
    }

    /// The prompt of this model.
    pub fn select(&self, model: &ModelInfo) -> &ChatPrompt {
        self.cases.iter().find(|(fits, _)| fits(model)).map_or(&self.default, |(_, prompt)| prompt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_case_that_fits_counts() {
        let prompt = |text: &str| ChatPrompt::builder().user(text).build().unwrap();
        let selector = PromptSelector::new(prompt("{a}"))
            .when(|m| m.model.starts_with("gpt-"), prompt("{b}"))
            .when(|m| m.capabilities.tools, prompt("{c}"));
        assert_eq!(selector.select(&ModelInfo::new("openai", "gpt-5")).variables(), ["b"]);
        let tools = katena_core::ChatCapabilities::none().with_tools();
        assert_eq!(selector.select(&ModelInfo::new("x", "y").with_capabilities(tools)).variables(), ["c"]);
        assert_eq!(selector.select(&ModelInfo::new("x", "y")).variables(), ["a"]);
    }
}
