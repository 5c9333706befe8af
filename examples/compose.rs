//! Typed composition, streamed, with a fake model: `cargo run -p katena-examples --example compose`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use futures_util::StreamExt;
use katena::fake::ScriptedChat;
use katena::prelude::*;

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
struct Review {
    /// From 1 (bad) to 5 (good).
    stars: u8,
    summary: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    // A fake that answers from a script; `OpenAiChat` or `LlamaChat` take its place in one line.
    let model =
        ScriptedChat::texts([r#"{"stars": 4, "summary": "Solid, a bit loud."}"#, "Solide, etwas laut."]);

    let rate = func(async |text: String, _run| Ok(format!("Rate this review: {text}")))
        .chat(model.clone())
        .json::<Review>();
    let translate = func(async |review: Review, _run| {
        Ok(format!("Translate to German: {} ({} of 5 stars)", review.summary, review.stars))
    })
    .chat(model.clone())
    .text();
    let chain = rate.then(translate).with_labels(Labels::new().with("feature", "reviews"));

    let mut stream = chain.stream("The fan works well, but I hear it in the next room.");
    while let Some(item) = stream.next().await {
        match item? {
            Streamed::Event(event) => println!("step {:?}: {:?}", event.step, event.event),
            Streamed::Output(text) => println!("\n{text}"),
        }
    }
    assert!(model.requests().iter().all(|r| r.context.labels.get("feature") == Some("reviews")));
    Ok(())
}
