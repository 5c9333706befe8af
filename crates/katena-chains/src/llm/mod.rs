//! The plainest chain: a prompt, a model, its words.

pub(crate) mod ask;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, ChatModel, ChatRequest, Result, Run};
use katena_prompts::{ChatPrompt, Vars};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use ask::Ask;

/// Fills a prompt, asks a model, gives its words.
///
/// `prompt.chat(model).text()` is nearly the same chain. This one also sends [the options of a request](Self::with_request) and
/// turns refusals and empty replies into errors. The prompt's messages go out as they are, with their roles and images. The
/// answer streams. `.batch(n)` runs it over a list.
///
/// # Errors
/// The prompt's own for a missing variable, `Refused`, `InvalidOutput` for an empty reply, and those of the model.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_chains::LlmChain;
/// use katena_core::{ChainExt, ChatRequest, Role, fake::ScriptedChat};
/// use katena_prompts::{ChatPrompt, Vars};
///
/// let model = ScriptedChat::texts(["Bern", r#"{"name": "Bern", "people": 134591}"#]);
/// let prompt = ChatPrompt::fstring([(Role::System, "Answer briefly."), (Role::User, "Capital of {country}?")])?;
/// let ask = LlmChain::new(model, prompt).with_request(ChatRequest::default().with_temperature(0.0));
/// assert_eq!(ask.run(Vars::new().with("country", "Switzerland")).await?, "Bern");
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct City { name: String, people: u64 }
/// let city = ask.json::<City>().run(Vars::new().with("country", "Switzerland")).await?;
/// assert_eq!((city.name.as_str(), city.people), ("Bern", 134_591));
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct LlmChain {
    ask: Ask,
}

impl fmt::Debug for LlmChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmChain").field("model", &self.ask.model.info().model).finish_non_exhaustive()
    }
}

impl LlmChain {
    /// Asks `model` with `prompt`.
    pub fn new(model: impl ChatModel + 'static, prompt: ChatPrompt) -> Self {
        Self { ask: Ask::new(Arc::new(model), prompt) }
    }

    /// Asks with the options of this request (temperature, most tokens, …); its messages are put before the prompt's.
    pub fn with_request(mut self, request: ChatRequest) -> Self {
        self.ask.request = Some(request);
        self
    }

    /// The same question with a typed answer, by [`extract`](katena_core::extract)'s way: the schema goes out with the request, a
    /// reply that does not fit is sent back with the reason.
    pub fn json<T: JsonSchema + DeserializeOwned + Send + 'static>(self) -> LlmJson<T> {
        LlmJson { ask: self.ask, output: PhantomData }
    }
}

#[async_trait]
impl Chain for LlmChain {
    type Input = Vars;
    type Output = String;

    async fn call(&self, vars: Vars, run: &Run) -> Result<String> {
        Ok(self.ask.say(&vars, run).await?.text)
    }
}

/// See [`LlmChain::json`].
pub struct LlmJson<T> {
    ask: Ask,
    output: PhantomData<fn() -> T>,
}

impl<T> Clone for LlmJson<T> {
    fn clone(&self) -> Self {
        Self { ask: self.ask.clone(), output: PhantomData }
    }
}

impl<T> fmt::Debug for LlmJson<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmJson").field("model", &self.ask.model.info().model).finish_non_exhaustive()
    }
}

#[async_trait]
impl<T: JsonSchema + DeserializeOwned + Send + 'static> Chain for LlmJson<T> {
    type Input = Vars;
    type Output = T;

    async fn call(&self, vars: Vars, run: &Run) -> Result<T> {
        self.ask.typed(&vars, run).await
    }
}
