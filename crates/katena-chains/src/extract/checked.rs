//! Typed replies that must also make sense: what does not is sent back once, with the reason.

use katena_core::{ChatRequest, Error, Message, Result, Run, extract_in};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::llm::ask::Ask;

/// The text as data for a frame of the prompt, which it can't close.
pub(crate) fn harmless(text: &str) -> String {
    text.trim().replace("</", "‹/")
}

/// Refuses a text without words.
pub(crate) fn with_words(text: &str) -> Result<()> {
    if text.trim().is_empty() { Err(Error::invalid_input("the text has no words")) } else { Ok(()) }
}

/// The beginning of what a model said, for errors.
pub(crate) fn short(words: &str) -> String {
    const MOST: usize = 64;
    let mut short: String = words.chars().take(MOST).collect();
    if short.len() < words.len() {
        short.push('…');
    }
    short
}

/// Asks for an `R` and gives what `check` makes of it. A reason of `check` goes back to the model once.
///
/// # Errors
/// `InvalidOutput` with the second reason, and those of [`extract_in`].
pub(crate) async fn checked<R, U>(
    ask: &Ask,
    mut request: ChatRequest,
    run: &Run,
    check: impl Fn(&R) -> Result<U, String> + Send,
) -> Result<U>
where
    R: JsonSchema + DeserializeOwned + Serialize + Send,
{
    let mut repaired = false;
    loop {
        let reply: R = extract_in(run, &*ask.model, request.clone()).await?;
        let reason = match check(&reply) {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if repaired {
            return Err(Error::invalid_output(reason));
        }
        repaired = true;
        let said = serde_json::to_string(&reply)
            .map_err(|e| Error::unexpected("a reply can't be written back").with_source(e))?;
        request.messages.push(Message::assistant(said));
        let words = format!("That does not fit: {reason}. Answer again, with the corrected JSON alone.");
        request.messages.push(Message::user(words));
    }
}
