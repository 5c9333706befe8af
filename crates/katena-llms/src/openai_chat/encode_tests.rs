use katena_core::{CachePoint, ChatCapabilities, Effort, ErrorKind, PromptCache, Reasoning, ToolCall};
use serde_json::json;

use super::*;
use crate::openai_chat::{Dialect, ReasoningBack, ReasoningForm};

fn info() -> ModelInfo {
    ModelInfo::new("openai", "m").with_capabilities(crate::openai_chat::everything())
}

fn encode(request: &ChatRequest, dialect: Dialect, reply: Reply) -> Result<String> {
    let info = ModelInfo::new("openai", "m").with_capabilities(crate::openai_chat::all_of(dialect));
    Ok(serde_json::to_string(&body(request, &info, dialect.into(), &BTreeMap::new(), reply)?).unwrap())
}

fn kind(request: &ChatRequest, dialect: Dialect) -> Option<ErrorKind> {
    encode(request, dialect, Reply::Whole).err().map(|e| e.kind())
}

/// `KATENA_BLESS=1` writes the file anew.
fn golden(name: &str, text: &str) {
    crate::golden::holds(&format!("tests/golden/{name}"), &serde_json::from_str(text).unwrap());
}

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    ToolSpec::new("get_weather", "The weather now.", schema)
}

#[test]
fn a_whole_conversation() {
    let call = ToolCall::new("call_1", "get_weather", r#"{"city": "Paris"}"#);
    let other = ToolCall::new("call_2", "get_time", "");
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::new(
            Role::User,
            vec![
                Part::text("What is this?"),
                Part::Image { media: Media::Base64 { mime: "image/png".into(), data: "AAAA".into() } },
                Part::Image { media: Media::Url { mime: None, url: "https://example.com/a.png".into() } },
                Part::Audio { media: Media::Base64 { mime: "audio/wav".into(), data: "BBBB".into() } },
            ],
        ),
        Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "hm".into(), signature: None },
                Part::text("Let me see."),
                Part::ToolCall(call.clone()),
                Part::ToolCall(other.clone()),
            ],
        ),
        Message::new(
            Role::Tool,
            vec![
                Part::ToolResult(ToolResult::text(&call, "sunny")),
                Part::ToolResult(ToolResult::text(&other, "noon")),
            ],
        ),
        Message::new(Role::User, vec![Part::text("And "), Part::text("now?")]),
    ])
    .with_tools([weather(), ToolSpec::new("get_time", "The time.", Value::Null)])
    .with_tool_choice(ToolChoice::Required);
    golden("conversation.json", &encode(&request, Dialect::OpenAi, Reply::Whole).unwrap());
}

#[test]
fn every_option_reaches_the_wire() {
    let mut request = ChatRequest::new([Message::user("x")])
        .with_temperature(0.0)
        .with_top_p(0.7)
        .with_max_tokens(0)
        .with_stop(["END"])
        .with_seed(7)
        .with_logprobs(2)
        .with_extra("service_tier", "flex");
    request.presence_penalty = Some(0.5);
    request.frequency_penalty = Some(-0.5);
    golden("options_openai_stream.json", &encode(&request, Dialect::OpenAi, Reply::Stream).unwrap());
    let request = request.with_top_k(40);
    golden("options_compatible.json", &encode(&request, Dialect::Compatible, Reply::Whole).unwrap());
    // Numbers keep their short form.
    assert!(encode(&request, Dialect::Compatible, Reply::Whole).unwrap().contains("\"top_p\":0.7,"));
}

#[test]
fn schemas_are_strict_where_that_keeps_their_meaning() {
    let format = |schema| ResponseFormat::JsonSchema { name: "Vec<Town>".into(), schema };
    let strict =
        format(json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}));
    let request = ChatRequest::new([Message::user("x")]).with_response_format(strict);
    golden("schema_strict.json", &encode(&request, Dialect::OpenAi, Reply::Whole).unwrap());
    let open = format(json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    let request = ChatRequest::new([Message::user("x")]).with_response_format(open);
    golden("schema_open.json", &encode(&request, Dialect::OpenAi, Reply::Whole).unwrap());
}

#[test]
fn a_tool_by_name_or_alone() {
    let request = ChatRequest::new([Message::user("x")])
        .with_tools([weather(), ToolSpec::new("b", "", json!({}))])
        .with_tool_choice(ToolChoice::Named("get_weather".into()));
    let value = |named| {
        let (info, none) = (info(), BTreeMap::new());
        let quirks = Quirks::COMPATIBLE.with_named_tool(named);
        serde_json::to_value(body(&request, &info, quirks, &none, Reply::Whole).unwrap()).unwrap()
    };
    let by_name = value(NamedTool::ByName);
    assert_eq!(by_name["tool_choice"], json!({"type": "function", "function": {"name": "get_weather"}}));
    assert_eq!(by_name["tools"].as_array().unwrap().len(), 2);
    let alone = value(NamedTool::Alone);
    assert_eq!((&alone["tool_choice"], alone["tools"].as_array().unwrap().len()), (&json!("required"), 1));
}

