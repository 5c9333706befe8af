use katena_core::{Accumulator, ChatResponse, FinishReason};
use serde_json::json;

use super::*;

/// Runs the chunks, and `[DONE]`, through decoder and accumulator: the law of streaming is checked on the way.
fn run(chunks: &[Value]) -> Result<ChatResponse> {
    let texts: Vec<String> = chunks.iter().map(Value::to_string).collect();
    run_text(texts.iter().map(String::as_str).chain(["[DONE]"]))
}

fn run_text<'a>(data: impl IntoIterator<Item = &'a str>) -> Result<ChatResponse> {
    let mut decoder = OpenAiStreamDecoder::new("openai");
    let mut answer = Accumulator::new();
    for data in data {
        decoder.push("message", data)?;
        while let Some(event) = decoder.next_event() {
            answer.push(&event)?;
        }
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        answer.push(&event)?;
    }
    answer.finish()
}

fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta}]})
}

fn call(index: Value, id: Value, name: Value, arguments: &str) -> Value {
    delta(
        json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}),
    )
}

fn calls(response: &ChatResponse) -> Vec<(String, String, String)> {
    response.tool_calls().map(|c| (c.id.clone(), c.name.clone(), c.arguments.clone())).collect()
}

fn two(a: &str, b: &str) -> Vec<(String, String, String)> {
    vec![("a".into(), "f".into(), a.into()), ("b".into(), "g".into(), b.into())]
}

#[test]
fn text_reasoning_and_refusal_become_parts_in_their_order() {
    let r = run(&[
        delta(json!({"role": "assistant", "content": "", "refusal": null})),
        delta(json!({"reasoning_content": "h"})),
        delta(json!({"reasoning": "m", "content": null})),
        delta(json!({"content": "a"})),
        delta(json!({"content": "b"})),
        delta(json!({"reasoning_content": "again"})),
        delta(json!({"refusal": "No."})),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    ])
    .unwrap();
    let reasoning = |t: &str| Part::Reasoning { text: t.into(), signature: None };
    assert_eq!(
        r.message.parts,
        [reasoning("hm"), Part::text("ab"), reasoning("again"), Part::Refusal { text: "No.".into() }]
    );
}

#[test]
fn tool_calls_in_all_forms() {
    let null = Value::Null;
    // Interleaved by index.
    let r = run(&[
        delta(json!({"content": "Let me see."})),
        call(json!(0), json!("a"), json!("f"), ""),
        call(json!(1), json!("b"), json!("g"), ""),
        call(json!(1), null.clone(), null.clone(), "{\"y\":"),
        call(json!(0), null.clone(), null.clone(), "{\"x\":1"),
        call(json!(1), json!(""), json!(""), "2}"),
        call(json!(0), null.clone(), null.clone(), "}"),
    ])
    .unwrap();
    assert_eq!(calls(&r), two("{\"x\":1}", "{\"y\":2}"));
    assert_eq!((r.text().as_str(), &r.finish), ("Let me see.", &FinishReason::ToolCalls));
    // No index: told apart by id, pieces without one belong to the last.
    for none in [null.clone(), json!(-1)] {
        let r = run(&[
            call(none.clone(), json!("a"), json!("f"), "{"),
            call(none.clone(), null.clone(), null.clone(), "}"),
            call(none.clone(), json!("b"), json!("g"), "{}"),
            call(none, json!("a"), null.clone(), " "),
        ])
        .unwrap();
        assert_eq!(calls(&r), two("{} ", "{}"));
    }
    // The same index for every call.
    let r =
        run(&[call(json!(0), json!("a"), json!("f"), "{}"), call(json!(0), json!("b"), json!("g"), "{}")])
            .unwrap();
    assert_eq!(calls(&r), two("{}", "{}"));
    // Id and name with every piece.
    let r = run(&[
        call(json!(0), json!("a"), json!("f"), "{\"x\""),
        call(json!(0), json!("a"), json!("f"), ":1}"),
    ])
    .unwrap();
    assert_eq!(calls(&r), [("a".into(), "f".into(), "{\"x\":1}".into())]);
    // A new id with every piece, but the name only once.
    let r =
        run(&[call(json!(0), json!("a"), json!("f"), "{"), call(json!(0), json!("zzz"), null.clone(), "}")])
            .unwrap();
    assert_eq!(calls(&r), [("a".into(), "f".into(), "{}".into())]);
    // The name after the arguments began; no id at all.
    let r = run(&[
        call(json!(0), null.clone(), null.clone(), "{"),
        call(json!(0), null.clone(), json!("f"), "}"),
    ])
    .unwrap();
    assert_eq!(calls(&r), [("call_0_0".into(), "f".into(), "{}".into())]);
    // Arguments as an object, whole in one chunk; none at all.
    let whole = json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}, {"id": "b", "function": {"name": "g"}}]});
    assert_eq!(calls(&run(&[delta(whole)]).unwrap()), two("{\"x\":1}", ""));
}

