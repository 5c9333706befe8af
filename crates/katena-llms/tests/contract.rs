//! The contract of a chat model, against a real llama.cpp server and against a scripted one.
//!
//! The servers' addresses come from the environment; without them the tests are skipped, or fail if
//! `KATENA_REQUIRE_SERVERS=1`.

#![cfg(feature = "openai")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use katena_core::{ChatCapabilities, ChatModel as _, ChatRequest, ErrorKind, Message};
use katena_llms::OpenAiChat;
use katena_testkit::FAKE_KEY;

fn server(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("KATENA_REQUIRE_SERVERS").is_ok_and(|v| v == "1");
        assert!(!required, "{variable} is not set, but servers are required");
        println!("skipped: {variable} is not set");
    }
    url.map(|url| {
        let url = url.trim_end_matches('/');
        if url.ends_with("/v1") { url.to_owned() } else { format!("{url}/v1") }
    })
}

/// SmolLM2's template has no tools, and it sees no pictures.
fn llama() -> Option<OpenAiChat> {
    let url = server("KATENA_TEST_LLAMA_SERVER_URL")?;
    let can =
        ChatCapabilities::none().with_json_schema().with_seed().with_logprobs().with_stop().with_usage();
    let model = OpenAiChat::compatible("smollm2", url).expect("a base URL");
    Some(model.with_vendor("llama.cpp").with_capabilities(can).with_context_tokens(2048))
}

fn aimock() -> Option<OpenAiChat> {
    let url = server("KATENA_TEST_AIMOCK_URL")?;
    let can = ChatCapabilities::none().with_tools().with_json_schema().with_usage();
    let model = OpenAiChat::new("gpt-5-mini", FAKE_KEY).with_base_url(url).expect("a base URL");
    Some(model.with_capabilities(can))
}

katena_testkit::chat_model_contract!(llama_server, async { llama() });
katena_testkit::chat_model_contract!(scripted_server, async { aimock() });

#[tokio::test]
async fn a_prompt_beyond_the_context_is_said() {
    let Some(model) = llama() else { return };
    let request = ChatRequest::new([Message::user("word ".repeat(9000))]).with_max_tokens(4);
    for error in [model.generate(&request).await.unwrap_err(), model.stream(&request).await.err().unwrap()] {
        assert_eq!(error.kind(), ErrorKind::ContextTooLong, "{error:?}");
    }
}

#[tokio::test]
async fn a_scripted_rate_limit_is_typed() {
    let Some(model) = aimock() else { return };
    let error = model.generate(&ChatRequest::new([Message::user("toobusy")])).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::RateLimited, Some(429)));
}
