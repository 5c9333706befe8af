//! `katena-replay --dir DIR --out FILE [--fault NAME]`: serves the recorded exchanges of DIR, damaged if asked to, lets
//! Katena's clients ask for each, and writes what they understood, one JSON line an exchange.

#![allow(clippy::print_stderr, reason = "a program for the command line")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use katena_replay::{Fault, rows, run};

const USAGE: &str = "usage: katena-replay --dir DIR --out FILE [--fault NAME]";

struct Arguments {
    dir: PathBuf,
    out: PathBuf,
    fault: Fault,
}

fn arguments() -> Result<Arguments, String> {
    let (mut dir, mut out, mut fault) = (None, None, Fault::None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, words.next()),
        };
        let value = value.ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--dir" => dir = Some(PathBuf::from(value)),
            "--out" => out = Some(PathBuf::from(value)),
            "--fault" => {
                fault = Fault::named(&value).ok_or_else(|| {
                    let known: Vec<_> = Fault::ALL.iter().map(|f| f.name()).collect();
                    format!("no fault is named {value}; there are: {}", known.join(" ").trim())
                })?;
            }
            _ => return Err(format!("{name} is not known\n{USAGE}")),
        }
    }
    match (dir, out) {
        (Some(dir), Some(out)) => Ok(Arguments { dir, out, fault }),
        _ => Err(USAGE.to_owned()),
    }
}

async fn replay() -> Result<usize, String> {
    let Arguments { dir, out, fault } = arguments()?;
    let reports = run(rows::load(&dir)?, fault).await.map_err(|e| e.to_string())?;
    let file = std::fs::File::create(&out).map_err(|e| format!("{}: {e}", out.display()))?;
    let mut file = std::io::BufWriter::new(file);
    for report in &reports {
        writeln!(file, "{report}").map_err(|e| e.to_string())?;
    }
    file.flush().map_err(|e| e.to_string())?;
    Ok(reports.len())
}

#[tokio::main]
async fn main() -> ExitCode {
    match replay().await {
        Ok(count) => {
            eprintln!("{count} exchanges replayed");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}
