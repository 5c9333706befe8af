//! A template: text with variables, compiled once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, Error, Result, Run};
use serde_json::Value;

#[cfg(feature = "handlebars")]
use crate::engine::handlebars;
#[cfg(feature = "jinja")]
use crate::engine::jinja;
use crate::engine::mustache::Mustache;
use crate::format::Format;
use crate::fstring::FString;
use crate::partials::Partials;
use crate::vars::{Var, Vars};

/// The most bytes that a template with logic gives, unless set otherwise.
const MAX_BYTES: usize = 1 << 20;

/// Where a template finds its variables: those given, then those bound before.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) vars: &'a Vars,
    pub(crate) bound: &'a Vars,
}

impl<'a> Scope<'a> {
    pub(crate) fn find(&self, name: &str) -> Option<&'a Var> {
        self.vars.find(name).or_else(|| self.bound.find(name))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        if let Some(Var::Value(Value::String(text))) = self.find(name) { Some(text) } else { None }
    }
}

pub(crate) fn missing(name: &str) -> Error {
    Error::invalid_input("the prompt needs a variable that was not given").with_context("variable", name)
}

pub(crate) fn too_long(max_bytes: usize) -> Error {
    Error::invalid_input("the prompt became longer than allowed")
        .with_context("max_bytes", max_bytes.to_string())
}

pub(crate) fn no_text(name: &str) -> Error {
    Error::invalid_input("the variable is no text: it holds messages or a part")
        .with_context("variable", name)
}

enum Engine {
    FString(FString),
    #[cfg(feature = "handlebars")]
    Handlebars(Box<handlebars::Compiled>),
    #[cfg(feature = "jinja")]
    Jinja(Box<jinja::Compiled>),
    Mustache(Mustache),
}

/// Makes a value when a prompt is rendered.
type Maker = Arc<dyn Fn() -> Value + Send + Sync>;

/// Variables that are bound before the call.
#[derive(Clone, Default)]
pub(crate) struct Bound {
    values: Vars,
    makers: Vec<(Cow<'static, str>, Maker)>,
}

impl Bound {
    pub(crate) fn set(&mut self, name: Cow<'static, str>, value: Value) {
        self.makers.retain(|(n, _)| *n != name);
        self.values.set(name, Var::Value(value));
    }

    pub(crate) fn set_maker(&mut self, name: Cow<'static, str>, maker: Maker) {
        self.makers.retain(|(n, _)| *n != name);
        self.makers.push((name, maker));
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.names().chain(self.makers.iter().map(|(n, _)| n.as_ref()))
    }

    /// The values, with those made that the caller did not give.
    pub(crate) fn values(&self, given: &Vars) -> Cow<'_, Vars> {
        let mut values = Cow::Borrowed(&self.values);
        for (name, maker) in &self.makers {
            if given.find(name).is_none() {
                values.to_mut().set(name.clone(), Var::Value(maker()));
            }
        }
        values
    }
}

/// Names without repetitions, in order, less those that are bound.
pub(crate) fn free<'a>(names: impl Iterator<Item = &'a str>, bound: &Bound) -> Arc<[String]> {
    let mut list: Vec<String> = Vec::new();
    for name in names {
        if !list.iter().any(|n| n == name) && !bound.names().any(|n| n == name) {
            list.push(name.to_owned());
        }
    }
    list.into()
}

/// Text with variables, compiled once; also a chain from [`Vars`] to a text. Values are never expanded again.
///
/// A missing variable is an error (in Mustache it is empty text). Variables that the template does not name are ignored.
///
/// ```
/// use katena_prompts::{PromptTemplate, vars};
/// let template = PromptTemplate::fstring("{count:>3} × {thing}")?;
/// assert_eq!(template.variables(), ["count", "thing"]);
/// assert_eq!(template.render(&vars! { "count" => 7, "thing" => "{x}" })?, "  7 × {x}");
/// assert!(template.render(&vars! { "count" => 7 }).is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct PromptTemplate {
    engine: Arc<Engine>,
    format: Format,
    variables: Arc<[String]>,
    bound: Bound,
    max_bytes: usize,
}

impl fmt::Debug for PromptTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptTemplate")
            .field("format", &self.format)
            .field("variables", &self.variables)
            .finish_non_exhaustive()
    }
}

impl PromptTemplate {
    /// Compiles a template of that format.
    ///
    /// # Errors
    /// Kind `Config` with the line if the template is wrong; `Unsupported` if the format's feature is off.
    pub fn new(format: Format, text: &str) -> Result<Self> {
        Self::with_partials(format, text, &Partials::new())
    }

