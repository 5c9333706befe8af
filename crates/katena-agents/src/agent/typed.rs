//! Agents whose answer is a value.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, Error, Result, Run, ToolSpec, parse_json};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::io::{AgentInput, AgentOutput};
use super::looping::{Loop, Member};
use super::settings::Agent;

type Check = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The tool by which the model gives its answer.
#[derive(Clone)]
pub(crate) struct FinalTool {
    pub(crate) spec: ToolSpec,
    /// Whether a text is such an answer, and if not, why.
    pub(crate) check: Check,
}

/// For answers that are no object: tools take objects only.
#[derive(Deserialize, JsonSchema)]
struct Wrapped<T> {
    value: T,
}

/// Reads `T`, or `T` inside `{"value": …}`.
fn read<T: DeserializeOwned>(text: &str) -> Result<T> {
    parse_json::<T>(text).or_else(|error| parse_json::<Wrapped<T>>(text).map(|w| w.value).map_err(|_| error))
}

/// An agent with a typed answer: it uses its tools, and then gives the answer by a tool named `answer` whose schema is
/// that of `T` (or as JSON text). An answer that does not fit is sent back with the reason, as far as
/// [`Limits::repairs`](crate::Limits::repairs) goes.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::Agent;
/// use katena_core::{ChainExt, ChatResponse, FinishReason, Message, Part, Role, ToolCall, fake::ScriptedChat};
/// #[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
/// struct City { name: String, people: u64 }
///
/// let call = Part::ToolCall(ToolCall::new("1", "answer", r#"{"name":"Delft","people":109000}"#));
/// let answers = ChatResponse::new(Message::new(Role::Assistant, vec![call]), FinishReason::ToolCalls);
/// let agent = Agent::new(ScriptedChat::new([Ok(answers)])).json::<City>();
/// let output = agent.run("Where is TU Delft?").await?;
/// assert_eq!(output.value, City { name: "Delft".to_owned(), people: 109_000 });
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct TypedAgent<T> {
    agent: Agent,
    last: FinalTool,
    output: PhantomData<fn() -> T>,
}

impl<T> Clone for TypedAgent<T> {
    fn clone(&self) -> Self {
        Self { agent: self.agent.clone(), last: self.last.clone(), output: PhantomData }
    }
}

impl<T> fmt::Debug for TypedAgent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedAgent").field(&self.agent).finish()
    }
}

impl<T: JsonSchema + DeserializeOwned + Send + 'static> TypedAgent<T> {
    pub(crate) fn new(agent: Agent) -> Self {
        let words = "Takes the final answer. Call it once, alone, with the whole answer.";
        let mut spec = ToolSpec::of::<T>("answer", words);
        if spec.parameters["type"] != "object" {
            spec = ToolSpec::of::<Wrapped<T>>("answer", words);
        }
        let check = |text: &str| match read::<T>(text) {
            Ok(_) => Ok(()),
            Err(error) => {
                let source = std::error::Error::source(&error);
                Err(source.map_or_else(|| error.message().to_owned(), ToString::to_string))
            }
        };
        Self { agent, last: FinalTool { spec, check: Arc::new(check) }, output: PhantomData }
    }
}

/// A typed answer and how it came about.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TypedOutput<T> {
    /// The answer.
    pub value: T,
    /// The rest; its message is the answer's JSON.
    pub output: AgentOutput,
}

#[async_trait]
impl<T: JsonSchema + DeserializeOwned + Send + 'static> Chain for TypedAgent<T> {
    type Input = AgentInput;
    type Output = TypedOutput<T>;
    async fn call(&self, input: AgentInput, run: &Run) -> Result<TypedOutput<T>> {
        let members = vec![Member::alone(&self.agent)];
        let looping = Loop::new(members, &self.agent.set.frame).with_last(&self.last);
        let output = looping.begin(input, run).await?.done()?;
        let finish = |error: Error| error.with_context("finish", format!("{:?}", output.finish));
        let value = read(&output.text()).map_err(finish)?;
        Ok(TypedOutput { value, output })
    }
}
