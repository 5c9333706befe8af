use std::time::Duration;

use katena_core::{CachePoint, ErrorKind, Media, Message, ToolCall, ToolResult};

use super::*;
use crate::gemini::everything;

const STYLE: Style =
    Style { schema: SchemaForm::JsonSchema, effort: EffortForm::Level, tool_media: ToolMedia::Within };

fn info() -> ModelInfo {
    ModelInfo::new("gemini", "m").with_capabilities(everything())
}

fn styled(request: &ChatRequest, style: Style) -> Result<Value> {
    body(request, &info(), style).map(Value::Object)
}

fn encode(request: &ChatRequest) -> Result<Value> {
    styled(request, STYLE)
}

fn kind(request: &ChatRequest) -> ErrorKind {
    encode(request).unwrap_err().kind()
}

fn hi() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

fn weather() -> ToolSpec {
    ToolSpec::new(
        "weather",
        "Tells the weather.",
        json!({
            "$schema": "x", "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        }),
    )
}

/// A request with nearly everything in it, against a file of our own making.
#[test]
fn the_golden_request() {
    let media = |mime: &str| Media::Base64 { mime: mime.into(), data: "AAAA".into() };
    let signed = |text: &str, s: &str| Part::Reasoning { text: text.into(), signature: Some(s.into()) };
    let call = |id: &str, city: &str| ToolCall::new(id, "weather", format!("{{\"city\":\"{city}\"}}"));
    let (oslo, rome) = (call("c1", "Oslo"), call("c2", "Rome"));
    let mut chart = ToolResult::text(&rome, "Sun.");
    chart.parts.push(Part::Image { media: media("image/png") });
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::system("Be kind."),
        Message::new(
            Role::User,
            vec![
                Part::text("Look:"),
                Part::Image { media: media("image/png") },
                Part::Audio { media: media("audio/wav") },
                Part::Video {
                    media: Media::Url { mime: Some("video/mp4".into()), url: "https://example.com/v".into() },
                },
                Part::File {
                    media: Media::Url { mime: None, url: "data:application/pdf;base64,BBBB".into() },
                    name: None,
                },
                Part::File {
                    media: Media::Url { mime: None, url: "https://example.com/f".into() },
                    name: Some("f".into()),
                },
            ],
        ),
        Message::new(
            Role::Assistant,
            vec![
                signed("thought", "gemini:thought:T"),
                Part::Reasoning { text: "unsigned".into(), signature: None },
                signed("of another vendor", "sig"),
                signed("", "gemini:next:N"),
                Part::text("Let me see."),
                Part::Opaque {
                    vendor: "vertex".into(),
                    value: json!({"executableCode": {"code": "1"}, "thoughtSignature": "O"}),
                },
                signed("", "gemini:next:F"),
                Part::ToolCall(oslo.clone()),
                Part::ToolCall(rome),
                signed("", "gemini:alone:E"),
            ],
        ),
        Message::tool(ToolResult::text(&oslo, "{\"error\": \"fog\"}").with_error()),
        Message::tool(chart),
        Message::new(Role::Assistant, vec![]),
        Message::user("And now?"),
    ])
    .with_tools([
        weather(),
        ToolSpec::new("now", "Tells the time.", json!({"type": "object", "properties": {}})),
    ])
    .with_tool_choice(ToolChoice::Named("weather".into()))
    .with_temperature(0.0)
    .with_top_p(0.9)
    .with_top_k(0)
    .with_max_tokens(64)
    .with_stop(["END"])
    .with_seed(0)
    .with_logprobs(2)
    .with_reasoning(Reasoning::effort(Effort::Low))
    .with_response_format(ResponseFormat::JsonSchema {
        name: "n".into(),
        schema: json!({"type": "object", "properties": {"a": {"const": 1}}}),
    })
    .with_prompt_cache(PromptCache::new().with_key("cachedContents/abc"))
    .with_extra(
        "safety_settings",
        json!([{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]),
    )
    .with_extra("generation_config", json!({"response_modalities": ["TEXT"]}))
    .with_extra("tools", json!([{"googleSearch": {}}]))
    .with_extra("toolConfig", json!({"include_server_side_tool_invocations": true}));
    let golden: Value = serde_json::from_str(include_str!("golden/request.json")).unwrap();
    assert_eq!(
        encode(&request).unwrap(),
        golden,
        "{}",
        serde_json::to_string_pretty(&encode(&request).unwrap()).unwrap()
    );
}

#[test]
fn what_is_unset_is_not_sent_and_zero_is() {
    assert_eq!(encode(&hi()).unwrap(), json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}));
    let request = hi().with_temperature(0.0).with_logprobs(0).with_prompt_cache(PromptCache::new());
    let config = json!({"temperature": 0.0, "responseLogprobs": true});
    assert_eq!(encode(&request).unwrap()["generationConfig"], config);
    assert_eq!(encode(&hi().with_top_p(0.1)).unwrap()["generationConfig"]["topP"].to_string(), "0.1");
}

