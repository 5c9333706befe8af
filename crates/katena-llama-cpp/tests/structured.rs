//! Answers that are held to a form: what comes out is checked by a JSON Schema validator that shares no code with the
//! engine. `KATENA_TEST_STRUCTURED=500` runs as many generations on the real model as that.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests and their helpers")]
#![allow(clippy::case_sensitive_file_extension_comparisons, reason = "names in an archive")]

mod common;

use std::collections::BTreeMap;
use std::io::Read;

use katena_core::{
    ChatModel, ChatRequest, ErrorKind, FinishReason, Message, ResponseFormat, ToolChoice, ToolSpec, extract,
};
use katena_llama_cpp::{LlamaChat, LlamaOptions};
use serde_json::{Value, json};

/// The drafts whose schemas are tried, with the name that the schemas are given.
const DRAFTS: [(&str, &str); 2] = [
    ("draft7", "http://json-schema.org/draft-07/schema#"),
    ("draft2020-12", "https://json-schema.org/draft/2020-12/schema"),
];
/// Generations on the real model, if the variable says nothing.
const USUAL_RUNS: usize = 8;

fn tiny() -> (tempfile::TempDir, LlamaChat) {
    let folder = tempfile::tempdir().unwrap();
    let path = katena_testkit::tiny::tiny_llama(folder.path());
    let model = LlamaChat::load(path, LlamaOptions::new().with_threads(1)).unwrap();
    (folder, model)
}

fn held(text: &str, schema: &Value) -> ChatRequest {
    ChatRequest::new([Message::user(text)])
        .with_response_format(ResponseFormat::JsonSchema { name: "answer".into(), schema: schema.clone() })
}

