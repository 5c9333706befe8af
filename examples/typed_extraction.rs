//! A typed value out of free text, with a fake model: `cargo run -p katena-examples --example typed_extraction`.
//!
//! The schema goes out as the model's own answer format where it has one, else as a tool that it must call, else in words.
//! A reply that does not fit goes back with the reason.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use katena::extract;
use katena::fake::ScriptedChat;
use katena::prelude::*;

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Invoice {
    number: String,
    /// In cents.
    total: u64,
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Item {
    name: String,
    count: u32,
}

const TEXT: &str = "Invoice 2026-118: two chairs and a table, in all 412.50 euros.";

#[tokio::main]
async fn main() -> Result<()> {
    // The first reply has no number for the total; the second is the repaired one.
    let model = ScriptedChat::texts([
        r#"{"number": "2026-118", "total": "412.50", "items": []}"#,
        r#"{"number": "2026-118", "total": 41250, "items": [{"name": "chair", "count": 2}, {"name": "table", "count": 1}]}"#,
    ]);
    let invoice: Invoice = extract(&model, format!("Read this invoice: {TEXT}")).await?;
    println!("{invoice:#?}");
    assert_eq!((invoice.total, invoice.items.len(), model.requests().len()), (41_250, 2, 2));
    Ok(())
}
