//! What of JSON Schema the engine keeps. llguidance refuses most keywords that it does not implement; what it would read
//! past, or read otherwise than the standard, is refused here. Nothing is ignored but annotations.
//!
//! Keywords: <https://json-schema.org/draft/2020-12>, its predecessors back to draft 4.

use katena_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::pattern::{Use, rust_pattern};

/// Deepest nesting, and most values, of a schema.
const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;
/// Numbers beyond this can't be told apart in 64-bit floats.
const MAX_NUMBER: f64 = 9_007_199_254_740_992.0;
/// Most characters of a number in digits.
const MAX_DIGITS: usize = 18;
/// Largest length of a text that is counted.
const MAX_COUNT: u64 = 100_000;
/// Largest number of items that is counted: each is a rule, and compiling takes the square of their number.
const MAX_ITEMS: u64 = 1000;
/// Most properties of an object, and cases of an alternative: compiling them takes some 0.3 s.
const MAX_WIDE: usize = 1000;
/// White space between JSON's tokens: bounded, or small models never end.
const SPACE: &str = r"\x20|\x0A\x20{0,32}|\x0A\x09{1,8}";

/// Keywords whose value is a schema.
const ONE: [&str; 3] = ["additionalProperties", "items", "additionalItems"];
/// Keywords whose value is a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas.
const MAPS: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// Keywords whose value is a count.
const COUNTS: [&str; 6] =
    ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];
/// Keywords of any draft that say what is valid and that nothing here keeps.
const UNKEPT: [&str; 20] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
    "$vocabulary",
    "contentSchema",
    "extends",
    "disallow",
    "divisibleBy",
];

fn unkept(keyword: &str) -> Error {
    Error::unsupported("a keyword of the JSON schema can't be kept by local models")
        .with_context("keyword", keyword.to_owned())
}

fn wide(keyword: &str) -> Error {
    invalid(keyword, "a keyword of the JSON schema has too many parts")
        .with_context("most", MAX_WIDE.to_string())
}

fn invalid(keyword: &str, what: &'static str) -> Error {
    Error::invalid_input(what).with_context("keyword", keyword.to_owned())
}

/// The schema as llguidance gets it.
///
/// # Errors
/// `Unsupported` with the keyword that can't be kept; `InvalidInput` for a schema that is none, or too large.
pub(super) fn prepare(schema: &Value) -> Result<Value> {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => return Err(invalid("false", "nothing fits the JSON schema")),
        Value::Object(_) => schema.clone(),
        _ => return Err(invalid("", "a JSON schema must be an object")),
    };
    // Before anything recursive looks at it.
    size(&schema)?;
    let old = schema["$schema"].as_str().map_or(2020, draft);
    let factors = count_key(&schema, "multipleOf");
    let close = closable(&schema);
    Walk { draft: old, factors, close }.schema(&mut schema)?;
    if let Value::Object(object) = &mut schema {
        object.insert(
            "x-guidance".into(),
            // Without \u escapes each text is written in one way only, so that names can be told apart.
            json!({"whitespace_flexible": true, "whitespace_pattern": SPACE, "json_allowed_escapes": "nrbtf\\\""}),
        );
    }
    Ok(schema)
}

fn draft(uri: &str) -> u32 {
    match uri {
        uri if uri.contains("draft-03") => 3,
        uri if uri.contains("draft-04") => 4,
        uri if uri.contains("draft-06") => 6,
        uri if uri.contains("draft-07") => 7,
        uri if uri.contains("2019-09") => 2019,
        _ => 2020,
    }
}

/// Bounds size and depth without recursion.
///
/// # Errors
/// `InvalidInput` beyond them.
pub(crate) fn size(schema: &Value) -> Result<()> {
    let mut todo = vec![(schema, 0usize)];
    let mut nodes = 0;
    while let Some((value, depth)) = todo.pop() {
        nodes += 1;
        if nodes > MAX_NODES || depth > MAX_DEPTH {
            return Err(Error::invalid_input("the JSON schema is too large or too deep")
                .with_context("most_values", MAX_NODES.to_string())
                .with_context("deepest", MAX_DEPTH.to_string()));
        }
        match value {
            Value::Array(items) => todo.extend(items.iter().map(|v| (v, depth + 1))),
            Value::Object(map) => todo.extend(map.values().map(|v| (v, depth + 1))),
            _ => {}
        }
    }
    Ok(())
}

fn count_key(value: &Value, key: &str) -> usize {
    match value {
        Value::Array(items) => items.iter().map(|v| count_key(v, key)).sum(),
        Value::Object(map) => {
            usize::from(map.contains_key(key)) + map.values().map(|v| count_key(v, key)).sum::<usize>()
        }
        _ => 0,
    }
}

struct Walk {
    draft: u32,
    /// How many `multipleOf` there are: llguidance multiplies those that meet, in 32 bits.
    factors: usize,
    /// Objects that don't speak of other properties get none.
    close: bool,
}

