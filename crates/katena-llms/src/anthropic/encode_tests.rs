use katena_core::{ErrorKind, Media, Message, Part, Reasoning, Role, ToolCall, ToolResult};

use super::*;
use crate::anthropic::wire;

fn info() -> ModelInfo {
    crate::anthropic::info("anthropic", "claude-opus-4-6")
}

fn encode_as(request: &ChatRequest, settings: &Settings, target: Target, reply: Reply) -> Result<Value> {
    let info = info();
    // As text and back, since a field that is written twice would else go unseen.
    let text = serde_json::to_string(&body(request, &info, settings, target, reply)?).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let again = serde_json::to_string(&value).unwrap();
    assert_eq!(text.len(), again.len(), "a field is written twice: {text}");
    Ok(value)
}

fn encode(request: &ChatRequest) -> Result<Value> {
    encode_as(request, &Settings::default(), Target::Api, Reply::Whole)
}

fn kind(request: &ChatRequest) -> Option<ErrorKind> {
    encode(request).err().map(|e| e.kind())
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

/// `KATENA_BLESS=1` writes the file anew.
fn golden(name: &str, value: &Value) {
    crate::golden::holds(&format!("tests/golden/anthropic/{name}"), value);
}

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    ToolSpec::new("get_weather", "The weather now.", schema)
}

fn base64(mime: &str, data: &str) -> Media {
    Media::Base64 { mime: mime.into(), data: data.into() }
}

#[test]
fn a_whole_conversation() {
    let call = ToolCall::new("call:1", "get_weather", r#"{"city": "Paris"}"#);
    let other = ToolCall::new("call_2", "get_time", "");
    let cut = ToolCall::new("call_3", "get_time", "{\"zo");
    let mut picture = ToolResult::text(&other, "See:").with_error();
    picture.parts.push(Part::Image { media: base64("image/png", "AAAA") });
    let url = |url: &str| Media::Url { mime: None, url: url.into() };
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::new(
            Role::User,
            vec![
                Part::text("What is this?"),
                Part::Image { media: base64("image/png", "AAAA") },
                Part::Image { media: url("https://example.com/a.png") },
                Part::File { media: base64("application/pdf", "BBBB"), name: Some("a.pdf".into()) },
                Part::File { media: base64("text/markdown", "IyBIaQ=="), name: None },
                Part::File { media: url("https://example.com/a.pdf"), name: None },
            ],
        ),
        Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "unsigned".into(), signature: None },
                Part::Reasoning { text: "Hm.".into(), signature: Some("sig".into()) },
                wire::opaque(json!({"type": "redacted_thinking", "data": "xyz"})),
                Part::text("Rain"),
                wire::fields("citations", json!([{"cited_text": "a"}])),
                Part::text(""),
                wire::opaque(
                    json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
                ),
                Part::ToolCall(call.clone()),
                wire::fields("caller", json!({"type": "code"})),
                Part::ToolCall(other.clone()),
                Part::ToolCall(cut.clone()),
            ],
        ),
        Message::tool(ToolResult::text(&call, "8 °C")),
        Message::tool(picture),
        Message::new(Role::Tool, vec![Part::ToolResult(ToolResult::text(&cut, ""))]),
        Message::system("Answer in French."),
        Message::user("Well?"),
    ])
    .with_tools([weather(), ToolSpec::new("get_time", "", json!({}))])
    .with_tool_choice(ToolChoice::Required)
    .with_extra("disable_parallel_tool_use", true)
    .with_extra("metadata", json!({"user_id": "u"}))
    .with_temperature(0.0)
    .with_top_p(0.9)
    .with_top_k(5)
    .with_max_tokens(64)
    .with_stop(["END"]);
    golden("conversation.json", &encode(&request).unwrap());
    let settings = Settings {
        betas: vec!["a".into()],
        server_tools: vec![json!({"type": "web_search_20250305", "name": "web_search"})],
        ..Settings::default()
    };
    let request = request.with_extra("betas", json!(["b", "a"]));
    assert_eq!(betas(&request, &settings).unwrap(), ["a", "b"]);
    golden("bedrock.json", &encode_as(&request, &settings, Target::Bedrock, Reply::Stream).unwrap());
    golden("vertex.json", &encode_as(&request, &settings, Target::Vertex, Reply::Stream).unwrap());
    golden("count.json", &encode_as(&request, &settings, Target::Vertex, Reply::Count).unwrap());
}

