//! Recorded traffic and its verdicts, judged by the same measure as the shared checker.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test code"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;

use base64::Engine as _;
use katena_core::{Accumulator, ChatEvent, ChatResponse, Error, Part, Result};
use katena_http::ErrorDetails;
use katena_http::sse::SseDecoder;
use serde_json::{Value, json};

/// A decoder of streams, of either protocol.
pub trait Decoder {
    fn push(&mut self, event: &str, data: &str) -> Result<()>;
    fn next_event(&mut self) -> Option<ChatEvent>;
    fn finish(&mut self) -> Result<()>;
}

#[macro_export]
macro_rules! decoder {
    ($kind:ty) => {
        impl openai_support::Decoder for $kind {
            fn push(&mut self, event: &str, data: &str) -> katena_core::Result<()> {
                <$kind>::push(self, event, data)
            }
            fn next_event(&mut self) -> Option<katena_core::ChatEvent> {
                <$kind>::next_event(self)
            }
            fn finish(&mut self) -> katena_core::Result<()> {
                <$kind>::finish(self)
            }
        }
    };
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/replay")
}

fn lines(name: &str) -> Option<Vec<Value>> {
    let file = std::fs::File::open(folder().join(name)).ok()?;
    let text = BufReader::new(flate2::read::GzDecoder::new(file));
    Some(text.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect())
}

fn decode_stream<D: Decoder>(body: &[u8], split: usize, mut decoder: D) -> Result<ChatResponse> {
    let mut sse = SseDecoder::new();
    let mut answer = Accumulator::new();
    for piece in body.chunks(split.max(1)) {
        sse.push(piece)?;
        while let Some(event) = sse.next_event() {
            decoder.push(&event.event, &event.data)?;
            while let Some(event) = decoder.next_event() {
                answer.push(&event)?;
            }
        }
    }
    decoder.finish()?;
    while let Some(event) = decoder.next_event() {
        answer.push(&event)?;
    }
    answer.finish()
}

/// The protocol under test.
pub struct Protocol<D> {
    pub api: &'static str,
    pub whole: fn(Value, &str) -> Result<ChatResponse>,
    pub stream: fn() -> D,
}

impl<D: Decoder> Protocol<D> {
    fn decode(&self, status: u16, body: &[u8]) -> Result<ChatResponse> {
        let value = serde_json::from_slice::<Value>(body);
        if !(200..300).contains(&status) {
            let details = value.ok().as_ref().and_then(ErrorDetails::from_value).unwrap_or_default();
            return Err(details.into_error(Some(status)));
        }
        match value {
            Ok(value) => (self.whole)(value, "v"),
            Err(_) => {
                let whole = decode_stream(body, body.len(), (self.stream)());
                for split in [1, 7, 100] {
                    assert_eq!(
                        decode_stream(body, split, (self.stream)()).map_err(|e| e.to_string()),
                        whole.clone().map_err(|e| e.to_string())
                    );
                }
                whole
            }
        }
    }

    /// Judges every recording of the protocol with a verdict; `None` if the traffic is not beside this checkout, else
    /// how many there were.
    pub fn replay(&self) -> Option<usize> {
        let Some(expected) = lines("expect.jsonl.gz") else {
            println!("skipped: the recorded traffic is not beside this checkout");
            return None;
        };
        let expected: BTreeMap<String, Value> = expected
            .into_iter()
            .filter(|e| e["api"] == self.api)
            .map(|e| (e["id"].as_str().unwrap().to_owned(), e))
            .collect();
        let mut vendors: Vec<&str> = expected.values().map(|e| e["provider"].as_str().unwrap()).collect();
        vendors.sort_unstable();
        vendors.dedup();
        let (mut wrong, mut total) = (Vec::new(), 0);
        for vendor in vendors {
            let (mut right, mut all) = (0, 0);
            for row in lines(&format!("{vendor}.jsonl.gz")).unwrap() {
                let id = row["id"].as_str().unwrap();
                let Some(want) = expected.get(id) else { continue };
                let body = match row["body_b64"].as_str() {
                    Some(packed) => base64::prelude::BASE64_STANDARD.decode(packed).unwrap(),
                    None => row["body"].as_str().unwrap().as_bytes().to_vec(),
                };
                let status = row["status"].as_u64().or_else(|| row["status"].as_str()?.parse().ok()).unwrap();
                let faults = faults(want, &self.decode(u16::try_from(status).unwrap(), &body));
                all += 1;
                if faults.is_empty() {
                    right += 1;
                } else {
                    wrong.push(format!("{id}: {}", faults.join("; ")));
                }
            }
            println!("{vendor:12}{right:5}/{all}");
            total += all;
        }
        println!("{} of {total}", total - wrong.len());
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        Some(total)
    }
}

fn arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        json!({})
    } else {
        serde_json::from_str(text).unwrap_or_else(|_| json!({ "__raw__": text }))
    }
}

/// What is wrong.
fn faults(expected: &Value, got: &Result<ChatResponse>) -> Vec<String> {
    let text = |key: &str| expected[key].as_str().unwrap_or("");
    if expected["kind"] == "error" {
        let message: String = expected["error"]["message"].as_str().unwrap_or("").chars().take(60).collect();
        return match got {
            Ok(_) => vec!["no error".into()],
            Err(error) => error_faults(error, &expected["error"]["status"], &message),
        };
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
    same(&format!("text {:?} for {:?}", r.text(), text("text")), r.text() == text("text"));
    same("refusal", r.refusal().unwrap_or("") == text("refusal"));
    let reasoned =
        r.message.parts.iter().any(|p| matches!(p, Part::Reasoning { text, .. } if !text.is_empty()));
    same("reasoning", text("reasoning").is_empty() || reasoned);
    let calls: Vec<Value> =
        r.tool_calls().map(|c| json!({"name": c.name, "args": arguments(&c.arguments)})).collect();
    let wanted: Vec<Value> = expected["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| json!({"name": c["name"], "args": c["args"]}))
        .collect();
    same("tool calls", calls == wanted);
    let finish = text("finish");
    same(
        &format!("finish {:?} for {finish:?}", r.finish_raw),
        finish.is_empty() || r.finish_raw.as_deref() == Some(finish),
    );
    for (key, count) in [("input", r.usage.input_tokens), ("output", r.usage.output_tokens)] {
        same(key, expected["usage"][key].is_null() || expected["usage"][key].as_u64() == count);
    }
    // Not in the checker: counts of the cache, where the verdict has them.
    let cached = &expected["usage"]["cached"];
    same(
        "cached",
        cached.is_null() || cached.as_u64() == Some(0) || cached.as_u64() == r.usage.cached_tokens,
    );
    faults
}

fn error_faults(error: &Error, status: &Value, message: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if status.as_u64() != Some(200) && status.as_u64() != error.status().map(u64::from) {
        faults.push(format!("status {:?} for {status}", error.status()));
    }
    if !error.message().contains(message) {
        faults.push(format!("message lost: {}", error.message()));
    }
    faults
}
