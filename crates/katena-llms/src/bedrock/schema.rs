//! JSON schemas in the form that structured answers take.

use katena_core::{Error, Result};
use serde_json::{Map, Value};

/// Rules that the service does not enforce; they are told in the description instead.
const RULES: [&str; 16] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
];

/// `schema` with closed objects and without the rules that the service refuses; who checks the answer uses the whole
/// schema.
///
/// # Errors
/// Kind `Unsupported` for objects with free keys, which can't be closed.
pub(super) fn adapt(schema: &Value) -> Result<Value> {
    let Value::Object(schema) = schema else { return Ok(schema.clone()) };
    let (mut out, mut rules) = (Map::new(), Map::new());
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("$schema" | "$id" | "$comment" | "examples", _) => {}
            ("properties" | "$defs" | "definitions", Value::Object(inner)) => {
                let inner = inner.iter().map(|(name, s)| Ok((name.clone(), adapt(s)?)));
                out.insert(key.clone(), Value::Object(inner.collect::<Result<_>>()?));
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(list)) => {
                let list = list.iter().map(adapt).collect::<Result<_>>()?;
                // Which one of several it is, the check tells; the service knows "any of".
                let key = if key == "oneOf" { "anyOf" } else { key };
                out.insert(key.to_owned(), Value::Array(list));
            }
            ("items", value) => {
                out.insert(key.clone(), adapt(value)?);
            }
            (name, value) if RULES.contains(&name) => {
                rules.insert(key.clone(), value.clone());
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    let object = schema.contains_key("properties")
        || match schema.get("type") {
            Some(Value::String(t)) => t == "object",
            Some(Value::Array(types)) => types.iter().any(|t| t == "object"),
            _ => false,
        };
    if object {
        let free = match schema.get("additionalProperties") {
            None | Some(Value::Bool(true)) => !schema.contains_key("properties"),
            Some(Value::Bool(false)) => false,
            Some(_) => true,
        };
        if free || schema.contains_key("patternProperties") {
            return Err(Error::unsupported("structured answers of Bedrock have no objects with free keys"));
        }
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if !rules.is_empty() {
        let said =
            out.get("description").and_then(Value::as_str).map(|d| format!("{d}\n")).unwrap_or_default();
        out.insert("description".to_owned(), format!("{said}Must fit: {}", Value::Object(rules)).into());
    }
    Ok(Value::Object(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_closed_and_rules_are_told() {
        let schema = json!({"$schema": "x", "type": "object", "required": ["n"], "properties": {
            "n": {"type": "integer", "minimum": 1, "description": "How many."},
            "list": {"type": "array", "items": {"oneOf": [{"type": "object", "properties": {}}, {"type": "null"}]}},
        }});
        assert_eq!(
            adapt(&schema).unwrap(),
            json!({"type": "object", "required": ["n"], "additionalProperties": false, "properties": {
                "n": {"type": "integer", "description": "How many.\nMust fit: {\"minimum\":1}"},
                "list": {"type": "array", "items": {"anyOf": [
                    {"type": "object", "properties": {}, "additionalProperties": false}, {"type": "null"}]}},
            }})
        );
        let free = json!({"type": "object", "additionalProperties": {"type": "string"}});
        assert_eq!(adapt(&free).unwrap_err().kind(), katena_core::ErrorKind::Unsupported);
    }
}