#[test]
fn tools_and_choices() {
    let with = |choice| {
        encode(&hi().with_tools([weather()]).with_tool_choice(choice)).unwrap()["toolConfig"].clone()
    };
    let mode = |word: &str| json!({"functionCallingConfig": {"mode": word}});
    assert_eq!(with(ToolChoice::Auto), mode("AUTO"));
    assert_eq!(with(ToolChoice::None), mode("NONE"));
    assert_eq!(with(ToolChoice::Required), mode("ANY"));
    assert_eq!(kind(&hi().with_tool_choice(ToolChoice::Required)), ErrorKind::InvalidInput);
    assert_eq!(kind(&hi().with_tool_choice(ToolChoice::Named("x".into()))), ErrorKind::InvalidInput);
    assert!(encode(&hi().with_tool_choice(ToolChoice::None)).unwrap().get("toolConfig").is_none());
    let open = Style { schema: SchemaForm::OpenApi, ..STYLE };
    let function =
        styled(&hi().with_tools([weather()]), open).unwrap()["tools"][0]["functionDeclarations"][0].clone();
    assert_eq!(function["parameters"]["properties"]["city"], json!({"type": "string"}));
    assert!(function.get("parametersJsonSchema").is_none());
    let schema = |parameters: Value| {
        let tools = [ToolSpec::new("f", "F", parameters)];
        encode(&hi().with_tools(tools)).unwrap()["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"].clone()
    };
    assert_eq!(schema(json!({})), Value::Null);
    assert_eq!(
        schema(json!({"type": "object", "properties": {}, "additionalProperties": false})),
        Value::Null
    );
    let any = json!({"type": "object", "additionalProperties": {"type": "string"}});
    assert_eq!(schema(any.clone()), any);
    assert_eq!(schema(json!({"properties": {"a": {}}}))["type"], "object");
}

#[test]
fn reasoning_by_level_or_by_tokens() {
    let thinking = |reasoning, effort| {
        let style = Style { effort, ..STYLE };
        styled(&hi().with_reasoning(reasoning), style).unwrap()["generationConfig"]["thinkingConfig"].clone()
    };
    let level = |word: &str| json!({"thinkingLevel": word, "includeThoughts": true});
    let budget = |n: u32| json!({"thinkingBudget": n, "includeThoughts": n > 0});
    assert_eq!(thinking(Reasoning::effort(Effort::Minimal), EffortForm::Level), level("minimal"));
    assert_eq!(thinking(Reasoning::effort(Effort::High), EffortForm::Level), level("high"));
    assert_eq!(thinking(Reasoning::effort(Effort::High), EffortForm::Budget), budget(24_576));
    assert_eq!(thinking(Reasoning::effort(Effort::None), EffortForm::Level), budget(0));
    assert_eq!(thinking(Reasoning::budget(0), EffortForm::Level), budget(0));
    assert_eq!(thinking(Reasoning::budget(512), EffortForm::Level), budget(512));
    assert_eq!(thinking(Reasoning::default(), EffortForm::Level), json!({"includeThoughts": true}));
    let mut both = Reasoning::budget(1);
    both.effort = Some(Effort::Low);
    assert_eq!(kind(&hi().with_reasoning(both)), ErrorKind::Unsupported);
}

