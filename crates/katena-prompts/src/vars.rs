//! What a prompt is filled with.

use std::borrow::Cow;
use std::fmt;

use katena_core::{Error, Message, Part, Result};
use serde::Serialize;
use serde_json::{Map, Value};

/// One variable's content.
#[derive(Clone, PartialEq)]
pub(crate) enum Var {
    Value(Value),
    Messages(Vec<Message>),
    Part(Box<Part>),
}

/// The variables of a prompt: a short list of names with texts, JSON values, messages or parts. The last value of a name
/// counts.
///
/// ```
/// use katena_core::Message;
/// use katena_prompts::{Vars, vars};
/// let vars = vars! { "question" => "Why?", "top" => 3 }
///     .with_messages("history", vec![Message::user("Hi"), Message::assistant("Hello")]);
/// assert_eq!(vars.text("question"), Some("Why?"));
/// assert_eq!(vars.messages("history").unwrap().len(), 2);
/// assert_eq!(Vars::of(&serde_json::json!({"a": 1}))?, vars! { "a" => 1 });
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Vars {
    list: Vec<(Cow<'static, str>, Var)>,
}

/// Names alone.
impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Vars {
    /// No variables.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// No variables yet, with room for some.
    pub fn with_capacity(count: usize) -> Self {
        Self { list: Vec::with_capacity(count) }
    }

    /// The fields of a struct or map as variables.
    ///
    /// # Errors
    /// Kind `InvalidInput` if it does not serialize as an object.
    pub fn of(value: &impl Serialize) -> Result<Self> {
        let value = serde_json::to_value(value)
            .map_err(|e| Error::invalid_input("the variables can't be serialized").with_source(e))?;
        match value {
            Value::Object(map) => Ok(map.into()),
            _ => Err(Error::invalid_input("variables come from a struct or map, not from a single value")),
        }
    }

    fn put(mut self, name: Cow<'static, str>, var: Var) -> Self {
        self.set(name, var);
        self
    }

    pub(crate) fn set(&mut self, name: Cow<'static, str>, var: Var) {
        match self.list.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = var,
            None => self.list.push((name, var)),
        }
    }

    /// Sets a text or another JSON value.
    pub fn with(self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.put(name.into(), Var::Value(value.into()))
    }

    /// Sets messages, for a [placeholder](crate::ChatPromptBuilder::placeholder).
    pub fn with_messages(self, name: impl Into<Cow<'static, str>>, messages: Vec<Message>) -> Self {
        self.put(name.into(), Var::Messages(messages))
    }

    /// Sets a part, such as an image.
    pub fn with_part(self, name: impl Into<Cow<'static, str>>, part: Part) -> Self {
        self.put(name.into(), Var::Part(Box::new(part)))
    }

    /// Adds the variables of `other`; hers win.
    pub fn merged(mut self, other: Vars) -> Self {
        for (name, var) in other.list {
            self.set(name, var);
        }
        self
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Var> {
        self.list.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The text or JSON value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        if let Some(Var::Value(value)) = self.find(name) { Some(value) } else { None }
    }

    /// The text of that name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// The messages of that name.
    pub fn messages(&self, name: &str) -> Option<&[Message]> {
        if let Some(Var::Messages(messages)) = self.find(name) { Some(messages) } else { None }
    }

    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<&Part> {
        if let Some(Var::Part(part)) = self.find(name) { Some(part) } else { None }
    }

    /// All names, in the order in which they were set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(n, _)| n.as_ref())
    }

    /// The number of variables.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl From<Map<String, Value>> for Vars {
    fn from(map: Map<String, Value>) -> Self {
        Self { list: map.into_iter().map(|(k, v)| (Cow::Owned(k), Var::Value(v))).collect() }
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<Value>> FromIterator<(N, V)> for Vars {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        pairs.into_iter().fold(Self::new(), |vars, (name, value)| vars.with(name, value))
    }
}

/// Variables by name: `vars! { "question" => q, "count" => 3 }`. Values are anything that is `Into<serde_json::Value>`.
///
/// ```
/// use katena_prompts::vars;
/// let vars = vars! { "question" => "Why?", "words" => vec!["a", "b"] };
/// assert_eq!(vars.names().collect::<Vec<_>>(), ["question", "words"]);
/// ```
#[macro_export]
macro_rules! vars {
    () => { $crate::Vars::new() };
    ($($name:expr => $value:expr),+ $(,)?) => {
        $crate::Vars::with_capacity([$($crate::__one!($name)),+].len())$(.with($name, $value))+
    };
}

/// Counts in [`vars!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __one {
    ($name:expr) => {
        ()
    };
}
