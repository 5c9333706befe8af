//! Typed values out of every document of a folder, with a local model that can only answer in the schema:
//! `cargo run --release -p katena-examples --example local_extraction -- CHAT.gguf FOLDER`.
//! Prints one JSON line a document. Without arguments it says so and ends.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use futures_util::StreamExt;
use katena::prelude::*;
use katena::{ChatRequest, Message};

/// What is wanted of each document. The model can't leave a field out, nor write another.
#[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Card {
    /// A title of a few words.
    #[schemars(length(min = 1, max = 80))]
    title: String,
    kind: Kind,
    /// At most five words that somebody may look for.
    #[schemars(length(max = 5), inner(length(min = 1, max = 24)))]
    keywords: Vec<String>,
    /// True if the text names an amount of money.
    names_money: bool,
}

#[derive(Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Policy,
    Guide,
    List,
    Other,
}

/// Characters of a document that the model sees.
const SEEN: usize = 1500;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [chat, folder] = args.as_slice() else {
        println!("usage: local_extraction CHAT.gguf FOLDER");
        return Ok(());
    };
    let model = LlamaChat::load(chat, LlamaOptions::new().with_slots(4).with_context_tokens(2048))?;
    // Four documents at a time: the engine computes them together, and the instructions only once.
    let documents = DirectoryLoader::new(folder).load();
    let mut cards = documents
        .map(|document| async {
            let document = document?;
            let source = document.source.uri.clone();
            Ok::<_, Error>((source, card(&model, &document.text).await?))
        })
        .buffered(4);
    let (mut done, mut failed) = (0, 0);
    while let Some(card) = cards.next().await {
        match card {
            Ok((source, card)) => {
                println!("{}", serde_json::json!({ "source": source, "card": card }));
                done += 1;
            }
            Err(e) => {
                eprintln!("{e}");
                failed += 1;
            }
        }
    }
    eprintln!("{done} documents read, {failed} failed");
    eprintln!("{:#?}", model.stats());
    Ok(())
}

async fn card(model: &LlamaChat, text: &str) -> Result<Card> {
    let seen: String = text.chars().take(SEEN).collect();
    let request = ChatRequest::new([
        Message::system("You fill in a card about a document. Answer with the card alone."),
        Message::user(format!("The document:\n{seen}")),
    ]);
    katena::extract(model, request.with_temperature(0.0).with_max_tokens(300)).await
}
