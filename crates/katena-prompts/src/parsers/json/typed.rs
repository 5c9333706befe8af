//! A typed value from an answer.

use std::fmt;
use std::marker::PhantomData;

use katena_core::{Error, Event, Result};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::machine::{Commas, Machine};
use crate::parsers::{JsonStream, OutputParser, StreamParser, StreamReader};

/// Values looked at in one text.
const MAX_VALUES: usize = 32;

/// Parses a `T` from JSON in a text: the whole text, or the first value in it that fits. Code fences, prose around, a byte
/// order mark, raw line breaks in texts and a comma before a closing bracket are forgiven; what is cut off is not.
///
/// Where the model has a schema mode of its own, `.chat(model).json::<T>()` is better: it uses that.
///
/// ```
/// use katena_prompts::{JsonParser, OutputParser};
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct City { name: String, people: u64 }
/// let parser = JsonParser::<City>::new();
/// let city = parser.parse("Of course!\n```json\n{\"name\": \"Delft\", \"people\": 109000,}\n```")?;
/// assert_eq!((city.name.as_str(), city.people), ("Delft", 109000));
/// assert!(parser.format_instructions().contains("\"people\""));
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct JsonParser<T> {
    schema: Value,
    output: PhantomData<fn() -> T>,
}

impl<T> Clone for JsonParser<T> {
    fn clone(&self) -> Self {
        Self { schema: self.schema.clone(), output: PhantomData }
    }
}

impl<T> fmt::Debug for JsonParser<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonParser").field("type", &std::any::type_name::<T>()).finish_non_exhaustive()
    }
}

impl<T: JsonSchema> Default for JsonParser<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: JsonSchema> JsonParser<T> {
    /// A parser that asks for `T`'s derived schema.
    pub fn new() -> Self {
        Self { schema: katena_core::ToolSpec::of::<T>("", "").parameters, output: PhantomData }
    }
}

impl<T> JsonParser<T> {
    /// A parser that asks for this schema.
    pub fn with_schema(schema: Value) -> Self {
        Self { schema, output: PhantomData }
    }

    /// The schema.
    pub fn schema(&self) -> &Value {
        &self.schema
    }
}

impl<T: DeserializeOwned + Send + 'static> OutputParser for JsonParser<T> {
    type Output = T;

    fn parse(&self, text: &str) -> Result<T> {
        let text = text.trim().trim_start_matches('\u{feff}');
        if let Ok(value) = serde_json::from_str(text) {
            return Ok(value);
        }
        let mut misfit = None;
        for value in values(text).take(MAX_VALUES) {
            match serde_json::from_value(value?) {
                Ok(value) => return Ok(value),
                Err(error) => {
                    misfit.get_or_insert_with(|| crate::parsers::brief(&error));
                }
            }
        }
        Err(match misfit {
            Some(why) => Error::invalid_output("the reply's JSON does not fit what was asked for")
                .with_context("reason", why),
            None => Error::invalid_output("the reply holds no JSON"),
        })
    }

    fn format_instructions(&self) -> String {
        format!(
            "Answer with one JSON value that fits this JSON Schema, and with nothing else:\n{}",
            self.schema
        )
    }
}

/// The objects and lists of a text, one after the other; then, if the last one was cut off, an error.
fn values(text: &str) -> impl Iterator<Item = Result<Value>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(start) = text[at..].find(['{', '[']).map(|n| at + n) {
            let mut machine = Machine::new(Commas::Trailing);
            let broken = text[start..].char_indices().find_map(|(n, c)| match machine.push(c) {
                Err(_) => Some((n, true)),
                Ok(()) if machine.is_done() => Some((n + c.len_utf8(), false)),
                Ok(()) => None,
            });
            match broken {
                Some((_, true)) => at = start + 1,
                Some((end, false)) => {
                    at = start + end;
                    return machine.into_root().map(Ok);
                }
                None => {
                    at = text.len();
                    return Some(Err(Error::invalid_output("the reply's JSON was cut off")));
                }
            }
        }
        None
    })
}

/// Shows a value whenever it has grown by a sixteenth, so that all values together stay linear in the text.
struct Growing {
    stream: JsonStream,
    bytes: usize,
    shown: usize,
}

impl Growing {
    fn event(&mut self) -> Option<Event> {
        let value = self.stream.value()?.clone();
        self.shown = self.bytes;
        Some(Event::Custom { name: "partial".to_owned(), value })
    }
}

impl StreamReader for Growing {
    fn push(&mut self, text: &str) -> Option<Event> {
        let done = self.stream.is_done();
        self.bytes += text.len();
        self.stream.push(text);
        (!done && self.bytes > self.shown + self.shown / 16).then(|| self.event())?
    }

    fn finish(&mut self) -> Option<Event> {
        (self.bytes > self.shown).then(|| self.event())?
    }
}

impl<T: DeserializeOwned + Send + 'static> StreamParser for JsonParser<T> {
    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(Growing { stream: JsonStream::new(), bytes: 0, shown: 0 })
    }
}
