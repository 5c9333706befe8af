//! Loads the tiny model, asks, drops an answer half-way, asks under a schema and drops the model, a few times: for `leaks.sh`.

use std::time::Duration;

use futures_util::StreamExt;
use katena_core::{ChatModel, ChatRequest, EmbedRequest, Embedder, Message, ResponseFormat, Result};
use katena_llama_cpp::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions};
use katena_testkit::tiny;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let times: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(3);
    let folder = tempfile::tempdir()?;
    let path = tiny::TinyLlama::new().write(folder.path().join("tiny.gguf"));
    let bert = tiny::TinyBert::new().write(folder.path().join("bert.gguf"));
    for _ in 0..times {
        let options = LlamaOptions::new().with_threads(1).with_slots(2).with_context_tokens(256);
        let chat = LlamaChat::load(&path, options)?;
        let ask = |text: &str| ChatRequest::new([Message::user(text)]).with_max_tokens(8).with_seed(1);
        let (first, second) = (ask("one two three"), ask("one two four"));
        let (a, b) = futures_util::future::join(chat.generate(&first), chat.generate(&second)).await;
        a?;
        b?;
        let mut stream = chat.stream(&ask("dropped").with_max_tokens(64)).await?;
        drop(stream.next().await);
        drop(stream);
        let schema = serde_json::json!({
            "type": "object", "properties": { "a": { "enum": [1, 2] } }, "required": ["a"], "additionalProperties": false
        });
        let format = ResponseFormat::JsonSchema { name: "a".to_owned(), schema };
        chat.generate(&ask("json").with_max_tokens(32).with_response_format(format)).await?;
        drop(chat);
        let embedder = LlamaEmbedder::load(&bert, EmbedderOptions::new().with_threads(1))?;
        embedder.embed(&EmbedRequest::documents(["a b", "c"])).await?;
        drop(embedder);
    }
    // Threads that were let go have ended by then.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}
