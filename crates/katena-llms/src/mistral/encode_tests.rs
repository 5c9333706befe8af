use std::time::Duration;

use katena_core::{CachePoint, ErrorKind, ToolCall, ToolSpec};

use super::*;
use crate::mistral::everything;

fn encode(request: &ChatRequest) -> Result<Value> {
    let info = ModelInfo::new("mistral", "m").with_capabilities(everything());
    body(request, &info, Guard::Off, false)
}

fn kind(request: &ChatRequest) -> Option<ErrorKind> {
    encode(request).err().map(|e| e.kind())
}

/// `KATENA_BLESS=1` writes the file anew.
fn golden(name: &str, value: &Value) {
    crate::golden::holds(&format!("src/mistral/golden/{name}"), value);
}

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    ToolSpec::new("get_weather", "The weather now.", schema)
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

fn inline(mime: &str) -> Media {
    Media::Base64 { mime: mime.into(), data: "AAAA".into() }
}

#[test]
fn a_whole_conversation() {
    let call = ToolCall::new("call_of_another_vendor", "get_weather", r#"{"city": "Paris"}"#);
    let own = ToolCall::new("aB3dE6gH9", "get_time", "");
    let url = Media::Url { mime: None, url: "https://example.com/a.pdf".into() };
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::new(
            Role::User,
            vec![
                Part::text("What are these?"),
                Part::Image { media: inline("image/png") },
                Part::File { media: inline("application/pdf"), name: Some("b.pdf".into()) },
                Part::File { media: url, name: None },
                Part::Audio { media: inline("audio/mpeg") },
                Part::Opaque { vendor: "mistral".into(), value: json!({"type": "file", "file_id": "f1"}) },
            ],
        ),
        Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "hm".into(), signature: None },
                Part::Reasoning { text: "another vendor's".into(), signature: Some("sig".into()) },
                Part::text("Let me see."),
                Part::ToolCall(call.clone()),
                Part::ToolCall(own.clone()),
            ],
        ),
        Message::new(
            Role::Tool,
            vec![
                Part::ToolResult(ToolResult::text(&call, "Rain.")),
                Part::ToolResult(ToolResult::text(&own, "Noon.")),
            ],
        ),
        Message::assistant("It "),
    ])
    .with_tools([weather()]);
    golden("conversation.json", &encode(&request).unwrap());
}

#[test]
fn all_options() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let request = ask()
        .with_temperature(0.0)
        .with_top_p(0.7)
        .with_max_tokens(0)
        .with_seed(0)
        .with_stop(["END"])
        .with_reasoning(Reasoning::effort(Effort::High))
        .with_prompt_cache(PromptCache::new().with_key("tenant-7").with_point(CachePoint::System))
        .with_response_format(ResponseFormat::JsonSchema { name: "my answer".into(), schema })
        .with_extra("parallel_tool_calls", false)
        .with_extra("prompt_mode", "reasoning");
    golden("options.json", &encode(&request).unwrap());
    let info = ModelInfo::new("mistral", "m").with_capabilities(everything());
    assert_eq!(body(&ask(), &info, Guard::On, true).unwrap()["safe_prompt"], true);
}

#[test]
fn choices_of_tools() {
    let with = |choice| encode(&ask().with_tools([weather()]).with_tool_choice(choice)).unwrap();
    assert_eq!(with(ToolChoice::Required)["tool_choice"], "any");
    assert_eq!(with(ToolChoice::None)["tool_choice"], "none");
    assert_eq!(with(ToolChoice::Auto)["tool_choice"], "auto");
    let named = with(ToolChoice::Named("get_weather".into()));
    assert_eq!(named["tool_choice"], json!({"type": "function", "function": {"name": "get_weather"}}));
    assert!(encode(&ask().with_tool_choice(ToolChoice::None)).unwrap().get("tool_choice").is_none());
    assert_eq!(kind(&ask().with_tool_choice(ToolChoice::Required)), Some(ErrorKind::InvalidInput));
}

#[test]
fn only_a_last_answer_without_calls_is_gone_on_with() {
    let call = Part::ToolCall(ToolCall::new("aB3dE6gH9", "f", "{}"));
    let calls = ChatRequest::new([Message::user("Hi"), Message::new(Role::Assistant, vec![call])]);
    assert!(encode(&calls).unwrap()["messages"][1].get("prefix").is_none());
    let earlier = ChatRequest::new([Message::assistant("a"), Message::user("b")]);
    assert!(encode(&earlier).unwrap()["messages"][0].get("prefix").is_none());
}

#[test]
fn ids_are_nine_letters_and_digits() {
    assert_eq!(call_id("aB3dE6gH9"), "aB3dE6gH9");
    let mut seen = std::collections::BTreeSet::new();
    for id in ["", "call_1", "call_2", "aB3dE6gH_", "toolu_0123456789abcdef", "ü"] {
        let made = call_id(id).into_owned();
        assert!(made.len() == 9 && made.bytes().all(|b| b.is_ascii_alphanumeric()), "{made}");
        assert_eq!(call_id(id), made);
        assert!(seen.insert(made));
    }
}

#[test]
fn what_cant_be_expressed_is_said() {
    let with = |part| ChatRequest::new([Message::new(Role::User, vec![part])]);
    for request in [
        with(Part::Video { media: inline("video/mp4") }),
        with(Part::Opaque { vendor: "openai".into(), value: json!({}) }),
        ask().with_top_k(1),
        ask().with_logprobs(0),
        ask().with_reasoning(Reasoning::budget(9)),
        ask().with_prompt_cache(PromptCache::new().with_ttl(Duration::from_secs(1))),
        ask().with_extra("n", 2),
    ] {
        assert_eq!(kind(&request), Some(ErrorKind::Unsupported));
    }
    for request in [
        ChatRequest::new([]),
        ask().with_extra("stream", true),
        ask().with_seed(1).with_extra("random_seed", 2),
    ] {
        assert_eq!(kind(&request), Some(ErrorKind::InvalidInput));
    }
}
