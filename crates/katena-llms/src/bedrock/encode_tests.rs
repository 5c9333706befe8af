use katena_core::{ErrorKind, Media, Message, ToolCall, ToolResult};

use super::*;

fn info(family: ModelFamily) -> ModelInfo {
    ModelInfo::new("bedrock", "m").with_capabilities(family.capabilities().with_json_schema())
}

fn encode(request: &ChatRequest, family: ModelFamily) -> Value {
    body(request, &info(family), family, &[]).unwrap()
}

fn kind(request: &ChatRequest, family: ModelFamily) -> Option<ErrorKind> {
    body(request, &info(family), family, &[]).err().map(|e| e.kind())
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("x")])
}

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    ToolSpec::new("get_weather", "The weather now.", schema)
}

fn inline(mime: &str) -> Media {
    Media::Base64 { mime: mime.into(), data: "AAAA".into() }
}

fn s3(url: &str) -> Media {
    Media::Url { mime: None, url: url.into() }
}

#[test]
fn a_whole_conversation() {
    let call = ToolCall::new("t1", "get_weather", r#"{"city": "Paris"}"#);
    let other = ToolCall::new("t2", "get_time", "");
    let cited = json!({"citationsContent": {"content": [{"text": "Cited."}], "citations": [{"title": "T"}]}});
    let opaque = |value: &Value| Part::Opaque { vendor: "bedrock".into(), value: value.clone() };
    let mut picture = ToolResult::text(&call, "see");
    picture.parts.push(Part::Image { media: inline("image/png") });
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::new(
            Role::User,
            vec![
                Part::text("What is this?"),
                Part::text(""),
                Part::Image { media: inline("image/jpeg") },
                Part::File { media: inline("application/pdf"), name: Some("My_report (v2).pdf".into()) },
                Part::File { media: s3("s3://bucket/a/report.csv"), name: None },
                Part::File { media: inline("text/x-rust"), name: None },
                Part::Video { media: s3("s3://bucket/film.mp4") },
                Part::Audio { media: inline("audio/wav") },
            ],
        ),
        Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "hm".into(), signature: Some("sig".into()) },
                Part::Reasoning { text: "unsigned".into(), signature: None },
                Part::text("Cited."),
                opaque(&cited),
                Part::ToolCall(call.clone()),
                Part::ToolCall(other.clone()),
            ],
        ),
        Message::new(Role::Tool, vec![Part::ToolResult(picture)]),
        Message::tool(ToolResult::text(&other, "broken").with_error()),
        Message::user("And now?"),
        Message::system("Answer in French."),
    ])
    .with_tools([weather(), ToolSpec::new("get_time", "", Value::Null)])
    .with_tool_choice(ToolChoice::Required);
    assert_eq!(
        encode(&request, ModelFamily::Claude),
        json!({
            "system": [{"text": "Be brief."}, {"text": "Answer in French."}],
            "messages": [
                {"role": "user", "content": [
                    {"text": "What is this?"},
                    {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}},
                    {"document": {"format": "pdf", "name": "My report (v2)", "source": {"bytes": "AAAA"}}},
                    {"document": {"format": "csv", "name": "document", "source": {"s3Location": {"uri": "s3://bucket/a/report.csv"}}}},
                    {"document": {"format": "txt", "name": "document 2", "source": {"bytes": "AAAA"}}},
                    {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://bucket/film.mp4"}}}},
                    {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}},
                ]},
                {"role": "assistant", "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                    cited,
                    {"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": {"city": "Paris"}}},
                    {"toolUse": {"toolUseId": "t2", "name": "get_time", "input": {}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "t1", "content": [
                        {"text": "see"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]}},
                    {"toolResult": {"toolUseId": "t2", "content": [{"text": "broken"}], "status": "error"}},
                    {"text": "And now?"},
                ]},
            ],
            "toolConfig": {
                "tools": [
                    {"toolSpec": {"name": "get_weather", "description": "The weather now.", "inputSchema": {"json": weather().parameters}}},
                    {"toolSpec": {"name": "get_time", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
                ],
                "toolChoice": {"any": {}},
            },
        })
    );
}

