//! What a request that is not in the cassette is nearest to.

use katena_core::{Error, ErrorKind};
use serde_json::Value;

use super::cassette::{Asked, Entry};

/// Longer values are cut in an error's text.
const SHOWN: usize = 80;

/// The error for a request that was not recorded, with the first difference from the nearest that was.
pub(super) fn missing(asked: &Asked, entries: &[Entry]) -> Error {
    let error = Error::new(ErrorKind::NotFound, "the cassette does not have this request")
        .with_context("kind", asked.kind);
    let of_kind = entries.iter().filter(|e| e.kind == asked.kind);
    let differences = of_kind.map(|entry| {
        let mut found = Vec::new();
        compare("component", &entry.component, &asked.component, &mut found);
        compare("request", &entry.request, &asked.request, &mut found);
        found
    });
    match differences.min_by_key(Vec::len) {
        None => error.with_context("nearest", "none of this kind was recorded"),
        Some(found) => {
            let count = found.len();
            let first = found.into_iter().next().unwrap_or_default();
            error.with_context("nearest", format!("{count} difference(s), first: {first}"))
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn compare(path: &str, recorded: &Value, asked: &Value, found: &mut Vec<String>) {
    let differ = |path: &str, a: Option<&Value>, b: Option<&Value>| {
        format!("{path} was {}, is {}", shown(a), shown(b))
    };
    match (recorded, asked) {
        (a, b) if a == b => {}
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            for name in names {
                let path = format!("{path}.{name}");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => compare(&path, a, b, found),
                    (a, b) => found.push(differ(&path, a, b)),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for n in 0..a.len().max(b.len()) {
                let path = format!("{path}[{n}]");
                match (a.get(n), b.get(n)) {
                    (Some(a), Some(b)) => compare(&path, a, b, found),
                    (a, b) => found.push(differ(&path, a, b)),
                }
            }
        }
        (a, b) => found.push(differ(path, Some(a), Some(b))),
    }
}