/// The files of a tar archive, by path.
fn untar(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let text = |field: &[u8]| {
        String::from_utf8_lossy(field.split(|b| *b == 0).next().unwrap_or_default()).trim().to_owned()
    };
    let (mut files, mut at) = (BTreeMap::new(), 0);
    while let Some(head) = bytes.get(at..at + 512).filter(|head| head[0] != 0) {
        let size = usize::from_str_radix(&text(&head[124..136]), 8).unwrap();
        if matches!(head[156], b'0' | 0) {
            files.insert(text(&head[..100]), bytes[at + 512..at + 512 + size].to_vec());
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    files
}

/// Every schema of the suite, each once, with its draft stated.
fn suite() -> Option<Vec<Value>> {
    let path = common::evals("json_schema/json-schema-test-suite.tar.gz")?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    let files = untar(&bytes);
    let mut schemas: Vec<Value> = Vec::new();
    for (draft, uri) in DRAFTS {
        for (_, file) in files
            .iter()
            .filter(|(path, _)| path.starts_with(&format!("tests/{draft}/")) && path.ends_with(".json"))
        {
            let groups: Value = serde_json::from_slice(file).unwrap();
            for group in groups.as_array().unwrap() {
                let mut schema = group["schema"].clone();
                if let Value::Object(map) = &mut schema {
                    map.entry("$schema").or_insert_with(|| uri.into());
                }
                if !schemas.contains(&schema) {
                    schemas.push(schema);
                }
            }
        }
    }
    Some(schemas)
}

#[tokio::test]
async fn every_finished_answer_fits_its_schema() {
    let Some(schemas) = suite() else { return };
    let (_folder, model) = tiny();
    let (mut kept, mut finished, mut cut) = (0, 0, 0);
    let mut unsupported: BTreeMap<String, usize> = BTreeMap::new();
    let mut invalid = Vec::new();
    let mut wrong = Vec::new();
    for schema in &schemas {
        let Ok(validator) = jsonschema::validator_for(schema) else { continue };
        for seed in 0..4 {
            // Random weights never tire: what closes JSON is made likelier.
            let request = held("x", schema)
                .with_temperature(1.0)
                .with_seed(seed)
                .with_max_tokens(300)
                .with_extra("logit_bias", json!({"\"": 4, "}": 4, "]": 4, ",": -1}));
            match model.generate(&request).await {
                Ok(response) if response.finish == FinishReason::Stop => {
                    finished += 1;
                    let text = response.text();
                    if !serde_json::from_str(&text).is_ok_and(|value| validator.is_valid(&value)) {
                        wrong.push(format!("{text:?} for {schema}"));
                    }
                }
                Ok(response) => {
                    assert_eq!(response.finish, FinishReason::Length);
                    cut += 1;
                }
                Err(e) => {
                    match e.kind() {
                        ErrorKind::Unsupported => {
                            let keyword =
                                e.context("keyword").or(e.context("reason")).unwrap_or("?").to_owned();
                            *unsupported.entry(keyword).or_default() += 1;
                        }
                        _ => invalid.push(format!("{e:?} for {schema}")),
                    }
                    break;
                }
            }
            if seed == 0 {
                kept += 1;
            }
        }
    }
    println!(
        "{} schemas: {kept} kept, {} unsupported, {} that nothing fits; {finished} answers finished, {cut} cut off",
        schemas.len(),
        unsupported.values().sum::<usize>(),
        invalid.len(),
    );
    println!("unsupported: {unsupported:?}");
    for line in &invalid {
        println!("invalid: {line}");
    }
    assert!(wrong.is_empty(), "{} of {finished} don't fit:\n{}", wrong.len(), wrong.join("\n"));
    assert!(finished >= 500, "{finished} finished");
}

/// Questions with the form of their answers.
fn questions() -> Vec<(&'static str, Value)> {
    let text = || json!({"type": "string", "maxLength": 30});
    vec![
        (
            "Describe the city of Paris.",
            json!({"type": "object", "properties": {"name": text(), "country": text(),
                "people": {"type": "integer", "minimum": 1000, "maximum": 20_000_000},
                "river": {"anyOf": [text(), {"type": "null"}]}},
                "required": ["name", "country", "people"], "additionalProperties": false}),
        ),
        (
            "Name three fruits with their colours.",
            json!({"type": "array", "minItems": 3, "maxItems": 3, "items": {"type": "object",
                "properties": {"fruit": text(), "colour": {"enum": ["red", "yellow", "green", "orange"]}},
                "required": ["fruit", "colour"], "additionalProperties": false}}),
        ),
        ("Is the sky blue?", json!({"enum": ["yes", "no", "it depends"]})),
        (
            "When did the Second World War end?",
            json!({"type": "object", "properties": {"date": {"type": "string", "format": "date"},
                "certain": {"type": "boolean"}}, "required": ["date", "certain"], "additionalProperties": false}),
        ),
        (
            "Rate this film: I liked it very much.",
            json!({"type": "object", "properties": {"stars": {"type": "integer", "minimum": 1, "maximum": 5},
                "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
                "share": {"type": "number", "minimum": 0, "maximum": 1}},
                "required": ["stars", "code", "share"], "additionalProperties": false}),
        ),
        (
            "Draw a tree.",
            json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
                "name": {"type": "string", "maxLength": 8},
                "children": {"type": "array", "maxItems": 1, "items": {"$ref": "#/$defs/node"}}},
                "required": ["name"], "additionalProperties": false}}}),
        ),
        (
            "What is 2 + 3?",
            json!({"type": "array", "prefixItems": [{"type": "integer", "multipleOf": 5}, {"const": "!"}],
                "items": false, "minItems": 2}),
        ),
        (
            "Tell me about yourself.",
            json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 3, "maxLength": 12}},
                "patternProperties": {"^x-": {"type": "integer", "maximum": 99}}, "required": ["a"],
                "additionalProperties": {"type": "boolean"}, "maxProperties": 4}),
        ),
    ]
}

/// How many generations on the real model.
fn runs() -> usize {
    std::env::var("KATENA_TEST_STRUCTURED").ok().and_then(|n| n.parse().ok()).unwrap_or(USUAL_RUNS)
}

/// Asks all, four at a time; every finished answer fits its schema. How many finished, were cut off, and were refused.
async fn all_fit(model: &LlamaChat, jobs: &[(Value, ChatRequest)]) -> (usize, usize, usize) {
    let (mut finished, mut cut, mut refused) = (0, 0, 0);
    for batch in jobs.chunks(4) {
        let answers = futures_util::future::join_all(batch.iter().map(|(_, r)| model.generate(r))).await;
        for ((schema, _), answer) in batch.iter().zip(answers) {
            let response = match answer {
                Ok(response) => response,
                // What nothing fits is `InvalidInput`.
                Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput) => {
                    refused += 1;
                    continue;
                }
                Err(e) => panic!("{e:?} for {schema}"),
            };
            if response.finish == FinishReason::Length {
                cut += 1;
                continue;
            }
            let text = response.text();
            let value: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text:?} for {schema}"));
            let validator = jsonschema::validator_for(schema).unwrap();
            assert!(validator.is_valid(&value), "{text:?} for {schema}");
            finished += 1;
        }
    }
    println!("{finished} answers of the real model fit, {cut} cut off, {refused} refused");
    (finished, cut, refused)
}

