use katena_core::ErrorKind;

use super::*;

#[test]
fn words_that_the_protocol_lacks_become_notes() {
    let schema = json!({
        "$schema": "x", "title": "T", "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": {"type": "string", "description": "A name.", "pattern": "^[a-z]+$", "minLength": 2, "format": "email"},
            "b": {"type": "integer", "exclusiveMinimum": 0, "format": "uint32", "default": 3},
            "c": {"type": "number", "exclusiveMaximum": 1.5},
            "d": {"const": "x"},
            "e": {"oneOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "f": {"allOf": [{"$ref": "#/definitions/F"}], "description": "gone beside a reference"},
            "g": true,
        },
        "definitions": {"F": {"type": "array", "items": {"type": "string", "uniqueItems": true}, "minItems": 1}},
    });
    let mut expected = json!({
        "title": "T", "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer", "minimum": 1},
            "c": {"type": "number", "description": "(exclusiveMaximum: 1.5)"},
            "d": {"enum": ["x"], "type": "string"},
            "e": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "f": {"$ref": "#/$defs/F"},
            "g": true,
        },
        "$defs": {"F": {"type": "array", "items": {"type": "string", "description": "(uniqueItems: true)"}, "minItems": 1}},
    });
    let mut got = json_schema(&schema).unwrap();
    let note = got["properties"]["a"]["description"].take();
    let note = note.as_str().unwrap();
    assert!(
        note.starts_with("A name. (")
            && ["pattern: \"^[a-z]+$\"", "minLength: 2", "format: email"].iter().all(|n| note.contains(n)),
        "{note}"
    );
    expected["properties"]["a"]["description"] = Value::Null;
    assert_eq!(got, expected);
}

#[test]
fn the_older_form_has_no_references_and_no_lists_of_types() {
    let schema = json!({
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"], "enum": ["x", null]},
            "b": {"$ref": "#/$defs/B"},
            "c": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "C"},
            "d": {"enum": [1, 2]},
            "e": {"type": ["string", "integer"]},
            "f": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "$defs": {"B": {"type": "object", "properties": {"x": {"type": "number"}}, "additionalProperties": false}},
    });
    let expected = json!({
        "type": "object",
        "properties": {
            "a": {"type": "string", "nullable": true, "enum": ["x"]},
            "b": {"type": "object", "properties": {"x": {"type": "number"}}},
            "c": {"type": "integer", "nullable": true, "description": "C"},
            "d": {"description": "(one of: [1,2])"},
            "e": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "f": {"type": "object", "description": "(additionalProperties: {\"type\":\"string\"})"},
        },
    });
    assert_eq!(open_api(&schema).unwrap(), expected);
    let tree =
        json!({"$ref": "#/$defs/T", "$defs": {"T": {"type": "array", "items": {"$ref": "#/$defs/T"}}}});
    assert_eq!(open_api(&tree).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(json_schema(&tree).is_ok());
    let nowhere = json!({"$ref": "#/$defs/none"});
    assert_eq!(open_api(&nowhere).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_schema_without_end_is_refused() {
    let mut schema = json!({"type": "string"});
    for _ in 0..200 {
        schema = json!({"type": "array", "items": schema});
    }
    assert_eq!(json_schema(&schema).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(open_api(&schema).unwrap_err().kind(), ErrorKind::InvalidInput);
}
