//! What `#[tool]` expands to.

use katena_core::{Error, Result, ToolOutput};
use serde::Serialize;
use serde_json::Value;

/// What a function under `#[tool]` may give back: texts, numbers, booleans, `()`, JSON values, [`Json`] of anything that
/// serializes, a [`ToolOutput`], and a `Result` of these.
#[diagnostic::on_unimplemented(
    message = "a tool can't give back `{Self}`",
    note = "give back text, a number, a `ToolOutput`, `Json(value)` for what serializes, or a `Result` of these whose error \
            turns into `katena_core::Error`"
)]
pub trait IntoOutput {
    /// The output, or the tool's error.
    ///
    /// # Errors
    /// The function's own; `Unexpected` for a value that does not serialize.
    fn into_output(self) -> Result<ToolOutput>;
}

/// A value that the model sees as JSON.
///
/// ```
/// use katena_agents::{IntoOutput, Json};
/// assert_eq!(Json([1, 2]).into_output().unwrap().text(), "[1,2]");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoOutput for Json<T> {
    fn into_output(self) -> Result<ToolOutput> {
        let text = serde_json::to_string(&self.0)
            .map_err(|e| Error::unexpected("a tool's value can't be written as JSON").with_source(e))?;
        Ok(text.into())
    }
}

impl IntoOutput for ToolOutput {
    fn into_output(self) -> Result<ToolOutput> {
        Ok(self)
    }
}

impl IntoOutput for () {
    fn into_output(self) -> Result<ToolOutput> {
        Ok("done".into())
    }
}

impl<T: IntoOutput, E: Into<Error>> IntoOutput for Result<T, E> {
    fn into_output(self) -> Result<ToolOutput> {
        self.map_err(Into::into)?.into_output()
    }
}

macro_rules! displayed {
    ($($ty:ty),*) => {$(
        impl IntoOutput for $ty {
            fn into_output(self) -> Result<ToolOutput> {
                Ok(self.to_string().into())
            }
        }
    )*};
}
displayed!(
    String,
    &str,
    std::borrow::Cow<'_, str>,
    char,
    bool,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    f32,
    f64,
    Value
);

/// Makes a tool from an async function.
///
/// The tool's name is the function's (or `#[tool(name = "…")]`); its description is the doc comment (or `description =
/// "…"`); its schema comes from the parameters, whose doc comments describe them. The function stays as it is; beside it
/// stands `NAME_tool()`, which makes the tool.
///
/// - An `Option<T>` may be left out; so may one with `#[default]` (`Default::default()`) or `#[default = 3]`.
/// - `&Run` (or `Run`) gives the run: labels, deadline, cancel signal, models.
/// - One `#[state]` parameter, taken by value and cloned for each call, is shared data: it becomes the parameter of `NAME_tool`.
/// - `#[serde(…)]` and `#[schemars(…)]` on a parameter are kept, such as `#[schemars(range(min = 1))]`.
/// - It gives back what [`IntoOutput`] takes, or a `Result` of it.
///
/// The crate needs neither serde nor schemars for it. Where katena-agents has another name, say `#[tool(crate = "…")]`.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_agents::tool;
/// use katena_core::{Result, Run, Tool, ToolCall};
///
/// /// Tomorrow's weather in a city.
/// #[tool]
/// async fn forecast(
///     /// Name of the city.
///     city: String,
///     /// How many days ahead.
///     #[default = 1]
///     days: u8,
/// ) -> Result<String> {
///     Ok(format!("{city} in {days} days: dry"))
/// }
///
/// let tool = forecast_tool();
/// assert_eq!(tool.spec().description, "Tomorrow's weather in a city.");
/// assert_eq!(tool.spec().parameters["required"], serde_json::json!(["city"]));
/// let call = ToolCall::new("1", "forecast", r#"{"city":"Bern"}"#);
/// assert_eq!(tool.call(call, &Run::new()).await?.text(), "Bern in 1 days: dry");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
#[cfg(feature = "macros")]
pub use katena_macros::tool;

/// For the expansion of `#[tool]` alone.
#[doc(hidden)]
pub mod __private {
    pub use katena_core::{FnTool, Run};
    pub use {schemars, serde};

    pub use super::IntoOutput;
}
