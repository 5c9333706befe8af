//! Which JSON schemas keep their meaning under OpenAI's strict mode.

use serde_json::{Map, Value};

/// Formats that strict mode knows; others are notes that it would reject, and are left out.
const FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Keywords that strict mode has not.
const FOREIGN: [&str; 21] = [
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "prefixItems",
    "additionalItems",
    "contains",
    "minContains",
    "maxContains",
    "dependentSchemas",
    "dependentRequired",
    "minProperties",
    "maxProperties",
    "uniqueItems",
    "$dynamicRef",
];

/// `schema` in the form that strict mode demands, or `None` if that would change what it accepts.
///
/// Strict mode wants every object closed and every property required. Closing an object that says nothing about other
/// properties is fine for an answer; requiring an optional property is fine only if it may be null.
pub(crate) fn strict(schema: &Value) -> Option<Value> {
    let mut schema = schema.clone();
    let root = schema.as_object()?;
    if root.get("type").and_then(Value::as_str) != Some("object") || root.contains_key("anyOf") {
        return None;
    }
    tighten(&mut schema).then_some(schema)
}

fn tighten(schema: &mut Value) -> bool {
    let Value::Object(schema) = schema else { return false };
    if FOREIGN.iter().any(|key| schema.contains_key(*key)) {
        return false;
    }
    for note in ["$schema", "$id", "$comment", "default", "examples"] {
        schema.remove(note);
    }
    if schema.get("format").and_then(Value::as_str).is_some_and(|f| !FORMATS.contains(&f)) {
        schema.remove("format");
    }
    if schema.contains_key("$ref") {
        return schema.len() == 1;
    }
    let typed = ["type", "anyOf", "enum", "const"].iter().any(|key| schema.contains_key(*key));
    if !typed || !members(schema) {
        return false;
    }
    let is_object = match schema.get("type") {
        Some(Value::String(t)) => t == "object",
        Some(Value::Array(types)) => types.iter().any(|t| t == "object"),
        _ => false,
    };
    !(is_object || schema.contains_key("properties")) || close(schema)
}

/// Tightens what lies below.
fn members(schema: &mut Map<String, Value>) -> bool {
    for key in ["properties", "$defs", "definitions"] {
        let fine = match schema.get_mut(key) {
            None => true,
            Some(Value::Object(inner)) => inner.values_mut().all(tighten),
            Some(_) => false,
        };
        if !fine {
            return false;
        }
    }
    let choices = match schema.get_mut("anyOf") {
        None => true,
        Some(Value::Array(list)) => list.iter_mut().all(tighten),
        Some(_) => false,
    };
    choices && schema.get_mut("items").is_none_or(tighten)
}

fn close(schema: &mut Map<String, Value>) -> bool {
    if !matches!(schema.get("additionalProperties"), None | Some(Value::Bool(false))) {
        return false;
    }
    let Some(Value::Object(properties)) = schema.get("properties") else { return false };
    let required: Vec<&str> = match schema.get("required") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if properties.iter().any(|(name, p)| !required.contains(&name.as_str()) && !nullable(p)) {
        return false;
    }
    let names = properties.keys().cloned().map(Value::String).collect();
    schema.insert("required".to_owned(), Value::Array(names));
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    true
}

fn nullable(schema: &Value) -> bool {
    match schema.get("type") {
        Some(Value::String(t)) => t == "null",
        Some(Value::Array(types)) => types.iter().any(|t| t == "null"),
        _ => schema.get("anyOf").and_then(Value::as_array).is_some_and(|list| list.iter().any(nullable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn closes_objects_and_requires_what_may_be_null() {
        let schema = json!({"$schema": "x", "type": "object", "title": "T", "required": ["a"], "properties": {
            "a": {"type": "integer", "format": "uint32", "minimum": 0},
            "b": {"type": ["string", "null"], "default": null},
            "c": {"anyOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
        }});
        let strict = strict(&schema).unwrap();
        assert_eq!(strict["required"], json!(["a", "b", "c"]));
        assert_eq!(strict["additionalProperties"], json!(false));
        assert_eq!(strict["properties"]["a"], json!({"type": "integer", "minimum": 0}));
        assert_eq!(strict["properties"]["c"]["anyOf"][0]["additionalProperties"], json!(false));
        assert!(strict.get("$schema").is_none());
    }

    #[test]
    fn what_would_change_its_meaning_stays_as_it_is() {
        let object = |p: Value| json!({"type": "object", "properties": p, "required": ["a"]});
        for schema in [
            object(json!({"a": {"type": "string"}, "optional": {"type": "string"}})),
            object(json!({"a": {"type": "object", "additionalProperties": {"type": "string"}}})),
            object(json!({"a": {}})),
            object(json!({"a": true})),
            object(json!({"a": {"oneOf": [{"type": "string"}, {"type": "null"}]}})),
            json!({"type": "array", "items": {"type": "string"}}),
            json!(true),
        ] {
            assert_eq!(strict(&schema), None, "{schema}");
        }
    }
}
