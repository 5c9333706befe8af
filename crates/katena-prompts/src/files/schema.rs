//! A small check of inputs against a JSON Schema: that each required one is there, that types and enumerations of the first
//! level fit, and that no other is given where `additionalProperties` is false.

use katena_core::{Error, Result};
use serde_json::Value;

use crate::vars::{Var, Vars};

/// An input schema, of which `properties`, `required`, `additionalProperties` and, of each property, `type`, `enum` and
/// `default` are looked at.
#[derive(Debug, Clone)]
pub(super) struct InputSchema {
    pub(super) schema: Value,
}

const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "array", "object", "null"];

fn is_type(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|x| x.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

fn types(property: &Value) -> Vec<&str> {
    match &property["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

impl InputSchema {
    pub(super) fn new(schema: Value) -> Result<Self> {
        let bad = |why: &'static str| Err(Error::config(why));
        if !schema["properties"].is_object() {
            return bad("the input schema needs an object `properties`");
        }
        if !matches!(schema["type"].as_str(), None | Some("object")) {
            return bad("the input schema is one of an object");
        }
        let this = Self { schema };
        for (name, property) in this.properties() {
            if let Some(wrong) = types(property).into_iter().find(|t| !TYPES.contains(t)) {
                return Err(Error::config("the input schema names a type that does not exist")
                    .with_context("variable", name)
                    .with_context("type", wrong));
            }
        }
        if let Some(name) = this.required().find(|n| this.schema["properties"].get(n).is_none()) {
            return Err(Error::config("the input schema requires what it does not describe")
                .with_context("variable", name));
        }
        Ok(this)
    }

    pub(super) fn properties(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.schema["properties"].as_object().into_iter().flatten().map(|(n, p)| (n.as_str(), p))
    }

    pub(super) fn declares(&self, name: &str) -> bool {
        self.schema["properties"].get(name).is_some()
    }

    fn required(&self) -> impl Iterator<Item = &str> {
        self.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// Checks the variables and adds defaults; an optional one without a default becomes null if `nulls`.
    pub(super) fn apply(&self, mut vars: Vars, nulls: bool) -> Result<Vars> {
        if let Some(name) = self.required().find(|n| vars.find(n).is_none() && self.default(n).is_none()) {
            return Err(crate::template::missing(name));
        }
        for (name, property) in self.properties() {
            let Some(var) = vars.find(name) else {
                match self.default(name) {
                    Some(value) => vars.set(name.to_owned().into(), Var::Value(value.clone())),
                    None if nulls => vars.set(name.to_owned().into(), Var::Value(Value::Null)),
                    None => {}
                }
                continue;
            };
            let Var::Value(value) = var else { continue };
            let allowed = types(property);
            let wrong = |why: &'static str, what: String| {
                Err(Error::invalid_input(why).with_context("variable", name).with_context("expected", what))
            };
            let optional = value.is_null() && !self.required().any(|r| r == name);
            if !allowed.is_empty() && !optional && !allowed.iter().any(|t| is_type(value, t)) {
                return wrong("a variable is not of the type that the prompt declares", allowed.join(" or "));
            }
            if let Some(values) = property["enum"].as_array()
                && !values.contains(value)
                && !optional
            {
                return wrong(
                    "a variable is none of the values that the prompt declares",
                    property["enum"].to_string(),
                );
            }
        }
        if self.schema["additionalProperties"] == Value::Bool(false)
            && let Some(name) = vars.names().find(|n| !self.declares(n))
        {
            return Err(
                Error::invalid_input("the prompt declares no such variable").with_context("variable", name)
            );
        }
        Ok(vars)
    }

    fn default(&self, name: &str) -> Option<&Value> {
        self.schema["properties"].get(name)?.get("default")
    }
}
