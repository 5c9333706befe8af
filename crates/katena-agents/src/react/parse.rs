//! A tolerant reader of ReAct text.

use serde_json::{Map, Value};

/// What a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed {
    Answer {
        text: String,
    },
    Action {
        thought: String,
        name: String,
        input: String,
    },
    /// With what to tell the model.
    Neither(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    Thought,
    Action,
    Input,
    Observation,
    Answer,
}

const LABELS: [(&str, Label); 8] = [
    ("thought", Label::Thought),
    ("action input", Label::Input),
    ("action_input", Label::Input),
    ("actioninput", Label::Input),
    ("action", Label::Action),
    ("observation", Label::Observation),
    ("final answer", Label::Answer),
    ("final_answer", Label::Answer),
];

/// The label that a line begins with, and where its content begins: `**Action:** x`, `### Action: x`, `ACTION : x`.
pub(crate) fn label(line: &str) -> Option<(Label, usize)> {
    let marks = |c: char| c.is_whitespace() || matches!(c, '*' | '#' | '_');
    let body = line.trim_start_matches(marks);
    for (word, label) in LABELS {
        let Some(head) = body.get(..word.len()) else { continue };
        if !head.eq_ignore_ascii_case(word) {
            continue;
        }
        let after = &body[word.len()..];
        let colon = after.trim_start_matches(marks);
        if let Some(content) = colon.strip_prefix(':') {
            let content = content.trim_start_matches(['*', '_']);
            return Some((label, line.len() - content.len()));
        }
    }
    None
}

const FORM: &str = "That can't be read. Write either\nAction: the name of one tool\nAction Input: its input as JSON\nor\nFinal Answer: the answer";

/// Reads a reply. The first action or answer counts; what follows an action's input is the model's own dream.
/// Text without any label is an answer.
pub(crate) fn parse(text: &str) -> Parsed {
    let (mut thought, mut action, mut input) = (String::new(), None::<String>, None::<String>);
    let mut current = None;
    let mut labelled = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let found = label(line);
        labelled |= found.is_some();
        let content = match found {
            Some((Label::Answer, from)) if action.as_deref().is_none_or(is_nothing) => {
                return Parsed::Answer { text: text[at + from..].trim().to_owned() };
            }
            Some((Label::Observation, _)) => break,
            Some((Label::Answer | Label::Thought | Label::Action, _)) if input.is_some() => break,
            Some((new, from)) => {
                current = Some(new);
                &line[from..]
            }
            None => line,
        };
        match current {
            Some(Label::Action) => action.get_or_insert_default().push_str(content),
            Some(Label::Input) => input.get_or_insert_default().push_str(content),
            _ => thought.push_str(content),
        }
        at += line.len();
    }
    let thought = thought.trim().to_owned();
    match action {
        Some(action) if !is_nothing(&action) => one_action(thought, &action, input),
        None if !labelled && !thought.is_empty() => Parsed::Answer { text: thought },
        _ => Parsed::Neither(FORM),
    }
}

fn is_nothing(action: &str) -> bool {
    let word = action.trim().trim_end_matches('.');
    ["", "none", "n/a", "no action", "no action needed"].iter().any(|w| word.eq_ignore_ascii_case(w))
}

fn one_action(thought: String, action: &str, input: Option<String>) -> Parsed {
    let whole = unfenced(action);
    // {"action": "search", "action_input": {…}}
    if whole.starts_with('{') {
        let Some(Value::Object(mut object)) = first_json(whole) else { return Parsed::Neither(FORM) };
        let name =
            ["action", "name", "tool"].iter().find_map(|k| object.get(*k)?.as_str().map(str::to_owned));
        let Some(name) = name else { return Parsed::Neither(FORM) };
        let value = ["action_input", "arguments", "input", "args", "parameters"]
            .iter()
            .find_map(|k| object.remove(*k))
            .unwrap_or_default();
        let text = match value {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        };
        if name.eq_ignore_ascii_case("final answer") {
            return Parsed::Answer { text };
        }
        return Parsed::Action { thought, name, input: text };
    }
    let line = whole.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().trim();
    let (name, bracketed) = match line.find(['(', '[']) {
        Some(at) if at > 0 => {
            let inner = line[at + 1..].trim_end().trim_end_matches([')', ']']);
            (&line[..at], Some(inner.to_owned()))
        }
        _ => (line, None),
    };
    let name = name.trim_matches(|c: char| c.is_whitespace() || "`'\"*.,:[]()".contains(c)).to_owned();
    if name.is_empty() {
        return Parsed::Neither(FORM);
    }
    let input = input.or(bracketed).unwrap_or_default();
    if name.eq_ignore_ascii_case("final answer") {
        return Parsed::Answer { text: input.trim().to_owned() };
    }
    Parsed::Action { thought, name, input: unfenced(&input).to_owned() }
}

/// The text inside a Markdown code fence, if it stands in one.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(body) = text.strip_prefix("```") else { return text };
    let body = body.split_once('\n').map_or(body, |(_language, rest)| rest);
    body.split_once("```").map_or(body, |(inside, _)| inside).trim()
}

fn first_json(text: &str) -> Option<Value> {
    serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok()
}

/// The input as a tool's arguments: an object as it is; anything else as the value of the tool's one property.
pub(crate) fn arguments(input: &str, schema: &Value) -> String {
    let input = input.trim();
    if input.starts_with('{') {
        // What follows the object is left out; what can't be read stays, for the check to say so.
        return first_json(input).map_or_else(|| input.to_owned(), |v| v.to_string());
    }
    let Some(properties) = schema["properties"].as_object().filter(|p| !p.is_empty()) else {
        return "{}".to_owned();
    };
    let Some(name) = only(properties, schema) else { return input.to_owned() };
    if input.is_empty() {
        return "{}".to_owned();
    }
    let text = match &properties[&name]["type"] {
        Value::String(kind) if kind == "string" => None,
        _ => first_json(input),
    };
    let unquoted = || match serde_json::from_str::<String>(input) {
        Ok(text) => text,
        Err(_) => input.trim_matches('`').to_owned(),
    };
    let value = text.unwrap_or_else(|| Value::String(unquoted()));
    Value::Object(Map::from_iter([(name, value)])).to_string()
}

fn only(properties: &Map<String, Value>, schema: &Value) -> Option<String> {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match (required.as_slice(), properties.len()) {
        ([one], _) if properties.contains_key(*one) => Some((*one).to_owned()),
        (_, 1) => properties.keys().next().cloned(),
        _ => None,
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
