//! What an answer must look like that has to be a call.

use std::fmt;

use katena_core::{Error, Result, ToolSpec};
use serde_json::{Value, json};

use super::formats::{Format, plain_name};
use super::tags::{Kind, Lines, Tags, kind};
use crate::sample::Part;

/// An answer that is one call: `prefix`, which is part of the prompt, then one of `alternatives`.
#[derive(Clone, PartialEq)]
pub(crate) struct ForcedCall {
    pub(crate) prefix: String,
    /// At least one; one for each tool that may be called.
    pub(crate) alternatives: Vec<Vec<Part>>,
}

impl fmt::Debug for ForcedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForcedCall").field("tools", &self.alternatives.len()).finish_non_exhaustive()
    }
}

impl Format {
    /// A call of one of `tools`, of which there is at least one.
    ///
    /// # Errors
    /// `Unsupported` if the format can't state a tool's arguments, naming tool and parameter.
    pub(crate) fn forced(&self, tools: &[&ToolSpec]) -> Result<ForcedCall> {
        self.call(tools).map_err(|e| e.with_context("format", self.name))
    }

    fn call(&self, tools: &[&ToolSpec]) -> Result<ForcedCall> {
        let [open, between, after] = self.forced;
        let mut alternatives = Vec::with_capacity(tools.len());
        let mut prefix = open.to_owned();
        // A space at the end of a prompt keeps the model from its usual token for what follows.
        let (begin, gap) = match between.strip_suffix(' ') {
            Some(begin) => (begin, " "),
            None => (between, ""),
        };
        let single = tools.len() == 1 && tools.iter().all(|t| plain_name(&t.name).is_some());
        for tool in tools {
            let name = if open.ends_with('"') { json_inside(&tool.name) } else { plain(tool)?.to_owned() };
            let mut pieces = if single {
                prefix.push_str(&name);
                prefix.push_str(begin);
                vec![Part::Literal(gap.to_owned())]
            } else {
                vec![Part::Literal(format!("{name}{between}"))]
            };
            match self.tags {
                Some(tags) => pieces.extend(tagged(tags, tool, self.closes)?),
                None => pieces.extend([Part::Json(arguments(tool)), Part::Literal(after.to_owned())]),
            }
            pieces.retain(|piece| !matches!(piece, Part::Literal(text) if text.is_empty()));
            alternatives.push(pieces);
        }
        Ok(ForcedCall { prefix, alternatives })
    }
}

/// The tool's schema; arguments are an object whatever it says.
fn arguments(tool: &ToolSpec) -> Value {
    match &tool.parameters {
        Value::Object(schema) if schema.contains_key("type") => tool.parameters.clone(),
        Value::Object(schema) if !schema.is_empty() => {
            let mut schema = schema.clone();
            schema.insert("type".to_owned(), json!("object"));
            Value::Object(schema)
        }
        _ => json!({"type": "object"}),
    }
}

fn json_inside(name: &str) -> String {
    let quoted = Value::from(name).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn plain(tool: &ToolSpec) -> Result<&str> {
    plain_name(&tool.name).ok_or_else(|| {
        Error::unsupported("the model's call format can't state this tool's name")
            .with_context("tool", tool.name.clone())
    })
}

/// Parameters in tags, in the order of the schema.
fn tagged(tags: &Tags, tool: &ToolSpec, closes: &[&str]) -> Result<Vec<Part>> {
    let no = |what: &str| {
        Error::unsupported("the model's call format can't hold arguments to this schema")
            .with_context("tool", tool.name.clone())
            .with_context("schema", what.to_owned())
    };
    let empty = serde_json::Map::new();
    let schema = tool.parameters.as_object().unwrap_or(&empty);
    const KNOWN: [&str; 9] = [
        "type",
        "properties",
        "required",
        "title",
        "description",
        "$schema",
        "additionalProperties",
        "$defs",
        "definitions",
    ];
    if let Some(key) = schema.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        return Err(no(key));
    }
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if let Some(missing) = required.iter().find(|name| !properties.contains_key(**name)) {
        return Err(no(missing));
    }
    let line = if tags.lines == Lines::Own { "\n" } else { "" };
    let mut pieces = Vec::new();
    for (key, property) in properties {
        if key.contains(|c: char| c.is_whitespace() || "<>\"".contains(c)) {
            return Err(no(key));
        }
        let gap = if tags.value.0.is_empty() { "" } else { "\n" };
        let before = format!("{}{key}{}{gap}{}{line}", tags.key.0, tags.key.1, tags.value.0);
        let value = match kind(std::slice::from_ref(tool), &tool.name, key) {
            Kind::Json => {
                let mut schema = property.clone();
                for shared in ["$defs", "definitions"] {
                    if let (Some(defs), Some(own)) = (tool.parameters.get(shared), schema.as_object_mut()) {
                        own.insert(shared.to_owned(), defs.clone());
                    }
                }
                Part::Json(schema)
            }
            Kind::Text => text_value(property).ok_or_else(|| no(key))?,
        };
        let whole = vec![Part::Literal(before), value, Part::Literal(format!("{line}{}\n", tags.value.1))];
        if required.contains(&key.as_str()) {
            pieces.extend(whole);
        } else {
            pieces.push(Part::Optional(whole));
        }
    }
    let mut end = tags.ends[0].to_owned();
    if let Some(close) = closes.first().filter(|close| **close != end) {
        end.push('\n');
        end.push_str(close);
    }
    pieces.push(Part::Literal(end));
    Ok(pieces)
}

/// What a text may be; `None` if its schema says more than a tag can hold to.
fn text_value(property: &Value) -> Option<Part> {
    const FREE: [&str; 6] = ["type", "title", "description", "default", "examples", "enum"];
    let schema = property.as_object()?;
    if schema.keys().any(|k| !FREE.contains(&k.as_str())) {
        return None;
    }
    match schema.get("enum") {
        None => Some(Part::Text),
        Some(list) => {
            let texts: Option<Vec<String>> =
                list.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect();
            texts.filter(|t| !t.is_empty()).map(Part::OneOf)
        }
    }
}

#[cfg(test)]
#[path = "forced_tests.rs"]
mod tests;
