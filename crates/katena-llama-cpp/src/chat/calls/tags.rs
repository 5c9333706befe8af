//! Calls whose parameters stand between tags, each for itself: `<function=f><parameter=x>1</parameter></function>`.
//! Their arguments become one JSON object; the tool's schema says which values are text.

use katena_core::ToolSpec;
use serde_json::Value;

/// The marks of such a call.
#[derive(Debug)]
pub(crate) struct Tags {
    /// Around the name; the second may be empty: the name ends at white space or `<`.
    pub(crate) name: (&'static str, &'static str),
    /// Around a parameter's name.
    pub(crate) key: (&'static str, &'static str),
    /// Around a parameter's value; the first may be empty.
    pub(crate) value: (&'static str, &'static str),
    /// Behind the last parameter: the first of these that comes.
    pub(crate) ends: &'static [&'static str],
    /// A line break at each end of a value is not part of it.
    pub(crate) lines: Lines,
}

/// Whether a value stands on lines of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    Own,
    Same,
}

/// How a parameter's text becomes a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is text.
    Text,
    /// It is JSON; or text, if it is not.
    Json,
}

/// What `tool`'s schema says of parameter `key`.
pub(super) fn kind(tools: &[ToolSpec], tool: &str, key: &str) -> Kind {
    let schema = tools.iter().find(|t| t.name == tool).and_then(|t| t.parameters.get("properties"));
    let Some(property) = schema.and_then(|p| p.get(key)) else { return Kind::Json };
    let texts = |list: &Vec<Value>| !list.is_empty() && list.iter().all(Value::is_string);
    let text = match property.get("type") {
        Some(Value::String(kind)) => kind == "string",
        None => property.get("enum").and_then(Value::as_array).is_some_and(texts),
        _ => false,
    };
    if text { Kind::Text } else { Kind::Json }
}

/// The JSON of a value of kind `Json`.
pub(super) fn json_value(text: &str) -> String {
    let text = text.trim();
    match text {
        // As Python writes them.
        "True" => return "true".into(),
        "False" => return "false".into(),
        "None" => return "null".into(),
        _ => {}
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() { text.to_owned() } else { quoted(text) }
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// `text` as a piece within a JSON string.
pub(super) fn escaped(text: &str) -> String {
    let whole = quoted(text);
    whole[1..whole.len() - 1].to_owned()
}
