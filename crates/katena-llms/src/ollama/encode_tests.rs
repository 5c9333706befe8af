use katena_core::ErrorKind;

use super::*;
use crate::ollama::everything;

fn encode(request: &ChatRequest) -> Result<Value> {
    let info = ModelInfo::new("ollama", "m").with_capabilities(everything());
    let settings =
        Settings { num_ctx: Some(8192), keep_alive: Some(KeepAlive::For(Duration::from_secs(90))) };
    body(request, &info, settings, false)
}

fn kind(request: &ChatRequest) -> Option<ErrorKind> {
    encode(request).err().map(|e| e.kind())
}

/// `KATENA_BLESS=1` writes the file anew.
fn golden(name: &str, value: &Value) {
    crate::golden::holds(&format!("src/ollama/golden/{name}"), value);
}

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    ToolSpec::new("get_weather", "The weather now.", schema)
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

#[test]
fn a_whole_conversation() {
    let call = ToolCall::new("call_1", "get_weather", r#"{"city": "Paris"}"#);
    let empty = ToolCall::new("call_2", "get_time", "");
    let picture = || Part::Image { media: Media::Base64 { mime: "image/png".into(), data: "AAAA".into() } };
    let mut seen = ToolResult::text(&empty, "noon");
    seen.parts.push(picture());
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::new(Role::User, vec![Part::text("What "), picture(), Part::text("is this?")]),
        Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "hm".into(), signature: None },
                Part::Reasoning { text: "another vendor's".into(), signature: Some("sig".into()) },
                Part::text("Let me see."),
                Part::ToolCall(call.clone()),
                Part::ToolCall(empty),
            ],
        ),
        Message::new(
            Role::Tool,
            vec![Part::ToolResult(ToolResult::text(&call, "Rain.")), Part::ToolResult(seen)],
        ),
        Message::new(Role::Assistant, vec![Part::Refusal { text: "No.".into() }]),
        Message::user("Why?"),
    ])
    .with_tools([weather()]);
    golden("conversation.json", &encode(&request).unwrap());
}

#[test]
fn all_options() {
    let request = ask()
        .with_temperature(0.0)
        .with_top_p(0.7)
        .with_top_k(0)
        .with_max_tokens(0)
        .with_seed(0)
        .with_stop(["END"])
        .with_logprobs(0)
        .with_reasoning(Reasoning::effort(Effort::High))
        .with_response_format(ResponseFormat::JsonSchema {
            name: "x".into(),
            schema: json!({"type": "object"}),
        })
        .with_extra("min_p", 0.1)
        .with_extra("options", json!({"num_gpu": 1}))
        .with_extra("truncate", false);
    golden("options.json", &encode(&request).unwrap());
}

#[test]
fn a_call_that_must_be_made_is_asked_for_as_json() {
    let clock = ToolSpec::new("get_time", "The time.", json!({}));
    let tools = || ask().with_tools([weather(), clock.clone()]);
    golden("forced.json", &encode(&tools().with_tool_choice(ToolChoice::Required)).unwrap());
    let named = encode(&tools().with_tool_choice(ToolChoice::Named("get_time".into()))).unwrap();
    assert_eq!(named["format"]["properties"]["name"]["enum"], json!(["get_time"]));
    assert_eq!(named["tools"].as_array().unwrap().len(), 1);
    let none = encode(&tools().with_tool_choice(ToolChoice::None)).unwrap();
    assert!(none.get("tools").is_none() && none.get("format").is_none());
    let both =
        tools().with_tool_choice(ToolChoice::Required).with_response_format(ResponseFormat::JsonObject);
    assert_eq!(kind(&both), Some(ErrorKind::Unsupported));
    assert_eq!(kind(&ask().with_tool_choice(ToolChoice::Required)), Some(ErrorKind::InvalidInput));
    let unknown = tools().with_tool_choice(ToolChoice::Named("x".into()));
    assert_eq!(kind(&unknown), Some(ErrorKind::InvalidInput));
}

#[test]
fn thinking() {
    let think = |r| encode(&ask().with_reasoning(r)).map(|b| b["think"].clone());
    assert_eq!(think(Reasoning::default()).unwrap(), json!(true));
    assert_eq!(think(Reasoning::effort(Effort::None)).unwrap(), json!(false));
    assert_eq!(think(Reasoning::budget(0)).unwrap(), json!(false));
    assert_eq!(think(Reasoning::effort(Effort::Minimal)).unwrap(), json!("low"));
    assert_eq!(think(Reasoning::budget(9)).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(encode(&ask()).unwrap().get("think").is_none());
}

#[test]
fn a_requests_own_context_goes_first() {
    assert_eq!(encode(&ask()).unwrap()["options"]["num_ctx"], 8192);
    assert_eq!(encode(&ask().with_extra("num_ctx", 5)).unwrap()["options"]["num_ctx"], 5);
    let nested = ask().with_extra("options", json!({"num_ctx": 6}));
    assert_eq!(encode(&nested).unwrap()["options"]["num_ctx"], 6);
}

#[test]
fn what_cant_be_expressed_is_said() {
    let url = Media::Url { mime: None, url: "https://example.com/a.png".into() };
    let sound = Media::Base64 { mime: "audio/wav".into(), data: "AAAA".into() };
    let with = |part| ChatRequest::new([Message::new(Role::User, vec![part])]);
    let opaque = Part::Opaque { vendor: "openai".into(), value: json!({}) };
    for request in [
        with(Part::Image { media: url }),
        with(Part::Audio { media: sound }),
        with(opaque),
        ask().with_prompt_cache(katena_core::PromptCache::new()),
    ] {
        assert_eq!(kind(&request), Some(ErrorKind::Unsupported));
    }
    let broken = Part::ToolCall(ToolCall::new("1", "f", "{\"a\":"));
    for request in [
        ChatRequest::new([]),
        ask().with_extra("model", "other"),
        ask().with_seed(1).with_extra("seed", 2),
        ask().with_extra("options", 3),
        ask().with_temperature(f32::NAN),
        ChatRequest::new([Message::new(Role::Assistant, vec![broken])]),
    ] {
        assert_eq!(kind(&request), Some(ErrorKind::InvalidInput));
    }
}
