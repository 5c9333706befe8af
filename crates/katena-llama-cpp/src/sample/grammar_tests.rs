use futures_util::FutureExt;
use serde_json::json;

use super::*;
use crate::sample::{Chooser, Sampling, Vocabulary};

const WORDS: usize = 262;

fn grammars() -> Arc<Grammars> {
    Grammars::new(Box::new(|| Ok(ApproximateTokEnv::single_byte_env())))
}

/// Compiles on another thread, so the future is waited for by blocking.
fn compile(grammars: &Arc<Grammars>, form: &Form) -> Result<Constraint> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(grammars.compile(form))
}

/// What random logits write, and whether the form let it end.
fn write(grammars: &Arc<Grammars>, form: &Form, seed: u64, most: usize) -> Result<(String, bool)> {
    let sampling = if seed.is_multiple_of(2) {
        Sampling::default()
    } else {
        Sampling { temperature: 1.0, ..Sampling::default() }
    };
    let chooser = Chooser::new(&sampling, Vocabulary::Plain(WORDS as i32), 4096)?;
    let mut chooser = chooser.with_constraint(Some(compile(grammars, form)?));
    let mut bytes = Vec::new();
    for n in 0..most {
        let mut logits = katena_testkit::tiny::numbers(seed * 10_007 + n as u64, WORDS, 8.0);
        // The usual end is not avoided.
        logits[WORDS - 1] += 1.0;
        let token = chooser.choose(&logits)?.0 as usize;
        if token == WORDS - 1 {
            return Ok((String::from_utf8(bytes).unwrap(), true));
        }
        assert!(token < 256, "a control token was chosen");
        bytes.push(token as u8);
        if chooser.ended() {
            return Ok((String::from_utf8(bytes).unwrap(), true));
        }
    }
    Ok((String::from_utf8_lossy(&bytes).into_owned(), false))
}

#[test]
fn random_logits_write_json_that_fits() {
    let grammars = grammars();
    let form = Form::Schema(json!({
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "green"]},
            "count": {"type": "integer", "minimum": 3, "maximum": 12},
            "names": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 3},
            "none": {"type": ["null", "boolean"]},
        },
        "required": ["colour", "count", "names", "none"],
        "additionalProperties": false,
    }));
    let mut ended = 0;
    for seed in 0..60 {
        let (text, whole) = write(&grammars, &form, seed, 600).unwrap();
        if !whole {
            continue;
        }
        ended += 1;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(["red", "green"].map(Value::from).contains(&value["colour"]), "{text}");
        assert!((3..=12).contains(&value["count"].as_i64().unwrap()), "{text}");
        assert!(value["names"].as_array().unwrap().iter().all(|n| n.as_str().unwrap().chars().count() <= 5));
        assert!(value["none"].is_null() || value["none"].is_boolean());
        assert_eq!(value.as_object().unwrap().len(), 4);
    }
    assert!(ended > 50, "only {ended} of 60 ended");
}

#[test]
fn json_ends_by_itself() {
    let grammars = grammars();
    for (schema, want) in [
        (json!({"const": [1, "a"]}), json!([1, "a"])),
        (json!({"const": true}), json!(true)),
        (json!({"const": "x"}), json!("x")),
    ] {
        for seed in 0..4 {
            let (text, whole) = write(&grammars, &Form::Schema(schema.clone()), seed, 200).unwrap();
            assert!(whole);
            assert!(!text.ends_with([' ', '\n']), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), want);
        }
    }
}

#[test]
fn regular_expressions_and_grammars_are_kept() {
    let grammars = grammars();
    for seed in 0..10 {
        let (text, whole) = write(&grammars, &Form::Regex("[ab]{3}-(?:x|yy)".into()), seed, 50).unwrap();
        assert!(whole && (text.len() == 5 || text.len() == 6), "{text}");
        let (head, tail) = text.split_once('-').unwrap();
        assert!(head.chars().all(|c| c == 'a' || c == 'b') && (tail == "x" || tail == "yy"), "{text}");
        let lark = "start: \"(\" inner \")\"\ninner: \"a\" | \"b\" inner".to_owned();
        let (text, whole) = write(&grammars, &Form::Lark(lark), seed, 200).unwrap();
        assert!(whole && text.starts_with('(') && text.ends_with("a)"), "{text}");
    }
}

