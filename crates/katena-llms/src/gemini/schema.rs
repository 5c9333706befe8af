//! JSON schemas in the words that the protocol knows.
//!
//! What it does not know is kept as a note in the description where it says something about values, so that the
//! model still reads it; who validates the answer does so by the schema as it was given. Source: the vendor's page
//! on structured output.

use katena_core::{Error, Result};
use serde_json::{Map, Value, json};

/// Schemas nest no deeper than this.
const MAX_DEPTH: usize = 64;

/// Words that say nothing about values.
const NOTES: [&str; 10] = [
    "$schema",
    "$comment",
    "$vocabulary",
    "$dynamicAnchor",
    "examples",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "discriminator",
];

/// Words that limit values, but which the protocol does not know.
const UNKNOWN: [&str; 24] = [
    "pattern",
    "minLength",
    "maxLength",
    "multipleOf",
    "uniqueItems",
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "contains",
    "minContains",
    "maxContains",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "additionalItems",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// Formats of texts that the protocol knows.
const FORMATS: [&str; 3] = ["date-time", "date", "time"];

/// For `parametersJsonSchema` and `responseJsonSchema`.
pub(super) fn json_schema(schema: &Value) -> Result<Value> {
    adapt(schema, 0)
}

fn too_deep<T>() -> Result<T> {
    Err(Error::invalid_input("the schema nests deeper than the limit")
        .with_context("limit", MAX_DEPTH.to_string()))
}

fn adapt(schema: &Value, depth: usize) -> Result<Value> {
    if depth > MAX_DEPTH {
        return too_deep();
    }
    let Value::Object(schema) = schema else { return Ok(schema.clone()) };
    let mut out = Map::new();
    let mut notes = Vec::new();
    let source = flattened(schema);
    for (key, value) in &source {
        match key.as_str() {
            key if NOTES.contains(&key) => {}
            key if UNKNOWN.contains(&key) => notes.push(format!("{key}: {value}")),
            "const" => {
                out.insert("enum".to_owned(), json!([value]));
                if let (false, Some(kind)) = (source.contains_key("type"), type_of(value)) {
                    out.insert("type".to_owned(), json!(kind));
                }
            }
            "exclusiveMinimum" | "exclusiveMaximum" => exclusive(&source, key, value, &mut out, &mut notes),
            "format" => match value.as_str() {
                Some(format) if FORMATS.contains(&format) => {
                    out.insert(key.clone(), value.clone());
                }
                // Widths of numbers say nothing that minimum and maximum don't.
                Some(_) if !is_text(&source) => {}
                _ => notes.push(format!("format: {}", value.as_str().unwrap_or_default())),
            },
            "properties" | "$defs" | "definitions" => {
                let Value::Object(inner) = value else { continue };
                let inner: Map<String, Value> = inner
                    .iter()
                    .map(|(name, schema)| Ok((name.clone(), adapt(schema, depth + 1)?)))
                    .collect::<Result<_>>()?;
                let key = if key == "definitions" { "$defs" } else { key };
                out.insert(key.to_owned(), Value::Object(inner));
            }
            "items" | "additionalProperties" => {
                out.insert(key.clone(), adapt(value, depth + 1)?);
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                let Value::Array(list) = value else { continue };
                if key == "allOf" {
                    notes.push(format!("all of: {value}"));
                    continue;
                }
                let list = list.iter().map(|s| adapt(s, depth + 1)).collect::<Result<Vec<_>>>()?;
                // The protocol reads the one as the other.
                let key = if key == "oneOf" { "anyOf" } else { key };
                out.entry(key).or_insert_with(|| Value::Array(list));
            }
            "$ref" => {
                let place = value.as_str().unwrap_or_default().replacen("#/definitions/", "#/$defs/", 1);
                out.insert(key.clone(), json!(place));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    note(&mut out, &notes);
    if out.contains_key("$ref") {
        // Beside a reference the protocol takes only words that begin with a dollar.
        out.retain(|key, _| key.starts_with('$'));
    }
    Ok(Value::Object(out))
}

/// A list of one schema that must all fit is that schema.
fn flattened(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut out = schema.clone();
    let Some([Value::Object(only)]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) else {
        return out;
    };
    if only.keys().any(|key| key != "description" && key != "title" && schema.contains_key(key)) {
        return out;
    }
    out.remove("allOf");
    for (key, value) in only {
        out.entry(key.clone()).or_insert_with(|| value.clone());
    }
    out
}

fn exclusive(
    source: &Map<String, Value>,
    key: &str,
    value: &Value,
    out: &mut Map<String, Value>,
    notes: &mut Vec<String>,
) {
    let (plain, step) = if key == "exclusiveMinimum" { ("minimum", 1) } else { ("maximum", -1) };
    let whole = source.get("type").and_then(Value::as_str) == Some("integer");
    match value.as_i64().and_then(|n| n.checked_add(step)) {
        Some(n) if whole && !source.contains_key(plain) => {
            out.insert(plain.to_owned(), json!(n));
        }
        _ => notes.push(format!("{key}: {value}")),
    }
}

fn is_text(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|k| k == "string"),
        _ => true,
    }
}

fn type_of(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Null => "null",
        _ => return None,
    })
}

