//! The chat model on a real file.

mod common;

use katena_core::{ChatModel, ChatRequest, Message};

fn capital() -> ChatRequest {
    let system = Message::system("You are a helpful assistant.");
    ChatRequest::new([system, Message::user("What is the capital of France?")])
        .with_temperature(0.0)
        .with_max_tokens(32)
}

#[tokio::test]
async fn answers() {
    let Some(model) = common::chat() else { return };
    let response = model.generate(&capital()).await.unwrap();
    assert!(response.text().contains("Paris"), "{}", response.text());
}
