//! Broken, encrypted, empty and hostile files: each is reported with its name and reason, and the rest is read.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests and their helpers")]

use std::time::Instant;

use katena_tests::{Bench, root, run};
use serde_json::Value;

/// Files that no parser can make sense of, made here; more come from the evaluation set beside the clone.
fn broken(bench: &Bench) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(bench.docs().join(name), bytes).unwrap();
    write("cut.pdf", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R");
    write("empty.pdf", b"");
    write(
        "noise.pdf",
        &(0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect::<Vec<_>>(),
    );
    write("deep.html", format!("{}deep", "<div>".repeat(100_000)).as_bytes());
    write("empty.md", b"");
    write("nul.csv", b"a,b\n\0,\0\n");
    bench.write("good.md", "The lighthouse keeper lights the lamp at nine in the evening.\n");
}

#[test]
fn a_bad_file_is_named_and_the_rest_is_read() {
    let bench = Bench::new();
    broken(&bench);
    let answer = bench.ingest();
    assert_eq!(answer.code, 4, "incomplete: {answer:#?}");
    let failed = answer.json["failed"].as_array().unwrap();
    for name in ["cut.pdf", "empty.pdf", "noise.pdf"] {
        let row = failed.iter().find(|f| f["uri"].as_str().unwrap().ends_with(name));
        let reason =
            row.unwrap_or_else(|| panic!("{name} is not reported: {answer:#?}"))["reason"].as_str().unwrap();
        assert!(!reason.is_empty());
        assert!(answer.stderr.lines().any(|l| l.contains(name)), "{name} is told: {}", answer.stderr);
    }
    let found = run(&mut bench.command(&["search", "when does the lighthouse keeper light the lamp"])).done();
    assert_eq!(found.files()[0], "good.md");
}

#[test]
fn the_hostile_set_is_survived() {
    let set = root().join("../shared/evals/bad_inputs");
    let Ok(manifest) = std::fs::read_to_string(set.join("manifest.json")) else {
        eprintln!("skipped: there is no {}", set.display());
        return;
    };
    let rows: Vec<Value> = serde_json::from_str(&manifest).unwrap();
    let bench = Bench::new();
    bench.write("good.md", "The lighthouse keeper lights the lamp at nine in the evening.\n");
    let mut names = Vec::new();
    for row in &rows {
        let name = row["file"].as_str().unwrap();
        let ours = ["pdf", "html", "csv", "markdown", "splitter"].contains(&row["loader"].as_str().unwrap());
        // Some of the large ones are made by a script and may not be there.
        if ours && std::fs::copy(set.join(name), bench.docs().join(name)).is_ok() {
            names.push(name.to_owned());
        }
    }
    assert!(names.len() > 20, "{names:?}");
    let start = Instant::now();
    let answer = bench.ingest();
    eprintln!("{} hostile files in {:.1} s", names.len(), start.elapsed().as_secs_f64());
    assert!([0, 4].contains(&answer.code), "{answer:#?}");
    let counts = &answer.json["counts"]["documents"];
    let sum: u64 = ["added", "empty", "failed"].iter().map(|k| counts[k].as_u64().unwrap()).sum();
    // A table without rows holds no document, and the good one was there before.
    let rowless = names.iter().filter(|n| ["empty.csv", "only_header.csv"].contains(&n.as_str())).count();
    let expected = (names.len() - rowless + 1) as u64;
    assert!(sum >= expected, "each is read, empty or failed: {counts} of {expected}");
    for row in answer.json["failed"].as_array().unwrap() {
        assert!(!row["uri"].as_str().unwrap().is_empty() && !row["reason"].as_str().unwrap().is_empty());
    }
    let encrypted = answer.json["failed"]
        .as_array()
        .unwrap()
        .iter()
        .any(|f| f["uri"].as_str().unwrap().ends_with("encrypted_unknown.pdf"));
    assert!(encrypted, "{answer:#?}");
    let found = run(&mut bench.command(&["search", "when does the lighthouse keeper light the lamp"])).done();
    assert_eq!(found.files()[0], "good.md");
}
