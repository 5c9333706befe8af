//! Stages: run one after another, timed, counted, and put into a table at the end.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::{Result, process};

/// Passed and failed checks; a stage without tests of its own is one check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    /// Adds what a line of `cargo test` or `cargo nextest run` sums up, if it is such a line.
    pub(crate) fn add_line(&mut self, line: &str) {
        let line = plain(line);
        let line = line.trim();
        let rest = match (line.strip_prefix("test result:"), line.strip_prefix("Summary [")) {
            (Some(rest), _) => rest.split_once(". ").map_or("", |(_, counts)| counts),
            (_, Some(rest)) => rest.split_once("run: ").map_or("", |(_, counts)| counts),
            _ => return,
        };
        for piece in rest.split([',', ';']) {
            let mut words = piece.split_whitespace();
            let (Some(Ok(n)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += n,
                "failed" | "exec" | "timed" => self.failed += n,
                "ignored" | "skipped" => self.skipped += n,
                _ => {}
            }
        }
    }
}

/// The line without colour codes.
fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    ok: bool,
    counts: Counts,
    time: Duration,
}

/// What was run so far.
#[derive(Debug, Default)]
pub(crate) struct Stages(Vec<Stage>);

impl Stages {
    /// Runs a stage that is one check.
    pub(crate) fn check<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let start = announce(name);
        let (ok, value) = match work() {
            Ok(value) => (true, Some(value)),
            Err(stop) => {
                println!("{stop}");
                (false, None)
            }
        };
        self.push(name, ok, Counts::default(), start);
        value
    }

    /// Runs a command as a stage that is one check.
    pub(crate) fn command(&mut self, name: &'static str, command: &Command) -> bool {
        let start = announce(name);
        let ok = shown(command, |_| ());
        self.push(name, ok, Counts::default(), start);
        ok
    }

    /// Runs a command whose output has lines that count tests.
    pub(crate) fn tests(&mut self, name: &'static str, command: &Command) {
        let start = announce(name);
        let mut counts = Counts::default();
        let ok = shown(command, |line| counts.add_line(line));
        self.push(name, ok, counts, start);
    }

    fn push(&mut self, name: &'static str, ok: bool, mut counts: Counts, start: Instant) {
        // A stage that failed without a failed test (it didn't compile, it was killed) is one failure.
        if !ok && counts.failed == 0 {
            counts.failed = 1;
        } else if ok && counts == Counts::default() {
            counts.passed = 1;
        }
        self.0.push(Stage { name, ok, counts, time: start.elapsed() });
    }

    /// Prints the table and the closing line. True if everything passed.
    pub(crate) fn close(&self) -> bool {
        print!("\n{}", self.table());
        self.0.iter().all(|s| s.ok)
    }

    fn table(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        let rule = "-".repeat(66);
        let mut sum = Counts::default();
        let mut time = Duration::ZERO;
        let _ = writeln!(
            out,
            "{:<32} {:>6} {:>7} {:>7} {:>10}",
            "stage", "result", "passed", "failed", "seconds"
        );
        let _ = writeln!(out, "{rule}");
        for Stage { name, ok, counts, time: t } in &self.0 {
            let result = if *ok { "ok" } else { "FAILED" };
            let seconds = t.as_secs_f64();
            let (p, f) = (counts.passed, counts.failed);
            let _ = writeln!(out, "{name:<32} {result:>6} {p:>7} {f:>7} {seconds:>10.1}");
            sum.passed += p;
            sum.failed += f;
            sum.skipped += counts.skipped;
            time += *t;
        }
        let _ = writeln!(out, "{rule}");
        let _ = writeln!(out, "{:<56}{:>10.1}", "total", time.as_secs_f64());
        if sum.skipped > 0 {
            let _ = writeln!(out, "{} skipped", sum.skipped);
        }
        let _ = writeln!(out, "{} passed, {} failed", sum.passed, sum.failed);
        out
    }
}

fn announce(name: &str) -> Instant {
    println!("\n== {name}");
    Instant::now()
}

fn shown(command: &Command, line: impl FnMut(&str)) -> bool {
    process::show(command, line).unwrap_or_else(|stop| {
        println!("{stop}");
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_counted() {
        let mut counts = Counts::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.10s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.0s",
            "\u{1b}[32;1m     Summary\u{1b}[0m [   1.234s] \u{1b}[1m10\u{1b}[0m tests run: \u{1b}[1m7\u{1b}[0m passed (1 slow), 2 failed, 1 timed out, 4 skipped",
            "running 3 tests",
            "test says::passed ... ok",
        ] {
            counts.add_line(line);
        }
        assert_eq!(counts, Counts { passed: 22, failed: 5, skipped: 5 });
    }

    #[test]
    fn the_closing_line_sums_and_a_failure_without_tests_counts() {
        let mut stages = Stages::default();
        assert_eq!(stages.check("fine", || Ok(7)), Some(7));
        stages.tests(
            "tests",
            Command::new("sh").args(["-c", "echo 'test result: ok. 5 passed; 0 failed; 0 ignored'"]),
        );
        assert!(stages.close());
        assert!(!stages.command("broken", Command::new("sh").args(["-c", "exit 4"])));
        stages.tests("does not compile", Command::new("sh").args(["-c", "exit 101"]));
        assert!(!stages.close());
        assert_eq!(stages.table().lines().last(), Some("6 passed, 2 failed"));
    }
}
