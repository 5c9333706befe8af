use katena_core::{ErrorKind, Media, ToolCall};

use super::*;
use crate::cohere::everything;

fn encode(request: &ChatRequest) -> Result<Value> {
    let info = ModelInfo::new("cohere", "m").with_capabilities(everything());
    body(request, &info, false)
}

fn kind(request: &ChatRequest) -> Option<ErrorKind> {
    encode(request).err().map(|e| e.kind())
}

/// `KATENA_BLESS=1` writes the file anew.
fn golden(name: &str, value: &Value) {
    crate::golden::holds(&format!("src/cohere/golden/{name}"), value);
}

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    ToolSpec::new("get_weather", "The weather now.", schema)
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

fn reasoning(text: &str) -> Part {
    Part::Reasoning { text: text.into(), signature: None }
}

#[test]
fn a_whole_conversation() {
    let call = ToolCall::new("call_1", "get_weather", r#"{"city": "Paris"}"#);
    let empty = ToolCall::new("call_2", "get_time", "");
    let picture = Part::Image { media: Media::Base64 { mime: "image/png".into(), data: "AAAA".into() } };
    let document = json!({"type": "document", "document": {"id": "d", "data": {"text": "Noon."}}});
    let mut found = ToolResult::text(&empty, "See:");
    found.parts.push(Part::Opaque { vendor: "cohere".into(), value: document });
    let cited = Part::Opaque {
        vendor: "cohere".into(),
        value: json!({"type": "citations", "citations": [{"start": 0, "end": 4, "text": "Rain"}]}),
    };
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::new(Role::User, vec![Part::text("What is this?"), picture]),
        Message::new(
            Role::Assistant,
            vec![
                reasoning("first thoughts"),
                Part::Reasoning { text: "another vendor's".into(), signature: Some("sig".into()) },
                Part::text("Let me see."),
                reasoning("I will ask the weather service."),
                Part::ToolCall(call.clone()),
                Part::ToolCall(empty),
            ],
        ),
        Message::new(
            Role::Tool,
            vec![Part::ToolResult(ToolResult::text(&call, "Rain.")), Part::ToolResult(found)],
        ),
        Message::new(Role::Assistant, vec![Part::text("Rain, at noon."), cited]),
        Message::user("Why?"),
    ])
    .with_tools([weather()]);
    golden("conversation.json", &encode(&request).unwrap());
}

#[test]
fn all_options() {
    let schema = json!({"type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer", "minimum": 1}}, "additionalProperties": false});
    let request = ask()
        .with_temperature(0.0)
        .with_top_p(0.7)
        .with_top_k(0)
        .with_max_tokens(0)
        .with_seed(0)
        .with_stop(["END"])
        .with_reasoning(Reasoning::budget(512))
        .with_response_format(ResponseFormat::JsonSchema { name: "x".into(), schema })
        .with_extra("documents", json!([{"data": {"text": "a"}}]))
        .with_extra("strict_tools", true);
    golden("options.json", &encode(&request).unwrap());
}

#[test]
fn choices_of_tools() {
    let clock = ToolSpec::new("get_time", "The time.", json!({}));
    let with =
        |choice| encode(&ask().with_tools([weather(), clock.clone()]).with_tool_choice(choice)).unwrap();
    assert_eq!(with(ToolChoice::Required)["tool_choice"], "REQUIRED");
    assert_eq!(with(ToolChoice::None)["tool_choice"], "NONE");
    assert!(with(ToolChoice::Auto).get("tool_choice").is_none());
    let named = with(ToolChoice::Named("get_time".into()));
    assert_eq!((&named["tool_choice"], named["tools"].as_array().unwrap().len()), (&json!("REQUIRED"), 1));
    assert_eq!(kind(&ask().with_tool_choice(ToolChoice::Required)), Some(ErrorKind::InvalidInput));
    assert!(encode(&ask().with_tool_choice(ToolChoice::None)).unwrap().get("tool_choice").is_none());
}

#[test]
fn thinking_is_a_budget() {
    let think = |r| encode(&ask().with_reasoning(r)).map(|b| b["thinking"].clone());
    assert_eq!(think(Reasoning::default()).unwrap(), json!({"type": "enabled"}));
    assert_eq!(think(Reasoning::effort(Effort::None)).unwrap(), json!({"type": "disabled"}));
    assert_eq!(think(Reasoning::budget(0)).unwrap(), json!({"type": "disabled"}));
    assert_eq!(think(Reasoning::effort(Effort::High)).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn what_cant_be_expressed_is_said() {
    let media = || Media::Base64 { mime: "audio/wav".into(), data: "AAAA".into() };
    let with = |part| ChatRequest::new([Message::new(Role::User, vec![part])]);
    let mut pictured = ToolResult::text(&ToolCall::new("1", "f", ""), "x");
    pictured.parts.push(Part::Image { media: media() });
    for request in [
        with(Part::Audio { media: media() }),
        with(Part::File { media: media(), name: None }),
        with(Part::Opaque { vendor: "openai".into(), value: json!({}) }),
        ChatRequest::new([Message::tool(pictured)]),
        ask().with_logprobs(0),
        ask().with_prompt_cache(katena_core::PromptCache::new()),
    ] {
        assert_eq!(kind(&request), Some(ErrorKind::Unsupported));
    }
    let info = ModelInfo::new("cohere", "m").with_capabilities(everything().with_logprobs());
    assert_eq!(body(&ask().with_logprobs(0), &info, false).unwrap()["logprobs"], true);
    assert_eq!(body(&ask().with_logprobs(1), &info, false).unwrap_err().kind(), ErrorKind::Unsupported);
    for request in [ChatRequest::new([]), ask().with_extra("messages", 1), ask().with_top_p(f32::INFINITY)] {
        assert_eq!(kind(&request), Some(ErrorKind::InvalidInput));
    }
}
