//! Models that `katena_gguf::quantize` has rewritten load and answer.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests and their helpers")]

mod common;

use katena_core::{ChatModel, ChatRequest, Message};
use katena_llama_cpp::{LlamaChat, LlamaOptions};
use katena_testkit::tiny::TinyLlama;

fn ask(text: &str) -> ChatRequest {
    ChatRequest::new([Message::user(text)]).with_temperature(0.0).with_max_tokens(24)
}

#[tokio::test]
async fn a_tiny_model_answers_as_q8_0() {
    let folder = tempfile::tempdir().unwrap();
    let plain = TinyLlama::new().write(folder.path().join("plain.gguf"));
    let small = folder.path().join("small.gguf");
    let done = katena_gguf::quantize(&plain, &small).unwrap();
    assert!(done.rewritten > 0);
    let options = LlamaOptions::new().with_threads(1).with_context_tokens(256);
    let model = LlamaChat::load(&small, options).unwrap();
    let usage = model.generate(&ask("one two")).await.unwrap().usage;
    assert!(usage.output_tokens.is_some_and(|n| n > 0));
}

#[tokio::test]
async fn the_chat_model_still_knows_after_it() {
    let Some(path) = common::chat_path() else { return };
    let folder = tempfile::tempdir().unwrap();
    let eight = folder.path().join("eight.gguf");
    let done = katena_gguf::quantize(&path, &eight).unwrap();
    assert!(done.rewritten > 0 && done.bytes > std::fs::metadata(&path).unwrap().len());
    let model = LlamaChat::load(&eight, common::options()).unwrap();
    let messages =
        [Message::system("You are a helpful assistant."), Message::user("What is the capital of France?")];
    let request = ChatRequest::new(messages).with_temperature(0.0).with_max_tokens(24);
    let answer = model.generate(&request).await.unwrap().text();
    assert!(answer.contains("Paris"), "{answer}");
    // Eight bits hold what four did: the same answer as before.
    let before = common::chat().unwrap().generate(&request).await.unwrap().text();
    assert_eq!(answer, before);
}