#[test]
fn results_of_tools() {
    let call = ToolCall::new("c", "f", "");
    let message = |result| Message::tool(result);
    let parts = |result: ToolResult, tool_media| {
        let request = ChatRequest::new([Message::user("x"), message(result)]);
        styled(&request, Style { tool_media, ..STYLE }).unwrap()["contents"][1].clone()
    };
    let said = |text: &str| {
        let content = parts(ToolResult::text(&call, text), ToolMedia::Within);
        assert_eq!(content["role"], "user");
        content["parts"][0]["functionResponse"]["response"].clone()
    };
    assert_eq!(said("8 °C"), json!({"output": "8 °C"}));
    assert_eq!(said("{\"t\": 8}"), json!({"output": {"t": 8}}));
    assert_eq!(said("8"), json!({"output": "8"}));
    let mut result = ToolResult::text(&call, "Look.");
    result.parts.push(Part::File {
        media: Media::Base64 { mime: "application/pdf".into(), data: "AA==".into() },
        name: None,
    });
    let file = json!({"inlineData": {"mimeType": "application/pdf", "data": "AA=="}});
    let within = parts(result.clone(), ToolMedia::Within);
    assert_eq!(within["parts"].as_array().unwrap().len(), 1);
    assert_eq!(within["parts"][0]["functionResponse"]["parts"], json!([file]));
    let beside = parts(result, ToolMedia::Beside);
    assert!(beside["parts"][0]["functionResponse"].get("parts").is_none());
    assert_eq!(beside["parts"][1], file);
    // A call without arguments has the empty object; what is no object can't be sent.
    let back = |arguments: &str| {
        let call = Part::ToolCall(ToolCall::new("", "f", arguments));
        encode(&ChatRequest::new([Message::user("x"), Message::new(Role::Assistant, vec![call])]))
    };
    assert_eq!(
        back("").unwrap()["contents"][1]["parts"][0],
        json!({"functionCall": {"name": "f", "args": {}}})
    );
    assert_eq!(back("[1]").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(back("{\"a\":").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_cant_be_expressed_is_said() {
    let image = Part::Image { media: Media::Url { mime: None, url: "u".into() } };
    let message = |role, part| ChatRequest::new([Message::user("x"), Message::new(role, vec![part])]);
    let foreign = Part::Opaque { vendor: "other".into(), value: json!({}) };
    for (request, why) in [
        (hi().with_prompt_cache(PromptCache::new().with_point(CachePoint::System)), "points"),
        (hi().with_prompt_cache(PromptCache::new().with_ttl(Duration::from_secs(9))), "ttl"),
        (hi().with_seed(u64::MAX), "a large seed"),
        (hi().with_extra("generationConfig", json!({"candidateCount": 2})), "candidates"),
        (message(Role::System, Part::text("late")), "a late system message"),
        (
            ChatRequest::new([Message::new(Role::System, vec![image]), Message::user("x")]),
            "a picture for the system",
        ),
        (message(Role::Assistant, foreign.clone()), "another vendor's item"),
        (message(Role::User, foreign), "another vendor's item"),
    ] {
        assert_eq!(kind(&request), ErrorKind::Unsupported, "{why}");
    }
    for (request, why) in [
        (ChatRequest::new([]), "nothing"),
        (ChatRequest::new([Message::system("x")]), "only the system"),
        (hi().with_temperature(f32::NAN), "not a number"),
        (hi().with_temperature(1.0).with_extra("generation_config", json!({"temperature": 0.5})), "twice"),
        (hi().with_extra("contents", json!([])), "contents"),
        (
            hi().with_tools([weather()]).with_extra("tools", json!([{"function_declarations": []}])),
            "more functions",
        ),
        (
            ChatRequest::new([Message::system("x"), Message::user("x")])
                .with_extra("system_instruction", json!({})),
            "system",
        ),
        (message(Role::User, Part::ToolCall(ToolCall::new("c", "f", ""))), "a call of the user"),
        (message(Role::Tool, Part::text("x")), "text of a tool"),
    ] {
        assert_eq!(kind(&request), ErrorKind::InvalidInput, "{why}");
    }
}

#[test]
fn capabilities_are_kept() {
    let none = ModelInfo::new("gemini", "m");
    let media = || Media::Base64 { mime: "x/y".into(), data: String::new() };
    let part = |part| ChatRequest::new([Message::new(Role::User, vec![part])]);
    for request in [
        hi().with_tools([weather()]),
        hi().with_response_format(ResponseFormat::JsonObject),
        hi().with_logprobs(0),
        hi().with_seed(0),
        hi().with_stop(["x"]),
        hi().with_top_k(1),
        hi().with_reasoning(Reasoning::default()),
        hi().with_prompt_cache(PromptCache::new()),
        part(Part::Image { media: media() }),
        part(Part::Audio { media: media() }),
        part(Part::Video { media: media() }),
        part(Part::File { media: media(), name: None }),
    ] {
        assert_eq!(body(&request, &none, STYLE).unwrap_err().kind(), ErrorKind::Unsupported);
        assert!(encode(&request).is_ok());
    }
}
