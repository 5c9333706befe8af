//! JSON in answers: whole, partial, streamed, typed.

mod machine;
mod partial;
mod stream;
mod typed;

pub use partial::{parse_markdown, parse_partial};
pub use stream::JsonStream;
pub use typed::JsonParser;

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