#[test]
fn the_token_limit_is_always_there() {
    assert_eq!(encode(&ask()).unwrap()["max_tokens"], 16_384);
    assert_eq!(encode(&ask().with_max_tokens(0)).unwrap()["max_tokens"], 0);
    let thinking = ask().with_reasoning(Reasoning::budget(2000));
    assert_eq!(encode(&thinking).unwrap()["max_tokens"], 18_384);
    let settings = Settings { max_tokens: Some(99), ..Settings::default() };
    let body = encode_as(&ask(), &settings, Target::Api, Reply::Stream).unwrap();
    assert_eq!((&body["max_tokens"], &body["stream"]), (&json!(99), &json!(true)));
}

#[test]
fn thinking() {
    let body = |reasoning| {
        let body = encode(&ask().with_reasoning(reasoning)).unwrap();
        (body["thinking"].clone(), body["output_config"]["effort"].clone())
    };
    assert_eq!(
        body(Reasoning::budget(1024)),
        (json!({"type": "enabled", "budget_tokens": 1024}), json!(null))
    );
    assert_eq!(body(Reasoning::budget(0)), (json!({"type": "disabled"}), json!(null)));
    assert_eq!(body(Reasoning::effort(Effort::None)), (json!({"type": "disabled"}), json!(null)));
    assert_eq!(body(Reasoning::effort(Effort::Minimal)), (json!({"type": "adaptive"}), json!("low")));
    assert_eq!(body(Reasoning::effort(Effort::High)), (json!({"type": "adaptive"}), json!("high")));
    let older = crate::anthropic::info("anthropic", "claude-sonnet-4-5");
    let settings = Settings::default();
    let request = ask().with_reasoning(Reasoning::effort(Effort::High));
    let error = super::body(&request, &older, &settings, Target::Api, Reply::Whole).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let oldest = crate::anthropic::info("anthropic", "claude-3-haiku-20240307");
    let request = ask().with_reasoning(Reasoning::budget(1024));
    let error = super::body(&request, &oldest, &settings, Target::Api, Reply::Whole).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_schema_is_native() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]});
    let request = ask().with_response_format(ResponseFormat::JsonSchema { name: "n".into(), schema });
    let format = encode(&request).unwrap()["output_config"]["format"].clone();
    assert_eq!(
        (&format["type"], &format["schema"]["additionalProperties"]),
        (&json!("json_schema"), &json!(false))
    );
    assert_eq!(kind(&ask().with_response_format(ResponseFormat::JsonObject)), Some(ErrorKind::Unsupported));
}

#[test]
fn the_prompt_is_kept_where_it_is_said() {
    let talk = || {
        ChatRequest::new([
            Message::system("S"),
            Message::user("A"),
            Message::new(
                Role::Assistant,
                vec![Part::text("B"), Part::Reasoning { text: "x".into(), signature: Some("s".into()) }],
            ),
            Message::user("C"),
            Message::user("D"),
        ])
        .with_tools([weather()])
    };
    let marks = |request: &ChatRequest| {
        let body = encode(request).unwrap();
        let mut found = Vec::new();
        let mut look = |place: String, block: &Value| {
            if let Some(mark) = block.get("cache_control") {
                found.push(format!("{place} {}", mark["ttl"].as_str().unwrap_or("-")));
            }
        };
        for (n, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
            look(format!("tool {n}"), tool);
        }
        for (n, block) in body["system"].as_array().into_iter().flatten().enumerate() {
            look(format!("system {n}"), block);
        }
        for (n, turn) in body["messages"].as_array().unwrap().iter().enumerate() {
            for (m, block) in turn["content"].as_array().unwrap().iter().enumerate() {
                look(format!("turn {n}.{m}"), block);
            }
        }
        found
    };
    assert_eq!(marks(&talk()), Vec::<String>::new());
    assert_eq!(marks(&talk().with_prompt_cache(PromptCache::new())), ["system 0 -", "turn 2.1 -"]);
    let without = ask().with_tools([weather()]).with_prompt_cache(PromptCache::new());
    assert_eq!(marks(&without), ["tool 0 -", "turn 0.0 -"]);
    let all = PromptCache::new()
        .with_point(CachePoint::Tools)
        .with_point(CachePoint::System)
        .with_point(CachePoint::Message(2))
        .with_point(CachePoint::Message(3))
        .with_ttl(Duration::from_secs(301));
    // Thinking takes no mark, so that it is on the text before it.
    assert_eq!(
        marks(&talk().with_prompt_cache(all.clone())),
        ["tool 0 1h", "system 0 1h", "turn 1.0 1h", "turn 2.0 1h"]
    );
    let short = PromptCache::new().with_point(CachePoint::Message(0)).with_ttl(Duration::from_secs(60));
    assert_eq!(marks(&talk().with_prompt_cache(short)), ["system 0 5m"]);
    let kind = |cache| kind(&talk().with_prompt_cache(cache));
    assert_eq!(kind(all.with_point(CachePoint::Message(4))), Some(ErrorKind::InvalidInput));
    assert_eq!(kind(PromptCache::new().with_point(CachePoint::Message(9))), Some(ErrorKind::InvalidInput));
    assert_eq!(kind(PromptCache::new().with_key("k")), Some(ErrorKind::Unsupported));
    let nowhere = ask().with_prompt_cache(PromptCache::new().with_point(CachePoint::Tools));
    assert_eq!(super::tests::kind(&nowhere), Some(ErrorKind::InvalidInput));
}

