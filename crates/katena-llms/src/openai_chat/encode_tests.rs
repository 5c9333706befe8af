use std::path::Path;

use katena_core::{ChatCapabilities, ErrorKind, ToolCall};
use serde_json::json;

use super::*;

fn info() -> ModelInfo {
    ModelInfo::new("openai", "m").with_capabilities(crate::openai_chat::everything())
}

fn encode(request: &ChatRequest, dialect: Dialect, reply: Reply) -> Result<String> {
    let info = info();
    Ok(serde_json::to_string(&body(request, &info, dialect, NamedTool::ByName, reply)?).unwrap())
}

fn kind(request: &ChatRequest, dialect: Dialect) -> Option<ErrorKind> {
    encode(request, dialect, Reply::Whole).err().map(|e| e.kind())
}

/// Compares with a file of our own making; `KATENA_BLESS=1` writes it anew.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let value: Value = serde_json::from_str(text).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap() + "\n";
    if std::env::var_os("KATENA_BLESS").is_some() {
        std::fs::write(&path, &pretty).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), pretty, "{}", path.display());
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
        let info = info();
        serde_json::to_value(body(&request, &info, Dialect::Compatible, named, Reply::Whole).unwrap())
            .unwrap()
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
    let ask = || ChatRequest::new([Message::user("x")]);
    let image = Part::Image { media: Media::Url { mime: None, url: "https://e/x".into() } };
    for request in [
        ask().with_tools([weather()]),
        ask().with_response_format(ResponseFormat::JsonObject),
        ask().with_seed(1),
        ask().with_logprobs(0),
        ask().with_stop(["x"]),
        ChatRequest::new([Message::new(Role::User, vec![image])]),
    ] {
        let result = body(&request, &bare, Dialect::Compatible, NamedTool::ByName, Reply::Whole);
        assert_eq!(result.err().map(|e| e.kind()), Some(ErrorKind::Unsupported), "{request:?}");
    }
}
