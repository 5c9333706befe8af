//! Helpers of the end-to-end tests: the built command, folders to ask about, and what it answered.
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The root of the clone.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The built command: `$KATENA_BIN`, else the one in the folder that this test was built into.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KATENA_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let built = test.ancestors().nth(2).map(|d| d.join("katena")).unwrap_or_default();
    assert!(built.is_file(), "no {}: build it first by `cargo build -p katena-cli`", built.display());
    built
}

/// The value of a variable that `cargo xtask test` sets. Missing, it is `None` with a printed line, or a failure where
/// servers or models are required.
pub fn required(variable: &str) -> Option<String> {
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => Some(value),
        _ => {
            let must = |name: &str| std::env::var(name).is_ok_and(|v| v == "1");
            let model = variable.ends_with("_MODEL");
            let strict = if model { must("KATENA_REQUIRE_MODELS") } else { must("KATENA_REQUIRE_SERVERS") };
            assert!(!strict, "{variable} is not set, and it is required here");
            eprintln!("skipped: {variable} is not set (cargo xtask test sets it)");
            None
        }
    }
}

/// A folder of documents, an index file beside it, and a cache that no other test uses.
#[derive(Debug)]
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// An empty folder of documents.
    pub fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        std::fs::create_dir(bench.docs()).expect("a folder");
        bench
    }

    /// The folder of documents.
    pub fn docs(&self) -> PathBuf {
        self.dir.path().join("docs")
    }

    /// The index.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("index.katena")
    }

    /// The cache.
    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Writes a document.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.docs().join(name), text).expect("a document");
    }

    /// `katena COMMAND… DOCS --store INDEX --embedder hash:64 --json`, with this bench's cache.
    pub fn command(&self, command: &[&str]) -> Command {
        let mut katena = self.bare(command);
        katena.arg(self.docs()).arg("--store").arg(self.store()).args(["--embedder", "hash:64", "--json"]);
        katena
    }

    /// `katena COMMAND…` with this bench's cache.
    pub fn bare(&self, command: &[&str]) -> Command {
        let mut katena = katena();
        katena.args(command).env("KATENA_CACHE", self.cache());
        katena
    }

    /// Ingests the folder to the end.
    pub fn ingest(&self) -> Answer {
        run(&mut self.command(&["ingest"]))
    }
}

/// The command, with nothing of this environment that would change what it does.
pub fn katena() -> Command {
    let mut command = Command::new(binary());
    command.env_remove("KATENA_DEFAULT_PATH").env("OMP_WAIT_POLICY", "PASSIVE");
    command.stdin(std::process::Stdio::null());
    command
}

/// What the command gave.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// The object on stdout, if it is one.
    pub json: Value,
    /// Stdout.
    pub stdout: String,
    /// Stderr.
    pub stderr: String,
}

impl Answer {
    /// A number in the object, by its JSON pointer.
    pub fn number(&self, pointer: &str) -> u64 {
        let value = self.json.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number {pointer} in {self:#?}"))
    }

    /// The file names of the sources.
    pub fn files(&self) -> Vec<String> {
        let sources = self.json["sources"].as_array().into_iter().flatten();
        sources
            .filter_map(|s| Path::new(s["uri"].as_str()?).file_name()?.to_str().map(str::to_owned))
            .collect()
    }

    /// The same, if the command succeeded.
    pub fn done(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }
}

/// Runs to the end.
pub fn run(command: &mut Command) -> Answer {
    let Output { status, stdout, stderr } = command.output().expect("the command starts");
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    Answer {
        code: status.code().unwrap_or(-1),
        json: serde_json::from_str(&stdout).unwrap_or_default(),
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Numbers that look random and are the same every time.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to, not including, `below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}

/// Does `quote` hold `answer`, not as a part of a longer number or word? White space counts as one blank.
pub fn holds(quote: &str, answer: &str) -> bool {
    let flat = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let (quote, answer) = (flat(quote), flat(answer));
    quote.match_indices(&answer).any(|(at, found)| {
        let (before, after) = (&quote[..at], &quote[at + found.len()..]);
        let joins = |c: char| c.is_alphanumeric();
        let digit_run = |c: Option<char>| c.is_some_and(joins);
        let starts = answer.chars().next().is_some_and(joins);
        let ends = answer.chars().next_back().is_some_and(joins);
        !(starts && digit_run(before.chars().next_back()) || ends && digit_run(after.chars().next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_matched_at_their_borders() {
        assert!(holds("up to €50 per\n night", "€50 per night"));
        assert!(!holds("up to €500", "€50"));
        assert!(!holds("after 36 months", "6 months"));
        assert!(holds("(6 months)", "6 months"));
    }
}