#[test]
fn one_of_several_sequences() {
    let grammars = grammars();
    let literal = |text: &str| Part::Literal(text.into());
    let object = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["n"], "additionalProperties": false});
    let form = Form::OneOf(vec![
        vec![literal("\u{ff5c}one\"\n"), Part::Json(object), literal("}\n</tool_call>")],
        vec![
            literal("two="),
            Part::Optional(vec![literal("<"), Part::OneOf(vec!["a".into(), "b".into()])]),
            Part::Text,
            literal("</end>"),
            literal("!"),
        ],
    ]);
    let mut seen = [0, 0];
    for seed in 0..40 {
        let (text, whole) = write(&grammars, &form, seed, 4000).unwrap();
        if let Some(rest) = text.strip_prefix("\u{ff5c}one\"\n") {
            assert!(whole);
            let json = rest.strip_suffix("}\n</tool_call>").unwrap_or_else(|| panic!("{text:?}"));
            let value: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("{text:?}"));
            assert!((1..=9).contains(&value["n"].as_i64().unwrap()));
            seen[0] += 1;
        } else {
            assert!(text.starts_with("two="), "{text:?}");
            assert!(!whole || text.ends_with("</end>!") && text.matches("</end>").count() == 1, "{text:?}");
            seen[1] += 1;
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn what_cannot_be_kept_is_unsupported_with_its_keyword() {
    let grammars = grammars();
    for (schema, keyword) in [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"not": {"type": "string"}}), "not"),
        (json!({"if": {"type": "string"}, "then": {"minLength": 2}}), "if"),
        (json!({"properties": {"a": {"contains": {"type": "null"}}}}), "contains"),
        (json!({"propertyNames": {"maxLength": 2}}), "propertyNames"),
        (json!({"dependentRequired": {"a": ["b"]}}), "dependentRequired"),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "unevaluatedProperties": false}),
            "unevaluatedProperties",
        ),
        (json!({"$schema": "http://json-schema.org/draft-04/schema#", "const": 1}), "const"),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "contentEncoding": "base64"}),
            "contentEncoding",
        ),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#", "prefixItems": [true]}), "prefixItems"),
        (json!({"type": "string", "format": "phone-number-of-mars"}), "format"),
        (json!({"type": "string", "pattern": "(?=a)b"}), "pattern"),
        (json!({"type": "object", "x-guidance": {"lenient": true}, "not": {}}), "x-guidance"),
        (json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}), "oneOf"),
        (json!({"$ref": "#/components/a", "components": {"a": {"dependencies": {}}}}), "$ref"),
        (json!({"$ref": "http://json-schema.org/draft-07/schema#"}), "$ref"),
        (json!({"minProperties": 3}), "minProperties"),
        (json!({"const": 9_007_199_254_740_993_u64}), "const"),
        (json!({"minimum": 1e300}), "minimum"),
        (json!({"type": "string", "maxLength": 1_000_000_000}), "maxLength"),
    ] {
        let error = compile(&grammars, &Form::Schema(schema.clone()))
            .err()
            .unwrap_or_else(|| panic!("{schema} is kept"));
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{schema}: {error:?}");
        assert!(error.context("keyword").is_some_and(|k| k == keyword), "{schema}: {error:?}");
    }
}

#[test]
fn annotations_and_what_asks_for_nothing_are_no_hindrance() {
    let grammars = grammars();
    for schema in [
        json!({"title": "T", "description": "d", "$comment": "c", "default": 1, "examples": [1], "type": "boolean", "deprecated": true}),
        json!({"type": "array", "uniqueItems": false, "items": {"type": "null"}, "maxItems": 1}),
        json!({"type": "integer", "format": "uint32", "minimum": 0}),
        json!({"type": "object", "properties": {"not": {"type": "null"}, "x-guidance": {"type": "null"}}}),
        json!(true),
    ] {
        assert!(compile(&grammars, &Form::Schema(schema.clone())).is_ok(), "{schema}");
    }
}

#[test]
fn hostile_forms_are_errors() {
    let grammars = grammars();
    let mut deep = json!({"type": "null"});
    for _ in 0..1000 {
        deep = json!({"items": deep});
    }
    assert_eq!(Form::schema(&deep).unwrap_err().kind(), ErrorKind::InvalidInput);
    let mut forms = vec![
        Form::Schema(json!(false)),
        Form::Schema(json!(7)),
        Form::Schema(json!({"type": "strange"})),
        Form::Schema(json!({"type": 3})),
        Form::Schema(json!({"minLength": -1})),
        Form::Schema(json!({"enum": []})),
        Form::Schema(json!({"allOf": [{"type": "string"}, {"type": "null"}]})),
        Form::Schema(json!({"$ref": "#/$defs/none"})),
        Form::Schema(json!({"$ref": "http://127.0.0.1:9/x.json"})),
        Form::Schema(json!({"type": "integer", "minimum": 5, "maximum": 3})),
        Form::Schema(json!({"type": "string", "pattern": "(".repeat(5000)})),
        Form::Schema(json!({"multipleOf": 0})),
        Form::Schema(json!({"multipleOf": 1e-300})),
        Form::Schema(
            json!({"allOf": [{"multipleOf": 4_294_967_295_u64}, {"multipleOf": 4_294_967_291_u64}]}),
        ),
        Form::Regex(String::new()),
        Form::Regex("a\\".into()),
        Form::Regex("(".repeat(200_000)),
        Form::Regex("[".into()),
        Form::Lark("start: nothing".into()),
        Form::Lark("begin: \"a\"".into()),
        Form::Lark("start: ".to_owned() + &"(".repeat(100_000)),
        Form::Lark("%%%".into()),
        Form::OneOf(Vec::new()),
        Form::OneOf(vec![vec![Part::Text]]),
    ];
    forms.push(Form::Schema(deep));
    for form in &forms {
        match compile(&grammars, form) {
            Err(e) => assert!(
                matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::Unexpected),
                "{form:?} {e:?}"
            ),
            Ok(_) => {
                let text = serde_json::to_string(form).unwrap();
                panic!("accepted: {}", &text[..text.len().min(200)]);
            }
        }
    }
    assert!(compile(&grammars, &Form::object()).is_ok(), "others are served");
}

