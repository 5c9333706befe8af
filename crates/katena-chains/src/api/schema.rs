//! The part of JSON Schema that descriptions of APIs use: made plain, and checked.

use katena_core::{Error, Result};
use serde_json::{Map, Value, json};

/// How deep schemas are followed; recursive ones end here.
const MOST_DEPTH: usize = 8;
/// How many references may lead from one to the next.
const MOST_LINKS: usize = 16;

/// Makes schemas plain: references replaced, unknown keywords left out.
pub(super) struct Plainer<'s> {
    pub(super) root: &'s Value,
    /// Parts of schemas that may still be made.
    pub(super) left: usize,
}

impl<'s> Plainer<'s> {
    /// What a `{"$ref": "#/components/…"}` stands for; anything else stands for itself.
    pub(super) fn resolved(&self, mut value: &'s Value) -> Result<&'s Value> {
        for _ in 0..MOST_LINKS {
            let Some(link) = value.get("$ref") else { return Ok(value) };
            let pointer =
                link.as_str().and_then(|l| l.strip_prefix('#')).filter(|p| p.starts_with("/components/"));
            value = pointer.and_then(|p| self.root.pointer(p)).ok_or_else(|| {
                Error::unsupported("only references to what is in #/components can be followed")
            })?;
        }
        Err(Error::invalid_input("the description's references go in a circle"))
    }

    pub(super) fn plain(&mut self, schema: &'s Value, depth: usize) -> Result<Value> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Error::invalid_input("the description's schemas are larger than the limit"))?;
        let Value::Object(schema) = self.resolved(schema)? else { return Ok(json!({})) };
        let mut out = Map::new();
        for key in [
            "type",
            "enum",
            "const",
            "minimum",
            "maximum",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "required",
            "format",
        ] {
            if let Some(value) = schema.get(key) {
                out.insert(key.to_owned(), value.clone());
            }
        }
        if let Some(text) = schema.get("description").and_then(Value::as_str) {
            out.insert("description".to_owned(), text.chars().take(300).collect::<String>().into());
        }
        if depth >= MOST_DEPTH {
            return Ok(Value::Object(out));
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let mut plain = Map::new();
            for (name, property) in properties {
                // The server sets these.
                if property.get("readOnly") != Some(&Value::Bool(true)) {
                    plain.insert(name.clone(), self.plain(property, depth + 1)?);
                }
            }
            out.insert("properties".to_owned(), plain.into());
            out.insert(
                "additionalProperties".to_owned(),
                schema.get("additionalProperties").is_some_and(|a| *a != Value::Bool(false)).into(),
            );
        }
        if let Some(items) = schema.get("items") {
            out.insert("items".to_owned(), self.plain(items, depth + 1)?);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(list) = schema.get(key).and_then(Value::as_array) {
                let list = list.iter().map(|s| self.plain(s, depth + 1)).collect::<Result<Vec<_>>>()?;
                out.insert(key.to_owned(), list.into());
            }
        }
        // OpenAPI 3.0's way to allow null.
        if schema.get("nullable") == Some(&Value::Bool(true))
            && let Some(Value::String(kind)) = out.get("type").cloned()
        {
            out.insert("type".to_owned(), json!([kind, "null"]));
        }
        Ok(out.into())
    }
}

/// Why a value does not fit a plain schema, with its place.
pub(super) fn fault(value: &Value, schema: &Value, at: &str) -> Option<String> {
    let no = |what: String| Some(format!("{at} {what}"));
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|k| is_kind(value, k)) {
        return no(format!("must be of type {}", kinds.join(" or ")));
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array)
        && !list.contains(value)
    {
        let list: Vec<String> = list.iter().take(50).map(Value::to_string).collect();
        return no(format!("must be one of {}", list.join(", ")));
    }
    if let Some(only) = schema.get("const")
        && only != value
    {
        return no(format!("must be {only}"));
    }
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let outside = |size: f64, low: &str, high: &str| {
        bound(low).is_some_and(|b| size < b) || bound(high).is_some_and(|b| size > b)
    };
    match value {
        Value::Number(n) if n.as_f64().is_some_and(|n| outside(n, "minimum", "maximum")) => {
            no("is out of range".into())
        }
        Value::String(s) if outside(s.chars().count() as f64, "minLength", "maxLength") => {
            no("has a length out of range".into())
        }
        Value::Array(list) => {
            if outside(list.len() as f64, "minItems", "maxItems") {
                return no("has a count out of range".into());
            }
            let items = schema.get("items")?;
            list.iter().enumerate().find_map(|(n, v)| fault(v, items, &format!("{at}[{n}]")))
        }
        Value::Object(object) => of_object(object, schema, at),
        _ => None,
    }
    .or_else(|| of_parts(value, schema, at))
}

fn of_object(object: &Map<String, Value>, schema: &Value, at: &str) -> Option<String> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    if let Some(missing) = required.filter_map(Value::as_str).find(|r| !object.contains_key(*r)) {
        return Some(format!("{at} misses {missing}"));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let open = schema.get("additionalProperties") != Some(&Value::Bool(false));
    object.iter().find_map(|(name, value)| match properties.and_then(|p| p.get(name)) {
        Some(property) => fault(value, property, &format!("{at}.{name}")),
        None if open => None,
        None => Some(format!("{at} has no {}", name.chars().take(60).collect::<String>())),
    })
}

fn of_parts(value: &Value, schema: &Value, at: &str) -> Option<String> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let fits = |s: &Value| fault(value, s, at).is_none();
    if let Some(all) = list("allOf")
        && let Some(why) = all.iter().find_map(|s| fault(value, s, at))
    {
        return Some(why);
    }
    for key in ["anyOf", "oneOf"] {
        if list(key).is_some_and(|l| !l.iter().any(fits)) {
            return Some(format!("{at} fits none of its forms"));
        }
    }
    None
}

fn is_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    }
}
