//! Hostile files: each row of the shared manifest, through the worker process.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use katena_core::{Document, Result, Source};
use katena_loaders::{Format, Limits, ParseJob, Parser};
use serde_json::Value;

fn format(loader: &str) -> Option<Format> {
    Some(match loader {
        "pdf" => Format::Pdf,
        "html" => Format::Html,
        "csv" => Format::Csv,
        "markdown" => Format::Markdown,
        "text" | "splitter" => Format::Text,
        _ => return None,
    })
}

/// Where a file is and what it claims to be, by name.
type Files = BTreeMap<String, (PathBuf, Format)>;

/// Every file that can be had: those in the folder, and all others made by the generator where Python is there.
fn files() -> Option<(tempfile::TempDir, Files)> {
    let folder = support::evals("bad_inputs")?;
    let made = tempfile::tempdir().unwrap();
    let mut files = BTreeMap::new();
    let mut take = |folder: &Path| {
        let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
        for row in serde_json::from_str::<Vec<Value>>(&manifest).unwrap() {
            let name = row["file"].as_str().unwrap().to_owned();
            let Some(format) = format(row["loader"].as_str().unwrap()) else { continue };
            let path = folder.join(&name);
            if path.exists() {
                files.insert(name, (path, format));
            }
        }
    };
    let script = support::evals("tools/make_bad_inputs.py")?;
    match Command::new("python3").arg(script).arg(made.path()).output() {
        Ok(output) if output.status.success() => take(made.path()),
        other => eprintln!("skipped: the larger files can't be made: {other:?}"),
    }
    take(&folder);
    Some((made, files))
}

/// What must come of a file; `true` is fine.
fn is_right(name: &str, result: &Result<Vec<Document>>) -> bool {
    let text = || {
        result.as_ref().map(|d| d.iter().map(|d| &*d.text).collect::<Vec<_>>().join("\n")).unwrap_or_default()
    };
    let says = |word: &str| result.as_ref().is_err_and(|e| e.message().contains(word));
    let (text, failed) = (text(), result.is_err());
    match name {
        "ok.pdf"
        | "xref_prev_self.pdf"
        | "huge_count.pdf"
        | "no_xref.pdf"
        | "bad_startxref.pdf"
        | "leading_garbage.pdf" => text.contains("Hello PDF"),
        "huge_length.pdf" | "negative_length.pdf" | "page_tree_cycle.pdf" => {
            failed || text.contains("Hello PDF")
        }
        "flate_bomb.pdf" => says("memory") || says("unpacks"),
        "flate_bomb_chain.pdf" => says("unpacks"),
        "encrypted_unknown.pdf" => says("encrypted"),
        "empty.pdf" => says("empty"),
        "just_header.pdf" | "truncated_mid_stream.pdf" => failed,
        "deep_divs.html" => text == "deep",
        "unclosed_tags.html" => text == "end",
        "big_attr.html" => text == "x",
        "script_text.html" => text == "keep\n\ntail",
        "entities.html" => text.contains("<b> &amp; 😀 😀 ¬anentity; ©") && text.contains('\u{fffd}'),
        "latin1_meta.html" => text == "café",
        "sjis_meta.html" => text == "日本語",
        "utf16le_bom.html" => text == "hé",
        "hidden_injection.html" => text == "Public text",
        "meta_refresh.html" => text == "ok",
        "unclosed_quote.csv" => failed || result.as_ref().unwrap().len() == 1,
        "bom_crlf.csv" => text == "id: 1\nname: a\r\nb\nid: 2\nname: say \"hi\"",
        "ragged.csv" => text == "a: 1\nb: 2\na: 1\nb: 2\nc: 3\ncolumn 4: 4",
        "latin1.csv" => text == "n: münchen",
        "nul.csv" => text == "a: 1\nb: \u{fffd}",
        "wide.csv" => text.lines().count() == 100_000,
        "dup_headers.csv" => text == "a: 1\na: 2\na: 3",
        "only_header.csv" => result.as_ref().is_ok_and(Vec::is_empty),
        "empty.csv" => failed || result.as_ref().is_ok_and(Vec::is_empty),
        "formula.csv" => text.contains("=HYPERLINK(") && text.contains("n: +cmd|calc") && text.contains("@x"),
        "invalid_utf8.txt" => says("byte 3"),
        "utf16.txt" => text == "hé",
        // The rest must end within limits, in text or in an error.
        _ => true,
    }
}

#[tokio::test]
async fn every_hostile_file_ends_in_text_or_in_an_error_that_names_it() {
    let Some((_made, files)) = files() else { return };
    let parser = support::workers();
    let limits = Limits::default().with_timeout(Duration::from_secs(20));
    let mut wrong = Vec::new();
    for (name, (path, format)) in &files {
        let begun = std::time::Instant::now();
        let job = ParseJob::new(path, *format, Source::new(name.as_str())).with_limits(limits.clone());
        let result = parser.parse(job).await;
        let shown = match &result {
            Ok(documents) => format!("{} documents", documents.len()),
            Err(error) => error.to_string(),
        };
        eprintln!("{name}: {:.2} s, {shown}", begun.elapsed().as_secs_f32());
        if let Err(error) = &result {
            assert_eq!(error.context("uri"), Some(name.as_str()));
            assert_ne!(error.kind(), katena_core::ErrorKind::Timeout, "{name}");
        }
        if !is_right(name, &result) {
            wrong.push(format!(
                "{name}: {shown} {:?}",
                result.map(|d| d.first().map(|d| d.text.chars().take(80).collect::<String>()))
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(files.len() > 30, "{}", files.len());
}

/// What a worker that stays alive took at most, from the kernel's books.
#[cfg(target_os = "linux")]
#[test]
fn a_worker_stays_within_its_memory() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;

    let Some((_made, files)) = files() else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_katena-parse-worker"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let limits = serde_json::to_value(Limits::default()).unwrap();
    let mut peak = 0;
    for name in [
        "deep_divs.html",
        "unclosed_tags.html",
        "big_attr.html",
        "wide.csv",
        "tounicode_bad.pdf",
        "spaces.txt",
    ] {
        let Some((path, format)) = files.get(name) else { continue };
        let job = serde_json::json!({
            "path": path, "format": format, "source": Source::new(name), "limits": limits
        });
        writeln!(input, "{job}").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            output.read_line(&mut line).unwrap();
            assert!(!line.is_empty(), "the worker died of {name}");
            if !line.starts_with("{\"document\"") {
                break;
            }
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let high = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        peak = high.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap();
        eprintln!("{name}: at most {} MB so far", peak / 1000);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(peak < 256_000, "{peak} kB");
}
