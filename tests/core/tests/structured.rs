//! Typed answers by each way that a model may know.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use katena_core::fake::ScriptedChat;
use katena_core::*;
use serde_json::json;

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Person {
    name: String,
    age: u32,
}

fn ada() -> Person {
    Person { name: "Ada".to_owned(), age: 36 }
}

/// A scripted model with other abilities.
#[derive(Debug)]
struct Can(ScriptedChat, ModelInfo);

impl Can {
    fn new(script: ScriptedChat, can: ChatCapabilities) -> Self {
        Self(script, ModelInfo::new("fake", "can").with_capabilities(can))
    }
}

#[async_trait::async_trait]
impl ChatModel for Can {
    fn info(&self) -> &ModelInfo {
        &self.1
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.0.generate(request).await
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        self.0.stream(request).await
    }
}

fn calls(name: &str, arguments: &str) -> ChatResponse {
    let call = Part::ToolCall(ToolCall::new("c1", name, arguments));
    ChatResponse::new(Message::new(Role::Assistant, vec![call]), FinishReason::ToolCalls)
}

#[tokio::test]
async fn a_native_schema_is_sent_and_a_bad_reply_is_repaired() {
    let model = ScriptedChat::texts([r#"{"name":"Ada","age":"?"}"#, r#"{"name":"Ada","age":36}"#]);
    assert_eq!(extract::<Person>(&model, "Who?").await.unwrap(), ada());
    let requests = model.requests();
    assert!(requests.iter().all(|r| matches!(r.response_format, Some(ResponseFormat::JsonSchema { .. }))));
    assert_eq!(requests[1].messages.len(), 3);
    assert!(requests[1].messages[2].text().contains("age") || requests[1].messages[2].text().contains("u32"));
}

#[tokio::test]
async fn without_a_native_schema_a_tool_is_forced() {
    let script = ScriptedChat::new([
        Ok(calls("Person", r#"{"name":"Ada"}"#)),
        Ok(calls("Person", r#"{"name":"Ada","age":36}"#)),
    ]);
    let model = Can::new(script.clone(), ChatCapabilities::none().with_tools());
    assert_eq!(extract::<Person>(&model, "Who?").await.unwrap(), ada());
    let requests = script.requests();
    assert_eq!(requests[0].tool_choice, Some(ToolChoice::Named("Person".to_owned())));
    assert_eq!(requests[0].tools[0].parameters["required"], json!(["name", "age"]));
    assert!(requests[0].response_format.is_none());
    let Part::ToolResult(result) = &requests[1].messages[2].parts[0] else { panic!("no tool result") };
    assert!(result.is_error && result.call_id == "c1");
}

#[tokio::test]
async fn a_model_that_can_do_nothing_is_told_in_words() {
    let script = ScriptedChat::texts(["Sure! Ada is 36.", "```json\n{\"name\":\"Ada\",\"age\":36}\n```"]);
    let model = Can::new(script.clone(), ChatCapabilities::none());
    assert_eq!(extract::<Person>(&model, "Who?").await.unwrap(), ada());
    let first = &script.requests()[0];
    assert!(first.tools.is_empty() && first.response_format.is_none());
    assert!(first.messages[0].text().starts_with("Who?") && first.messages[0].text().contains("\"age\""));
}

#[tokio::test]
async fn a_list_is_asked_for_inside_an_object() {
    let script = ScriptedChat::texts([r#"{"value":[1,2]}"#, "[3]"]);
    assert_eq!(extract::<Vec<u32>>(&script, "Numbers?").await.unwrap(), [1, 2]);
    assert_eq!(
        extract::<Vec<u32>>(&script, "Numbers?").await.unwrap(),
        [3],
        "a model that ignores the object"
    );
    let Some(ResponseFormat::JsonSchema { schema, .. }) = &script.requests()[0].response_format else {
        panic!("no schema")
    };
    assert_eq!((&schema["type"], &schema["required"]), (&json!("object"), &json!(["value"])));
}

#[tokio::test]
async fn repair_ends_and_a_cut_answer_is_not_repaired() {
    let script = ScriptedChat::texts(["a", "b", "c", r#"{"name":"Ada","age":36}"#]);
    assert_eq!(extract::<Person>(&script, "Who?").await.unwrap_err().kind(), ErrorKind::InvalidOutput);
    assert_eq!(script.requests().len(), 3);
    let cut = ChatResponse::new(Message::assistant(r#"{"name":"A"#), FinishReason::Length);
    let script = ScriptedChat::new([Ok(cut)]);
    let error = extract::<Person>(&script, "Who?").await.unwrap_err();
    assert!(error.to_string().contains("Length"), "{error}");
}