fn note(schema: &mut Map<String, Value>, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    let notes = format!("({})", notes.join("; "));
    let description = match schema.get("description").and_then(Value::as_str) {
        Some(text) if !text.is_empty() => format!("{text} {notes}"),
        _ => notes,
    };
    schema.insert("description".to_owned(), json!(description));
}

/// For `parameters` and `responseSchema`, a part of OpenAPI's schemas: no references, no lists of types.
///
/// # Errors
/// Kind `Unsupported` for a schema that refers to itself.
pub(super) fn open_api(schema: &Value) -> Result<Value> {
    let schema = json_schema(schema)?;
    let defs = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    plain(&schema, &defs, &mut Vec::new(), 0)
}

fn plain<'a>(
    schema: &'a Value,
    defs: &'a Map<String, Value>,
    within: &mut Vec<&'a str>,
    depth: usize,
) -> Result<Value> {
    if depth > MAX_DEPTH {
        return too_deep();
    }
    let Value::Object(schema) = schema else {
        // `true` takes any value.
        return Ok(json!({}));
    };
    if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
        let name = place.strip_prefix("#/$defs/").unwrap_or(place);
        if within.contains(&name) {
            return Err(Error::unsupported("a schema that refers to itself can't be written in this form"));
        }
        let target = defs.get(name).ok_or_else(|| {
            Error::invalid_input("the schema refers to a place that it has not")
                .with_context("place", place.to_owned())
        })?;
        within.push(name);
        let out = plain(target, defs, within, depth + 1);
        within.pop();
        return out;
    }
    let mut out = Map::new();
    let mut notes = Vec::new();
    for (key, value) in schema {
        match key.as_str() {
            "$defs" | "$id" | "$anchor" => {}
            "additionalProperties" | "prefixItems"
                if value != &Value::Bool(false) && value != &Value::Bool(true) =>
            {
                notes.push(format!("{key}: {value}"));
            }
            "additionalProperties" => {}
            "type" => types(value, &mut out),
            "enum" => choices(value, &mut out, &mut notes),
            "properties" => {
                let inner = value.as_object().into_iter().flatten();
                let inner: Map<String, Value> = inner
                    .map(|(name, schema)| Ok((name.clone(), plain(schema, defs, within, depth + 1)?)))
                    .collect::<Result<_>>()?;
                out.insert(key.clone(), Value::Object(inner));
            }
            "items" => {
                out.insert(key.clone(), plain(value, defs, within, depth + 1)?);
            }
            "anyOf" => {
                let mut list = Vec::new();
                for choice in value.as_array().into_iter().flatten() {
                    if choice.get("type").and_then(Value::as_str) == Some("null") {
                        out.insert("nullable".to_owned(), json!(true));
                    } else {
                        list.push(plain(choice, defs, within, depth + 1)?);
                    }
                }
                match (list.len(), list.pop()) {
                    (1, Some(Value::Object(only))) => {
                        for (key, value) in only {
                            out.entry(key).or_insert(value);
                        }
                    }
                    (_, Some(last)) => {
                        list.push(last);
                        out.insert(key.clone(), Value::Array(list));
                    }
                    _ => {}
                }
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    note(&mut out, &notes);
    Ok(Value::Object(out))
}

fn types(value: &Value, out: &mut Map<String, Value>) {
    let Value::Array(kinds) = value else {
        out.insert("type".to_owned(), value.clone());
        return;
    };
    let real: Vec<&Value> = kinds.iter().filter(|k| *k != "null").collect();
    if real.len() < kinds.len() {
        out.insert("nullable".to_owned(), json!(true));
    }
    match real.as_slice() {
        [] => {
            out.insert("type".to_owned(), json!("null"));
        }
        [one] => {
            out.insert("type".to_owned(), (*one).clone());
        }
        many => {
            let list: Vec<Value> = many.iter().map(|kind| json!({"type": kind})).collect();
            out.insert("anyOf".to_owned(), Value::Array(list));
        }
    }
}

/// Only texts can be listed.
fn choices(value: &Value, out: &mut Map<String, Value>, notes: &mut Vec<String>) {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    let texts: Vec<&Value> = list.iter().filter(|v| !v.is_null()).collect();
    if texts.iter().all(|v| v.is_string()) {
        if texts.len() < list.len() {
            out.insert("nullable".to_owned(), json!(true));
        }
        out.insert("enum".to_owned(), json!(texts));
    } else {
        notes.push(format!("one of: {value}"));
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