#[test]
fn choices_of_tools() {
    let choice = |choice: ToolChoice| {
        encode(&ask().with_tools([weather()]).with_tool_choice(choice)).unwrap()["tool_choice"].clone()
    };
    assert_eq!(choice(ToolChoice::Auto), json!({"type": "auto"}));
    assert_eq!(choice(ToolChoice::None), json!({"type": "none"}));
    assert_eq!(
        choice(ToolChoice::Named("get_weather".into())),
        json!({"type": "tool", "name": "get_weather"})
    );
    assert_eq!(encode(&ask().with_tool_choice(ToolChoice::None)).unwrap().get("tool_choice"), None);
    assert_eq!(kind(&ask().with_tool_choice(ToolChoice::Required)), Some(ErrorKind::InvalidInput));
    let unknown = ask().with_tools([weather()]).with_tool_choice(ToolChoice::Named("x".into()));
    assert_eq!(kind(&unknown), Some(ErrorKind::InvalidInput));
    let one = ask().with_tools([weather()]).with_extra("disable_parallel_tool_use", true);
    let wanted = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(encode(&one).unwrap()["tool_choice"], wanted);
    assert_eq!(kind(&ask().with_extra("disable_parallel_tool_use", true)), Some(ErrorKind::InvalidInput));
}

#[test]
fn what_can_not_be_said_is_refused() {
    use ErrorKind::{InvalidInput, Unsupported};
    let say = |role, part| ChatRequest::new([Message::user("x"), Message::new(role, vec![part])]);
    let media = || base64("audio/wav", "AAAA");
    let mut penalty = ask();
    penalty.presence_penalty = Some(0.0);
    let result = Part::ToolResult(ToolResult::text(&ToolCall::new("a", "b", ""), "c"));
    for (request, want) in [
        (ChatRequest::new([]), InvalidInput),
        (ChatRequest::new([Message::system("only")]), InvalidInput),
        (ask().with_seed(0), Unsupported),
        (ask().with_logprobs(0), Unsupported),
        (penalty, Unsupported),
        (ask().with_temperature(f32::NAN), InvalidInput),
        (ask().with_extra("max_tokens", 3), InvalidInput),
        (ask().with_extra("stream", true), InvalidInput),
        (ask().with_top_k(3).with_extra("top_k", 3), InvalidInput),
        (ask().with_extra("betas", "x"), InvalidInput),
        (say(Role::User, Part::Audio { media: media() }), Unsupported),
        (say(Role::User, Part::Video { media: media() }), Unsupported),
        (say(Role::User, Part::File { media: media(), name: None }), Unsupported),
        (say(Role::User, Part::File { media: base64("text/plain", "%"), name: None }), InvalidInput),
        (say(Role::User, result.clone()), InvalidInput),
        (say(Role::Assistant, result), InvalidInput),
        (say(Role::Tool, Part::text("x")), InvalidInput),
        (say(Role::User, Part::Opaque { vendor: "other".into(), value: json!({}) }), Unsupported),
        (say(Role::User, wire::opaque(json!(3))), Unsupported),
        (say(Role::User, wire::fields("citations", json!([]))), InvalidInput),
    ] {
        let got = kind(&request);
        if want == InvalidInput && request.extra.contains_key("betas") {
            assert_eq!(betas(&request, &Settings::default()).unwrap_err().kind(), want);
            continue;
        }
        assert_eq!(got, Some(want), "{request:?}");
    }
}

#[test]
fn a_tool_of_the_vendor_is_an_object() {
    let settings = Settings { server_tools: vec![json!("web_search")], ..Settings::default() };
    let request = ask().with_prompt_cache(PromptCache::new());
    let error = encode_as(&request, &settings, Target::Api, Reply::Whole).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
