//! Templates that others include by name.

use std::collections::BTreeMap;
use std::fmt;

/// Named templates that a Handlebars, Jinja or Mustache template may include; the only place where it finds them.
///
/// ```
/// # #[cfg(feature = "handlebars")] {
/// use katena_prompts::{Format, Partials, PromptTemplate, vars};
/// let partials = Partials::new().with("greeting", "Dear {{name}}");
/// let template = PromptTemplate::with_partials(Format::Handlebars, "{{> greeting}}, hello.", &partials)?;
/// assert_eq!(template.render(&vars! { "name" => "Ada" })?, "Dear Ada, hello.");
/// # }
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Partials(BTreeMap<String, String>);

impl fmt::Debug for Partials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Partials {
    /// No partials.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one.
    pub fn with(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.0.insert(name.into(), text.into());
        self
    }

    /// The text of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All names and texts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}
