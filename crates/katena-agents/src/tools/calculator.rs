//! Arithmetic.

use async_trait::async_trait;
use katena_core::{Error, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

/// Calculates an expression by [`katena_chains::evaluate`]: exact where it can be, with no code run but the grammar's own.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::tools::Calculator;
/// use katena_core::{Run, Tool, ToolCall};
/// let call = ToolCall::new("1", "calculator", r#"{"expression":"(12.5 - 2.5) * 3"}"#);
/// assert_eq!(Calculator::new().call(call, &Run::new()).await?.text(), "30");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[derive(Debug)]
pub struct Calculator {
    spec: ToolSpec,
}

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// The expression, such as `round(1200 * (1 + 0.035)^10, 2)`. Operators: + - * / % ^; numbers without separators;
    /// functions such as sqrt, ln, log(x, base), sin (radians), min, max, avg, round(x, digits).
    expression: String,
}

impl Default for Calculator {
    fn default() -> Self {
        Self::new()
    }
}

impl Calculator {
    /// A tool named `calculator`.
    pub fn new() -> Self {
        let what = "Calculates an arithmetic expression exactly. Use it for every calculation.";
        Self { spec: ToolSpec::of::<Args>("calculator", what) }
    }
}

#[async_trait]
impl Tool for Calculator {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        run.context().check()?;
        // A bad expression is the model's, as bad arguments are.
        let number = katena_chains::evaluate(&args.expression).map_err(|e| {
            Error::invalid_output(e.message().to_owned()).with_context("tool", "calculator").with_source(e)
        })?;
        Ok(number.to_string().into())
    }
}

#[cfg(test)]
#[path = "small_tests.rs"]
mod tests;
