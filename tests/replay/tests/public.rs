//! The recorded exchanges of real vendors, each with each fault, judged by their verdicts.
//!
//! A fault that leaves the answer intact must not be noticed; one that does not must be a typed error, never a short
//! answer.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test")]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use katena_replay::rows::{self, Row};
use katena_replay::{Fault, judge};
use serde_json::Value;

/// Routes that no component of Katena speaks; the client only passes their errors on.
const NO_PROTOCOL: [&str; 4] = ["other", "models", "moderations", "batches"];

fn recorded() -> Option<(Vec<Row>, HashMap<String, Value>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/replay");
    let verdicts = dir.join("expect.jsonl.gz");
    if !verdicts.exists() {
        println!("skipped: the recorded traffic is not beside this checkout");
        return None;
    }
    let verdicts: HashMap<String, Value> = rows::lines(&verdicts)
        .unwrap()
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|v| (v["id"].as_str().unwrap().to_owned(), v))
        .collect();
    let rows = rows::load(&dir).unwrap().into_iter().filter(|r| verdicts.contains_key(&r.id)).collect();
    Some((rows, verdicts))
}

/// What is wrong with a report of a damaged exchange.
fn damaged(fault: Fault, row: &Row, verdict: &Value, report: &Value) -> Vec<String> {
    if !report["error"].is_null() {
        let kind = report["error"]["kind"].as_str().unwrap_or("");
        let typed = !matches!(kind, "" | "unexpected" | "config");
        return if typed {
            Vec::new()
        } else {
            vec![format!("an error without a kind: {}", report["error"])]
        };
    }
    let untouched = fault.apply(row, 1).is_some_and(|wire| {
        // A small reply is there as a whole before the silence begins.
        wire.body == row.body && wire.status == row.status && wire.cut.is_none()
    });
    if untouched { judge::faults(verdict, report) } else { vec!["an answer from damaged bytes".to_owned()] }
}

/// A verdict that knows neither a finish reason nor usage of a whole stream was made by something that could not read it.
fn is_unread(row: &Row, verdict: &Value) -> bool {
    row.api == "converse.stream" && verdict["kind"] == "ok" && verdict["finish"].is_null()
}

fn check(fault: Fault) {
    let Some((rows, verdicts)) = recorded() else { return };
    let rows: Vec<Row> = rows.into_iter().filter(|row| !is_unread(row, &verdicts[&row.id])).collect();
    let rows: Vec<Row> = match fault {
        // These cost time or bytes by the exchange: every seventh will do, of the small ones. The program takes all.
        Fault::Bytes1 | Fault::HugeLine | Fault::Stall => {
            rows.into_iter().filter(|r| r.body.len() < 40_000).step_by(7).collect()
        }
        _ => rows,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let reports = runtime.block_on(katena_replay::run(rows.clone(), fault)).unwrap();
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::new());
    for (row, report) in rows.iter().zip(&reports) {
        let verdict = &verdicts[&row.id];
        let faults = if fault.is_harmless() {
            judge::faults(verdict, report)
        } else if NO_PROTOCOL.contains(&row.api.as_str()) || row.request["top_n"] == 0 {
            // Not one of Katena's protocols; or nothing is wanted, so nobody is asked.
            continue;
        } else {
            damaged(fault, row, verdict, report)
        };
        let count: &mut (u32, u32) = counts.entry((row.provider.clone(), row.api.clone())).or_default();
        count.1 += 1;
        if faults.is_empty() {
            count.0 += 1;
        } else {
            wrong.push(format!("{}: {}", row.id, faults.join("; ")));
        }
    }
    for ((provider, api), (right, all)) in counts {
        println!("{provider:12}{api:18}{right:5}/{all}");
    }
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

macro_rules! each {
    ($($name:ident $fault:ident)*) => {$(
        #[test]
        fn $name() {
            check(Fault::$fault);
        }
    )*};
}

each! {
    as_recorded None
    one_byte_at_a_time Bytes1
    lines_end_with_crlf Crlf
    lines_end_with_cr Cr
    with_comments Comments
    with_a_byte_order_mark Bom
    without_the_last_blank_line NoLastBlank
    compressed Gzip
    with_a_huge_line HugeLine
    with_done_twice DupDone
    with_a_wrong_content_type WrongType
    after_429 E429
    after_429_in_milliseconds E429Ms
    after_500 E500
    after_503 E503
    after_529 E529
    after_a_dropped_connection Reset
    cut_in_the_middle Cut50
    cut_inside_a_character CutUtf8
    fallen_silent Stall
    a_page_of_a_proxy Html502
    an_empty_success Empty200
    broken_json BadJson
}

#[test]
fn every_fault_is_checked() {
    assert_eq!(Fault::ALL.len(), 23);
    for fault in Fault::ALL {
        assert_eq!(Fault::named(fault.name()), Some(*fault));
    }
}
