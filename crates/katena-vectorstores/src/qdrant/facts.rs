//! Metadata as words that Qdrant can match exactly.
//!
//! Qdrant's own conditions on JSON mean something else than [`Filter`]: keys are paths, 1 is not 1.0, a list is any of
//! its elements. So each point carries a list of words (`facts`), one per key, key and value, and key and element, and
//! its numbers under plain names (`numbers`); a filter asks for those. What they can't tell (parts of strings, the order
//! of strings and of integers beyond 53 bits) is left to the caller: the condition then lets through too much, never too
//! little.

use std::fmt::Write;

use katena_core::{Filter, Metadata};
use qdrant_client::qdrant::{Condition, Filter as QdrantFilter, Range};
use serde_json::{Map, Value};

pub(super) const FACTS: &str = "facts";
pub(super) const NUMBERS: &str = "numbers";
/// gRPC messages nest at most 100 deep, and a filter takes two levels and some.
const MAX_DEPTH: usize = 20;
/// No fact is this word.
const NEVER: &str = "never";
/// Integers up to here are the same as floats.
const EXACT_INTEGERS: u64 = 1 << 53;

/// The words of a point.
pub(super) fn facts(metadata: &Metadata) -> Vec<String> {
    let mut facts = Vec::new();
    for (key, value) in metadata {
        facts.push(exists(key));
        facts.extend(told(value).iter().map(|word| equals(key, word)));
        for element in value.as_array().into_iter().flatten() {
            facts.extend(told(element).iter().map(|word| has(key, word)));
        }
    }
    facts
}

/// The numbers of a point.
pub(super) fn numbers(metadata: &Metadata) -> Map<String, Value> {
    let number = |(key, value): (&String, &Value)| Some((plain(key), Value::from(value.as_f64()?)));
    metadata.iter().filter_map(number).collect()
}

/// What the server can do of a filter.
pub(super) struct Narrowed {
    /// Lets through at least what fits; `None` lets everything through.
    condition: Option<Condition>,
    /// It lets through nothing else.
    pub(super) exact: bool,
}

impl Narrowed {
    pub(super) fn new(filter: Option<&Filter>) -> Self {
        filter.map_or(Self { condition: None, exact: true }, |f| narrow(f, 0))
    }

    pub(super) fn filter(&self) -> Option<QdrantFilter> {
        self.condition.clone().map(|c| QdrantFilter::must([c]))
    }

    fn exactly(condition: Condition) -> Self {
        Self { condition: Some(condition), exact: true }
    }

    fn never() -> Self {
        Self::exactly(fact(NEVER.into()))
    }
}

fn fact(word: String) -> Condition {
    Condition::matches(FACTS, word)
}

fn any(words: Vec<String>) -> Condition {
    Condition::matches(FACTS, words)
}

fn is(key: &str, value: &Value) -> Condition {
    any(asked(value).iter().map(|word| equals(key, word)).collect())
}

fn not(condition: Condition) -> Condition {
    QdrantFilter::must_not([condition]).into()
}

fn narrow(filter: &Filter, depth: usize) -> Narrowed {
    if depth > MAX_DEPTH {
        return Narrowed { condition: None, exact: false };
    }
    match filter {
        Filter::Eq(key, value) => Narrowed::exactly(is(key, value)),
        Filter::Ne(key, value) => Narrowed::exactly(not(is(key, value))),
        Filter::In(_, values) if values.is_empty() => Narrowed::never(),
        Filter::In(key, values) => {
            Narrowed::exactly(any(values.iter().flat_map(asked).map(|word| equals(key, &word)).collect()))
        }
        // A string may also be a part of a string.
        Filter::Contains(key, Value::String(_)) => {
            Narrowed { condition: Some(fact(exists(key))), exact: false }
        }
        Filter::Contains(key, value) => {
            Narrowed::exactly(any(asked(value).iter().map(|word| has(key, word)).collect()))
        }
        Filter::Exists(key, true) => Narrowed::exactly(fact(exists(key))),
        Filter::Exists(key, false) => Narrowed::exactly(not(fact(exists(key)))),
        Filter::Lt(key, value) => ordered(key, value, |n, exact| {
            if exact {
                Range { lt: Some(n), ..Range::default() }
            } else {
                Range { lte: Some(n), ..Range::default() }
            }
        }),
        Filter::Lte(key, value) => ordered(key, value, |n, _| Range { lte: Some(n), ..Range::default() }),
        Filter::Gt(key, value) => ordered(key, value, |n, exact| {
            if exact {
                Range { gt: Some(n), ..Range::default() }
            } else {
                Range { gte: Some(n), ..Range::default() }
            }
        }),
        Filter::Gte(key, value) => ordered(key, value, |n, _| Range { gte: Some(n), ..Range::default() }),
        Filter::And(all) => {
            let parts: Vec<Narrowed> = all.iter().map(|f| narrow(f, depth + 1)).collect();
            let exact = parts.iter().all(|p| p.exact);
            let conditions: Vec<Condition> = parts.into_iter().filter_map(|p| p.condition).collect();
            let condition = (!conditions.is_empty()).then(|| QdrantFilter::must(conditions).into());
            Narrowed { condition, exact }
        }
        Filter::Or(any) if any.is_empty() => Narrowed::never(),
        Filter::Or(any) => {
            let parts: Vec<Narrowed> = any.iter().map(|f| narrow(f, depth + 1)).collect();
            let exact = parts.iter().all(|p| p.exact);
            let conditions: Option<Vec<Condition>> = parts.into_iter().map(|p| p.condition).collect();
            Narrowed { condition: conditions.map(|c| QdrantFilter::should(c).into()), exact }
        }
        Filter::Not(inner) => match narrow(inner, depth + 1) {
            // The opposite of too much would be too little.
            Narrowed { exact: false, .. } => Narrowed { condition: None, exact: false },
            Narrowed { condition: Some(condition), .. } => Narrowed::exactly(not(condition)),
            Narrowed { condition: None, .. } => Narrowed::never(),
        },
        _ => Narrowed { condition: None, exact: false },
    }
}

