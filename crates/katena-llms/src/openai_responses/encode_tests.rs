use katena_core::{
    CachePoint, ChatCapabilities, Effort, ErrorKind, Media, Message, Part, PromptCache, Reasoning, ToolCall,
    ToolResult,
};

use super::*;
use crate::openai_responses::{decode_response, everything, items};

fn info() -> ModelInfo {
    ModelInfo::new("openai", "m").with_capabilities(everything())
}

fn with(request: &ChatRequest, settings: &Settings, reply: Reply) -> Result<Value> {
    let info = info();
    Ok(serde_json::to_value(body(request, &info, settings, reply)?).unwrap())
}

fn encode(request: &ChatRequest) -> Value {
    with(request, &Settings::default(), Reply::Whole).unwrap()
}

fn kind(request: &ChatRequest) -> Option<ErrorKind> {
    with(request, &Settings::default(), Reply::Whole).err().map(|e| e.kind())
}

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("x")])
}

/// `KATENA_BLESS=1` writes the file anew.
fn golden(name: &str, value: &Value) {
    crate::golden::holds(&format!("tests/golden/{name}"), value);
}

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    ToolSpec::new("get_weather", "The weather now.", schema)
}

fn inline(mime: &str) -> Media {
    Media::Base64 { mime: mime.into(), data: "AAAA".into() }
}

#[test]
fn a_whole_conversation() {
    let call = ToolCall::new("call_1", "get_weather", r#"{"city": "Paris"}"#);
    let other = ToolCall::new("call_2", "get_time", "");
    let mut picture = ToolResult::text(&other, "see");
    picture.parts.push(Part::Image { media: inline("image/png") });
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret"});
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed"});
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::system("Be kind."),
        Message::new(
            Role::User,
            vec![
                Part::text("What is this?"),
                Part::Image { media: inline("image/png") },
                Part::Image { media: Media::Url { mime: None, url: "https://example.com/a.png".into() } },
                Part::File { media: inline("application/pdf"), name: Some("a.pdf".into()) },
                Part::File {
                    media: Media::Url { mime: None, url: "https://example.com/b.pdf".into() },
                    name: None,
                },
            ],
        ),
        Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning {
                    text: "hm".into(),
                    signature: Some(items::signature(&reasoning, "openai")),
                },
                Part::Opaque { vendor: "openai".into(), value: search },
                Part::text("Let me see."),
                Part::ToolCall(call.clone()),
                Part::ToolCall(other.clone()),
            ],
        ),
        Message::new(
            Role::Tool,
            vec![Part::ToolResult(ToolResult::text(&call, "18 °C")), Part::ToolResult(picture)],
        ),
        Message::system("Now in French."),
        Message::new(Role::Assistant, vec![Part::Refusal { text: "No.".into() }]),
        Message::user("Why?"),
    ])
    .with_tools([weather()])
    .with_tool_choice(ToolChoice::Named("get_weather".into()))
    .with_reasoning(Reasoning::effort(Effort::Low))
    .with_prompt_cache(PromptCache::new().with_key("tenant-7").with_point(CachePoint::System))
    .with_max_tokens(0)
    .with_temperature(0.0)
    .with_logprobs(0);
    golden("responses_conversation.json", &encode(&request));
}

#[test]
fn settings_of_the_component_go_with_every_request() {
    let settings = Settings {
        storage: Storage::Stored,
        summary: Some(ReasoningSummary::Concise),
        hosted: vec![json!({"type": "web_search"})],
    };
    let body = with(&ask().with_tools([weather()]), &settings, Reply::Stream).unwrap();
    assert_eq!((&body["store"], &body["stream"], body.get("include")), (&json!(true), &json!(true), None));
    assert_eq!(body["reasoning"], json!({"summary": "concise"}));
    assert_eq!(
        (body["tools"].as_array().unwrap().len(), &body["tools"][1]["type"]),
        (2, &json!("web_search"))
    );
    let unsaid = Settings { storage: Storage::Unsaid, ..Settings::default() };
    assert!(with(&ask(), &unsaid, Reply::Whole).unwrap().get("store").is_none());
}

