//! A test of one's own program without a network: recorded once, replayed ever after:
//! `cargo run -p katena-examples --example recorded_test`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use katena::fake::ScriptedChat;
use katena::layers::{Record, Replay};
use katena::prelude::*;

/// What is under test: it takes any model.
async fn summary(model: &dyn ChatModel, text: &str) -> Result<String> {
    let request = ChatRequest::new([Message::user(format!("In three words: {text}"))]);
    Ok(model.generate(&request).await?.text())
}

const TEXT: &str = "The fan of kim@example.com hums; the key is sk-proj-abcdefghijklmnop1234.";

/// A rule of one's own. Keys and tokens go without one.
fn hide(text: &str) -> String {
    text.replace("kim@example.com", "<address>")
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::unexpected("no folder").with_source(e))?;
    let cassette = folder.path().join("summary.jsonl");

    // Once, with the real model; here a script stands in for it.
    let record = Record::new(&cassette).with_redactor(hide);
    let model = ScriptedChat::texts(["Fan hums, kim@example.com"]).layer(record.clone());
    println!("recorded: {}", summary(&model, TEXT).await?);
    record.save()?;

    let file = std::fs::read_to_string(&cassette).map_err(|e| Error::unexpected("no file").with_source(e))?;
    println!("\nthe cassette:\n{file}");
    assert!(!file.contains("sk-proj-") && !file.contains("kim@"), "no secret is in it");

    // Ever after: the inner model is asked for its name and nothing else. This one has no answer left.
    let silent = ScriptedChat::new([]);
    let model = silent.clone().layer(Replay::open(&cassette)?.with_redactor(hide)?);
    assert_eq!(summary(&model, TEXT).await?, "Fan hums, <address>");
    assert!(silent.requests().is_empty());

    // Strict: what was not recorded is an error that tells the first difference.
    let error = summary(&model, "The lamp is dark.").await.expect_err("not in the cassette");
    println!("another text: {error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    Ok(())
}
