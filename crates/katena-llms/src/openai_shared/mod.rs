//! What OpenAI's two protocols and those who follow them have in common.

pub(crate) mod link;
pub(crate) mod schema;

use katena_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The address of OpenAI's own service.
pub(crate) const OFFICIAL: &str = "https://api.openai.com/v1";

/// How an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Whole,
    Stream,
}

impl Reply {
    pub(crate) fn accept(self) -> &'static str {
        match self {
            Self::Whole => "application/json",
            Self::Stream => "text/event-stream",
        }
    }
}

/// A finite number, or `InvalidInput`.
pub(crate) fn finite(number: Option<f32>) -> Result<Option<f32>> {
    match number {
        Some(n) if !n.is_finite() => {
            Err(Error::invalid_input("an option of the request is not a finite number"))
        }
        n => Ok(n),
    }
}

/// The name of a schema as the protocols take it: letters, digits, `_` and `-`, 64 at most.
pub(crate) fn label(name: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let label: String = name.chars().map(fine).take(64).collect();
    if label.is_empty() { "answer".to_owned() } else { label }
}

/// The schema of a tool's arguments; servers refuse an object schema without properties.
pub(crate) fn parameters(schema: &Value) -> Value {
    let mut parameters = schema.as_object().cloned().unwrap_or_default();
    parameters.entry("type").or_insert_with(|| json!("object"));
    parameters.entry("properties").or_insert_with(|| json!({}));
    Value::Object(parameters)
}

/// A count; some servers count in floating-point numbers.
pub(crate) fn count(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_f64().filter(|f| (0.0..=9e15).contains(f)).map(|f| f as u64))
}

/// A word, or a number in its place.
pub(crate) fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// Log-probabilities as a list of tokens, with at most `alternatives` rivals each.
#[cfg(feature = "responses")]
pub(crate) fn logprobs(list: Option<&Value>, alternatives: usize) -> Vec<katena_core::TokenLogprob> {
    let pair = |v: &Value| {
        // Rounding can lift the logarithm of a probability of one a little above zero.
        Some((v.get("token")?.as_str()?.to_owned(), (v.get("logprob")?.as_f64()? as f32).min(0.0)))
    };
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|v| {
        let top = v.get("top_logprobs").and_then(Value::as_array).into_iter().flatten();
        let top = top.filter_map(pair).take(alternatives).collect();
        pair(v).map(|(token, logprob)| katena_core::TokenLogprob::new(token, logprob, top))
    })
    .collect()
}

/// Reads one JSON text, mending lone surrogates, which some servers make by cutting a character in two.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .or_else(|error| match mend_surrogates(text) {
            Some(mended) => serde_json::from_str(&mended),
            None => Err(error),
        })
        .map_err(|e| Error::invalid_output("the server sent JSON that can't be understood").with_source(e))
}

/// `text` with each escape of half a surrogate pair replaced; `None` if there is none.
fn mend_surrogates(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = text[at..].find('\\') {
        at += found;
        at += match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                mended.push_str(&text[copied..at]);
                mended.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            Some(_) => 6,
            // An escaped character, which may itself be a backslash.
            None => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    mended.push_str(&text[copied..]);
    (copied > 0).then_some(mended)
}

/// The word for a kind of sound.
pub(crate) fn audio_format(mime: &str) -> Result<&'static str> {
    match mime {
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Ok("wav"),
        "audio/mpeg" | "audio/mp3" => Ok("mp3"),
        _ => Err(Error::unsupported("the protocol takes audio as WAV or MP3")),
    }
}