#[test]
fn what_a_reply_holds_goes_back_unchanged_and_in_order() {
    let output = json!([
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
        {"type": "custom_tool_call", "id": "ct_1", "call_id": "c0", "name": "sh", "input": "ls"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "See.",
            "annotations": [{"type": "url_citation", "url": "https://example.com", "start_index": 0, "end_index": 4}]}]},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "f"},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "get_weather", "arguments": "{}"},
    ]);
    let raw = json!({"status": "completed", "output": output});
    let answer = decode_response(raw, "openai").unwrap().message;
    let back = encode(&ChatRequest::new([Message::user("x"), answer.clone()]))["input"].clone();
    assert_eq!(back[1], output[0]);
    assert_eq!(back[2], output[1]);
    assert_eq!(back[3], output[2]);
    assert_eq!(back[4]["content"][0]["annotations"], output[3]["content"][0]["annotations"]);
    assert_eq!(back[5], output[4]);
    assert_eq!((&back[6]["call_id"], &back[6]["arguments"]), (&json!("c1"), &json!("{}")));
    // Nothing of it goes to another vendor: reasoning is left out, the rest is refused.
    let elsewhere = ModelInfo::new("xai", "m").with_capabilities(everything());
    let request = ChatRequest::new([Message::user("x"), answer.clone()]);
    let error = body(&request, &elsewhere, &Settings::default(), Reply::Whole).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let thought = Message::new(Role::Assistant, vec![answer.parts[0].clone(), Part::text("a")]);
    let request = ChatRequest::new([Message::user("x"), thought]);
    let body = body(&request, &elsewhere, &Settings::default(), Reply::Whole).unwrap();
    assert_eq!(body.input.len(), 2);
}

#[test]
fn what_parts_have_no_place_for_goes_back_too() {
    let output = json!([
        {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary",
            "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "namespace": "n", "arguments": "{}"},
        {"type": "message", "id": "msg_2", "role": "assistant", "phase": "final_answer",
            "content": [{"type": "output_text", "text": "So."}]},
        {"type": "message", "id": "msg_3", "role": "assistant", "content": [{"type": "output_text", "text": "Bye."}]},
    ]);
    let answer = decode_response(json!({"output": output}), "openai").unwrap().message;
    assert_eq!(answer.text(), "Let me see.So.Bye.");
    let back = encode(&ChatRequest::new([Message::user("x"), answer]))["input"].clone();
    let words = |n: usize| (back[n]["phase"].as_str(), back[n]["namespace"].as_str());
    assert_eq!(
        (words(1), words(2), words(3)),
        ((Some("commentary"), None), (None, Some("n")), (Some("final_answer"), None))
    );
    assert_eq!(back[1]["content"], "Let me see.");
}

#[test]
fn reasoning_that_is_kept_nowhere_is_left_out() {
    let bare =
        json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]});
    let part = Part::Reasoning { text: "hm".into(), signature: Some(items::signature(&bare, "openai")) };
    let request = ChatRequest::new([Message::user("x"), Message::new(Role::Assistant, vec![part])]);
    assert_eq!(encode(&request)["input"].as_array().unwrap().len(), 1);
    let stored = Settings { storage: Storage::Stored, ..Settings::default() };
    assert_eq!(with(&request, &stored, Reply::Whole).unwrap()["input"][1], bare);
    assert_eq!(encode(&request.with_extra("store", true))["input"][1], bare);
}

#[test]
fn schemas_are_strict_where_that_keeps_their_meaning() {
    let format = |schema: Value| {
        let format = ResponseFormat::JsonSchema { name: "a b".into(), schema };
        encode(&ask().with_response_format(format))["text"]["format"].clone()
    };
    let closed =
        format(json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}));
    assert_eq!((&closed["strict"], &closed["name"]), (&json!(true), &json!("a_b")));
    assert_eq!(closed["schema"]["additionalProperties"], json!(false));
    let open = format(json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    assert_eq!((&open["strict"], open["schema"].get("additionalProperties")), (&json!(false), None));
    let any = encode(&ask().with_response_format(ResponseFormat::JsonObject));
    assert_eq!(any["text"], json!({"format": {"type": "json_object"}}));
}