fn ordered(key: &str, value: &Value, range: impl Fn(f64, bool) -> Range) -> Narrowed {
    match value {
        Value::Number(n) => {
            let exact = n.is_f64() || n.as_i64().is_some_and(|i| i.unsigned_abs() < EXACT_INTEGERS);
            let Some(float) = n.as_f64() else { return Narrowed { condition: None, exact: false } };
            let condition = Condition::range(format!("{NUMBERS}.{}", plain(key)), range(float, exact));
            Narrowed { condition: Some(condition), exact }
        }
        Value::String(_) => Narrowed { condition: Some(fact(exists(key))), exact: false },
        // Nothing else has an order.
        _ => Narrowed::never(),
    }
}

/// A key as a name that is no path.
fn plain(key: &str) -> String {
    key.bytes().fold(String::from("k"), |mut out, byte| {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

// The length in front tells where the key ends, whatever it holds.

fn exists(key: &str) -> String {
    format!("?{}:{key}", key.len())
}

fn equals(key: &str, word: &str) -> String {
    format!("={}:{key}{word}", key.len())
}

fn has(key: &str, word: &str) -> String {
    format!("+{}:{key}{word}", key.len())
}

// Two integers are compared as such, an integer and a float as floats. So a number tells what it is as a float, and
// also whether it is an integer; `+ 0.0` makes one zero of two.

/// What a point tells of a value.
fn told(value: &Value) -> Vec<String> {
    let Value::Number(n) = value else { return vec![strict_word(value)] };
    let float = n.as_f64().unwrap_or_default() + 0.0;
    vec![format!("n{float}"), if n.is_f64() { format!("f{float}") } else { format!("i{n}") }]
}

/// What a filter asks for: any of these is told by exactly the values that are equal.
fn asked(value: &Value) -> Vec<String> {
    let Value::Number(n) = value else { return vec![strict_word(value)] };
    let float = n.as_f64().unwrap_or_default() + 0.0;
    if n.is_f64() { vec![format!("n{float}")] } else { vec![format!("i{n}"), format!("f{float}")] }
}

fn strict_word(value: &Value) -> String {
    let mut out = String::new();
    strict(value, &mut out);
    out
}

/// JSON with sorted keys; inside lists and objects 1 is not 1.0.
fn strict(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => {
            out.push('[');
            for element in list {
                strict(element, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in entries {
                strict(&Value::from(key.as_str()), out);
                out.push(':');
                strict(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Number(n) if n.is_f64() => {
            let _ = write!(out, "{:?}", n.as_f64().unwrap_or_default() + 0.0);
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_values_have_equal_words() {
        let values = [
            json!(null),
            json!(true),
            json!("true"),
            json!(1),
            json!(1.0),
            json!("1"),
            json!(0.0),
            json!(-0.0),
            json!([1]),
            json!([1.0]),
            json!([0.0]),
            json!([-0.0]),
            json!("[1,]"),
            json!([]),
            json!({}),
            json!({"a": 1, "b": 2}),
            json!({"b": 2, "a": 1}),
            json!("n1"),
            json!(1e300),
            json!(u64::MAX),
        ];
        for a in &values {
            for b in &values {
                let metadata = json!({"k": a});
                let same = Filter::eq("k", b.clone()).matches(metadata.as_object().unwrap());
                assert_eq!(told(a).iter().any(|word| asked(b).contains(word)), same, "{a} {b}");
            }
        }
        assert_ne!(equals("a", "1:b"), equals("a1:", "b"));
    }

    #[test]
    fn what_the_server_cannot_tell_is_not_exact() {
        let exact = |f: Filter| Narrowed::new(Some(&f)).exact;
        assert!(exact(Filter::eq("a", 1).and(Filter::lt("b", 2)).not()));
        assert!(
            !exact(Filter::contains("a", "b"))
                && !exact(Filter::lt("a", "b"))
                && !exact(Filter::gt("a", 1_i64 << 60))
        );
        let inverse = Narrowed::new(Some(&Filter::contains("a", "b").not()));
        assert!(!inverse.exact && inverse.filter().is_none());
        let either = Narrowed::new(Some(&Filter::eq("a", 1).or(Filter::contains("a", "b").not())));
        assert!(!either.exact && either.filter().is_none());
        let both = Narrowed::new(Some(&Filter::eq("a", 1).and(Filter::contains("a", "b").not())));
        assert!(!both.exact && both.filter().is_some());
    }
}
