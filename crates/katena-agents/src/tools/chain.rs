//! A chain as a tool.

use std::fmt;

use async_trait::async_trait;
use katena_core::{Chain, Error, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A chain that a model can call: its input by that type's schema, its output as text, or as JSON where it is not a string.
///
/// An input that is no JSON object (a string, a list) is taken as the field `input` of one.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::tools::ChainTool;
/// use katena_core::{Run, Tool, ToolCall, func};
/// let shout = func(async |text: String, _run: Run| Ok(text.to_uppercase()));
/// let tool = ChainTool::new("shout", "Says it louder.", shout);
/// let output = tool.call(ToolCall::new("1", "shout", r#"{"input":"hey"}"#), &Run::new()).await?;
/// assert_eq!(output.text(), "HEY");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub struct ChainTool<C> {
    spec: ToolSpec,
    chain: C,
    wrapped: bool,
}

impl<C> fmt::Debug for ChainTool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainTool").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Wrapped<T> {
    input: T,
}

impl<C> ChainTool<C>
where
    C: Chain,
    C::Input: DeserializeOwned + JsonSchema,
    C::Output: Serialize,
{
    /// A tool that runs `chain`.
    pub fn new(name: &str, description: &str, chain: C) -> Self {
        let mut spec = ToolSpec::of::<C::Input>(name, description);
        let wrapped = spec.parameters.get("type") != Some(&"object".into());
        if wrapped {
            spec.parameters =
                json!({"type": "object", "properties": {"input": spec.parameters}, "required": ["input"]});
        }
        Self { spec, chain, wrapped }
    }
}

#[async_trait]
impl<C> Tool for ChainTool<C>
where
    C: Chain,
    C::Input: DeserializeOwned + JsonSchema,
    C::Output: Serialize,
{
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let input =
            if self.wrapped { call.parse::<Wrapped<C::Input>>()?.input } else { call.parse::<C::Input>()? };
        let output = self.chain.call(input, run).await?;
        let value = serde_json::to_value(output).map_err(|e| {
            Error::unexpected("the chain's output can't be written as JSON")
                .with_context("tool", self.spec.name.clone())
                .with_source(e)
        })?;
        Ok(match value {
            Value::String(text) => text.into(),
            other => other.to_string().into(),
        })
    }
}
