//! Tools as text, for models without tool calls: thought, action, observation (Yao et al. 2022, <https://arxiv.org/abs/2210.03629>).
//!
//! The conversation itself keeps tool calls and results as parts; only what the model sees and says is text. So a memory
//! holds the same turns whatever model made them. Only the model's own reply is parsed: text in an observation can't act.

mod parse;
mod render;
mod stream;

use katena_core::{ChatResponse, FinishReason, Part, ToolCall};

use crate::agent::{State, Turn};
use parse::{Parsed, arguments, parse};

pub(crate) use render::render;
pub(crate) use stream::ask;

/// Where the model stops to wait for the tool.
pub(crate) const STOP: &str = "\nObservation:";

/// Turns the model's text into an answer or a tool call.
///
/// # Errors
/// What to tell the model if the text is neither.
pub(crate) fn read(raw: ChatResponse, turn: &Turn<'_>, state: &State) -> Result<ChatResponse, String> {
    if raw.tool_calls().next().is_some() {
        return Ok(raw);
    }
    let mut parts = rest(&raw);
    let finish = match parse(&raw.text()) {
        Parsed::Answer { text } => {
            parts.push(Part::text(text));
            raw.finish.clone()
        }
        Parsed::Action { thought, name, input } => {
            if !thought.is_empty() {
                parts.push(Part::text(thought));
            }
            let spec = turn.member.offered(turn.last).find(|s| s.name == name);
            let arguments = spec.map_or_else(|| input.clone(), |s| arguments(&input, &s.parameters));
            // Cut off in the middle, the input may still look whole.
            let cut = raw.finish == FinishReason::Length;
            parts.push(Part::ToolCall(ToolCall::new(format!("step_{}", state.steps), name, arguments)));
            if cut { FinishReason::Length } else { FinishReason::ToolCalls }
        }
        Parsed::Neither(problem) => return Err(problem.to_owned()),
    };
    let mut response = raw;
    response.message.parts = parts;
    response.finish = finish;
    Ok(response)
}

/// A last answer: whatever the model says counts, without the form around it.
pub(crate) fn final_answer(mut raw: ChatResponse) -> ChatResponse {
    if let Parsed::Answer { text } = parse(&raw.text()) {
        raw.message.parts = vec![Part::text(text)];
    }
    raw
}

fn rest(raw: &ChatResponse) -> Vec<Part> {
    raw.message.parts.iter().filter(|p| !matches!(p, Part::Text { .. })).cloned().collect()
}
