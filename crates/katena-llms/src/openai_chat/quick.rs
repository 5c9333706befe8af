//! The chunk that almost every event of a streamed answer is: one choice with a piece of text and nothing else that matters.
//!
//! It is read without copying anything but the piece. Whatever is not exactly that is left to the full decoder, so this
//! can't change what an answer means, only how fast it comes.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

/// The piece of text of a plain chunk.
pub(super) fn piece(data: &str) -> Option<Cow<'_, str>> {
    let chunk: Chunk<'_> = serde_json::from_str(data).ok()?;
    chunk.choices.0.delta.content
}

/// A plain chunk. Unknown fields are ignored, as the full decoder does; id and model are those of the first chunk.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: One<'a>,
    #[serde(default, rename = "usage")]
    _usage: Nothing,
    #[serde(default, rename = "x_groq")]
    _x_groq: Nothing,
    #[serde(default, rename = "error")]
    _error: Nothing,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
    #[serde(default, rename = "index")]
    _index: First,
    #[serde(default, rename = "message")]
    _message: Nothing,
    #[serde(default, rename = "finish_reason")]
    _finish_reason: Nothing,
    #[serde(default, rename = "logprobs")]
    _logprobs: Nothing,
    #[serde(default, rename = "error")]
    _error: Nothing,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(default, rename = "refusal")]
    _refusal: Nothing,
    #[serde(default, rename = "reasoning_content")]
    _reasoning_content: Nothing,
    #[serde(default, rename = "reasoning")]
    _reasoning: Nothing,
    #[serde(default, rename = "reasoning_details")]
    _reasoning_details: Nothing,
    #[serde(default, rename = "tool_calls")]
    _tool_calls: Nothing,
    #[serde(default, rename = "function_call")]
    _function_call: Nothing,
}

/// A field that is missing or null; anything else fails.
#[derive(Default)]
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        <()>::deserialize(d).map(|()| Self)
    }
}

/// The number of the first choice, which may be missing.
#[derive(Default)]
struct First;

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match u64::deserialize(d)? {
            0 => Ok(Self),
            _ => Err(D::Error::custom("not the first choice")),
        }
    }
}

/// A list of one choice.
struct One<'a>(Choice<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for One<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = One<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of one choice")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let choice = list.next_element()?.ok_or_else(|| A::Error::custom("no choice"))?;
                match list.next_element::<IgnoredAny>()? {
                    None => Ok(One(choice)),
                    Some(_) => Err(A::Error::custom("more than one choice")),
                }
            }
        }
        d.deserialize_seq(V)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]
    use super::piece;

    #[test]
    fn only_a_plain_piece_of_text_is_read() {
        let plain = r#"{"id":"x","new":[1],"choices":[{"index":0,"delta":{"role":"assistant","content":"a\n\u00fc"},"finish_reason":null}],"usage":null}"#;
        assert_eq!(piece(plain).unwrap(), "a\nü");
        assert_eq!(piece(r#"{"choices":[{"delta":{"content":"b"}}]}"#).unwrap(), "b");
        for other in [
            r#"{"choices":[]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"b"}},{"index":1,"delta":{}}]}"#,
            r#"{"choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":"b","tool_calls":[]}}]}"#,
            r#"{"choices":[{"delta":{"content":"b","reasoning":"c"}}]}"#,
            r#"{"choices":[{"delta":{"content":["b"]}}]}"#,
            r#"{"choices":[{"delta":{"content":null}}]}"#,
            r#"{"choices":[{"delta":{"content":"b"},"logprobs":{"content":[]}}]}"#,
            r#"{"choices":[{"delta":{"content":"b"}}],"usage":{"prompt_tokens":1}}"#,
            r#"{"choices":[{"delta":{"content":"b"}}],"error":{"message":"x"}}"#,
            r#"{"choices":[{"delta":{"content":"b"}}]"#,
            r#"{"choices":[{"delta":{"content":"b"}}]} x"#,
            "[DONE]",
        ] {
            assert_eq!(piece(other), None, "{other}");
        }
    }
}