#[test]
fn what_cannot_be_expressed_is_said() {
    let ask = || ChatRequest::new([Message::user("x")]);
    let media = |part| ChatRequest::new([Message::new(Role::User, vec![part])]);
    let url = || Media::Url { mime: None, url: "https://e/x".into() };
    let unsupported = [
        ask().with_top_k(3),
        ask().with_response_format(ResponseFormat::Regex { pattern: "a+".into() }),
        ask().with_response_format(ResponseFormat::Grammar { grammar: "start: \"a\"".into() }),
        ask().with_extra("n", 2),
        media(Part::Video { media: url() }),
        media(Part::Audio { media: url() }),
        media(Part::File { media: url(), name: None }),
        media(Part::Opaque { vendor: "other".into(), value: json!({}) }),
    ];
    for request in unsupported {
        assert_eq!(kind(&request, Dialect::OpenAi), Some(ErrorKind::Unsupported), "{request:?}");
    }
    let invalid = [
        ChatRequest::new([]),
        ask().with_temperature(f32::NAN),
        ask().with_tool_choice(ToolChoice::Required),
        ask().with_tools([weather()]).with_tool_choice(ToolChoice::Named("other".into())),
        ask().with_extra("messages", json!([])),
        ask().with_temperature(1.0).with_extra("temperature", 0.5),
        media(Part::ToolCall(ToolCall::new("a", "b", ""))),
        ChatRequest::new([Message::new(Role::Tool, vec![Part::text("x")])]),
    ];
    for request in invalid {
        assert_eq!(kind(&request, Dialect::OpenAi), Some(ErrorKind::InvalidInput), "{request:?}");
    }
    // An extra in place of an unset field is fine, as is a choice of nothing.
    assert_eq!(kind(&ask().with_extra("temperature", 0.5), Dialect::OpenAi), None);
    assert_eq!(kind(&ask().with_tool_choice(ToolChoice::Auto), Dialect::OpenAi), None);
}

#[test]
fn abilities_that_are_not_named_are_refused() {
    let bare = ModelInfo::new("v", "m").with_capabilities(ChatCapabilities::none());
    let none = BTreeMap::new();
    let ask = || ChatRequest::new([Message::user("x")]);
    let media = |part| ChatRequest::new([Message::new(Role::User, vec![part])]);
    let inline = |mime: &str| Media::Base64 { mime: mime.into(), data: "AAAA".into() };
    for request in [
        ask().with_tools([weather()]),
        ask().with_response_format(ResponseFormat::JsonObject),
        ask().with_seed(1),
        ask().with_logprobs(0),
        ask().with_stop(["x"]),
        ask().with_top_k(1),
        ask().with_reasoning(Reasoning::effort(Effort::Low)),
        ask().with_prompt_cache(PromptCache::new()),
        media(Part::Image { media: inline("image/png") }),
        media(Part::Audio { media: inline("audio/wav") }),
        media(Part::File { media: inline("application/pdf"), name: None }),
    ] {
        let result = body(&request, &bare, Quirks::COMPATIBLE, &none, Reply::Whole);
        assert_eq!(result.err().map(|e| e.kind()), Some(ErrorKind::Unsupported), "{request:?}");
    }
}

fn with_quirks(request: &ChatRequest, quirks: Quirks) -> Result<Value> {
    let (info, none) = (info(), BTreeMap::new());
    Ok(serde_json::to_value(body(request, &info, quirks, &none, Reply::Whole)?).unwrap())
}

