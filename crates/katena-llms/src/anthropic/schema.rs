//! The vendor's subset of JSON Schema for structured answers.
//!
//! Source: the vendor's page "Structured outputs", section "JSON Schema limitations".

use std::collections::BTreeMap;

use katena_core::{Error, Result};
use serde_json::{Map, Value, json};

/// Formats of strings that the vendor keeps.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Keywords that say nothing about the answer.
const NOTES: [&str; 5] = ["$schema", "$id", "$anchor", "$comment", "examples"];

/// `schema` in the vendor's subset. Objects are closed; rules that the vendor does not enforce are told in the
/// description, so that the model knows them; whoever checks the answer checks it by the whole schema.
///
/// # Errors
/// Kind `Unsupported` for what the subset can't say at all: an object with free keys, a value of any type.
pub(super) fn adapt(schema: &Value) -> Result<Value> {
    let Value::Object(schema) = schema else {
        return Err(Error::unsupported("the vendor's schemas have no value of any type"));
    };
    // The rules are told in the order of their names, whatever order `serde_json` keeps.
    let (mut out, mut rules) = (Map::new(), BTreeMap::new());
    for (key, value) in schema {
        match key.as_str() {
            key if NOTES.contains(&key) => {}
            "type" | "enum" | "const" | "default" | "title" | "description" | "required" | "$ref" => {
                out.insert(key.clone(), value.clone());
            }
            "anyOf" | "allOf" | "oneOf" => {
                let list =
                    value.as_array().map(|l| l.iter().map(adapt).collect::<Result<_>>()).transpose()?;
                // One of several is told apart by the check; the vendor knows only "any of".
                let name = if key == "oneOf" { "anyOf" } else { key };
                out.insert(name.to_owned(), Value::Array(list.unwrap_or_default()));
            }
            "properties" | "$defs" | "definitions" => {
                let inner = value.as_object().into_iter().flatten();
                let inner = inner.map(|(name, s)| Ok((name.clone(), adapt(s)?))).collect::<Result<_>>()?;
                out.insert(key.clone(), Value::Object(inner));
            }
            "items" => {
                out.insert(key.clone(), adapt(value)?);
            }
            "format" if value.as_str().is_some_and(|f| FORMATS.contains(&f)) => {
                out.insert(key.clone(), value.clone());
            }
            "minItems" if value.as_u64().is_some_and(|n| n <= 1) => {
                out.insert(key.clone(), value.clone());
            }
            "additionalProperties" => {}
            _ => {
                rules.insert(key, value);
            }
        }
    }
    if out.contains_key("$ref") {
        // A reference stands alone.
        let siblings = ["type", "anyOf", "allOf", "properties", "items", "enum", "const"];
        if siblings.iter().any(|key| out.contains_key(*key)) || !rules.is_empty() {
            return Err(Error::unsupported("the vendor's schemas have no rules beside a reference"));
        }
        out.retain(|key, _| matches!(key.as_str(), "$ref" | "$defs" | "definitions"));
        return Ok(Value::Object(out));
    }
    if !["type", "anyOf", "allOf", "enum", "const"].iter().any(|key| out.contains_key(*key)) {
        if !out.contains_key("properties") {
            return Err(Error::unsupported("the vendor's schemas have no value of any type"));
        }
        out.insert("type".to_owned(), Value::from("object"));
    }
    if is_object(&out) {
        close(schema, &mut out)?;
    }
    if !rules.is_empty() {
        let said = out.get("description").and_then(Value::as_str).map(|d| format!("{d}\n"));
        let text = format!("{}Must keep to: {}", said.unwrap_or_default(), json!(rules));
        out.insert("description".to_owned(), Value::from(text));
    }
    Ok(Value::Object(out))
}

fn is_object(schema: &Map<String, Value>) -> bool {
    match schema.get("type") {
        Some(Value::String(t)) => t == "object",
        Some(Value::Array(types)) => types.iter().any(|t| t == "object"),
        _ => false,
    }
}

/// Closing an object narrows what the model may say. Where free keys are the point of it, nothing would be left.
fn close(schema: &Map<String, Value>, out: &mut Map<String, Value>) -> Result<()> {
    let free = match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => false,
        None | Some(Value::Bool(true)) => !schema.contains_key("properties") && !schema.contains_key("allOf"),
        Some(_) => true,
    };
    if free || schema.contains_key("patternProperties") {
        return Err(Error::unsupported("the vendor's schemas have no objects with free keys"));
    }
    out.insert("additionalProperties".to_owned(), Value::Bool(false));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_objects_and_tells_the_rules() {
        let schema = json!({"$schema": "x", "type": "object", "title": "T", "required": ["a"], "properties": {
            "a": {"type": "integer", "description": "How many.", "minimum": 0, "format": "uint32"},
            "b": {"type": ["string", "null"], "format": "date"},
            "c": {"oneOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
            "d": {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1},
        }});
        assert_eq!(
            adapt(&schema).unwrap(),
            json!({"type": "object", "title": "T", "required": ["a"], "additionalProperties": false, "properties": {
                "a": {"type": "integer",
                    "description": "How many.\nMust keep to: {\"format\":\"uint32\",\"minimum\":0}"},
                "b": {"type": ["string", "null"], "format": "date"},
                "c": {"anyOf": [{"type": "object", "properties": {}, "additionalProperties": false}, {"type": "null"}]},
                "d": {"type": "array", "minItems": 1,
                    "items": {"type": "string", "description": "Must keep to: {\"maxLength\":3}"}},
            }})
        );
    }

    #[test]
    fn references_stand_alone_and_are_followed() {
        let schema = json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {
            "next": {"$ref": "#/$defs/B", "description": "x"}}}, "B": {"enum": ["x"]}}});
        let adapted = adapt(&schema).unwrap();
        assert_eq!(adapted["$defs"]["A"]["properties"]["next"], json!({"$ref": "#/$defs/B"}));
        assert_eq!(adapted["$defs"]["A"]["additionalProperties"], json!(false));
    }

    #[test]
    fn what_can_not_be_said_is_unsupported() {
        for schema in [
            json!(true),
            json!({}),
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "properties": {"a": {}}}),
            json!({"$ref": "#/$defs/A", "minimum": 1}),
        ] {
            let kind = adapt(&schema).unwrap_err().kind();
            assert_eq!(kind, katena_core::ErrorKind::Unsupported, "{schema}");
        }
    }
}
