//! Typed composition and typed answers.

use katena_core::fake::{EchoChat, ScriptedChat};
use katena_core::*;

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Person {
    name: String,
    age: u32,
}

fn ask() -> impl Chain<Input = String, Output = String> + Clone + 'static {
    #[derive(Debug, Clone)]
    struct Ask;
    #[async_trait::async_trait]
    impl Chain for Ask {
        type Input = String;
        type Output = String;
        async fn call(&self, input: String, _run: &Run) -> Result<String> {
            Ok(format!("Who is {input}?"))
        }
    }
    Ask
}

#[tokio::test]
async fn json_after_chat_sends_the_schema_and_parses_the_reply() {
    let model = ScriptedChat::texts([
        r#"{"name":"Ada","age":36}"#,
        "```json\n{\"name\":\"Ada\",\"age\":36}\n```",
        "no idea",
        "none",
        "not at all",
    ]);
    let chain = ask().chat(model.clone()).json::<Person>();
    let ada = Person { name: "Ada".to_owned(), age: 36 };
    assert_eq!(chain.run("Ada").await.unwrap(), ada);
    assert_eq!(chain.run("Ada").await.unwrap(), ada);
    assert_eq!(chain.run("Ada").await.unwrap_err().kind(), ErrorKind::InvalidOutput);
    let Some(ResponseFormat::JsonSchema { name, schema }) = &model.requests()[0].response_format else {
        panic!("no schema was sent");
    };
    assert_eq!(name, "Person");
    assert_eq!(schema["required"], serde_json::json!(["name", "age"]));
}

#[tokio::test]
async fn json_after_a_boxed_chain_only_parses() {
    let model = ScriptedChat::texts([r#"{"name":"Ada","age":36}"#]);
    let chain = ask().chat(model.clone()).boxed().json::<Person>();
    assert_eq!(chain.run("Ada").await.unwrap().age, 36);
    assert!(model.requests()[0].response_format.is_none());
}

#[tokio::test]
async fn a_refusal_is_not_parsed() {
    let message = Message::new(Role::Assistant, vec![Part::Refusal { text: "I won't".to_owned() }]);
    let model = ScriptedChat::new([Ok(ChatResponse::new(message, FinishReason::Stop))]);
    let error = ask().chat(model).json::<Person>().run("Ada").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "I won't"));
}

#[tokio::test]
async fn steps_compose_in_every_way() {
    let length = func(async |text: String, _run| Ok(text.len()));
    let shout = func(async |text: String, _run| Ok(text.to_uppercase().len()));
    let chain = ask()
        .chat(EchoChat::new())
        .text()
        .parallel((length, shout))
        .map(|(a, b)| a + b)
        .branch(
            |n: &usize| *n > 20,
            func(async |n: usize, _run| Ok(n.to_string())),
            func(async |_: usize, _run| Ok("short".to_owned())),
        )
        .and_then(async |text: String, run: Run| {
            run.context().check()?;
            Ok(text + "!")
        })
        .boxed();
    assert_eq!(chain.run("Ada Lovelace").await.unwrap(), "40!");
    assert_eq!(chain.run("").await.unwrap(), "short!");
}

#[tokio::test]
async fn tools_report_bad_arguments_and_share_state() {
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    struct Args {
        by: u32,
    }
    let counter = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(1));
    let tool = FnTool::with_state(
        "add",
        "Adds.",
        counter.clone(),
        async |counter: std::sync::Arc<std::sync::atomic::AtomicU32>, args: Args, _run: Run| {
            Ok((counter.fetch_add(args.by, std::sync::atomic::Ordering::SeqCst) + args.by).to_string())
        },
    );
    assert_eq!(tool.spec().parameters["type"], "object");
    let call =
        |arguments: &str| tool.call(ToolCall::new("1", "add", arguments), Box::leak(Box::new(Run::new())));
    assert_eq!(call(r#"{"by":2}"#).await.unwrap().text(), "3");
    for bad in ["", "{", "[]", r#"{"by":-1}"#, r#"{"by":"2"}"#] {
        assert_eq!(call(bad).await.unwrap_err().kind(), ErrorKind::InvalidOutput, "{bad}");
    }
}

#[test]
fn the_stored_form_of_messages_is_golden() {
    let golden = include_str!("golden/messages.json");
    let messages: Vec<Message> = serde_json::from_str(golden).unwrap();
    assert_eq!(serde_json::to_string_pretty(&messages).unwrap(), golden.trim_end());
    assert_eq!(messages[1].tool_calls().count(), 1);
    assert_eq!(messages[1].parts.len(), 4);
}

#[test]
fn debug_shows_no_content() {
    let request = ChatRequest::new([Message::user("top secret")]);
    let chain = func(async |(): (), _| Ok("top secret")).chat(ScriptedChat::texts(["top secret"]));
    let document = Document::new("top secret", Source::new("a.md"));
    for text in [
        format!("{request:?}"),
        format!("{:?}", request.messages),
        format!("{chain:?}"),
        format!("{document:?}"),
    ] {
        assert!(!text.contains("secret"), "{text}");
    }
}