impl Walk {
    fn schema(&self, schema: &mut Value) -> Result<()> {
        let Value::Object(object) = schema else {
            return if schema.is_boolean() {
                Ok(())
            } else {
                Err(invalid("", "a JSON schema must be an object or a boolean"))
            };
        };
        for key in COUNTS {
            // 2.0 is a whole number, too.
            if let Some(n) = object.get(key).and_then(Value::as_f64).filter(|n| *n >= 0.0 && n.fract() == 0.0)
            {
                object.insert(key.to_owned(), (n as u64).into());
            }
        }
        for (key, value) in object.iter() {
            self.keyword(key, value)?;
        }
        relations(object)?;
        if self.draft < 2020 && object.contains_key("prefixItems") {
            return Err(unkept("prefixItems"));
        }
        if self.draft < 6 && object.contains_key("const") {
            return Err(unkept("const"));
        }
        // Annotations since 2019-09; in drafts 6 and 7 validators may hold texts to them.
        let content =
            ["contentEncoding", "contentMediaType"].into_iter().find(|key| object.contains_key(*key));
        if let (6 | 7, Some(keyword)) = (self.draft, content) {
            return Err(unkept(keyword));
        }
        if let Some(Value::String(pattern)) = object.get_mut("pattern") {
            *pattern = rust_pattern(pattern, Use::Text).map_err(|e| e.with_context("keyword", "pattern"))?;
        }
        if let Some(Value::Object(map)) = object.get_mut("patternProperties") {
            let old = std::mem::take(map);
            let count = old.len();
            for (pattern, value) in old {
                let name = rust_pattern(&pattern, Use::Names)
                    .map_err(|e| e.with_context("keyword", "patternProperties"))?;
                map.insert(name, value);
            }
            if map.len() != count {
                return Err(unkept("patternProperties"));
            }
        }
        bounds(object);
        if self.close {
            close(object);
        }
        // `false` asks for nothing; llguidance would refuse the keyword.
        object.remove("uniqueItems");
        for key in ONE {
            match object.get_mut(key) {
                // An older form of `prefixItems`.
                Some(Value::Array(items)) if key == "items" => self.all(items.iter_mut())?,
                Some(value) => self.schema(value)?,
                None => {}
            }
        }
        for key in LISTS {
            match object.get_mut(key) {
                Some(Value::Array(items)) if items.len() > MAX_WIDE => return Err(wide(key)),
                Some(Value::Array(items)) => self.all(items.iter_mut())?,
                Some(_) => return Err(invalid(key, "a keyword of the JSON schema must have a list")),
                None => {}
            }
        }
        for key in MAPS {
            match object.get_mut(key) {
                Some(Value::Object(map)) if map.len() > MAX_WIDE => return Err(wide(key)),
                Some(Value::Object(map)) => self.all(map.values_mut())?,
                Some(_) => return Err(invalid(key, "a keyword of the JSON schema must have an object")),
                None => {}
            }
        }
        Ok(())
    }

