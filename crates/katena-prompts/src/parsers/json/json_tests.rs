use serde_json::{Value, json};

use super::{JsonParser, JsonStream, parse_partial};
use crate::OutputParser as _;
use crate::test_random::Random;

const WHOLE: &str = "{\"a\": [1, {\"b\": \"x\\n\\u00e9 \\ud83d\\ude00 \\\"\"}, -1.5e3, true, null, []], \"a2\": {}, \"a\": \"é😀\"}";

#[test]
fn a_stream_gives_the_same_value_however_it_is_cut() {
    let whole: Value = serde_json::from_str(WHOLE).unwrap();
    for cut in (0..=WHOLE.len()).filter(|n| WHOLE.is_char_boundary(*n)) {
        let mut stream = JsonStream::new();
        stream.push(&WHOLE[..cut]);
        stream.push(&WHOLE[cut..]);
        assert_eq!(stream.finish().unwrap(), whole, "cut at {cut}");
    }
}

/// True if nothing that `old` shows is taken back by `new`; the last number may still grow.
fn grows(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::String(a), Value::String(b)) => b.starts_with(a.as_str()),
        (Value::Array(a), Value::Array(b)) => a.len() <= b.len() && a.iter().zip(b).all(|(a, b)| grows(a, b)),
        (Value::Object(a), Value::Object(b)) => a.iter().all(|(k, a)| b.get(k).is_some_and(|b| grows(a, b))),
        (Value::Number(_), Value::Number(_)) => true,
        (a, b) => a == b,
    }
}

#[test]
fn what_a_stream_has_shown_is_not_taken_back() {
    let text = WHOLE.replace("\"a\": \"é", "\"c\": \"é");
    let mut stream = JsonStream::new();
    let mut last = Value::Null;
    for c in text.chars() {
        let shown = stream.push(c.encode_utf8(&mut [0; 4])).cloned().unwrap();
        assert!(last.is_null() || grows(&last, &shown), "{last} then {shown}");
        last = shown;
    }
    assert_eq!(last, serde_json::from_str::<Value>(&text).unwrap());
}

#[test]
fn random_texts_never_break_anything() {
    let mut random = Random::new(7);
    let pieces = [
        "{", "}", "[", "]", "\"", ":", ",", "1", "-", ".5", "e", "\\", "\\u12", "true", "nul", " ", "é",
        "\"a\":", "text",
    ];
    for _ in 0..20_000 {
        let text: String = (0..random.below(14)).map(|_| *random.pick(&pieces)).collect();
        let strict: Result<Value, _> = serde_json::from_str(&text);
        if let Ok(value) = strict {
            assert_eq!(parse_partial(&text), Some(value), "{text}");
        }
        let mut whole = JsonStream::new();
        let expected = whole.push(&text).cloned();
        let mut pieces = JsonStream::new();
        for c in text.chars() {
            pieces.push(c.encode_utf8(&mut [0; 4]));
        }
        assert_eq!(pieces.value().cloned(), expected, "{text}");
        let _ = JsonParser::<Value>::with_schema(Value::Null).parse(&text);
    }
}

#[test]
fn depth_and_garbage_are_limited() {
    let deep = "[".repeat(100_000);
    assert_eq!(parse_partial(&deep), None);
    let mut stream = JsonStream::new();
    stream.push(&deep);
    assert!(stream.finish().is_err());
    assert!(JsonParser::<Value>::with_schema(Value::Null).parse(&deep).is_err());
    let mut stream = JsonStream::new();
    stream.push("See [note]: {\"a\": 1} and {");
    assert_eq!(stream.finish().unwrap(), json!({"a": 1}));
    let mut stream = JsonStream::new();
    stream.push("{\"a\": 1, oops");
    assert_eq!(stream.value(), Some(&json!({"a": 1})));
    assert!(stream.finish().is_err());
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema, PartialEq)]
struct City {
    name: String,
    people: u64,
}

#[test]
fn a_typed_value_is_found_and_misfits_are_told() {
    let parser = JsonParser::<City>::new();
    let delft = || City { name: "Delft".into(), people: 1 };
    for text in [
        "{\"name\": \"Delft\", \"people\": 1}",
        "\u{feff}{\"name\": \"Delft\", \"people\": 1}",
        "```JSON\n{\"name\": \"Delft\",\n \"people\": 1,}\n```",
        "I read [1] and {this}: {\"name\": \"Delft\", \"people\": 1}. Done {",
    ] {
        assert_eq!(parser.parse(text).unwrap(), delft(), "{text}");
    }
    let secret = "s".repeat(5000);
    let error = parser.parse(&format!("{{\"name\": 3, \"people\": \"{secret}\"}}")).unwrap_err();
    assert_eq!(error.kind(), katena_core::ErrorKind::InvalidOutput);
    assert!(format!("{error:?}").len() < 600, "{error:?}");
    assert!(parser.parse("{\"name\": \"Delft\", \"people\": 1").unwrap_err().to_string().contains("cut off"));
    assert!(parser.parse("nothing").unwrap_err().to_string().contains("no JSON"));
}
