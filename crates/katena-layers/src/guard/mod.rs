//! Checks of what goes in and what comes out.

mod chat;
mod checks;
mod others;
mod stream;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Context, Error, ErrorKind, Result, Role};

pub use checks::{Action, DenyWords, MaxLength, Pii, PiiKind};

/// What a check thinks of a text.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It may go on.
    Pass,
    /// This goes on in its place.
    Redact(String),
    /// Nothing goes on; the reason goes to the caller and must not repeat the text.
    Refuse(String),
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "Pass",
            Self::Redact(_) => "Redact",
            Self::Refuse(_) => "Refuse",
        })
    }
}

/// Looks at one text: a part of a message, a tool's arguments, a passage.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{Context, Result};
/// use katena_layers::{Check, Verdict};
///
/// #[derive(Debug)]
/// struct NoShouting;
///
/// #[async_trait::async_trait]
/// impl Check for NoShouting {
///     fn name(&self) -> &str {
///         "no_shouting"
///     }
///     fn window(&self) -> Option<usize> {
///         None
///     }
///     async fn check(&self, text: &str, _context: &Context) -> Result<Verdict> {
///         let loud = text.len() > 20 && !text.contains(char::is_lowercase);
///         Ok(if loud { Verdict::Redact(text.to_lowercase()) } else { Verdict::Pass })
///     }
/// }
/// assert_eq!(NoShouting.check("hello", &Context::new()).await.unwrap(), Verdict::Pass);
/// # }).unwrap();
/// ```
#[async_trait]
pub trait Check: fmt::Debug + Send + Sync {
    /// Its name, for errors and logs.
    fn name(&self) -> &str;

    /// The longest stretch of a text, in bytes, that it must see at once, borders included. A streamed text is then let go
    /// but for its last so many bytes as long as the check passes what has come. `None`: it must see the whole text, and a
    /// stream is held back until a part is complete.
    fn window(&self) -> Option<usize>;

    /// The verdict. An error ends the call: what could not be checked goes nowhere.
    async fn check(&self, text: &str, context: &Context) -> Result<Verdict>;
}

/// Lets texts pass, changes them or refuses them, before the component sees them and before the caller sees its answer. For
/// chat models, embedders (texts), retrievers (query and passages) and tools (arguments and output).
///
/// - **Input checks** see every text of every message, one part at a time: text, tool results, arguments of earlier tool
///   calls; system messages only [`with_system_checked`](Guard::with_system_checked). Media are not looked at.
/// - **Output checks** see every text of the answer: text, reasoning, refusals, arguments of tool calls, opaque vendor items as
///   JSON. If one redacts, the vendor's raw reply and log-probabilities are left out of the response, as they hold the text too,
///   and so is the signature of redacted reasoning.
/// - **Streams**: nothing leaves that a check has not seen. A part is held back until it is complete, or, if every output
///   check has a [window](Check::window), but for that window; from the first objection on it is held back until its end, where the
///   verdict is taken on the whole part.
/// - Checks run in the order in which they were added, each on what the one before left. A refusal is an error of kind
///   `Refused` with the check's name and reason. Texts are never logged.
///
/// Place it outside of the cache, so that a new rule holds for old answers too, and input that was redacted is nowhere stored.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::EchoChat};
/// use katena_layers::{Guard, Pii};
/// let model = EchoChat::new().layer(Guard::new().with_input(Pii::new()));
/// let answer = model.generate(&ChatRequest::new([Message::user("I am ann@example.com")])).await.unwrap();
/// assert_eq!(answer.text(), "I am [email]");
/// # });
/// ```
#[derive(Clone, Default)]
pub struct Guard {
    input: Arc<[Arc<dyn Check>]>,
    output: Arc<[Arc<dyn Check>]>,
    system: System,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum System {
    #[default]
    Trusted,
    Checked,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            |checks: &[Arc<dyn Check>]| checks.iter().map(|c| c.name().to_owned()).collect::<Vec<_>>();
        f.debug_struct("Guard")
            .field("input", &names(&self.input))
            .field("output", &names(&self.output))
            .field("system", &self.system)
            .finish()
    }
}

impl Guard {
    /// Without checks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check of what goes in.
    pub fn with_input(mut self, check: impl Check + 'static) -> Self {
        self.input = self.input.iter().cloned().chain([Arc::new(check) as _]).collect();
        self
    }

    /// Adds a check of what comes out.
    pub fn with_output(mut self, check: impl Check + 'static) -> Self {
        self.output = self.output.iter().cloned().chain([Arc::new(check) as _]).collect();
        self
    }

    /// Checks system messages too.
    pub fn with_system_checked(mut self) -> Self {
        self.system = System::Checked;
        self
    }

    fn checks_role(&self, role: Role) -> bool {
        role != Role::System || self.system == System::Checked
    }
}

/// A text as the checks leave it; `None` if they let it pass as it is.
async fn apply(
    checks: &[Arc<dyn Check>],
    side: &'static str,
    text: &str,
    context: &Context,
) -> Result<Option<String>> {
    let mut changed: Option<String> = None;
    for check in checks {
        match check.check(changed.as_deref().unwrap_or(text), context).await? {
            Verdict::Pass => {}
            Verdict::Redact(new) => {
                tracing::debug!(check = check.name(), side, "a guard redacted a text");
                changed = Some(new);
            }
            Verdict::Refuse(reason) => {
                tracing::debug!(check = check.name(), side, "a guard refused a text");
                return Err(Error::new(ErrorKind::Refused, "a guard refused the text")
                    .with_context("check", check.name().to_owned())
                    .with_context("side", side)
                    .with_context("reason", reason));
            }
        }
    }
    Ok(changed.filter(|c| c != text))
}

/// Changes a text in place; `true` if it changed.
async fn apply_to(
    checks: &[Arc<dyn Check>],
    side: &'static str,
    text: &mut String,
    context: &Context,
) -> Result<bool> {
    if checks.is_empty() || text.is_empty() {
        return Ok(false);
    }
    match apply(checks, side, text, context).await? {
        Some(new) => {
            *text = new;
            Ok(true)
        }
        None => Ok(false),
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
