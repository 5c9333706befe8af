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
mod format;
mod fstring;
mod partials;
mod template;
mod vars;

pub use chat::{ChatPrompt, ChatPromptBuilder};
pub use format::Format;
pub use partials::Partials;
pub use template::PromptTemplate;
pub use vars::Vars;
