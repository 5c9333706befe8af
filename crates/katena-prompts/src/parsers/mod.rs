//! Output parsers: typed values from a model's text.

mod chain;
mod choice;
mod code;
mod combined;
#[cfg(feature = "datetime")]
mod datetime;
mod json;
mod list;
mod live;
mod pattern;
mod xml;

use katena_core::Result;

pub use chain::{ParseExt, Parsed, ParserInput};
pub use choice::{BooleanParser, EnumParser};
pub use code::CodeParser;
pub use combined::CombinedParser;
#[cfg(feature = "datetime")]
pub use datetime::DateTimeParser;
pub use json::{JsonParser, JsonStream, parse_markdown, parse_partial};
pub use list::ListParser;
pub use live::{ChatParsed, LiveExt, StreamParser, StreamReader};
pub use pattern::{RegexDictParser, RegexParser};
pub use xml::{InTag, TagStream, XmlTag, XmlTags};

/// Turns a model's text into a value.
///
/// # Contract
/// - What does not fit is an error of kind `InvalidOutput` that says what is wrong, and never holds the whole text.
/// - Any text, however long or broken, gives a value or an error in time linear in its length.
///
/// ```
/// use katena_core::{Error, Result};
/// use katena_prompts::OutputParser;
/// #[derive(Debug)]
/// struct Shout;
/// impl OutputParser for Shout {
///     type Output = String;
///     fn parse(&self, text: &str) -> Result<String> {
///         if text.is_empty() { Err(Error::invalid_output("the reply is empty")) } else { Ok(text.to_uppercase()) }
///     }
///     fn format_instructions(&self) -> String {
///         "Say anything.".to_owned()
///     }
/// }
/// assert_eq!(Shout.parse("hey")?, "HEY");
/// # Ok::<(), katena_core::Error>(())
/// ```
pub trait OutputParser: std::fmt::Debug + Send + Sync {
    /// What comes out.
    type Output: Send + 'static;

    /// Reads a text.
    fn parse(&self, text: &str) -> Result<Self::Output>;

    /// What to tell the model so that its answer can be read; empty if there is nothing to tell.
    fn format_instructions(&self) -> String;
}

/// An error's words, cut: they may quote the text.
pub(crate) fn brief(error: &impl ToString) -> String {
    let words = error.to_string();
    match words.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}
