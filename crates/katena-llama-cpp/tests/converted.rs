//! A tiny model through the converter into the engine.
#![allow(clippy::unwrap_used, reason = "tests")]

use katena_core::{EmbedRequest, Embedder, ErrorKind};
use katena_llama_cpp::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions, convert::bert_to_gguf};
use katena_testkit::tiny::bert_folder;

#[tokio::test]
async fn a_tiny_model_embeds() {
    let folder = tempfile::tempdir().unwrap();
    bert_folder(folder.path());
    let a = folder.path().join("a.gguf");
    bert_to_gguf(folder.path(), &a).unwrap();
    let embedder = LlamaEmbedder::load(&a, EmbedderOptions::new().with_threads(1)).unwrap();
    assert_eq!(embedder.info().dimensions, 8);
    assert_eq!(embedder.info().max_tokens, Some(14), "16 with both marks");
    let texts = ["hello world", "singing, sings", "", "日本 hello"];
    let response = embedder.embed(&EmbedRequest::documents(texts)).await.unwrap();
    assert_eq!(response.usage.input_tokens, Some(4 + 7 + 2 + 5));
    let long = embedder.embed(&EmbedRequest::documents(["ok", &"hello ".repeat(15)])).await.unwrap_err();
    assert_eq!(long.kind(), ErrorKind::ContextTooLong);
    assert_eq!((long.context("text"), long.context("tokens")), (Some("1"), Some("15")));
    let chat = LlamaChat::load(&a, LlamaOptions::new().with_context_tokens(32)).unwrap_err();
    assert_eq!(chat.kind(), ErrorKind::Unsupported, "an embedder is no chat model");
}
