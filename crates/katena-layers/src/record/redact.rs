//! Secrets taken out of what is recorded.

use std::sync::Arc;

use serde_json::Value;

/// What stands in a secret's place.
pub(super) const REDACTED: &str = "***";

type Redactor = dyn Fn(&str) -> String + Send + Sync;

/// The rules by which texts are changed before they are written.
#[derive(Clone, Default)]
pub(super) struct Redaction {
    own: Vec<Arc<Redactor>>,
}

/// How keys begin, and how many characters follow at least.
const PREFIXES: [(&str, usize); 27] = [
    ("sk-", 12),
    ("sk_", 12),
    ("pk_", 12),
    ("rk_", 12),
    ("AIza", 30),
    ("AKIA", 16),
    ("ASIA", 16),
    ("ABSK", 20),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xapp-", 10),
    ("gsk_", 16),
    ("hf_", 16),
    ("xai-", 16),
    ("pplx-", 16),
    ("nvapi-", 16),
    ("r8_", 16),
    ("pa-", 24),
    ("jina_", 16),
    ("ya29.", 16),
    ("fw_", 16),
    ("whsec_", 12),
];

/// Fields whose texts are secrets, without `-` and `_`, in small letters.
const FIELDS: [&str; 17] = [
    "authorization",
    "proxyauthorization",
    "apikey",
    "xapikey",
    "xgoogapikey",
    "accesskey",
    "secretaccesskey",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "sessiontoken",
    "authtoken",
    "clientsecret",
    "secret",
    "password",
    "passwd",
    "privatekey",
];

fn is_secret_field(name: &str) -> bool {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    FIELDS.contains(&plain.to_ascii_lowercase().as_str())
}

impl Redaction {
    pub(super) fn add(&mut self, redactor: impl Fn(&str) -> String + Send + Sync + 'static) {
        self.own.push(Arc::new(redactor));
    }

    /// A text without what looks like a secret. Equal texts stay equal, so that the pieces of a recording fit together.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = match serde_json::from_str::<Value>(text) {
            // Arguments of tools are JSON inside of a text.
            Ok(mut value @ (Value::Object(_) | Value::Array(_))) => {
                let before = value.clone();
                self.value(&mut value);
                if value == before { text.to_owned() } else { value.to_string() }
            }
            _ => patterns(text),
        };
        for redactor in &self.own {
            text = redactor(&text);
        }
        text
    }

    /// Every text in a value; texts in fields with a secret's name go whole.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|v| self.value(v)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    match field {
                        Value::String(text) if is_secret_field(name) => REDACTED.clone_into(text),
                        field => self.value(field),
                    }
                }
            }
            _ => {}
        }
    }
}

fn in_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=' | '~')
}

/// Replaces keys, tokens and private keys in a text.
fn patterns(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before: Option<char> = None;
    while let Some(c) = rest.chars().next() {
        let at_border = before.is_none_or(|b| !b.is_ascii_alphanumeric() && b != '_');
        let length = if at_border { secret_at(rest) } else { None };
        match length {
            Some((kept, length)) => {
                out.push_str(&rest[..kept]);
                out.push_str(REDACTED);
                rest = &rest[length..];
                before = Some('*');
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                before = Some(c);
            }
        }
    }
    out
}

/// If a secret begins here: how many bytes to keep before it, and where it ends.
fn secret_at(text: &str) -> Option<(usize, usize)> {
    let run = |text: &str| text.find(|c: char| !in_key(c)).unwrap_or(text.len());
    if let Some(key) = PREFIXES.iter().find_map(|(prefix, least)| {
        let after = text.strip_prefix(prefix)?;
        let length = after
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'))
            .unwrap_or(after.len());
        (length >= *least).then_some(prefix.len() + length)
    }) {
        return Some((0, key));
    }
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).next()?;
    if word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic") {
        let blank = text[word.len()..].len() - text[word.len()..].trim_start_matches([' ', ':']).len();
        let start = word.len() + blank;
        let length = run(&text[start..]);
        // "Basic" is also a word; what follows must look like a token.
        let token = &text[start..start + length];
        let mixed = token.chars().any(|c| c.is_ascii_digit() || matches!(c, '=' | '_'));
        if blank > 0 && length >= 8 && (mixed || length >= 20) {
            return Some((start, start + length));
        }
    }
    if text.starts_with("eyJ") {
        let length = run(text);
        if length >= 40 && text[..length].matches('.').count() >= 2 {
            return Some((0, length));
        }
    }
    if text.starts_with("-----BEGIN ") && text.get(..60.min(text.len()))?.contains("PRIVATE KEY") {
        let end = text.find("-----END ").and_then(|at| Some(at + 9 + text[at + 9..].find("-----")? + 5));
        return Some((0, end.unwrap_or(text.len())));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_go_and_words_stay() {
        let redaction = Redaction::default();
        let key = "sk-proj-abcDEF_0123456789xyz";
        for (text, expected) in [
            (format!("use {key}, please"), "use ***, please".to_owned()),
            (format!("{key}{key}"), "***".to_owned()),
            (format!("Authorization: Bearer {key}"), "Authorization: Bearer ***".to_owned()),
            ("Bearer abcdef0123456789".into(), "Bearer ***".into()),
            ("Basic dXNlcjpwYXNzd29yZA==".into(), "Basic ***".into()),
            (
                "Basic instructions follow. A bearer carries.".into(),
                "Basic instructions follow. A bearer carries.".into(),
            ),
            ("AKIAIOSFODNN7EXAMPLE".into(), "***".into()),
            (
                "task-oriented disk-based risk-averse-behaviour".into(),
                "task-oriented disk-based risk-averse-behaviour".into(),
            ),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop".into(), "***".into()),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nx".into(),
                "***\nx".into(),
            ),
            ("schlüssel 🔑 sk-".into(), "schlüssel 🔑 sk-".into()),
        ] {
            assert_eq!(redaction.text(&text), expected);
        }
        let shown: Value = serde_json::from_str(&redaction.text(r#"{"password":"hunter2","n":1}"#)).unwrap();
        assert_eq!(shown, json!({"n": 1, "password": "***"}));
        assert_eq!(redaction.text(r#"{ "n": 1 }"#), r#"{ "n": 1 }"#, "unchanged is untouched");
        let mut value = json!({"headers": {"X-Api-Key": "abc", "token": "t"}, "max_tokens": 5, "password": {"type": "string"}});
        redaction.value(&mut value);
        assert_eq!(
            value,
            json!({"headers": {"X-Api-Key": "***", "token": "t"}, "max_tokens": 5, "password": {"type": "string"}})
        );
    }

    #[test]
    fn ones_own_rules_come_on_top() {
        let mut redaction = Redaction::default();
        redaction.add(|text| text.replace("acme", "customer"));
        assert_eq!(redaction.text("acme pays"), "customer pays");
    }
}
