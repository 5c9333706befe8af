//! Looks at the calls of a turn before any of them runs.

use std::collections::HashSet;

use katena_core::{FinishReason, Message, Part, ToolCall, ToolResult};
use serde_json::{Map, Value, json};

use super::calls::{shorten, told};
use super::limits::Limits;
use super::looping::Member;
use super::typed::FinalTool;

/// What is to be done with a call.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Run it.
    Run,
    /// Hand over to the member of this number.
    Transfer(usize),
    /// It is the answer.
    Final,
    /// Not run; this is the result.
    Told(ToolResult),
}

#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) call: ToolCall,
    pub(crate) verdict: Verdict,
    /// Wrong in form: the model has to write it anew.
    pub(crate) malformed: bool,
}

/// Checks the calls of a message and gives each an id of its own. Arguments that are no JSON object are taken out of the
/// message too: most vendors refuse a conversation with them in it.
pub(crate) fn check(
    member: &Member,
    last: Option<&FinalTool>,
    limits: &Limits,
    message: &mut Message,
    earlier: &[Message],
    finish: &FinishReason,
) -> Vec<Checked> {
    let mut ids: HashSet<String> =
        earlier.iter().flat_map(Message::tool_calls).map(|c| c.id.clone()).collect();
    let mut checked = Vec::new();
    for part in &mut message.parts {
        let Part::ToolCall(call) = part else { continue };
        rename(call, &mut ids);
        let verdict = if checked.len() >= limits.calls {
            let message = format!("more than {} calls in one turn; this one was not run", limits.calls);
            Err(told(call, "invalid_output", message, true, "Make fewer calls at once."))
        } else if *finish == FinishReason::Length {
            let words = "the reply was cut off at the token limit, so none of its calls was run";
            Err(told(call, "invalid_output", words, true, "Make fewer or shorter calls."))
        } else {
            decide(member, last, limits, call)
        };
        // The text that was read stays; the transcript gets what every vendor takes.
        let original = call.clone();
        if verdict.is_err() && object(&call.arguments, limits).is_err() {
            let mut start = std::mem::take(&mut call.arguments);
            shorten(&mut start, 200);
            call.arguments = json!({"unreadable": start}).to_string();
        }
        checked.push(match verdict {
            Ok(verdict) => Checked { call: original, verdict, malformed: false },
            Err(result) => Checked { call: call.clone(), verdict: Verdict::Told(result), malformed: true },
        });
    }
    checked
}

fn rename(call: &mut ToolCall, ids: &mut HashSet<String>) {
    if call.id.is_empty() || ids.contains(&call.id) {
        let base = if call.id.is_empty() { "call" } else { &call.id };
        // One of these is free: there are more of them than ids.
        let mut numbers = 2..=ids.len() + 2;
        let fresh = numbers.find_map(|n| Some(format!("{base}_{n}")).filter(|id| !ids.contains(id)));
        call.id = fresh.unwrap_or_default();
    }
    ids.insert(call.id.clone());
}

fn decide(
    member: &Member,
    last: Option<&FinalTool>,
    limits: &Limits,
    call: &ToolCall,
) -> Result<Verdict, ToolResult> {
    let toolbox = &member.agent.set.toolbox;
    let (verdict, schema) = if let Some(n) = toolbox.find(&call.name) {
        (Verdict::Run, &toolbox.entries[n].tool.spec().parameters)
    } else if let Some(transfer) = member.transfers.iter().find(|t| t.spec.name == call.name) {
        (Verdict::Transfer(transfer.to), &transfer.spec.parameters)
    } else if let Some(last) = last.filter(|l| l.spec.name == call.name) {
        (Verdict::Final, &last.spec.parameters)
    } else {
        let names: Vec<&str> = member.offered(last).map(|s| s.name.as_str()).collect();
        let mut message = format!("there is no tool `{}`", call.name);
        shorten(&mut message, 200);
        let hint = format!("The tools are: {}.", names.join(", "));
        return Err(told(call, "not_found", message, true, &hint));
    };
    let hint = "Call the tool again with arguments that fit its schema.";
    let wrong = |problem: String| told(call, "invalid_output", problem, true, hint);
    let arguments = object(&call.arguments, limits).map_err(wrong)?;
    match mismatch(schema, &arguments) {
        Some(problem) => Err(wrong(problem)),
        None => Ok(verdict),
    }
}

/// The arguments as an object; empty text counts as `{}`.
pub(crate) fn object(text: &str, limits: &Limits) -> Result<Map<String, Value>, String> {
    if text.len() > limits.argument_bytes {
        return Err(format!("the arguments are longer than {} bytes", limits.argument_bytes));
    }
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("the arguments are no JSON object".to_owned()),
        // serde_json stops at 128 levels.
        Err(error) => Err(format!("the arguments are no JSON: {error}")),
    }
}

/// What the schema's first level forbids. The rest is the tool's own to check when it parses.
fn mismatch(schema: &Value, arguments: &Map<String, Value>) -> Option<String> {
    let required = schema["required"].as_array();
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if !arguments.contains_key(name) {
            return Some(format!("the argument `{name}` is missing"));
        }
    }
    let properties = schema["properties"].as_object()?;
    for (name, value) in arguments {
        let Some(expected) = properties.get(name).and_then(|p| p.get("type")) else { continue };
        let kinds: Vec<&str> = match expected {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => continue,
        };
        if !value.is_null() && !kinds.is_empty() && !kinds.iter().any(|kind| is(value, kind)) {
            return Some(format!("the argument `{name}` must be of type {}", kinds.join(" or ")));
        }
    }
    None
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}
