//! Recorded traffic beside this checkout, and the measure of what a right client understands of it.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use base64::Engine as _;
use katena_core::{Accumulator, ChatEvent, ChatResponse, Error, Part, Result};
use katena_http::ErrorDetails;
use katena_testkit::fixtures::Numbers;
use serde_json::{Value, json};

/// One recorded exchange.
pub struct Row {
    pub id: String,
    pub api: String,
    pub path: String,
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

pub fn lines(name: &str) -> Option<Vec<Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/replay").join(name);
    let file = std::fs::File::open(path).ok()?;
    let text = BufReader::new(flate2::read::GzDecoder::new(file));
    Some(text.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect())
}

/// The exchanges of a vendor; `None`, with a line that says so, if there are none beside this checkout.
pub fn rows(vendor: &str) -> Option<Vec<Row>> {
    let Some(rows) = lines(&format!("{vendor}.jsonl.gz")) else {
        println!("skipped: the recorded traffic is not beside this checkout");
        return None;
    };
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| Row {
        id: word(row, "id"),
        api: word(row, "api"),
        path: word(row, "path"),
        status: row["status"].as_u64().or_else(|| row["status"].as_str()?.parse().ok()).unwrap() as u16,
        content_type: word(row, "ctype"),
        body: match row["body_b64"].as_str() {
            Some(packed) => base64::prelude::BASE64_STANDARD.decode(packed).unwrap(),
            None => word(row, "body").into_bytes(),
        },
    };
    Some(rows.iter().map(row).collect())
}

/// The error of a reply whose status tells of one.
pub fn status_error(row: &Row) -> Option<Error> {
    let value = serde_json::from_slice::<Value>(&row.body);
    let details = value.ok().as_ref().and_then(ErrorDetails::from_value).unwrap_or_default();
    (!(200..300).contains(&row.status)).then(|| details.into_error(Some(row.status)))
}

/// Judges all recordings of one protocol; gives how many there were.
pub fn judge(vendor: &str, api: &str, decode: impl Fn(&Row) -> Result<ChatResponse>) -> Option<usize> {
    let rows = rows(vendor)?;
    let expected: BTreeMap<String, Value> =
        lines("expect.jsonl.gz")?.into_iter().map(|e| (e["id"].as_str().unwrap().to_owned(), e)).collect();
    let (mut all, mut wrong) = (0, Vec::new());
    for row in rows.iter().filter(|row| row.api == api) {
        let Some(want) = expected.get(&row.id) else { continue };
        all += 1;
        let got = status_error(row).map_or_else(|| decode(row), Err);
        let faults = faults(want, &got);
        if !faults.is_empty() {
            wrong.push(format!("{}: {}", row.id, faults.join("; ")));
        }
    }
    println!("{vendor} {api}: {}/{all}", all - wrong.len());
    assert!(wrong.is_empty(), "{} of {all} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Some(all)
}

/// Folds events as they come. That they come in order is the decoder's law, whatever the server sends.
pub fn fold(answer: &mut Accumulator, mut next: impl FnMut() -> Option<ChatEvent>) {
    while let Some(event) = next() {
        answer.push(&event).expect("events in order");
    }
}

/// Damages each recorded reply in many ways. The decoder may call each an error, but must not panic or break the law.
pub fn damage(vendor: &str, api: &str, decode: impl Fn(&[u8]) -> Result<ChatResponse>) {
    let mut numbers = Numbers::new(7);
    let mut errors = 0;
    for row in rows(vendor).into_iter().flatten().filter(|row| row.api == api && !row.body.is_empty()) {
        // The start holds every kind of event but the last ones, which are at the end.
        let cut = row.body.len().saturating_sub(3000).max(row.body.len().min(3000));
        let body = [&row.body[..row.body.len().min(3000)], &row.body[cut..]].concat();
        for _ in 0..40 {
            let mut damaged = body.clone();
            for _ in 0..=(numbers.next_u64() % 3) {
                let at = (numbers.next_u64() as usize) % damaged.len();
                let length = 1 + (numbers.next_u64() as usize) % 40.min(damaged.len() - at);
                match numbers.next_u64() % 4 {
                    0 => drop(damaged.drain(at..at + length)),
                    1 => damaged[at] = numbers.next_u64() as u8,
                    2 => damaged.truncate(at.max(1)),
                    _ => {
                        let copy = damaged[at..at + length].to_vec();
                        let to = (numbers.next_u64() as usize) % damaged.len();
                        damaged.splice(to..to, copy);
                    }
                }
                if damaged.is_empty() {
                    break;
                }
            }
            errors += usize::from(decode(&damaged).is_err());
        }
    }
    println!("{vendor} {api}: {errors} of the damaged replies are errors");
}

fn arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        json!({})
    } else {
        serde_json::from_str(text).unwrap_or_else(|_| json!({ "__raw__": text }))
    }
}

fn faults(expected: &Value, got: &Result<ChatResponse>) -> Vec<String> {
    let text = |key: &str| expected[key].as_str().unwrap_or("");
    if expected["kind"] == "error" {
        let Err(error) = got else { return vec!["no error".into()] };
        let want = &expected["error"];
        let message: String = want["message"].as_str().unwrap_or("").chars().take(60).collect();
        let mut faults = Vec::new();
        if want["status"].as_u64() != Some(200) && want["status"].as_u64() != error.status().map(u64::from) {
            faults.push(format!("status {:?}", error.status()));
        }
        if !error.message().contains(&message) {
            faults.push(format!("message lost: {}", error.message()));
        }
        return faults;
    }
    let r = match got {
        Ok(r) => r,
        Err(error) => return vec![format!("spurious error {error}")],
    };
    let mut faults = Vec::new();
    let mut same = |what: &str, ok: bool| {
        if !ok {
            faults.push(what.to_owned());
        }
    };
    same("text", r.text() == text("text"));
    same("refusal", r.refusal().unwrap_or("") == text("refusal"));
    let reasoned: String = r
        .message
        .parts
        .iter()
        .filter_map(|p| if let Part::Reasoning { text, .. } = p { Some(text.as_str()) } else { None })
        .collect();
    same("reasoning", text("reasoning").is_empty() || reasoned == text("reasoning"));
    let calls: Vec<Value> =
        r.tool_calls().map(|c| json!({"name": c.name, "args": arguments(&c.arguments)})).collect();
    let wanted: Vec<Value> = expected["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| json!({"name": c["name"], "args": c["args"]}))
        .collect();
    same("tool calls", calls == wanted);
    same("finish", text("finish").is_empty() || r.finish_raw.as_deref() == Some(text("finish")));
    for (key, count) in [
        ("input", r.usage.input_tokens),
        ("output", r.usage.output_tokens),
        ("cached", r.usage.cached_tokens),
    ] {
        same(key, expected["usage"][key].is_null() || expected["usage"][key].as_u64() == count);
    }
    faults
}