#[test]
fn wide_schemas_end_in_time() {
    let grammars = grammars();
    let options: Vec<Value> = (0..2000)
        .map(|n| json!({"type": "object", "properties": {format!("p{n}"): {"type": "string"}}}))
        .collect();
    let properties: serde_json::Map<String, Value> =
        (0..900).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
    let mut forms: Vec<Form> = [
        json!({"anyOf": options}),
        json!({"type": "object", "properties": properties}),
        json!({"type": "array", "minItems": 90_000, "maxItems": 100_000}),
        json!({"type": "string", "minLength": 90_000, "maxLength": 100_000}),
        json!({"enum": (0..5000).map(|n| format!("word {n}")).collect::<Vec<_>>()}),
        json!({"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"}),
        json!({"type": "string", "pattern": "^(a|aa|aaa|b?)*(a?){500}$"}),
    ]
    .map(Form::Schema)
    .into();
    forms.push(Form::Regex("(?:(?:a{1000}){1000}){1000}".into()));
    forms.push(Form::Regex("(?:.*a){40}.*".into()));
    forms.push(Form::Lark("start: e\ne: e e | \"a\" | e \"+\" e |".into()));
    for form in forms {
        // Kept or refused: both are answers.
        if compile(&grammars, &form).is_ok() {
            let _ = write(&grammars, &form, 3, 50);
        }
    }
}

#[test]
fn forms_are_kept_and_the_oldest_leaves() {
    let grammars = grammars();
    let form = |n: usize| Form::Regex(format!("a{n}"));
    for n in 0..KEPT + 5 {
        compile(&grammars, &form(n)).unwrap();
    }
    assert_eq!(grammars.kept.lock().unwrap().len(), KEPT);
    // A kept one needs no thread: it is ready at once.
    assert!(grammars.compile(&form(KEPT + 4)).now_or_never().is_some());
    // Each request has its own.
    let mut one = compile(&grammars, &form(10)).unwrap();
    one.accept(LlamaToken::new(i32::from(b'a'))).unwrap();
    assert!(compile(&grammars, &form(10)).unwrap().allows(LlamaToken::new(i32::from(b'a'))));
    assert!(!one.allows(LlamaToken::new(i32::from(b'a'))));
}

#[test]
fn a_vocabulary_that_cannot_be_used_is_an_error() {
    let grammars = Grammars::new(Box::new(|| Err(Error::unsupported("no end"))));
    for _ in 0..2 {
        assert_eq!(compile(&grammars, &Form::object()).err().unwrap().kind(), ErrorKind::Unsupported);
    }
    let panics = Grammars::new(Box::new(|| panic!("a vocabulary that panics")));
    assert_eq!(compile(&panics, &Form::object()).err().unwrap().kind(), ErrorKind::InvalidInput);
}

#[test]
fn objects_are_closed_unless_they_say_otherwise() {
    let grammars = grammars();
    // `{"` and then a name that the schema does not have.
    let takes_others = |schema: Value| {
        let mut held = compile(&grammars, &Form::Schema(schema)).unwrap();
        for byte in b"{\"" {
            held.accept(LlamaToken::new(i32::from(*byte))).unwrap();
        }
        held.allows(LlamaToken::new(i32::from(b'z')))
    };
    let a = json!({"a": {"type": "null"}});
    assert!(!takes_others(json!({"type": "object", "properties": a})));
    assert!(takes_others(json!({"type": "object", "properties": a, "additionalProperties": true})));
    assert!(takes_others(json!({"type": "object", "properties": a, "required": ["z"]})));
    assert!(takes_others(json!({"type": "object", "properties": a, "patternProperties": {"^z": {}}})));
    assert!(takes_others(json!({"type": "object", "properties": a, "allOf": [{"properties": {"z": {}}}]})));
    assert!(takes_others(json!({"type": "object"})));
}

#[test]
fn long_numbers_are_written_only_where_they_are_asked_for() {
    let grammars = grammars();
    for seed in 0..20 {
        let free = Form::Schema(json!({"type": "integer", "multipleOf": 5}));
        let (text, whole) = write(&grammars, &free, seed, 100).unwrap();
        let number: i64 = text.trim_end().parse().unwrap();
        assert!(whole && number % 5 == 0 && number.abs() < 1 << 53, "{text}");
        let asked = Form::Schema(json!({"const": 1_234_567_890_123_456_u64}));
        assert_eq!(write(&grammars, &asked, seed, 100).unwrap().0.trim_end(), "1234567890123456");
    }
}
