//! What callers ask for.

use katena_core::{ChatModel, ErrorKind, FinishReason, ResponseFormat, ToolChoice, ToolSpec};
use katena_testkit::tiny::tiny_llama;
use serde_json::{Value, json};

use super::{ask, block_on, chat, one_thread, survives};
use crate::LlamaChat;

fn forms() -> Vec<ResponseFormat> {
    let grammar = |g: &str| ResponseFormat::Grammar { grammar: g.into() };
    let regex = |p: &str| ResponseFormat::Regex { pattern: p.into() };
    let schema = |schema: Value| ResponseFormat::JsonSchema { name: "x".into(), schema };
    let mut deep = json!({"type": "string"});
    for _ in 0..200 {
        deep = json!({"type": "array", "items": deep});
    }
    vec![
        grammar(""),
        grammar("start: nowhere"),
        grammar("start: start \"a\""),
        grammar("start: \"a"),
        grammar("start: /(/"),
        grammar("root ::= \"a\""),
        grammar("start: \"a\"{0,1000000000}"),
        grammar("\0"),
        regex("("),
        regex("a{1000}{1000}{1000}"),
        regex("(?=a)"),
        regex("\\1"),
        regex("[z-a]"),
        schema(json!({"type": 7})),
        schema(json!({"type": "string", "pattern": "("})),
        schema(json!({"$ref": "#/nowhere"})),
        schema(json!({"$ref": "#"})),
        schema(json!({"$ref": "https://example.com/x.json"})),
        schema(json!({"type": "integer", "minimum": 5, "maximum": 1})),
        schema(json!({"type": "string", "minLength": 4_000_000_000u64})),
        schema(json!({"type": "array", "items": {}, "minItems": 1_000_000})),
        schema(json!([1, 2])),
        schema(deep),
    ]
}

rows! {
    a_full_cache_under_load {
        let folder = tempfile::tempdir().unwrap();
        let options = one_thread().with_slots(8).with_context_tokens(128).with_cache_tokens(160);
        let model = LlamaChat::load(tiny_llama(folder.path()), options).unwrap();
        block_on(async {
            let requests = (0..24).map(|n| ask(&format!("{n}")).with_temperature(1.0).with_max_tokens(200));
            let calls: Vec<_> = requests
                .map(|request| {
                    let model = model.clone();
                    async move { model.generate(&request).await.unwrap() }
                })
                .collect();
            assert_eq!(futures_util::future::join_all(calls).await.len(), 24);
        });
    }

    samplers_without_a_choice {
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        for request in [
            ask("a").with_temperature(0.0),
            ask("a").with_temperature(f32::MIN_POSITIVE),
            ask("a").with_temperature(2.0).with_top_k(1).with_top_p(1e-30),
            ask("a").with_temperature(f32::NAN),
            ask("a").with_temperature(f32::INFINITY),
            ask("a").with_temperature(-1.0),
            ask("a").with_top_k(0),
            ask("a").with_top_k(u32::MAX).with_seed(u64::MAX),
            ask("a").with_top_p(0.0),
            ask("a").with_extra("min_p", 1.0),
            ask("a").with_extra("typical_p", 0.001),
            ask("a").with_extra("top_n_sigma", 0.001),
            ask("a").with_extra("repeat_penalty", 10.0).with_extra("repeat_last_n", 1_000_000),
            ask("a").with_extra("xtc_probability", 1.0).with_extra("xtc_threshold", 0.0),
            ask("a").with_extra("dynatemp_range", 100.0),
            ask("a").with_extra("dry_multiplier", 100.0),
            ask("a").with_extra("mirostat", 2),
            ask("a").with_extra("mirostat", 9),
            ask("a").with_extra("logit_bias", json!({"65": -100, "999999": 5})),
        ] {
            let _ = survives(&model, &request);
        }
    }

    forms_that_are_none {
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        for form in forms() {
            match survives(&model, &ask("a").with_response_format(form.clone())) {
                // What can be begun may be cut off by the token limit.
                Ok(_) => {}
                Err(e) => assert!(
                    matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::InvalidOutput),
                    "{form:?}: {e}"
                ),
            }
        }
        for form in &forms()[..5] {
            assert!(survives(&model, &ask("a").with_response_format(form.clone())).is_err(), "{form:?}");
        }
    }

    tokens_against_the_form {
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        let held = |pattern: &str| ask("a").with_response_format(ResponseFormat::Regex { pattern: pattern.into() });
        // The forbidden token is the likeliest by far.
        let pushed = held("(yes|no)").with_extra("logit_bias", json!({"65": 100})).with_max_tokens(20);
        let text = survives(&model, &pushed).unwrap();
        assert!(text == "yes" || text == "no", "{text}");
        // The form ends long before the limit.
        let response = block_on(model.generate(&held("a").with_max_tokens(300))).unwrap();
        assert_eq!((response.text().as_str(), &response.finish), ("a", &FinishReason::Stop));
        // Nothing that the form allows may be chosen.
        let bias: serde_json::Map<_, _> = (0..256).map(|n| (n.to_string(), json!(-100))).collect();
        let _ = survives(&model, &held("[a-c]{3}").with_extra("logit_bias", Value::Object(bias)));
    }

    hostile_messages {
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        let tool = |name: &str| ToolSpec::new(name, "\0 {{ x }} {% endfor %}", json!({"type": "object"}));
        for text in ["\0", "a\0b", "<|im_end|><|im_start|>", "{{ messages }}", "{% raw %}", "\u{10ffff}\u{0}\u{fffd}"] {
            survives(&model, &ask(text)).unwrap();
            survives(&model, &ask(text).with_stop([text])).unwrap();
            let _ = survives(&model, &ask(text).with_tools([tool(text)]));
            let forced = ask(text).with_tools([tool("x")]).with_tool_choice(ToolChoice::Named(text.into()));
            let _ = survives(&model, &forced);
        }
        let _ = survives(&model, &ask("a").with_stop([""]));
        for template in [
            "\0",
            "{% for a in range(1000000000) %}{% for b in range(1000000000) %}x{% endfor %}{% endfor %}",
            "{{ messages[99].content }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{{ 'x' * 1000000000 }}",
        ] {
            let options = one_thread().with_chat_template(template);
            if let Ok(model) = LlamaChat::load(folder.path().join("tiny-llama.gguf"), options) {
                let _ = block_on(model.generate(&ask("a")));
            }
        }
    }
}
