//! JSON that is not finished, or stands in Markdown, by the rules of LangChain.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::machine::{Commas, Machine};

pub(super) enum Partial {
    Value(Value),
    /// A closing bracket has no opening one.
    Mismatched,
    Broken,
}

/// The value of JSON text that may be cut off anywhere: open brackets and texts are closed, a last piece that says nothing
/// yet is left out. Linear in the text; values deeper than 128 levels are refused.
///
/// The rules are those of LangChain's `parse_partial_json`: while an escape `\uXXXX` is incomplete, its whole text is left
/// out. [`JsonStream`](crate::JsonStream) never takes back what it has shown. `NaN` and `Infinity` come as texts, half a
/// surrogate pair as U+FFFD.
///
/// ```
/// use katena_prompts::parse_partial;
/// use serde_json::json;
/// assert_eq!(parse_partial(r#"{"city": "Par"#), Some(json!({"city": "Par"})));
/// assert_eq!(parse_partial(r#"{"city": "Paris", "da"#), Some(json!({"city": "Paris"})));
/// assert_eq!(parse_partial("no JSON"), None);
/// ```
pub fn parse_partial(text: &str) -> Option<Value> {
    if let Partial::Value(value) = partial(text) { Some(value) } else { None }
}

pub(super) fn partial(text: &str) -> Partial {
    let Some(open) = Brackets::of(text) else {
        // Whole and right JSON has no bracket too many.
        return Partial::Mismatched;
    };
    let body = if open.in_text && open.escaped { &text[..text.len() - 1] } else { text };
    let quote = if open.in_text { "\"" } else { "" };
    let mut machine = Machine::new(Commas::Strict);
    let mut best = None;
    let mut at = 0;
    for c in body.chars().chain(quote.chars()) {
        if machine.push(c).is_err() {
            break;
        }
        at += c.len_utf8();
        if machine.is_closable() && machine.closers() == open.closers {
            best = Some(at);
        }
    }
    let Some(best) = best else { return Partial::Broken };
    let mut machine = Machine::new(Commas::Strict);
    let closers = open.closers.iter().rev().map(|b| char::from(*b));
    let whole = body.chars().chain(quote.chars());
    let mut at = 0;
    // A space ends a number.
    let kept = whole.take_while(|c| {
        at += c.len_utf8();
        at <= best
    });
    for c in kept.chain(closers).chain([' ']) {
        if machine.push(c).is_err() {
            return Partial::Broken;
        }
    }
    machine.into_root().map_or(Partial::Broken, Partial::Value)
}

/// Which brackets are open at the end of a text, whatever else is wrong with it.
struct Brackets {
    closers: Vec<u8>,
    in_text: bool,
    escaped: bool,
}

impl Brackets {
    /// `None` if a closing one has no opening one.
    fn of(text: &str) -> Option<Self> {
        let mut found = Self { closers: Vec::new(), in_text: false, escaped: false };
        for byte in text.bytes() {
            if found.in_text {
                match byte {
                    b'"' if !found.escaped => found.in_text = false,
                    b'\\' => found.escaped = !found.escaped,
                    _ => found.escaped = false,
                }
                continue;
            }
            match byte {
                b'"' => (found.in_text, found.escaped) = (true, false),
                b'{' => found.closers.push(b'}'),
                b'[' => found.closers.push(b']'),
                b'}' | b']' if found.closers.pop() != Some(byte) => return None,
                _ => {}
            }
        }
        Some(found)
    }
}

/// Models write several lines into this field of LangChain's agents.
static ACTION_INPUT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?s)("action_input":\s*")(.*?)(")"#).ok());

fn escaped(text: &str) -> Cow<'_, str> {
    let Some(pattern) = &*ACTION_INPUT else { return Cow::Borrowed(text) };
    pattern.replace_all(text, |found: &regex::Captures<'_>| {
        let value = found[2].replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        format!("{}{value}{}", &found[1], &found[3])
    })
}

/// The JSON value of a text that is JSON, finished or not, or has it in a code fence, by the rules of LangChain's
/// `parse_json_markdown`. [`JsonParser`](crate::JsonParser) finds more.
///
/// ```
/// use katena_prompts::parse_markdown;
/// use serde_json::json;
/// assert_eq!(parse_markdown("Here it is:\n```json\n{\"a\": [1, 2\n```"), Some(json!({"a": [1, 2]})));
/// ```
pub fn parse_markdown(text: &str) -> Option<Value> {
    let attempt = |text: &str| partial(&escaped(text.trim_matches([' ', '\n', '\r', '\t', '`'])));
    match attempt(text) {
        Partial::Value(value) => return Some(value),
        Partial::Mismatched => return None,
        Partial::Broken => {}
    }
    let fenced = text.split_once("```").map_or(text, |(_, rest)| rest.strip_prefix("json").unwrap_or(rest));
    if let Partial::Value(value) = attempt(fenced) { Some(value) } else { None }
}
