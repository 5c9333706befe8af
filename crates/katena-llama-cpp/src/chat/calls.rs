//! Tool calls in the text of Qwen and Hermes models: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.

use serde_json::Value;

use super::text::held_back;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// What the text turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Text of the answer.
    Text(String),
    /// A call: name and arguments' JSON text.
    Call(String, String),
}

/// Finds calls in text that arrives in pieces. White space around calls vanishes; a call that can't be parsed or was cut
/// off stays text, so that nothing is lost.
#[derive(Debug, Default)]
pub(crate) struct CallParser {
    held: String,
    inside: bool,
    /// True once something other than white space was passed on as text since the start or the last call.
    texted: bool,
}

impl CallParser {
    /// A parser whose text goes on after `prefix`, which was put into the model's mouth.
    pub(crate) fn after(prefix: &str) -> Self {
        let mut parser = Self::default();
        let _ = parser.push(prefix);
        parser
    }

    /// What is certain after `text`.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Found> {
        self.held.push_str(text);
        let mut found = Vec::new();
        loop {
            if self.inside {
                let Some(at) = self.held.find(CLOSE) else { return found };
                let rest = self.held.split_off(at + CLOSE.len());
                let call = std::mem::replace(&mut self.held, rest);
                self.inside = false;
                match parse(&call[..at]) {
                    Some((name, arguments)) => {
                        self.texted = false;
                        found.push(Found::Call(name, arguments));
                    }
                    None => self.text(format!("{OPEN}{call}"), &mut found),
                }
            } else if let Some(at) = self.held.find(OPEN) {
                let rest = self.held.split_off(at + OPEN.len());
                let mut before = std::mem::replace(&mut self.held, rest);
                before.truncate(at);
                before.truncate(before.trim_end().len());
                self.text(before, &mut found);
                self.inside = true;
            } else {
                // White space may stand before a call; the mark may have begun.
                let mark = held_back(&self.held, std::iter::once(OPEN));
                let body = &self.held[..self.held.len() - mark];
                let keep = self.held.len() - body.trim_end().len();
                let rest = self.held.split_off(self.held.len() - keep);
                let text = std::mem::replace(&mut self.held, rest);
                self.text(text, &mut found);
                return found;
            }
        }
    }

    fn text(&mut self, text: String, found: &mut Vec<Found>) {
        let text = if self.texted { text } else { text.trim_start().to_owned() };
        if !text.is_empty() {
            self.texted = true;
            found.push(Found::Text(text));
        }
    }

    /// What was held back, when no more text comes.
    pub(crate) fn finish(&mut self) -> Vec<Found> {
        let held = std::mem::take(&mut self.held);
        let mut found = Vec::new();
        if self.inside {
            self.inside = false;
            // Some models end right after the JSON.
            match parse(&held) {
                Some((name, arguments)) => found.push(Found::Call(name, arguments)),
                None => self.text(format!("{OPEN}{held}"), &mut found),
            }
        } else if self.texted || !held.trim().is_empty() {
            self.text(held, &mut found);
        }
        found
    }
}

/// Name and arguments' text of one call.
fn parse(text: &str) -> Option<(String, String)> {
    let value: Value = serde_json::from_str(text.trim()).ok()?;
    let name = value.get("name")?.as_str()?.to_owned();
    let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
        None | Some(Value::Null) => "{}".to_owned(),
        // Some models write the object as text.
        Some(Value::String(text)) => text.clone(),
        Some(_) => raw_member(text.trim(), &["arguments", "parameters"])?.to_owned(),
    };
    Some((name, arguments))
}

/// The text of a top-level member's value in valid JSON of an object.
fn raw_member<'t>(json: &'t str, names: &[&str]) -> Option<&'t str> {
    let bytes = json.as_bytes();
    let (mut at, mut depth, mut value_start) = (0, 0usize, None);
    let mut wanted = false;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let start = at;
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 1 && value_start.is_none() {
                    wanted = json.get(start + 1..at).is_some_and(|key| names.contains(&key));
                }
            }
            b':' if depth == 1 && value_start.is_none() => value_start = Some(at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' => {
                let ends = if bytes[at] == b',' {
                    depth == 1
                } else {
                    depth = depth.checked_sub(1)?;
                    depth == 0
                };
                if ends && let Some(start) = value_start.take() {
                    if wanted {
                        return Some(json.get(start..at)?.trim());
                    }
                    wanted = false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, size: usize) -> Vec<Found> {
        let mut parser = CallParser::default();
        let mut found = Vec::new();
        let chars: Vec<char> = text.chars().collect();
        for chunk in chars.chunks(size) {
            found.extend(parser.push(&chunk.iter().collect::<String>()));
        }
        found.extend(parser.finish());
        let mut merged: Vec<Found> = Vec::new();
        for f in found {
            match (merged.last_mut(), f) {
                (Some(Found::Text(a)), Found::Text(b)) => a.push_str(&b),
                (_, f) => merged.push(f),
            }
        }
        merged
    }

    #[test]
    fn calls_are_found_however_the_text_is_cut() {
        let text = "Let me look. <b>\n<tool_call>\n{\"name\": \"find\", \"arguments\": {\"q\": \"a }\\\" b\", \"n\":  [1, 2]}}\n</tool_call>\n\
                    <tool_call>{\"arguments\": {}, \"name\": \"now\"}</tool_call>";
        for size in 1..text.len() {
            assert_eq!(
                all(text, size),
                [
                    Found::Text("Let me look. <b>".into()),
                    Found::Call("find".into(), "{\"q\": \"a }\\\" b\", \"n\":  [1, 2]}".into()),
                    Found::Call("now".into(), "{}".into()),
                ],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn nothing_is_lost() {
        for text in [
            "<tool_call>not json</tool_call> rest",
            "<tool_call>{\"name\": \"cut\", \"argum",
            "a <tool_cal",
            "x < y and 日本  ",
            "<tool_call>{\"no_name\": 1}</tool_call>",
        ] {
            for size in 1..text.len() {
                assert_eq!(all(text, size), [Found::Text(text.into())], "{text} in pieces of {size}");
            }
        }
    }

    #[test]
    fn forms_of_arguments() {
        assert_eq!(parse(r#"{"name":"a","arguments":"{\"x\":1}"}"#), Some(("a".into(), r#"{"x":1}"#.into())));
        assert_eq!(parse(r#"{"name":"a"}"#), Some(("a".into(), "{}".into())));
        assert_eq!(
            parse(r#"{"parameters":{"arguments":2},"name":"a"}"#),
            Some(("a".into(), r#"{"arguments":2}"#.into()))
        );
        assert_eq!(parse(r"[1]"), None);
        assert_eq!(
            all("<tool_call>{\"name\":\"a\",\"arguments\":{}}", 3),
            [Found::Call("a".into(), "{}".into())],
            "no closing mark"
        );
    }
}
