//! Tools that a model may ask for.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::layer::Layer;
use crate::message::{Part, ToolCall};
use crate::run::Run;

/// What a model is told about a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolSpec {
    /// Name, usually `snake_case`, at most 64 characters.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema of the arguments, an object.
    pub parameters: Value,
}

impl ToolSpec {
    /// A tool with a hand-written schema.
    pub fn new(name: impl Into<String>, description: impl Into<String>, parameters: Value) -> Self {
        Self { name: name.into(), description: description.into(), parameters }
    }

    /// A tool whose arguments are `A`, by its derived schema.
    pub fn of<A: JsonSchema>(name: impl Into<String>, description: impl Into<String>) -> Self {
        let schema = schemars::generate::SchemaSettings::draft2020_12()
            .with(|s| s.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<A>();
        Self::new(name, description, schema.to_value())
    }
}

/// What a tool gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolOutput {
    /// Text and media for the model, in order.
    pub parts: Vec<Part>,
}

impl ToolOutput {
    /// Parts in order.
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// The text parts joined.
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .filter_map(|p| if let Part::Text { text } = p { Some(text.as_str()) } else { None })
            .collect()
    }
}

impl<S: Into<String>> From<S> for ToolOutput {
    fn from(text: S) -> Self {
        Self { parts: vec![Part::text(text)] }
    }
}

/// Something that a model can call. Arguments and output are data from outside on both sides.
///
/// # Contract
/// - `spec_is_an_object`: the schema describes a JSON object.
/// - `bad_arguments_are_invalid_output`: arguments that don't fit are `InvalidOutput`, never a panic.
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync {
    /// Name, description and schema.
    fn spec(&self) -> &ToolSpec;

    /// Does the work.
    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput>;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Tool + ?Sized> Tool for Arc<T> {
    fn spec(&self) -> &ToolSpec {
        (**self).spec()
    }
    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        (**self).call(call, run).await
    }
}

/// Conveniences of every [`Tool`].
pub trait ToolExt: Tool {
    /// Wraps the tool in a layer.
    fn layer<L: Layer<dyn Tool>>(self, layer: L) -> Arc<dyn Tool>
    where
        Self: Sized + 'static,
    {
        layer.layer(Arc::new(self))
    }
}

impl<T: Tool + ?Sized> ToolExt for T {}

type Body = dyn Fn(ToolCall, Run) -> BoxFuture<'static, Result<ToolOutput>> + Send + Sync;

/// A typed tool made from an async closure.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{FnTool, Run, Tool, ToolCall};
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Add { a: i64, b: i64 }
///
/// let add = FnTool::new("add", "Adds two numbers.", async |args: Add, _run: Run| Ok((args.a + args.b).to_string()));
/// let output = add.call(ToolCall::new("1", "add", r#"{"a":2,"b":3}"#), &Run::new()).await.unwrap();
/// assert_eq!(output.text(), "5");
/// # }).unwrap();
/// ```
pub struct FnTool {
    spec: ToolSpec,
    body: Box<Body>,
}

impl fmt::Debug for FnTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnTool").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

impl FnTool {
    /// A tool without state: the closure captures nothing (an async closure that captures is no `Fn`; see
    /// [`with_state`](FnTool::with_state)).
    pub fn new<A, O, Fut, F>(name: &str, description: &str, body: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        O: Into<ToolOutput>,
        Fut: Future<Output = Result<O>> + Send + 'static,
        F: Fn(A, Run) -> Fut + Send + Sync + 'static,
    {
        Self::with_state(name, description, (), move |(), args, run| body(args, run))
    }

    /// A tool with shared state, cloned for each call.
    pub fn with_state<S, A, O, Fut, F>(name: &str, description: &str, state: S, body: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        A: DeserializeOwned + JsonSchema,
        O: Into<ToolOutput>,
        Fut: Future<Output = Result<O>> + Send + 'static,
        F: Fn(S, A, Run) -> Fut + Send + Sync + 'static,
    {
        let body = move |call: ToolCall, run: Run| -> BoxFuture<'static, Result<ToolOutput>> {
            match call.parse::<A>() {
                Ok(args) => {
                    let future = body(state.clone(), args, run);
                    Box::pin(async move { future.await.map(Into::into) })
                }
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        };
        Self { spec: ToolSpec::of::<A>(name, description), body: Box::new(body) }
    }
}

#[async_trait]
impl Tool for FnTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        (self.body)(call, run.clone()).await
    }
}
