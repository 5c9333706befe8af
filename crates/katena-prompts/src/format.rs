//! The languages that a template may be written in.

use std::fmt;

/// The language of a template.
///
/// ```
/// use katena_prompts::{Format, PromptTemplate, vars};
/// let template = PromptTemplate::new(Format::FString, "Hello {name}")?;
/// assert_eq!(template.render(&vars! { "name" => "Ada" })?, "Hello Ada");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Python's `str.format` with names alone: `{name}`, `{price:.2f}`, `{{` for a brace. No logic.
    #[default]
    FString,
    /// Handlebars, strict: `{{name}}`, `{{#each items}}`. Needs the feature `handlebars`.
    Handlebars,
    /// A subset of Jinja, strict: `{{ name }}`, `{% for x in items %}`. Needs the feature `jinja`.
    Jinja,
    /// Mustache, for templates that exist already: a missing name is empty text, and `{{name}}` is escaped for HTML.
    Mustache,
}

impl Format {
    /// The format's name, as prompt files write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FString => "f-string",
            Self::Handlebars => "handlebars",
            Self::Jinja => "jinja",
            Self::Mustache => "mustache",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::FString, Self::Handlebars, Self::Jinja, Self::Mustache]
            .into_iter()
            .find(|f| f.as_str() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
