//! Every label that fits.

use async_trait::async_trait;
use katena_core::{Chain, ResponseFormat, Result, Run};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Choice, Classification, Classifier, tell};
use crate::extract::{checked, with_words};

const MANY: &str = "Choose every label that fits the text.";

/// Chooses every label that fits a text; made by [`Classifier::many`].
///
/// The labels come in the order in which they were added, each once. A text that none fits gives an empty list, or
/// [the label for that](Classifier::with_none) alone if there is one. Otherwise as [`Classifier`].
///
/// # Errors
/// As [`Classifier`].
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::Classifier;
/// use katena_core::{ChainExt, fake::ScriptedChat};
/// let model = ScriptedChat::texts([r#"{"labels": [{"label": "price"}, {"label": "delay"}]}"#]);
/// let classify = Classifier::new(model).label("delay", "something is late").label("price", "money").many();
/// let labels = classify.run("Late, and dear!").await?;
/// assert_eq!(labels.iter().map(|l| l.label.as_str()).collect::<Vec<_>>(), ["delay", "price"]);
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MultiClassifier {
    one: Classifier,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Choices {
    labels: Vec<Choice>,
}

impl MultiClassifier {
    pub(super) fn of(one: Classifier) -> Self {
        Self { one }
    }

    fn read(&self, choices: &Choices, names: &[&str]) -> Result<Vec<Classification>, String> {
        let mut read = Vec::new();
        for name in names {
            let is_it = |choice: &&Choice| choice.label.trim().eq_ignore_ascii_case(name.trim());
            if let Some(choice) = choices.labels.iter().find(is_it) {
                read.push(self.one.read(choice, names)?);
            }
        }
        for choice in &choices.labels {
            self.one.read(choice, names)?;
        }
        if read.len() > 1 && read.iter().any(|label| label.is_none) {
            return Err(format!(
                "{} can't stand beside another label",
                self.one.none.as_deref().unwrap_or_default()
            ));
        }
        if let (true, Some(none)) = (read.is_empty(), &self.one.none) {
            let mut label = Classification::new(none);
            label.is_none = true;
            read.push(label);
        }
        Ok(read)
    }
}

#[async_trait]
impl Chain for MultiClassifier {
    type Input = String;
    type Output = Vec<Classification>;

    async fn call(&self, text: String, run: &Run) -> Result<Vec<Classification>> {
        let names = self.one.names()?;
        with_words(&text)?;
        let mut request = self.one.request(&text, MANY)?;
        let schema = json!({
            "type": "object",
            "properties": {"labels": {"type": "array", "items": self.one.schema(&names)}},
            "required": ["labels"],
            "additionalProperties": false,
        });
        request.response_format = Some(ResponseFormat::JsonSchema { name: "labels".into(), schema });
        let read = |choices: &Choices| self.read(choices, &names);
        let chosen = checked(&self.one.ask, request, &run.quiet(), read).await?;
        for label in &chosen {
            tell(label, run).await;
        }
        Ok(chosen)
    }
}