#[test]
fn hostile_calls_are_errors() {
    let named = |i: i64| call(json!(i), Value::Null, json!("f"), "{}");
    assert!(run(&[named(i64::MAX)]).is_err());
    assert!(run(&[named(128)]).is_err());
    assert!(
        run(&(0..129).map(|_| call(Value::Null, Value::Null, json!("f"), "")).collect::<Vec<_>>()).is_err()
    );
    assert!(run(&[call(json!(0), json!("a"), Value::Null, "{}")]).is_err(), "a call without a name");
    let flip = |n: usize| {
        delta(if n.is_multiple_of(2) { json!({"content": "x"}) } else { json!({"reasoning": "y"}) })
    };
    assert!(run(&(0..3000).map(flip).collect::<Vec<_>>()).is_err());
}

#[test]
fn usage_where_servers_put_it() {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 11, "total_tokens": 18});
    let text = json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}], "usage": null});
    let alone = json!({"choices": [], "usage": usage});
    let null_after = json!({"choices": [], "usage": null});
    for chunks in [
        vec![text.clone(), alone.clone()],
        vec![text.clone(), alone, null_after],
        vec![json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}], "usage": usage})],
        vec![text, json!({"choices": [], "x_groq": {"usage": usage}})],
    ] {
        let r = run(&chunks).unwrap();
        assert_eq!((r.usage, r.text().as_str()), (Usage::new(7, 11), "x"));
    }
    assert_eq!(run(&[delta(json!({"content": "x"}))]).unwrap().usage, Usage::default(), "unknown, not zero");
}

#[test]
fn ends_and_finish_reasons() {
    let finish =
        |word: &str| json!({"choices": [{"delta": {"content": "!"}, "finish_reason": word}]}).to_string();
    let text = delta(json!({"content": "x"})).to_string();
    // Content on the chunk that finishes; no [DONE], [DONE] twice or with spaces, rubbish after it.
    for rest in
        [vec![], vec!["[DONE]"], vec![" [DONE] ", "[DONE]"], vec!["[DONE]", "rubbish"], vec!["", "[DONE]"]]
    {
        let stop = finish("stop");
        let r = run_text([text.as_str(), &stop].into_iter().chain(rest)).unwrap();
        assert_eq!((r.text().as_str(), r.finish), ("x!", FinishReason::Stop));
    }
    assert_eq!(run_text([&*finish("new")]).unwrap().finish, FinishReason::Other("new".into()));
    assert_eq!(run_text([&*finish("length")]).unwrap().finish, FinishReason::Length);
    // An empty reason is none: the stream is not finished by it.
    for cut in [vec![text.clone()], vec![text, finish("")], vec![]] {
        let error = run_text(cut.iter().map(String::as_str)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{cut:?}");
    }
    assert_eq!(run_text(["[DONE]"]).unwrap_err().kind(), ErrorKind::Unavailable, "no answer at all");
}

#[test]
fn errors_in_the_stream_keep_what_came_before() {
    let mut decoder = OpenAiStreamDecoder::new("openai");
    decoder.push("message", &delta(json!({"content": "x"})).to_string()).unwrap();
    let limited = r#"{"error":{"message":"slow","type":"rate_limit_exceeded"}}"#;
    assert_eq!(decoder.push("message", limited).unwrap_err().kind(), ErrorKind::RateLimited);
    assert!(matches!(decoder.next_event(), Some(ChatEvent::Start { .. })));
    assert!(matches!(decoder.next_event(), Some(ChatEvent::Delta { .. })));
    let mut decoder = OpenAiStreamDecoder::new("openai");
    let overloaded = r#"{"message":"overloaded","code":503}"#;
    assert_eq!(decoder.push("error", overloaded).unwrap_err().status(), Some(503));
    assert_eq!(decoder.push("error", "plain words").unwrap_err().message(), "plain words");
    assert_eq!(decoder.push("message", "{").unwrap_err().kind(), ErrorKind::InvalidOutput);
    // A null error is none, nor are other choices, unknown fields or empty choices any trouble.
    let r = run(&[
        json!({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
        json!({"error": null, "obfuscation": "abc", "choices": [{"index": 0, "delta": {"content": "A"}}]}),
        json!({"choices": [{"index": 1, "delta": {"content": "B"}}, {"index": 2_147_483_647, "delta": {"content": "C"}}]}),
    ])
    .unwrap();
    assert_eq!(r.text(), "A");
}

#[test]
fn logprobs_gather() {
    let chunk = |t: &str| json!({"choices": [{"delta": {"content": t}, "logprobs": {"content": [{"token": t, "logprob": -0.1, "top_logprobs": []}]}}]});
    let r = run(&[chunk("a"), chunk("b"), delta(json!({}))]).unwrap();
    assert_eq!(r.logprobs.unwrap().iter().map(|l| l.token.as_str()).collect::<String>(), "ab");
}

/// Any bytes at all: no panic, and whatever is decoded obeys the law.
#[test]
fn random_chunks_never_break_the_law() {
    const ATOMS: [&str; 22] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"choices\":",
        "\"delta\":",
        "\"content\":\"x\"",
        "\"tool_calls\":",
        "\"index\":0",
        "\"function\":",
        "\"name\":\"f\"",
        "\"arguments\":\"{\"",
        "\"id\":\"a\"",
        "\"finish_reason\":\"stop\"",
        "null",
        "\"error\":null",
        "\"reasoning\":\"r\"",
        "\"\\ud83d\"",
        "-1",
        "[DONE]",
    ];
    let pieces = [
        json!({"content": "x"}),
        json!({"reasoning": "r"}),
        json!({"refusal": "n"}),
        json!({"content": [{"type": "image"}]}),
        json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}),
        json!({"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]}),
        json!({"tool_calls": [{"id": "b", "function": {"name": "g"}}, {"function": {"arguments": {"a": 1}}}]}),
        json!({"function_call": {"name": "h", "arguments": ""}}),
    ];
    let mut seed = 11_u64;
    let mut below = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    let (mut good, mut law) = (0, 0);
    for _ in 0..4000 {
        let mut data = Vec::new();
        for _ in 0..below(8) {
            data.push(match below(5) {
                0 => (0..below(12)).map(|_| ATOMS[below(ATOMS.len())]).collect(),
                1 => json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}).to_string(),
                _ => delta(pieces[below(pieces.len())].clone()).to_string(),
            });
        }
        match run_text(data.iter().map(String::as_str)) {
            Ok(_) => good += 1,
            Err(error) => {
                law += usize::from(error.message().contains("event") || error.message().contains("part"));
            }
        }
    }
    assert!(good > 100, "{good}");
    assert_eq!(law, 0, "the decoder broke the accumulator's law");
}

