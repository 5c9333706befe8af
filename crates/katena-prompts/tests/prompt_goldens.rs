#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test")]

//! Golden rows made with LangChain Python. The differences are explained in docs/adr/0011-prompt-formats.md.

use katena_prompts::{Format, PromptTemplate, Vars};
use serde_json::Value;

#[test]
fn templates_agree_with_the_goldens() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/evals/parsers/prompt_goldens.jsonl");
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: the shared evaluation data is not there");
        return;
    };
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        rows += 1;
        let row: Value = serde_json::from_str(line).unwrap();
        let format = Format::from_name(row["fmt"].as_str().unwrap()).unwrap();
        let vars = Vars::of(&row["vars"]).unwrap();
        let template = PromptTemplate::new(format, row["template"].as_str().unwrap());
        let got = template.as_ref().map_err(Clone::clone).and_then(|t| t.render(&vars));
        let right = match (&got, row.get("error")) {
            (Ok(text), None) => Some(text.as_str()) == row["result"].as_str(),
            (Err(_), Some(_)) => true,
            _ => false,
        };
        let found = row.get("vars_found").is_none_or(|names| {
            let mut mine = template.as_ref().unwrap().variables().to_vec();
            mine.sort();
            serde_json::json!(mine) == *names
        });
        if !(right && found) {
            wrong.push(format!("{line}\n  got {got:?}"));
        }
    }
    assert!(rows > 0);
    assert!(wrong.is_empty(), "{} of {rows} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}