    /// Compiles a template that may include others by name: `{{> name}}` in Handlebars and Mustache,
    /// `{% include "name" %}` in Jinja. F-strings include nothing.
    ///
    /// # Errors
    /// Kind `Config` with the line if the template or a partial is wrong; `Unsupported` if the format's feature is off.
    pub fn with_partials(format: Format, text: &str, partials: &Partials) -> Result<Self> {
        let engine = match format {
            Format::FString => Engine::FString(FString::compile(text)?),
            #[cfg(feature = "handlebars")]
            Format::Handlebars => Engine::Handlebars(Box::new(handlebars::Compiled::new(text, partials)?)),
            #[cfg(feature = "jinja")]
            Format::Jinja => Engine::Jinja(Box::new(jinja::Compiled::new(text, partials)?)),
            Format::Mustache => Engine::Mustache(Mustache::compile(text, partials)?),
            #[cfg(not(all(feature = "handlebars", feature = "jinja")))]
            _ => {
                return Err(Error::unsupported("this template format's feature is off")
                    .with_context("format", format.as_str()));
            }
        };
        let max_bytes = if format == Format::FString { usize::MAX } else { MAX_BYTES };
        let variables = free(engine.names().into_iter(), &Bound::default());
        Ok(Self { engine: Arc::new(engine), format, variables, bound: Bound::default(), max_bytes })
    }

    /// Compiles an [f-string](Format::FString).
    ///
    /// # Errors
    /// Kind `Config` with the line if the template is wrong.
    pub fn fstring(text: impl AsRef<str>) -> Result<Self> {
        Self::new(Format::FString, text.as_ref())
    }

    /// Compiles a [Handlebars template](Format::Handlebars). Helpers: `if`, `unless`, `each`, `with`, `lookup`, `raw`, `eq`,
    /// `ne`, `gt`, `gte`, `lt`, `lte`, `and`, `or`, `not`, `len`, `json` and `join`.
    ///
    /// # Errors
    /// Kind `Config` with the line if the template is wrong or calls a helper that does not exist; `Unsupported` for
    /// partial blocks, inline partials and decorators.
    #[cfg(feature = "handlebars")]
    pub fn handlebars(text: impl AsRef<str>) -> Result<Self> {
        Self::new(Format::Handlebars, text.as_ref())
    }

    /// Compiles a [Jinja template](Format::Jinja).
    ///
    /// # Errors
    /// Kind `Config` with the line if the template is wrong.
    #[cfg(feature = "jinja")]
    pub fn jinja(text: impl AsRef<str>) -> Result<Self> {
        Self::new(Format::Jinja, text.as_ref())
    }

    /// Limits the rendered text, in bytes. Without it, f-strings are as long as their values make them, other formats end
    /// at 1 MiB.
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Binds a variable; a value given at the call wins.
    pub fn with_partial_value(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.bound.set(name.into(), value.into());
        self.rebound()
    }

    /// Binds a variable to what the function gives at each call, such as the day's date.
    pub fn with_partial_fn<V: Into<Value>>(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Fn() -> V + Send + Sync + 'static,
    ) -> Self {
        self.bound.set_maker(name.into(), Arc::new(move || value().into()));
        self.rebound()
    }

    fn rebound(mut self) -> Self {
        self.variables = free(self.engine.names().into_iter(), &self.bound);
        self
    }

    /// The template's language.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The variables that must be given, in the order of their first use.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Fills the template.
    ///
    /// # Errors
    /// Kind `InvalidInput` if a variable is missing or does not fit its place, or the text becomes too long.
    pub fn render(&self, vars: &Vars) -> Result<String> {
        self.fill(&Scope { vars, bound: &self.bound.values(vars) })
    }

    /// Fills the template within a larger prompt; what is bound here wins over what is bound there.
    pub(crate) fn render_in(&self, scope: &Scope<'_>) -> Result<String> {
        if self.bound.names().next().is_none() {
            return self.fill(scope);
        }
        let bound = scope.bound.clone().merged(self.bound.values(scope.vars).into_owned());
        self.fill(&Scope { vars: scope.vars, bound: &bound })
    }

    fn fill(&self, scope: &Scope<'_>) -> Result<String> {
        match &*self.engine {
            Engine::FString(template) => template.render(scope, self.max_bytes),
            #[cfg(feature = "handlebars")]
            Engine::Handlebars(template) => template.render(scope, self.max_bytes),
            #[cfg(feature = "jinja")]
            Engine::Jinja(template) => template.render(scope, self.max_bytes),
            Engine::Mustache(template) => template.render(scope, self.max_bytes),
        }
    }
}

impl Engine {
    fn names(&self) -> Vec<&str> {
        match self {
            Self::FString(template) => template.names().collect(),
            #[cfg(feature = "handlebars")]
            Self::Handlebars(template) => template.names().iter().map(String::as_str).collect(),
            #[cfg(feature = "jinja")]
            Self::Jinja(template) => template.names().iter().map(String::as_str).collect(),
            Self::Mustache(template) => template.names().iter().map(String::as_str).collect(),
        }
    }
}

#[async_trait]
impl Chain for PromptTemplate {
    type Input = Vars;
    type Output = String;
    async fn call(&self, input: Vars, _run: &Run) -> Result<String> {
        self.render(&input)
    }
}
