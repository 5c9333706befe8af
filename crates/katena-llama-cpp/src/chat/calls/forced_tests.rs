use katena_core::ErrorKind;

use super::*;
use crate::chat::calls::formats::FORMATS;
use crate::chat::calls::{CallParser, Found};

fn tools() -> [ToolSpec; 2] {
    let schema = json!({
        "type": "object",
        "properties": {"q": {"type": "string"}, "n": {"type": "integer"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        "required": ["q", "n"],
    });
    ["find", "find_all"].map(|name| ToolSpec::new(name, "", schema.clone()))
}

/// An answer of this form, as a model could write it.
fn answer(pieces: &[Part]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Part::Literal(text) => text.clone(),
            Part::Json(schema) if schema["type"] == "integer" => "7".to_owned(),
            Part::Json(_) => r#"{"q": "a\nb", "n": 7, "unit": "c"}"#.to_owned(),
            Part::Text => "a\nb".to_owned(),
            Part::OneOf(texts) => texts[0].clone(),
            Part::Optional(pieces) => answer(pieces),
        })
        .collect()
}

#[test]
fn what_is_forced_is_what_is_read() {
    let tools = tools();
    for format in FORMATS {
        for offered in [tools.iter().collect::<Vec<_>>(), vec![&tools[1]]] {
            let forced = format.forced(&offered).unwrap();
            assert_eq!(forced.alternatives.len(), offered.len());
            for (tool, pieces) in offered.iter().zip(&forced.alternatives) {
                let mut parser = CallParser::new(format, tools.to_vec());
                assert_eq!(parser.push(&forced.prefix), [], "{}: nothing is certain yet", format.name);
                let mut found = parser.push(&answer(pieces));
                found.extend(parser.finish());
                assert_eq!(
                    found.first(),
                    Some(&Found::Start(tool.name.clone())),
                    "{}: {found:?}",
                    format.name
                );
                assert_eq!(found.last(), Some(&Found::End), "{}: {found:?}", format.name);
                let arguments: String = found
                    .iter()
                    .filter_map(|f| if let Found::Arguments(text) = f { Some(text.as_str()) } else { None })
                    .collect();
                let arguments: Value = serde_json::from_str(&arguments).unwrap();
                assert_eq!(arguments, json!({"q": "a\nb", "n": 7, "unit": "c"}), "{}", format.name);
                assert!(!found.iter().any(|f| matches!(f, Found::Text(_))), "{}: {found:?}", format.name);
            }
        }
    }
}

#[test]
fn names_and_schemas_that_a_format_cannot_state_are_unsupported() {
    let by = |name: &str| FORMATS.iter().find(|f| f.name == name).unwrap();
    let odd = ToolSpec::new("say \"hi\" <now>", "", json!({}));
    let json = by("hermes").forced(&[&odd]).unwrap();
    assert!(!json.prefix.contains("<now>"), "an odd name is no part of the prompt");
    let arguments = Part::Json(json!({"type": "object"}));
    assert!(json.alternatives[0].contains(&arguments));
    assert_eq!(by("mistral-args").forced(&[&odd]).unwrap_err().kind(), ErrorKind::Unsupported);
    for schema in [
        json!({"type": "object", "anyOf": []}),
        json!({"type": "object", "required": ["x"]}),
        json!({"type": "object", "properties": {"x": {"type": "string", "pattern": "a+"}}}),
        json!({"type": "object", "properties": {"x y": {"type": "string"}}}),
    ] {
        let tool = ToolSpec::new("find", "", schema);
        let error = by("qwen3-coder").forced(&[&tool]).unwrap_err();
        assert_eq!((error.kind(), error.context("tool")), (ErrorKind::Unsupported, Some("find")));
        assert_eq!(error.context("format"), Some("qwen3-coder"));
    }
}