#[test]
fn extras_join_lists_and_objects_and_repeat_nothing() {
    let request = ask()
        .with_reasoning(Reasoning::effort(Effort::High))
        .with_response_format(ResponseFormat::JsonObject)
        .with_extra("include", json!(["web_search_call.action.sources"]))
        .with_extra("text", json!({"verbosity": "low"}))
        .with_extra("reasoning", json!({"summary": "auto"}))
        .with_extra("previous_response_id", "resp_1");
    let body = encode(&request);
    assert_eq!(body["include"], json!(["reasoning.encrypted_content", "web_search_call.action.sources"]));
    assert_eq!(
        (&body["text"]["verbosity"], &body["text"]["format"]["type"]),
        (&json!("low"), &json!("json_object"))
    );
    assert_eq!(body["reasoning"], json!({"effort": "high", "summary": "auto"}));
    assert_eq!(body["previous_response_id"], "resp_1");
    for (name, value) in
        [("reasoning", json!({"effort": "low"})), ("text", json!({"format": {}})), ("input", json!([]))]
    {
        assert_eq!(kind(&request.clone().with_extra(name, value)), Some(ErrorKind::InvalidInput), "{name}");
    }
}

#[test]
fn the_token_counter_gets_the_prompt_alone() {
    let (info, settings) = (info(), Settings::default());
    let request = ask().with_tools([weather()]).with_temperature(0.5).with_max_tokens(3);
    let body = prompt_only(&body(&request, &info, &settings, Reply::Whole).unwrap()).unwrap();
    let mut names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["input", "model", "tools"]);
}

#[test]
fn what_cannot_be_expressed_is_said() {
    let media = |part| ChatRequest::new([Message::new(Role::User, vec![part])]);
    for request in [
        ask().with_top_k(3),
        ask().with_response_format(ResponseFormat::Regex { pattern: "a+".into() }),
        ask().with_response_format(ResponseFormat::Grammar { grammar: "start: \"a\"".into() }),
        ask().with_seed(0),
        ask().with_stop(["x"]),
        ask().with_presence_penalty_of(0.5),
        ask().with_reasoning(Reasoning::budget(100)),
        ask().with_extra("background", true),
        media(Part::Video { media: inline("video/mp4") }),
        media(Part::Audio { media: inline("audio/wav") }),
        media(Part::Opaque { vendor: "other".into(), value: json!({}) }),
    ] {
        assert_eq!(kind(&request), Some(ErrorKind::Unsupported), "{request:?}");
    }
    for request in [
        ChatRequest::new([]),
        ask().with_temperature(f32::NAN),
        ask().with_tool_choice(ToolChoice::Required),
        ask().with_tools([weather()]).with_tool_choice(ToolChoice::Named("other".into())),
        media(Part::ToolCall(ToolCall::new("a", "b", ""))),
        ChatRequest::new([Message::new(Role::Tool, vec![Part::text("x")])]),
    ] {
        assert_eq!(kind(&request), Some(ErrorKind::InvalidInput), "{request:?}");
    }
    let bare = ModelInfo::new("v", "m").with_capabilities(ChatCapabilities::none());
    for request in [
        ask().with_tools([weather()]),
        ask().with_response_format(ResponseFormat::JsonObject),
        ask().with_logprobs(0),
        ask().with_reasoning(Reasoning::effort(Effort::Low)),
        ask().with_prompt_cache(PromptCache::new()),
        media(Part::Image { media: inline("image/png") }),
        media(Part::File { media: inline("application/pdf"), name: None }),
    ] {
        let result = body(&request, &bare, &Settings::default(), Reply::Whole);
        assert_eq!(result.err().map(|e| e.kind()), Some(ErrorKind::Unsupported), "{request:?}");
    }
}

trait Penalty {
    fn with_presence_penalty_of(self, penalty: f32) -> Self;
}

impl Penalty for ChatRequest {
    fn with_presence_penalty_of(mut self, penalty: f32) -> Self {
        self.presence_penalty = Some(penalty);
        self
    }
}
