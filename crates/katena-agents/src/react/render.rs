//! The conversation as ReAct text.

use std::fmt::Write as _;

use katena_core::{Message, Part, Result, Role, ToolResult};
use katena_prompts::Vars;

use crate::agent::{State, Turn};
use crate::prompt::{REACT, paragraph};

/// The messages of a request: how to use the tools, then the conversation with calls and results as text.
///
/// # Errors
/// Those of the prompt's template.
pub(crate) fn render(turn: &Turn<'_>, state: &State) -> Result<Vec<Message>> {
    let mut messages = Vec::with_capacity(state.messages.len() + 1);
    messages.push(Message::system(how(turn)?));
    messages.extend(state.messages.iter().map(as_text));
    Ok(messages)
}

fn how(turn: &Turn<'_>) -> Result<String> {
    let set = &turn.member.agent.set;
    let (mut tools, mut names) = (String::new(), Vec::new());
    for spec in turn.member.offered(turn.last) {
        // On one line: a description may come from outside and must not look like more than it is.
        let description = spec.description.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(tools, "- {}: {description} Input schema: {}", spec.name, spec.parameters);
        names.push(spec.name.as_str());
    }
    let form = turn
        .last
        .map(|last| format!(", as one JSON value that fits this JSON Schema: {}", last.spec.parameters));
    let vars = Vars::new()
        .with("instructions", paragraph(set.instructions.as_deref().unwrap_or_default()))
        .with("tools", tools)
        .with("tool_names", names.join(", "))
        .with("answer_form", form.unwrap_or_default());
    REACT.render(set.react_prompt.as_ref(), &vars)
}

fn as_text(message: &Message) -> Message {
    match message.role {
        Role::Assistant => Message::assistant(said(message)),
        Role::Tool => {
            let mut parts = Vec::new();
            for part in &message.parts {
                if let Part::ToolResult(result) = part {
                    observe(result, &mut parts);
                }
            }
            Message::new(Role::User, parts)
        }
        _ => message.clone(),
    }
}

fn said(message: &Message) -> String {
    let text = message.text();
    let mut calls = message.tool_calls().peekable();
    if calls.peek().is_none() {
        return format!("Final Answer: {text}");
    }
    let mut out = String::new();
    if !text.is_empty() {
        let _ = writeln!(out, "Thought: {text}");
    }
    for call in calls {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        let _ = writeln!(out, "Action: {}\nAction Input: {arguments}", call.name);
    }
    out
}

/// Each line is quoted, so that no keyword of ReAct stands at the beginning of one.
fn observe(result: &ToolResult, parts: &mut Vec<Part>) {
    let mut text = "Observation:\n".to_owned();
    let mut media = Vec::new();
    for part in &result.parts {
        match part {
            Part::Text { text: said } => {
                for line in said.split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}', '\u{b}', '\u{c}']) {
                    let _ = writeln!(text, "> {line}");
                }
            }
            other => media.push(other.clone()),
        }
    }
    parts.push(Part::text(text));
    parts.append(&mut media);
}