#[tokio::test]
async fn the_real_model_keeps_schemas() {
    let Some(model) = common::chat_with(common::options().with_slots(4)) else { return };
    let mut jobs = Vec::new();
    for run in 0..runs() {
        let all = questions();
        let (question, schema) = all[run % all.len()].clone();
        let request = held(question, &schema).with_max_tokens(120).with_seed(run as u64);
        let temperature = if run < all.len() { 0.0 } else { 1.0 };
        jobs.push((schema, request.with_temperature(temperature)));
    }
    let (finished, _, refused) = all_fit(&model, &jobs).await;
    assert!(refused == 0 && finished * 2 >= jobs.len(), "{finished} of {} finished", jobs.len());
}

/// The suite's schemas, from all over it.
#[tokio::test]
async fn the_real_model_keeps_the_suites_schemas() {
    let Some(model) = common::chat_with(common::options().with_slots(4)) else { return };
    let Some(schemas) = suite() else { return };
    let mut jobs = Vec::new();
    for run in 0..runs() {
        // A prime step visits all before it visits one again.
        let schema = schemas[run * 457 % schemas.len()].clone();
        if jsonschema::validator_for(&schema).is_err() {
            continue;
        }
        let request = held(&format!("Give a JSON value that fits this schema: {schema}"), &schema);
        let seed = run as u64;
        jobs.push((schema, request.with_max_tokens(160).with_temperature(1.0).with_seed(seed)));
    }
    let (finished, _, _) = all_fit(&model, &jobs).await;
    assert!(finished * 4 >= jobs.len(), "{finished} of {} finished", jobs.len());
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct City {
    /// The city's name.
    #[schemars(length(max = 20))]
    name: String,
    #[schemars(length(max = 20))]
    country: String,
    population: u32,
}

#[tokio::test]
async fn a_type_is_extracted_from_the_real_model() {
    let Some(model) = common::chat() else { return };
    assert!(model.info().capabilities.json_schema, "the schema goes out natively");
    let request = ChatRequest::new([Message::user(
        "Paris is the capital of France and has 2 million people. Extract it.",
    )])
    .with_temperature(0.0)
    .with_max_tokens(80);
    let city: City = extract(&model, request.clone()).await.unwrap();
    assert!(city.name.contains("Paris"), "{city:?}");
    assert!(!city.country.is_empty() && city.population > 0, "{city:?}");
    // A list goes out in an object, and comes back as a list.
    let numbers: [u8; 3] = extract(&model, "Count to three.").await.unwrap();
    println!("{city:?} {numbers:?}");
}

#[tokio::test]
async fn regular_expressions_grammars_and_objects() {
    let (_folder, model) = tiny();
    let ask =
        |format| ChatRequest::new([Message::user("x")]).with_response_format(format).with_temperature(1.0);
    for seed in 0..20 {
        let pattern = ResponseFormat::Regex { pattern: "(?:ab|c){2}[0-9]".into() };
        let text = model.generate(&ask(pattern).with_seed(seed)).await.unwrap().text();
        let (body, digit) = text.split_at(text.len() - 1);
        assert!(["abab", "abc", "cab", "cc"].contains(&body) && digit.parse::<u8>().is_ok(), "{text:?}");
        let grammar = ResponseFormat::Grammar { grammar: "start: \"<\" (\"x\" | \"y\")+ \">\"".into() };
        let response = model.generate(&ask(grammar).with_seed(seed)).await.unwrap();
        let text = response.text();
        assert!(
            text.starts_with('<') && text[1..text.len() - 1].chars().all(|c| c == 'x' || c == 'y'),
            "{text:?}"
        );
        let bias = json!({"\"": 4, "}": 6, ":": 1, "]": 4});
        let object = ask(ResponseFormat::JsonObject)
            .with_seed(seed)
            .with_max_tokens(300)
            .with_extra("logit_bias", bias);
        let response = model.generate(&object).await.unwrap();
        if response.finish == FinishReason::Stop {
            assert!(serde_json::from_str::<Value>(&response.text()).unwrap().is_object());
        }
    }
    let bad = ResponseFormat::JsonSchema { name: "x".into(), schema: json!({"not": {}}) };
    let error = model.generate(&ask(bad)).await.unwrap_err();
    assert_eq!((error.kind(), error.context("keyword")), (ErrorKind::Unsupported, Some("not")));
    let tool = ToolSpec::new("now", "Time", json!({"type": "object"}));
    let both = ask(ResponseFormat::JsonObject).with_tools([tool]);
    assert_eq!(model.generate(&both).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn forced_calls_fit_the_tools_schema() {
    let (_folder, model) = tiny();
    let tools = [
        ToolSpec::new(
            "wait",
            "",
            json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 50}},
                "required": ["n"], "additionalProperties": false}),
        ),
        ToolSpec::new(
            "stop",
            "",
            json!({"properties": {"now": {"type": "boolean"}}, "required": ["now"], "additionalProperties": false}),
        ),
    ];
    let mut names = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let choice = if seed % 2 == 0 { ToolChoice::Required } else { ToolChoice::Named("wait".into()) };
        let request = ChatRequest::new([Message::user("x")])
            .with_tools(tools.clone())
            .with_tool_choice(choice)
            .with_temperature(1.0)
            .with_seed(seed)
            .with_extra("logit_bias", json!({"\"": 4, "}": 4, "\n": -4}));
        let response = model.generate(&request).await.unwrap();
        // The tiny model's context is nearly full of tools.
        if response.finish == FinishReason::Length {
            continue;
        }
        let call = response.tool_calls().next().unwrap();
        let schema = &tools.iter().find(|t| t.name == call.name).unwrap().parameters;
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert!(jsonschema::validator_for(schema).unwrap().is_valid(&arguments), "{call:?}");
        names.insert(call.name.clone());
    }
    assert_eq!(names.len(), 2, "a required call may be of any tool");
}

