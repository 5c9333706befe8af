//! End-to-end figures of the installed command: peak memory, ingested chunks a second, time to the first token.
//!
//! `cargo run --release -p katena-benches --bin pipeline -- path/to/katena FOLDER "QUESTION" [ROUNDS]`
//!
//! Each round runs the command as a whole process, once on a fresh index and once again on the same one. Peak memory is the
//! kernel's figure for all finished child processes so far, hence of the largest.
#![expect(clippy::print_stdout, reason = "prints a table")]

use std::path::Path;
use std::process::Command;

use katena::prelude::*;
use serde_json::Value;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [katena, folder, question, rounds @ ..] = args.as_slice() else {
        println!("usage: pipeline KATENA FOLDER QUESTION [ROUNDS]");
        return Ok(());
    };
    let rounds: usize = rounds.first().and_then(|r| r.parse().ok()).unwrap_or(3);
    let store = std::env::temp_dir().join(format!("katena-pipeline-{}.katena", std::process::id()));
    println!(
        "| run | chunks embedded | skipped | chunks/s | first token after | of it in the model | total | peak memory |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for _ in 0..rounds {
        remove(&store);
        for name in ["fresh index", "again"] {
            row(name, &ask(katena, folder, question, &store)?);
        }
    }
    remove(&store);
    Ok(())
}

fn remove(store: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = store.as_os_str().to_owned();
        name.push(suffix);
        // Missing is what is wanted.
        let _ = std::fs::remove_file(name);
    }
}

/// The command's JSON, with the peak memory that `/usr/bin/time` saw added as `peak_kib`.
fn ask(katena: &str, folder: &str, question: &str, store: &Path) -> Result<Value> {
    let output = Command::new("/usr/bin/time")
        .args(["-f", "peak_kib=%M", katena, "ask", question, folder, "--json", "--store"])
        .arg(store)
        .output()
        .map_err(|e| Error::config("this needs GNU time (package `time`)").with_source(e))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let mut json: Value = serde_json::from_slice(&output.stdout)
        .map_err(|e| Error::unexpected(format!("no JSON from the command: {errors}")).with_source(e))?;
    let peak =
        errors.lines().rev().find_map(|l| l.strip_prefix("peak_kib=")).and_then(|n| n.parse::<u64>().ok());
    json["peak_kib"] = peak.into();
    Ok(json)
}

fn row(name: &str, json: &Value) {
    let seconds = |key: &str| json["seconds"][key].as_f64().unwrap_or(f64::NAN);
    let count = |key: &str| json["counts"][key].as_u64().unwrap_or(0);
    let embedded = count("chunks_embedded");
    println!(
        "| {name} | {embedded} | {} | {:.1} | {:.2} s | {:.2} s | {:.2} s | {:.0} MiB |",
        count("chunks_skipped"),
        if embedded == 0 { 0.0 } else { embedded as f64 / seconds("ingest") },
        seconds("total_to_first_token"),
        seconds("first_token"),
        seconds("total"),
        json["peak_kib"].as_f64().unwrap_or(f64::NAN) / 1024.0,
    );
}
