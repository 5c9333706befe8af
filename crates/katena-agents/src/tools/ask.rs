//! A question to a person.

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use katena_core::{Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

type Ask = dyn Fn(String, Run) -> BoxFuture<'static, Result<String>> + Send + Sync;

/// Lets a model ask a person. How the question reaches the person is yours: a terminal, a chat window, a queue.
///
/// The question is the model's text: show it as such. Waiting ends at the run's cancel signal.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::tools::AskHuman;
/// use katena_core::{Run, Tool, ToolCall};
/// let tool = AskHuman::new(|question, _run| async move { Ok(format!("You asked: {question}")) });
/// let call = ToolCall::new("1", "ask_human", r#"{"question":"Which year?"}"#);
/// assert_eq!(tool.call(call, &Run::new()).await?.text(), "You asked: Which year?");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct AskHuman {
    spec: ToolSpec,
    ask: Box<Ask>,
}

impl fmt::Debug for AskHuman {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskHuman").finish_non_exhaustive()
    }
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// The question.
    question: String,
}

impl AskHuman {
    /// A tool named `ask_human` that asks by `ask`: the question, at most 4 KiB, and the run.
    pub fn new<Fut>(ask: impl Fn(String, Run) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<String>> + Send + 'static,
    {
        let what = "Asks the person you work for. Use it when something is missing that only they can know.";
        Self {
            spec: ToolSpec::of::<Args>("ask_human", what),
            ask: Box::new(move |question, run| Box::pin(ask(question, run))),
        }
    }
}

#[async_trait]
impl Tool for AskHuman {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        run.context().check()?;
        let question = super::checked(&args.question, super::MAX_QUERY, "ask_human")?;
        let answer = run.context().cancel.guard((self.ask)(question.to_owned(), run.clone())).await?;
        Ok(answer.into())
    }
}