#[test]
fn signed_reasoning_stays_open_until_its_signature_is_there() {
    let detail = |more: Value| {
        let mut piece = json!({"type": "reasoning.text", "index": 0, "format": "f"});
        piece.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        delta(json!({ "reasoning_details": [piece] }))
    };
    let encrypted = json!({"type": "reasoning.encrypted", "index": 1, "id": "rs_1", "data": "e"});
    let response = run(&[
        detail(json!({"text": "Let me "})),
        detail(json!({"text": "think.", "signature": null})),
        delta(json!({"content": "Hi"})),
        detail(json!({"signature": "sig"})),
        call(json!(0), json!("a"), json!("f"), "{}"),
        delta(json!({ "reasoning_details": [encrypted] })),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
    ])
    .unwrap();
    let [Part::Reasoning { text, signature: Some(signature) }, Part::Text { .. }, Part::ToolCall(_)] =
        response.message.parts.as_slice()
    else {
        panic!("{:?}", response.message)
    };
    assert_eq!(text, "Let me think.");
    let whole = json!({"type": "reasoning.text", "index": 0, "format": "f", "text": "Let me think.", "signature": "sig"});
    let want = json!({"reasoning_details": [whole, encrypted]});
    assert_eq!(serde_json::from_str::<Value>(signature.strip_prefix("openai:").unwrap()).unwrap(), want);
    // Encrypted reasoning alone is a part without words.
    let response =
        run(&[delta(json!({"content": "Hi"})), delta(json!({ "reasoning_details": [encrypted] }))]).unwrap();
    assert!(
        matches!(&response.message.parts[1], Part::Reasoning { text, signature: Some(_) } if text.is_empty())
    );
    assert_eq!(response.text(), "Hi");
}

#[test]
fn an_empty_call_of_the_old_form_is_none() {
    let response =
        run(&[delta(json!({"content": "Hi", "function_call": {"name": "", "arguments": ""}}))]).unwrap();
    assert_eq!(response.message.parts, [Part::text("Hi")]);
}