#[test]
fn every_option_reaches_the_wire() {
    let request = ask()
        .with_temperature(0.0)
        .with_top_p(0.7)
        .with_max_tokens(0)
        .with_stop(["END"])
        .with_top_k(40)
        .with_reasoning(Reasoning::budget(1024))
        .with_extra("guardrailConfig", json!({"guardrailIdentifier": "g"}))
        .with_extra("anthropic_beta", json!(["b"]));
    let value = encode(&request, ModelFamily::Claude);
    assert_eq!(
        value["inferenceConfig"],
        json!({"temperature": 0.0, "topP": 0.7, "maxTokens": 0, "stopSequences": ["END"]})
    );
    assert_eq!(
        value["additionalModelRequestFields"],
        json!({"top_k": 40, "thinking": {"type": "enabled", "budget_tokens": 1024}, "anthropic_beta": ["b"]})
    );
    assert_eq!(value["guardrailConfig"]["guardrailIdentifier"], "g");
    let nova =
        encode(&ask().with_top_k(5).with_reasoning(Reasoning::effort(Effort::High)), ModelFamily::Nova);
    assert_eq!(
        nova["additionalModelRequestFields"],
        json!({"inferenceConfig": {"topK": 5}, "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}})
    );
    // Nothing set, nothing sent.
    assert_eq!(
        encode(&ask(), ModelFamily::Other),
        json!({"messages": [{"role": "user", "content": [{"text": "x"}]}]})
    );
}

#[test]
fn a_schema_travels_as_text() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}, "required": ["a"]});
    let format = ResponseFormat::JsonSchema { name: "Vec<T>".into(), schema };
    let value = encode(&ask().with_response_format(format), ModelFamily::Claude);
    let inner = &value["outputConfig"]["textFormat"]["structure"]["jsonSchema"];
    assert_eq!(inner["name"], "Vec_T_");
    let sent: Value = serde_json::from_str(inner["schema"].as_str().unwrap()).unwrap();
    assert_eq!(sent["additionalProperties"], json!(false));
    assert_eq!(
        sent["properties"]["a"],
        json!({"type": "string", "description": "Must fit: {\"minLength\":1}"})
    );
}

#[test]
fn where_the_prompt_is_cut() {
    let point = json!({"cachePoint": {"type": "default"}});
    let talk = || {
        ChatRequest::new([
            Message::system("s"),
            Message::user("a"),
            Message::assistant("b"),
            Message::user("c"),
        ])
        .with_tools([weather()])
    };
    let usual = encode(&talk().with_prompt_cache(PromptCache::new()), ModelFamily::Claude);
    assert_eq!(usual["system"][1], point);
    assert_eq!(usual["messages"][2]["content"][1], point);
    assert_eq!(usual["toolConfig"]["tools"].as_array().unwrap().len(), 1);
    let own = PromptCache::new()
        .with_point(CachePoint::Tools)
        .with_point(CachePoint::Message(1))
        .with_ttl(Duration::from_secs(3600));
    let own = encode(&talk().with_prompt_cache(own), ModelFamily::Claude);
    let hour = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    assert_eq!((&own["toolConfig"]["tools"][1], &own["messages"][0]["content"][1]), (&hour, &hour));
    assert_eq!(own["system"], json!([{"text": "s"}]));
    let key = talk().with_prompt_cache(PromptCache::new().with_key("k"));
    assert_eq!(kind(&key, ModelFamily::Claude), Some(ErrorKind::Unsupported));
    let behind = talk().with_prompt_cache(PromptCache::new().with_point(CachePoint::Message(4)));
    assert_eq!(kind(&behind, ModelFamily::Claude), Some(ErrorKind::InvalidInput));
}