#[tokio::test]
async fn samplers_choose_on_a_model() {
    let (_folder, model) = tiny();
    let ask =
        || ChatRequest::new([Message::user("x")]).with_temperature(1.0).with_seed(3).with_max_tokens(24);
    let text = async |request: &ChatRequest| model.generate(request).await.unwrap().text();
    let dry = json!(["\n", ":"]);
    for request in [
        ask().with_extra("dry_multiplier", 3.0).with_extra("dry_sequence_breakers", dry),
        ask()
            .with_extra("dry_multiplier", 100.0)
            .with_extra("dry_base", 100.0)
            .with_extra("dry_allowed_length", 0),
        ask().with_extra("dry_multiplier", 1.0).with_extra("dry_penalty_last_n", 0),
        ask().with_extra("typical_p", 0.2),
        ask().with_extra("top_n_sigma", 0.5),
        ask().with_extra("xtc_probability", 1.0).with_extra("xtc_threshold", 0.0),
        ask().with_extra("mirostat", 1).with_extra("mirostat_tau", 1.0),
        ask().with_extra("mirostat", 2).with_extra("mirostat_eta", 1.0),
        ask().with_extra("dynatemp_range", 5.0).with_extra("dynatemp_exponent", 2.0),
        ask().with_extra("repeat_penalty", 10.0).with_extra("repeat_last_n", 0),
        ask().with_temperature(0.0).with_extra("xtc_probability", 1.0).with_extra("xtc_threshold", 0.0),
        ask().with_temperature(100.0),
        ask().with_temperature(1e-30),
    ] {
        let once = text(&request).await;
        assert_eq!(once, text(&request).await, "{request:?}");
    }
    // A bias decides, by text as by number; a text of several tokens is no token.
    for key in ["q", "113"] {
        let only = ask().with_extra("logit_bias", json!({key: 100}));
        assert_eq!(text(&only).await, "q".repeat(24));
    }
    for bias in [json!({"qq": 1}), json!({"259": 1}), json!({"": 1})] {
        let error = model.generate(&ask().with_extra("logit_bias", bias)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
