//! Vectors as they come over the wire: read, put in order, checked.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use katena_core::{EmbedResponse, Error, Result, Usage};
use katena_http::ErrorDetails;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One vector: a list of numbers, or little-endian 32-bit floats in base64.
#[derive(PartialEq)]
pub(crate) struct Vector(pub(crate) Vec<f32>);

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vector({})", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Vector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers, or floats in base64")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vector, A::Error> {
                // A hint is a hint: never more memory than a large vector needs.
                let mut numbers = Vec::with_capacity(list.size_hint().unwrap_or(1024).min(1 << 14));
                while let Some(number) = list.next_element::<f64>()? {
                    numbers.push(number as f32);
                }
                Ok(Vector(numbers))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vector, E> {
                let bytes = BASE64.decode(text).map_err(|_| E::custom("a vector is no valid base64"))?;
                if bytes.len() % 4 != 0 {
                    return Err(E::custom("a vector's base64 holds no whole number of floats"));
                }
                let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                Ok(Vector(bytes.chunks_exact(4).map(float).collect()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// One vector, or the list of one that some servers wrap around it.
#[derive(Debug)]
pub(crate) struct Nested(pub(crate) Vector);

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let inner = match value {
            Value::Array(mut list) if list.first().is_some_and(Value::is_array) => {
                if list.len() != 1 {
                    return Err(D::Error::custom(
                        "the server gives a vector for each token, not for each text; start it with pooling",
                    ));
                }
                list.remove(0)
            }
            other => other,
        };
        serde_json::from_value(inner).map(Self).map_err(D::Error::custom)
    }
}

/// Puts numbered things in order. Without any number their order is taken as it is.
pub(crate) fn in_order<T>(items: Vec<(Option<u64>, T)>) -> Result<Vec<T>> {
    if items.iter().all(|(index, _)| index.is_none()) {
        return Ok(items.into_iter().map(|(_, item)| item).collect());
    }
    let n = items.len();
    let mut slots: Vec<Option<T>> = std::iter::repeat_with(|| None).take(n).collect();
    for (index, item) in items {
        let slot = index.and_then(|i| usize::try_from(i).ok()).and_then(|i| slots.get_mut(i));
        match slot {
            Some(slot @ None) => *slot = Some(item),
            _ => return Err(Error::invalid_output("the vectors' numbers are not 0 to n-1, each once")),
        }
    }
    Ok(slots.into_iter().flatten().collect())
}

/// The error that a reply of success holds, if it holds one.
pub(crate) fn no_error(error: Option<&Value>) -> Result<()> {
    match error.filter(|e| !e.is_null()) {
        None => Ok(()),
        Some(error) => {
            let details = ErrorDetails::from_value(&serde_json::json!({ "error": error }));
            Err(details.unwrap_or_default().into_error(None))
        }
    }
}

/// The error for a reply in which something is missing.
#[allow(dead_code, reason = "each vendor is a feature")]
pub(crate) fn missing(what: &'static str) -> Error {
    Error::invalid_output("the server's reply holds no vectors").with_context("missing", what)
}

/// The first of these counts that is there.
#[allow(dead_code, reason = "each vendor is a feature")]
pub(crate) fn count(value: Option<&Value>, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| value?.get(key)?.as_u64())
}

/// Usage of which only the prompt's tokens are known.
pub(crate) fn usage(input_tokens: Option<u64>) -> Usage {
    let mut usage = Usage::default();
    usage.input_tokens = input_tokens;
    usage
}

/// Vectors and the tokens that they cost.
#[allow(dead_code, reason = "each vendor is a feature")]
pub(crate) fn response(
    vectors: impl IntoIterator<Item = Vector>,
    input_tokens: Option<u64>,
) -> EmbedResponse {
    EmbedResponse::new(vectors.into_iter().map(|v| v.0).collect()).with_usage(usage(input_tokens))
}

/// Reads a reply that came as a value.
#[allow(dead_code, reason = "each vendor is a feature")]
pub(crate) fn from_value<T: serde::de::DeserializeOwned>(raw: Value) -> Result<T> {
    serde_json::from_value(raw)
        .map_err(|e| Error::invalid_output("the server's reply can't be understood").with_source(e))
}

/// Checks a batch: as many vectors as texts, each of `dimensions` (if known) finite numbers.
pub(crate) fn check(vectors: &[Vec<f32>], texts: usize, dimensions: Option<usize>) -> Result<()> {
    if vectors.len() != texts {
        return Err(Error::invalid_output("the server did not give one vector for each text")
            .with_context("texts", texts.to_string())
            .with_context("vectors", vectors.len().to_string()));
    }
    let wanted = dimensions.or_else(|| vectors.first().map(Vec::len));
    for vector in vectors {
        if Some(vector.len()) != wanted || vector.is_empty() {
            return Err(Error::invalid_output("a vector has another length than the embedder states")
                .with_context("stated", wanted.unwrap_or_default().to_string())
                .with_context("got", vector.len().to_string()));
        }
        if !vector.iter().all(|x| x.is_finite()) {
            return Err(Error::invalid_output("a vector holds a number that is not finite"));
        }
    }
    Ok(())
}

/// Gives the vector length 1, unless it has it.
pub(crate) fn normalize(vector: &mut [f32]) -> Result<()> {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length == 0.0 {
        return Err(Error::invalid_output("a vector is all zeros and has no direction"));
    }
    // Within what 32-bit floats can hold: left as the vendor gave it.
    if (length - 1.0).abs() > 1e-6 {
        for x in vector {
            *x = (f64::from(*x) / length) as f32;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "vectors_tests.rs"]
mod tests;
