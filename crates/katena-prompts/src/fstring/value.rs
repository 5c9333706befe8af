//! JSON values as Python writes them.

use std::fmt::Write as _;

use serde_json::{Number, Value};

use super::number;
use super::spec::Spec;

/// Writes a value by its type's rules.
pub(super) fn write(value: &Value, spec: &Spec, out: &mut String) -> Result<(), &'static str> {
    match value {
        Value::String(text) => spec.write_text(text, out),
        _ if spec.is_plain() => {
            out.push_str(&to_str(value));
            Ok(())
        }
        Value::Number(n) => match whole(n) {
            Some(n) => number::write_int(n, spec, out),
            None => number::write_float(n.as_f64().unwrap_or(f64::NAN), spec, out),
        },
        // Python's booleans are numbers.
        Value::Bool(b) => number::write_int(i128::from(*b), spec, out),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err("a format specification does not fit a list, an object or null")
        }
    }
}

fn whole(n: &Number) -> Option<i128> {
    n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from))
}

/// Python's `str()`.
pub(crate) fn to_str(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => to_repr(other),
    }
}

/// Python's `repr()`.
pub(super) fn to_repr(value: &Value) -> String {
    let mut out = String::new();
    repr(value, &mut out);
    out
}

/// Python's `ascii()`.
pub(super) fn to_ascii(value: &Value) -> String {
    let text = to_repr(value);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() { out.push(c) } else { escape(c, &mut out) }
    }
    out
}

fn repr(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(n) => match (whole(n), n.as_f64()) {
            (Some(n), _) => {
                let _ = write!(out, "{n}");
            }
            (None, Some(x)) => out.push_str(&number::float_repr(x)),
            (None, None) => {
                let _ = write!(out, "{n}");
            }
        },
        Value::String(text) => quoted(text, out),
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { ", " });
                repr(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (n, (key, item)) in map.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { ", " });
                quoted(key, out);
                out.push_str(": ");
                repr(item, out);
            }
            out.push('}');
        }
    }
}

fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => escape(c, out),
        }
    }
    out.push(quote);
}

/// As near as the standard library comes to Python's `isprintable`: no controls, separators, unassigned or private ones.
fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // A combining mark is escaped by `Debug` only at the start of a text.
    !c.is_whitespace() && !format!("{:?}", format!("a{c}")).contains('\\')
}

fn escape(c: char, out: &mut String) {
    let n = u32::from(c);
    let _ = match n {
        0..=0xff => write!(out, "\\x{n:02x}"),
        0x100..=0xffff => write!(out, "\\u{n:04x}"),
        _ => write!(out, "\\U{n:08x}"),
    };
}