#[test]
fn reasoning_is_asked_for_in_each_form() {
    let ask = |r| ChatRequest::new([Message::user("x")]).with_reasoning(r);
    let fields = |form, r| {
        let body = with_quirks(&ask(r), Quirks::COMPATIBLE.with_reasoning(form))?;
        let names = ["reasoning_effort", "reasoning", "thinking", "chat_template_kwargs"];
        let named = names.iter().filter_map(|n| Some(((*n).to_owned(), body.get(*n)?.clone())));
        Ok::<_, Error>(Value::Object(named.collect()))
    };
    use ReasoningForm::{Effort as Word, Object, Template, Thinking};
    let low = || Reasoning::effort(Effort::Low);
    let none = || Reasoning::effort(Effort::None);
    for (form, wish, want) in [
        (Word, low(), json!({"reasoning_effort": "low"})),
        (Word, none(), json!({"reasoning_effort": "none"})),
        (Word, Reasoning::budget(0), json!({"reasoning_effort": "none"})),
        (Object, low(), json!({"reasoning": {"effort": "low"}})),
        (Object, Reasoning::budget(2000), json!({"reasoning": {"max_tokens": 2000}})),
        (Thinking, low(), json!({"thinking": {"type": "enabled"}, "reasoning_effort": "low"})),
        (Thinking, none(), json!({"thinking": {"type": "disabled"}})),
        (Template, none(), json!({"chat_template_kwargs": {"enable_thinking": false}})),
    ] {
        assert_eq!(fields(form, wish).unwrap(), want, "{form:?} {wish:?}");
    }
    for form in [Word, Thinking, Template] {
        assert_eq!(fields(form, Reasoning::budget(9)).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let twice = ask(low()).with_extra("reasoning_effort", "high");
    assert_eq!(kind(&twice, Dialect::OpenAi), Some(ErrorKind::InvalidInput));
}

#[test]
fn earlier_reasoning_goes_back_in_the_servers_form() {
    let details = json!([{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]);
    let own = format!("openai:{}", json!({ "reasoning_details": details }));
    let message = |signature: Option<&str>| {
        let reasoning = Part::Reasoning { text: "hm".into(), signature: signature.map(Into::into) };
        ChatRequest::new([Message::new(Role::Assistant, vec![reasoning, Part::text("a")])])
    };
    let sent = |form, signature| {
        let quirks = Quirks::COMPATIBLE.with_reasoning_back(form);
        with_quirks(&message(signature), quirks).unwrap()["messages"][0].clone()
    };
    let base = |more: Value| {
        let mut object = json!({"role": "assistant", "content": "a"});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    assert_eq!(sent(ReasoningBack::Never, None), base(json!({})));
    assert_eq!(sent(ReasoningBack::ReasoningContent, None), base(json!({"reasoning_content": "hm"})));
    assert_eq!(sent(ReasoningBack::Reasoning, None), base(json!({"reasoning": "hm"})));
    assert_eq!(sent(ReasoningBack::Details, Some(&own)), base(json!({"reasoning_details": details})));
    assert_eq!(sent(ReasoningBack::Details, None), base(json!({"reasoning": "hm"})));
    let other = own.replace("openai", "other");
    for signature in [other.as_str(), "openai:", "EqQB=="] {
        assert_eq!(sent(ReasoningBack::Details, Some(signature)), base(json!({})), "{signature}");
    }
}

#[test]
fn a_prompt_is_kept_in_the_servers_form() {
    let ask = |cache| {
        let tail = [Message::user("q"), Message::assistant("a"), Message::user("r")];
        let messages = [Message::system("s")].into_iter().chain(tail);
        ChatRequest::new(messages).with_tools([weather()]).with_prompt_cache(cache)
    };
    let day = std::time::Duration::from_secs(86_400);
    let body = with_quirks(&ask(PromptCache::new().with_key("k").with_ttl(day)), Quirks::OPENAI).unwrap();
    assert_eq!((&body["prompt_cache_key"], &body["prompt_cache_retention"]), (&json!("k"), &json!("24h")));

    let marks = Quirks::COMPATIBLE.with_prompt_cache(CacheForm::Marks);
    let mark = json!({"type": "ephemeral"});
    let marked = |body: &Value| -> Vec<usize> {
        let is = |m: &Value| m["content"][0]["cache_control"] == mark;
        body["messages"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .filter(|(_, m)| is(m))
            .map(|(n, _)| n)
            .collect()
    };
    let body = with_quirks(&ask(PromptCache::new()), marks).unwrap();
    assert_eq!((marked(&body), &body["tools"][0]["cache_control"]), (vec![0, 3], &Value::Null));
    let points = PromptCache::new().with_point(CachePoint::Tools).with_point(CachePoint::Message(1));
    let body = with_quirks(&ask(points), marks).unwrap();
    assert_eq!((marked(&body), &body["tools"][0]["cache_control"]), (vec![1], &mark));
    let error = |cache, quirks| with_quirks(&ask(cache), quirks).unwrap_err().kind();
    assert_eq!(error(PromptCache::new().with_key("k"), marks), ErrorKind::Unsupported);
    assert_eq!(error(PromptCache::new().with_point(CachePoint::Message(9)), marks), ErrorKind::InvalidInput);
    let automatic = Quirks::COMPATIBLE.with_prompt_cache(CacheForm::Automatic);
    assert!(with_quirks(&ask(PromptCache::new()), automatic).is_ok());
    assert_eq!(error(PromptCache::new().with_ttl(day), automatic), ErrorKind::Unsupported);
}

#[test]
fn extras_of_the_component_give_way_to_the_request() {
    let defaults =
        BTreeMap::from([("models".to_owned(), json!(["a"])), ("temperature".to_owned(), json!(1))]);
    let request = ChatRequest::new([Message::user("x")]).with_temperature(0.0);
    let info = info();
    let send = |request: &ChatRequest| {
        serde_json::to_value(body(request, &info, Quirks::OPENAI, &defaults, Reply::Whole).unwrap()).unwrap()
    };
    assert_eq!((&send(&request)["models"], &send(&request)["temperature"]), (&json!(["a"]), &json!(0.0)));
    assert_eq!(send(&request.clone().with_extra("models", json!(["b"])))["models"], json!(["b"]));
}