#[test]
fn tools_that_may_not_be_called() {
    let none = |messages: Vec<Message>| {
        ChatRequest::new(messages).with_tools([weather()]).with_tool_choice(ToolChoice::None)
    };
    assert!(encode(&none(vec![Message::user("x")]), ModelFamily::Nova).get("toolConfig").is_none());
    let call = ToolCall::new("1", "get_weather", "{}");
    let used = none(vec![Message::user("x"), Message::tool(ToolResult::text(&call, "y"))]);
    assert_eq!(kind(&used, ModelFamily::Nova), Some(ErrorKind::Unsupported));
    let named = ask().with_tools([weather()]).with_tool_choice(ToolChoice::Named("get_weather".into()));
    assert_eq!(
        encode(&named, ModelFamily::Nova)["toolConfig"]["toolChoice"],
        json!({"tool": {"name": "get_weather"}})
    );
}

#[test]
fn tools_that_the_service_runs() {
    let own = ["nova_grounding".to_owned()];
    let tools = |request: &ChatRequest| {
        let value = body(request, &info(ModelFamily::Nova), ModelFamily::Nova, &own).unwrap();
        value["toolConfig"].clone()
    };
    let grounding = json!({"systemTool": {"name": "nova_grounding"}});
    assert_eq!(tools(&ask()), json!({"tools": [grounding]}));
    let both = tools(&ask().with_tools([weather()]).with_tool_choice(ToolChoice::Required));
    assert_eq!((&both["tools"][1], &both["toolChoice"]), (&grounding, &json!({"any": {}})));
    assert_eq!(tools(&ask().with_tool_choice(ToolChoice::None)), Value::Null);
}

#[test]
fn what_cannot_be_expressed_is_said() {
    let media = |part| ChatRequest::new([Message::new(Role::User, vec![part])]);
    let web = || Media::Url { mime: Some("image/png".into()), url: "https://e/x.png".into() };
    let mut penalty = ask();
    penalty.presence_penalty = Some(0.0);
    for request in [
        ask().with_seed(0),
        ask().with_logprobs(0),
        penalty,
        ask().with_response_format(ResponseFormat::JsonObject),
        ask().with_reasoning(Reasoning::effort(Effort::Low)),
        ask().with_top_k(1),
        media(Part::Image { media: web() }),
        media(Part::Image { media: inline("image/tiff") }),
        media(Part::Opaque { vendor: "openai".into(), value: json!({}) }),
    ] {
        assert_eq!(kind(&request, ModelFamily::Other), Some(ErrorKind::Unsupported), "{request:?}");
    }
    let budget = ask().with_reasoning(Reasoning::budget(100));
    assert_eq!(kind(&budget, ModelFamily::Nova), Some(ErrorKind::Unsupported));
    for request in [
        ChatRequest::new([]),
        ask().with_temperature(f32::NAN),
        ask().with_tool_choice(ToolChoice::Required),
        ask().with_tools([weather()]).with_tool_choice(ToolChoice::Named("other".into())),
        ask().with_tools([weather()]).with_extra("toolConfig", json!({})),
        ask().with_extra("messages", json!([])),
        ask().with_top_k(1).with_extra("top_k", 2),
        ask().with_extra("additionalModelRequestFields", 1),
        media(Part::ToolCall(ToolCall::new("a", "b", ""))),
        ChatRequest::new([Message::new(
            Role::Assistant,
            vec![Part::ToolCall(ToolCall::new("a", "b", "{\"cut"))],
        )]),
    ] {
        assert_eq!(kind(&request, ModelFamily::Claude), Some(ErrorKind::InvalidInput), "{request:?}");
    }
    let bare = ModelInfo::new("bedrock", "m");
    for request in [
        ask().with_tools([weather()]),
        ask().with_stop(["x"]),
        media(Part::Image { media: inline("image/png") }),
    ] {
        let result = body(&request, &bare, ModelFamily::Claude, &[]);
        assert_eq!(result.err().map(|e| e.kind()), Some(ErrorKind::Unsupported), "{request:?}");
    }
}
