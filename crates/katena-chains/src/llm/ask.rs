//! What the chains have in common: a model, a prompt, and the options of the request.

use std::sync::Arc;

use katena_core::{
    ChatModel, ChatRequest, ChatResponse, Error, ErrorKind, FinishReason, Result, Run, extract_in,
};
use katena_prompts::{ChatPrompt, Vars};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// A model that is asked with a prompt. Options of `request`, or else of the prompt, go into every request; messages of
/// `request` stand before the prompt's.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) model: Arc<dyn ChatModel>,
    pub(crate) prompt: ChatPrompt,
    pub(crate) request: Option<ChatRequest>,
}

/// What a model said.
#[derive(Clone)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) finish: FinishReason,
}

impl Ask {
    pub(crate) fn new(model: Arc<dyn ChatModel>, prompt: ChatPrompt) -> Self {
        Self { model, prompt, request: None }
    }

    pub(crate) fn request(&self, vars: &Vars) -> Result<ChatRequest> {
        let prompted = self.prompt.request(vars)?;
        Ok(match &self.request {
            Some(request) => {
                let mut request = request.clone();
                request.messages.extend(prompted.messages);
                request
            }
            None => prompted,
        })
    }

    /// Asks and gives the words. A run that is not quiet shows them while they come.
    pub(crate) async fn say(&self, vars: &Vars, run: &Run) -> Result<Said> {
        let request = self.request(vars)?;
        said(&run.chat(&*self.model, request).await?)
    }

    /// Asks for a `T`.
    pub(crate) async fn typed<T: JsonSchema + DeserializeOwned>(&self, vars: &Vars, run: &Run) -> Result<T> {
        let request = self.request(vars)?;
        extract_in(run, &*self.model, request).await
    }
}

/// The words of a reply that must have some.
pub(crate) fn said(response: &ChatResponse) -> Result<Said> {
    if let Some(words) = response.refusal() {
        return Err(Error::new(ErrorKind::Refused, words.to_owned()));
    }
    let text = response.text();
    if !text.trim().is_empty() {
        return Ok(Said { text, finish: response.finish.clone() });
    }
    Err(match response.finish {
        FinishReason::ContentFilter => Error::new(ErrorKind::Refused, "a content filter stopped the answer"),
        FinishReason::Length => Error::invalid_output(
            "the token limit was reached before the first word; raise max_tokens of the request",
        ),
        _ if response.tool_calls().next().is_some() => {
            Error::invalid_output("the model asks for a tool, and this chain runs none")
        }
        _ => Error::invalid_output("the model said nothing"),
    })
}

/// Refuses a prompt that does not use what the chain must tell, or that needs what the chain can't give.
pub(crate) fn check(prompt: &ChatPrompt, needed: &[&str], given: &[&str]) -> Result<()> {
    prompt.ensure_uses(needed)?;
    prompt.ensure_given(&[needed, given].concat())
}
