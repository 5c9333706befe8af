//! Prompts for Katena: templates, chat prompts, few-shot examples, prompt files, output parsers.
//!
//! ```
//! # futures_util::FutureExt::now_or_never(async {
//! use katena_core::{ChainExt, Role, fake::EchoChat};
//! use katena_prompts::{ChatPrompt, vars};
//! let prompt = ChatPrompt::fstring([(Role::System, "You are {role}."), (Role::User, "{question}")])?;
//! let chain = prompt.chat(EchoChat::new()).text();
//! let answer = chain.run(vars! { "role" => "an echo", "question" => "Who is there?" }).await?;
//! assert_eq!(answer, "Who is there?");
//! # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
//! ```

mod chat;
mod engine;
mod few_shot;
#[cfg(feature = "files")]
mod files;
mod format;
mod fstring;
mod parsers;
mod partials;
mod selector;
mod template;
#[cfg(test)]
mod test_random;
mod vars;

pub use chat::{ChatPrompt, ChatPromptBuilder};
pub use few_shot::{ExampleSelector, FewShot, FixedExamples, LengthSelector, SimilaritySelector};
#[cfg(feature = "files")]
pub use files::{Finding, LintReport, PromptFile, PromptLibrary, Reloaded, Severity, lint};
pub use format::Format;
#[cfg(feature = "datetime")]
pub use parsers::DateTimeParser;
pub use parsers::{
    BooleanParser, ChatParsed, CodeParser, CombinedParser, EnumParser, InTag, JsonParser, JsonStream,
    ListParser, LiveExt, OutputParser, ParseExt, Parsed, ParserInput, RegexDictParser, RegexParser,
    StreamParser, StreamReader, TagStream, XmlTag, XmlTags, parse_markdown, parse_partial,
};
pub use partials::Partials;
pub use selector::PromptSelector;
pub use template::PromptTemplate;
pub use vars::Vars;
