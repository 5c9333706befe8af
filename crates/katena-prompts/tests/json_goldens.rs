#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

//! Golden rows made with LangChain Python. The differences are explained in docs/adr/0011-prompt-formats.md.

use katena_prompts::{parse_markdown, parse_partial};
use serde_json::Value;

#[test]
fn json_agrees_with_the_goldens() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evals/parsers/json_goldens.jsonl");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: the shared evaluation data is not there");
        return;
    };
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        rows += 1;
        // Some rows hold half a surrogate pair, which strict readers refuse; both sides read it as U+FFFD.
        let row: Value = serde_json::from_str(line).ok().or_else(|| parse_partial(line)).unwrap();
        let input = row["input"].as_str().unwrap();
        let got = match row["fn"].as_str() {
            Some("partial") => parse_partial(input),
            Some("markdown") => parse_markdown(input),
            other => panic!("unknown function {other:?}"),
        };
        let expected = row.get("value").filter(|v| !v.is_null());
        if got.as_ref().filter(|v| !v.is_null()) != expected {
            wrong.push(format!("{line}\n  got {got:?}"));
        }
    }
    assert!(rows > 0);
    assert!(wrong.is_empty(), "{} of {rows} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}