    fn all<'v>(&self, schemas: impl Iterator<Item = &'v mut Value>) -> Result<()> {
        for schema in schemas {
            self.schema(schema)?;
        }
        Ok(())
    }

    fn keyword(&self, key: &str, value: &Value) -> Result<()> {
        if UNKEPT.contains(&key) || key == "x-guidance" {
            return Err(unkept(key));
        }
        match key {
            "uniqueItems" if value != &Value::Bool(false) => Err(unkept(key)),
            "$ref" => reference(value),
            "const" => constant(key, value),
            "enum" => match value.as_array() {
                Some(values) => values.iter().try_for_each(|v| constant(key, v)),
                None => Err(invalid(key, "a keyword of the JSON schema must have a list")),
            },
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if value.is_number() => {
                digits(key, value)
            }
            "multipleOf" => self.factor(value),
            key if COUNTS.contains(&key) => match value.as_u64() {
                None => Err(invalid(key, "a count in the JSON schema must be a whole number")),
                Some(n) => {
                    let most = if key.ends_with("Length") { MAX_COUNT } else { MAX_ITEMS };
                    if n > most {
                        return Err(unkept(key).with_context("most", most.to_string()));
                    }
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }

    fn factor(&self, value: &Value) -> Result<()> {
        digits("multipleOf", value)?;
        let factor = value.as_f64().unwrap_or_default();
        // 0 and numbers with many digits are no factors; small whole ones may meet.
        let meets = self.factors < 2 || (factor.fract() == 0.0 && factor < 65_536.0);
        if factor > 0.0 && factor <= f64::from(u32::MAX) && meets {
            Ok(())
        } else {
            Err(unkept("multipleOf"))
        }
    }
}

/// True if objects can be closed: if no schema meets another that speaks of more properties.
fn closable(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(closable),
        Value::Object(map) => {
            let has = |keys: &[&str]| keys.iter().any(|key| map.contains_key(*key));
            let meets = has(&["anyOf", "$ref"])
                && has(&["properties", "required", "patternProperties", "additionalProperties"]);
            !meets && !has(&["allOf", "oneOf"]) && map.values().all(closable)
        }
        _ => true,
    }
}

/// Gives the object the properties that its schema names, and no others: what is written still fits, and small models come
/// to an end. `"additionalProperties": true` leaves it open.
fn close(object: &mut Map<String, Value>) {
    let Some(Value::Object(properties)) = object.get("properties") else { return };
    let required = object.get("required").and_then(Value::as_array);
    let known = required.is_none_or(|names| {
        names.iter().all(|name| name.as_str().is_some_and(|name| properties.contains_key(name)))
    });
    let enough = object.get("minProperties").and_then(Value::as_u64).unwrap_or(0) <= properties.len() as u64;
    let silent = !object.contains_key("additionalProperties") && !object.contains_key("patternProperties");
    if silent && known && enough && !properties.is_empty() {
        object.insert("additionalProperties".into(), false.into());
    }
}

/// Formats of whole numbers say what their type can hold (as schemars and OpenAPI write them). Others stay where 64-bit
/// floats tell them apart.
fn bounds(object: &mut Map<String, Value>) {
    let integer = Value::from("integer");
    let kinds = object.get("type");
    let whole = object.contains_key("multipleOf")
        || kinds == Some(&integer)
        || kinds.and_then(Value::as_array).is_some_and(|kinds| kinds.contains(&integer));
    let safe = 9_007_199_254_740_991_i64;
    let (least, most) = match object.get("format").and_then(Value::as_str) {
        Some("int8") => (i64::from(i8::MIN), i64::from(i8::MAX)),
        Some("uint8") => (0, i64::from(u8::MAX)),
        Some("int16") => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Some("uint16") => (0, i64::from(u16::MAX)),
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        Some("uint" | "uint64" | "uint128") => (0, safe),
        Some("int" | "int64" | "int128") => (-safe, safe),
        _ if whole => (-safe, safe),
        _ => return,
    };
    if !object.contains_key("exclusiveMinimum") {
        object.entry("minimum").or_insert_with(|| least.into());
    }
    if !object.contains_key("exclusiveMaximum") {
        object.entry("maximum").or_insert_with(|| most.into());
    }
}

/// Keywords that llguidance keeps only without certain others.
fn relations(object: &Map<String, Value>) -> Result<()> {
    if object.contains_key("prefixItems")
        && (object.contains_key("additionalItems") || object.get("items").is_some_and(Value::is_array))
    {
        return Err(unkept("additionalItems"));
    }
    // Names that are not given in the schema may come twice, which parsers count once.
    let required = object
        .get("required")
        .and_then(Value::as_array)
        .map_or(0, |r| r.iter().collect::<std::collections::HashSet<_>>().len() as u64);
    if object.get("minProperties").and_then(Value::as_u64).is_some_and(|least| least > required + 1) {
        return Err(unkept("minProperties"));
    }
    Ok(())
}

/// Only places inside the schema that are schemas themselves.
fn reference(value: &Value) -> Result<()> {
    let uri = value.as_str().ok_or_else(|| invalid("$ref", "a reference must be a text"))?;
    if uri.contains("json-schema.org") {
        return Err(unkept("$ref"));
    }
    let Some((_, fragment)) = uri.split_once('#') else { return Ok(()) };
    if !fragment.starts_with('/') {
        return Ok(());
    }
    let mut steps = fragment[1..].split('/').filter(|s| !s.is_empty());
    while let Some(step) = steps.next() {
        let step = step.replace("%24", "$");
        let known = if MAPS.contains(&step.as_str()) || LISTS.contains(&step.as_str()) {
            steps.next().is_some()
        } else if step == "items" {
            // A schema, or a list of them: then a number follows.
            if steps.clone().next().is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit())) {
                steps.next();
            }
            true
        } else {
            ONE.contains(&step.as_str())
        };
        if !known {
            return Err(unkept("$ref").with_context("reference", uri.to_owned()));
        }
    }
    Ok(())
}

/// Numbers in constants must survive the way through 64-bit floats and digits.
fn constant(key: &str, value: &Value) -> Result<()> {
    match value {
        Value::Number(_) => digits(key, value),
        // What has no short escape can't be written without \u.
        Value::String(text)
            if text
                .chars()
                .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{8}' | '\u{c}')) =>
        {
            Err(unkept(key))
        }
        Value::Array(items) => items.iter().try_for_each(|v| constant(key, v)),
        Value::Object(map) => map.values().try_for_each(|v| constant(key, v)),
        _ => Ok(()),
    }
}

fn digits(key: &str, value: &Value) -> Result<()> {
    let number =
        value.as_f64().ok_or_else(|| invalid(key, "a keyword of the JSON schema must have a number"))?;
    if number.abs() >= MAX_NUMBER || number.to_string().len() > MAX_DIGITS {
        return Err(unkept(key).with_context("number", value.to_string()));
    }
    Ok(())
}
