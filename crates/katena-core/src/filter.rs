//! One typed filter for every store.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::document::Metadata;

/// A condition on a document's metadata. Stores translate it with bound values.
///
/// A missing key fails every condition but `Ne`, `Not` and `Exists(key, false)`. Numbers compare as numbers whatever
/// their spelling (1 equals 1.0); values of different types are unequal and never in order. `Contains` looks for an
/// element of a list, or a part of a string (case counts). `In` and `Eq` on a list compare the whole list.
/// `key` is one metadata key; there are no paths.
///
/// ```
/// use katena_core::Filter;
/// let filter = Filter::eq("lang", "en").and(Filter::gte("year", 2020));
/// let metadata = serde_json::json!({"lang": "en", "year": 2024});
/// assert!(filter.matches(metadata.as_object().unwrap()));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Filter {
    /// The value equals.
    Eq(String, Value),
    /// The value is missing or differs.
    Ne(String, Value),
    /// The value is less (numbers or strings).
    Lt(String, Value),
    /// The value is less or equal.
    Lte(String, Value),
    /// The value is greater.
    Gt(String, Value),
    /// The value is greater or equal.
    Gte(String, Value),
    /// The value is one of these.
    In(String, Vec<Value>),
    /// The list has this element, or the string this part.
    Contains(String, Value),
    /// The key is there (`true`) or not (`false`). A key with the value null is there.
    Exists(String, bool),
    /// All hold; true if empty.
    And(Vec<Filter>),
    /// At least one holds; false if empty.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
}

macro_rules! comparisons {
    ($($name:ident $variant:ident $doc:literal),* $(,)?) => {$(
        #[doc = $doc]
        pub fn $name(key: impl Into<String>, value: impl Into<Value>) -> Self {
            Self::$variant(key.into(), value.into())
        }
    )*};
}

impl Filter {
    comparisons! {
        eq Eq "The value equals.",
        ne Ne "The value is missing or differs.",
        lt Lt "The value is less.",
        lte Lte "The value is less or equal.",
        gt Gt "The value is greater.",
        gte Gte "The value is greater or equal.",
        contains Contains "The list has this element, or the string this part.",
    }

    /// The value is one of these.
    pub fn is_in<V: Into<Value>>(key: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Self::In(key.into(), values.into_iter().map(Into::into).collect())
    }

    /// The key is there.
    pub fn exists(key: impl Into<String>) -> Self {
        Self::Exists(key.into(), true)
    }

    /// Both hold.
    pub fn and(self, other: Filter) -> Self {
        match self {
            Self::And(mut all) => {
                all.push(other);
                Self::And(all)
            }
            one => Self::And(vec![one, other]),
        }
    }

    /// At least one holds.
    pub fn or(self, other: Filter) -> Self {
        match self {
            Self::Or(mut all) => {
                all.push(other);
                Self::Or(all)
            }
            one => Self::Or(vec![one, other]),
        }
    }

    /// It does not hold.
    #[expect(clippy::should_implement_trait, reason = "reads as the field's word; `!filter` would hide it")]
    pub fn not(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Whether these metadata fit: the meaning that every store must give.
    pub fn matches(&self, metadata: &Metadata) -> bool {
        let ordered = |key: &str, value: &Value, ok: fn(Ordering) -> bool| {
            metadata.get(key).and_then(|v| order(v, value)).is_some_and(ok)
        };
        match self {
            Self::Eq(key, value) => metadata.get(key).is_some_and(|v| same(v, value)),
            Self::Ne(key, value) => !metadata.get(key).is_some_and(|v| same(v, value)),
            Self::Lt(key, value) => ordered(key, value, Ordering::is_lt),
            Self::Lte(key, value) => ordered(key, value, Ordering::is_le),
            Self::Gt(key, value) => ordered(key, value, Ordering::is_gt),
            Self::Gte(key, value) => ordered(key, value, Ordering::is_ge),
            Self::In(key, values) => metadata.get(key).is_some_and(|v| values.iter().any(|w| same(v, w))),
            Self::Contains(key, value) => match (metadata.get(key), value) {
                (Some(Value::Array(list)), value) => list.iter().any(|v| same(v, value)),
                (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
                _ => false,
            },
            Self::Exists(key, wanted) => metadata.contains_key(key) == *wanted,
            Self::And(all) => all.iter().all(|f| f.matches(metadata)),
            Self::Or(any) => any.iter().any(|f| f.matches(metadata)),
            Self::Not(f) => !f.matches(metadata),
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => order(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        // Two integers are compared as such: as floats, neighbours above 2^53 would be equal.
        (Value::Number(x), Value::Number(y)) => match (integer(x), integer(y)) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        (Value::String(x), Value::String(y)) => Some(x.cmp(y)),
        _ => None,
    }
}

fn integer(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equality_and_order_agree_on_numbers() {
        let numbers = [
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1),
            json!(1.0),
            json!(-0.0),
            json!(0),
            json!(1e300),
        ];
        for x in &numbers {
            for y in &numbers {
                let metadata = Metadata::from_iter([("n".to_owned(), x.clone())]);
                let holds =
                    [Filter::lt("n", y.clone()), Filter::eq("n", y.clone()), Filter::gt("n", y.clone())]
                        .map(|f| usize::from(f.matches(&metadata)));
                assert_eq!(holds.iter().sum::<usize>(), 1, "{x} and {y}: {holds:?}");
            }
        }
        let metadata = Metadata::from_iter([("n".to_owned(), numbers[0].clone())]);
        assert!(!Filter::eq("n", numbers[1].clone()).matches(&metadata));
    }
}
