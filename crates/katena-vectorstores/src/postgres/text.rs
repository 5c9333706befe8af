//! Texts as PostgreSQL can keep them.

use std::borrow::Cow;
use std::fmt::Write;

use katena_core::Metadata;
use serde_json::Value;

/// PostgreSQL refuses U+0000, so U+0000 to U+0003 become codes of three of those characters that begin with U+0001.
/// The order of texts stays as it was, and a part of a text stays a part of it: nothing else begins with U+0001.
pub(super) fn encode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| b < 4) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => out.push_str("\u{1}\u{2}\u{2}"),
            '\u{1}' => out.push_str("\u{1}\u{2}\u{3}"),
            '\u{2}' => out.push_str("\u{1}\u{3}\u{2}"),
            '\u{3}' => out.push_str("\u{1}\u{3}\u{3}"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The reverse of [`encode`].
pub(super) fn decode(text: &str) -> String {
    if !text.contains('\u{1}') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let low = |c: Option<char>| u8::from(c == Some('\u{3}'));
        out.push(if c == '\u{1}' { char::from(2 * low(rest.next()) + low(rest.next())) } else { c });
    }
    out
}

/// Metadata as JSON for filters: texts encoded, every float with a point and every integer without one, so that the
/// text of a `jsonb` still tells 1 from 1.0.
pub(super) fn facts(metadata: &Metadata) -> String {
    let mut out = String::new();
    object(metadata, &mut out);
    out
}

/// One value, as [`facts`] writes it.
pub(super) fn json(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// A number, as [`facts`] writes it.
pub(super) fn number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => {
            let mut text = float.to_string();
            if !text.contains('.') {
                text.push_str(".0");
            }
            text
        }
        _ => number.to_string(),
    }
}

fn object(map: &Metadata, out: &mut String) {
    out.push('{');
    for (n, (key, value)) in map.iter().enumerate() {
        out.push_str(if n == 0 { "" } else { "," });
        string(key, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Number(n) => out.push_str(&number(n)),
        Value::String(s) => string(s, out),
        Value::Array(list) => {
            out.push('[');
            for (n, value) in list.iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                write_value(value, out);
            }
            out.push(']');
        }
        Value::Object(map) => object(map, out),
        Value::Null | Value::Bool(_) => {
            // Writing to a String can't fail.
            let _ = write!(out, "{value}");
        }
    }
}

fn string(text: &str, out: &mut String) {
    out.push_str(&Value::from(encode(text)).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_code_keeps_order_and_parts() {
        let letters = ['\0', '\u{1}', '\u{2}', '\u{3}', '\u{4}', 'a'];
        let mut texts = vec![String::new()];
        for _ in 0..3 {
            let longer: Vec<String> =
                texts.iter().flat_map(|t| letters.iter().map(move |c| format!("{t}{c}"))).collect();
            texts.extend(longer);
        }
        texts.sort();
        texts.dedup();
        for a in texts.iter().step_by(3) {
            assert_eq!(&decode(&encode(a)), a);
            assert!(!encode(a).contains('\0'));
            for b in &texts {
                assert_eq!(encode(a).cmp(&encode(b)), a.cmp(b), "{a:?} {b:?}");
                assert_eq!(encode(a).contains(&*encode(b)), a.contains(b.as_str()), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn floats_have_a_point_and_integers_none() {
        let value = json!({"a": [1, 1.0, 1e17, -0.5, u64::MAX], "b\0": "x\"\0", "c": null});
        let text = facts(value.as_object().unwrap());
        let wanted = "[1,1.0,100000000000000000.0,-0.5,18446744073709551615]";
        assert!(text.contains(wanted), "{text}");
        assert!(serde_json::from_str::<Value>(&text).is_ok() && !text.contains("\\u0000"), "{text}");
    }
}
