//! Looking for mistakes in a folder of prompt files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use katena_core::{Error, Result};
use serde::Serialize;

use super::PromptFile;
use super::library::{Listing, read, read_partials};

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// The prompt does not work, or not as it says.
    Error,
    /// It works, but something is left over.
    Warning,
}

/// One mistake; displays as `file:line: error: message [code]`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("a.prompt"), "---\nname: a\nversion: 1\n---\n{{#if}").unwrap();
/// # let folder = dir.path();
/// let report = katena_prompts::lint(folder)?;
/// assert_eq!((report.findings[0].line, report.findings[0].code.as_str()), (Some(5), "parse"));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is: `parse`, `read`, `name`, `version`, `duplicate`, `undeclared`, `unused`, `schema`, `partial`.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, ": {severity}: {} [{}]", self.message, self.code)
    }
}

/// What [`lint`] found.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("a.prompt"), "---\nname: a\nversion: 1\n---\nHi").unwrap();
/// # let folder = dir.path();
/// let report = katena_prompts::lint(folder)?;
/// assert!(report.prompts == 1 && !report.has_errors());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[must_use]
#[non_exhaustive]
pub struct LintReport {
    /// The number of prompt files.
    pub prompts: usize,
    /// The number of partials.
    pub partials: usize,
    /// The mistakes, by file.
    pub findings: Vec<Finding>,
}

impl LintReport {
    /// True if a finding is an error.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    fn add(&mut self, file: &Path, line: Option<usize>, code: &str, message: impl Into<String>) {
        let severity = if matches!(code, "schema" | "partial") { Severity::Warning } else { Severity::Error };
        let (file, code, message) = (file.to_owned(), code.to_owned(), message.into());
        self.findings.push(Finding { file, line, severity, code, message });
    }
}

/// Checks all prompt files of a folder: that they can be read and compiled (with their partials, helpers and options), have
/// a name and a version that no other has, and that their variables are those that their input schema declares. Variables
/// without any schema, and partials that no prompt mentions, are warnings.
///
/// # Errors
/// Those of the file system for the folder itself; what is wrong with a file is in the report.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("a.prompt"), "---\nname: a\nversion: 1\ninput:\n  properties:\n    x: {}\n---\n{{y}}").unwrap();
/// # let folder = dir.path();
/// let report = katena_prompts::lint(folder)?;
/// let codes: Vec<_> = report.findings.iter().map(|f| (f.code.as_str(), f.line)).collect();
/// assert_eq!(codes, [("undeclared", Some(8)), ("unused", Some(6))]);
/// # Ok::<(), katena_core::Error>(())
/// ```
pub fn lint(folder: impl AsRef<Path>) -> Result<LintReport> {
    let listing = Listing::of(folder.as_ref())?;
    let partials = read_partials(&listing)?;
    let mut report =
        LintReport { prompts: listing.prompts.len(), partials: listing.partials.len(), findings: Vec::new() };
    let mut versions: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    let mut texts = String::new();
    for path in listing.prompts.values() {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => {
                report.add(path, None, "read", error.message());
                continue;
            }
        };
        texts.push_str(&text);
        match PromptFile::parse(&text, &partials) {
            Ok(prompt) => check(&mut report, path, &text, &prompt, &mut versions),
            Err(error) => wrong(&mut report, path, &error, &listing),
        }
    }
    for (name, path) in &listing.partials {
        let others = partials.iter().filter(|(n, _)| n != name).any(|(_, text)| text.contains(name.as_str()));
        if !others && !texts.contains(name.as_str()) {
            report.add(path, None, "partial", format!("no prompt includes the partial `{name}`"));
        }
    }
    Ok(report)
}

/// A prompt that can't be compiled; the mistake may be in a partial.
fn wrong(report: &mut LintReport, path: &Path, error: &Error, listing: &Listing) {
    let mut message = error.message().to_owned();
    for key in ["variable", "helper", "includes", "option", "range", "format", "type"] {
        if let Some(value) = error.context(key) {
            message = format!("{message} ({key}: {value})");
        }
    }
    let partial = error.context("partial");
    if let Some(name) = partial {
        message = format!("{message} (partial: {name})");
    }
    let file = partial.and_then(|name| listing.partials.get(name)).map_or(path, PathBuf::as_path);
    report.add(file, error.context("line").and_then(|l| l.parse().ok()), "parse", message);
}

fn check(
    report: &mut LintReport,
    path: &Path,
    text: &str,
    prompt: &PromptFile,
    versions: &mut BTreeMap<(String, String), PathBuf>,
) {
    if prompt.name().is_none() {
        report.add(path, Some(1), "name", "the prompt has no name");
    }
    if prompt.version().is_none() {
        report.add(path, Some(1), "version", "the prompt has no version");
    }
    if let (Some(name), Some(version)) = (prompt.name(), prompt.version()) {
        let old = versions.insert((name.to_owned(), version.to_owned()), path.to_owned());
        if let Some(old) = old {
            let message = format!("{name}@{version} is also in {}", old.display());
            report.add(path, Some(1), "duplicate", message);
        }
    }
    let Some(input) = &prompt.input else {
        if let Some((name, line)) = prompt.lines.first() {
            report.add(
                path,
                Some(line_of(text, name, *line)),
                "schema",
                "the prompt has variables but no input schema",
            );
        }
        return;
    };
    let mut told: Vec<&str> = Vec::new();
    for (name, line) in &prompt.lines {
        if !input.declares(name) && !told.contains(&name.as_str()) {
            told.push(name);
            let message = format!("the variable `{name}` is used but not declared in the input schema");
            report.add(path, Some(line_of(text, name, *line)), "undeclared", message);
        }
    }
    let others = prompt.prompt().variables().iter().chain(prompt.prompt().optional_variables());
    let used: Vec<&str> = prompt.lines.iter().map(|(n, _)| n).chain(others).map(String::as_str).collect();
    for (name, _) in input.properties() {
        if !used.contains(&name) {
            let line = text.lines().position(|l| l.trim_start().starts_with(&format!("{name}:")));
            let message = format!("the variable `{name}` is declared in the input schema but not used");
            report.add(path, line.map(|n| n + 1), "unused", message);
        }
    }
}

/// The first line from `start` on that holds the name.
fn line_of(text: &str, name: &str, start: usize) -> usize {
    let found = text.lines().enumerate().skip(start.saturating_sub(1)).find(|(_, line)| line.contains(name));
    found.map_or(start, |(n, _)| n + 1)
}
