//! JSON schemas in the words that Cohere's structured output knows.

use serde_json::{Map, Value};

/// Words that limit values but that Cohere refuses; said in the description, so that the model still reads them. Source:
/// Cohere's page on structured outputs, "unsupported schema features".
const LIMITS: [&str; 14] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "not",
    "patternProperties",
];

/// Notes that say nothing about values.
const NOTES: [&str; 6] = ["$schema", "$id", "$comment", "default", "examples", "additionalProperties"];

const FORMATS: [&str; 4] = ["date-time", "uuid", "date", "time"];

/// `schema` as Cohere takes it. Who validates the answer does so by the schema as it was given.
pub(super) fn adapted(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => Value::Object(object_schema(object)),
        // `true` takes anything.
        Value::Bool(_) => Value::Object(Map::new()),
        other => other.clone(),
    }
}

fn object_schema(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    let mut said: Vec<String> = Vec::new();
    for (key, value) in schema {
        match key.as_str() {
            key if NOTES.contains(&key) => {}
            key if LIMITS.contains(&key) => said.push(format!("{key}: {value}")),
            "format" if !value.as_str().is_some_and(|f| FORMATS.contains(&f)) => {
                said.push(format!("format: {value}"));
            }
            // Anchors and look-arounds are not known.
            "pattern" if value.as_str().is_none_or(|p| p.contains(['^', '$']) || p.contains("(?")) => {
                said.push(format!("pattern: {value}"));
            }
            "properties" | "$defs" | "definitions" => {
                let inner = value.as_object().into_iter().flatten();
                let inner: Map<String, Value> = inner.map(|(k, v)| (k.clone(), adapted(v))).collect();
                out.insert(key.clone(), Value::Object(inner));
            }
            // One of several is at least one of them.
            "anyOf" | "oneOf" | "allOf" => {
                let inner = value.as_array().into_iter().flatten().map(adapted).collect();
                let key = if key == "oneOf" { "anyOf" } else { key };
                out.insert(key.to_owned(), Value::Array(inner));
            }
            "items" => {
                out.insert(key.clone(), adapted(value));
            }
            _ => {
                out.insert(key.clone(), value.clone());
            }
        }
    }
    if !said.is_empty() {
        let words = said.join("; ");
        let description = match schema.get("description").and_then(Value::as_str) {
            Some(own) if !own.is_empty() => format!("{own} ({words})"),
            _ => words,
        };
        out.insert("description".to_owned(), Value::String(description));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_become_words_and_names_of_properties_stay() {
        let schema = json!({"$schema": "x", "type": "object", "required": ["minimum"], "additionalProperties": false,
        "properties": {
            "minimum": {"type": "integer", "minimum": 0, "description": "Least."},
            "when": {"type": "string", "format": "date"},
            "mail": {"type": "string", "format": "email", "maxLength": 9},
            "code": {"type": "string", "pattern": "^a$"},
            "free": {"type": "string", "pattern": "[a-z]+"},
            "any": true,
            "list": {"type": "array", "items": {"oneOf": [{"type": "string", "minLength": 1}, {"type": "null"}]}},
        }});
        assert_eq!(
            adapted(&schema),
            json!({"type": "object", "required": ["minimum"], "properties": {
                "minimum": {"type": "integer", "description": "Least. (minimum: 0)"},
                "when": {"type": "string", "format": "date"},
                "mail": {"type": "string", "description": "format: \"email\"; maxLength: 9"},
                "code": {"type": "string", "description": "pattern: \"^a$\""},
                "free": {"type": "string", "pattern": "[a-z]+"},
                "any": {},
                "list": {"type": "array", "items":
                    {"anyOf": [{"type": "string", "description": "minLength: 1"}, {"type": "null"}]}},
            }})
        );
    }
}
