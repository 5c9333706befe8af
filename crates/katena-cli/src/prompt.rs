//! `katena prompt check`: mistakes in prompt files.

use std::fmt::Write as _;
use std::path::Path;

use katena_prompts::{LintReport, Severity, lint};

use crate::args::PromptCommand;
use crate::failure::{Exit, Failure, Result};
use crate::output::{print, print_json, printable};

pub(crate) fn command(what: &PromptCommand) -> Result<Exit> {
    match what {
        PromptCommand::Check { folder, json } => {
            let report = lint(folder)?;
            if *json {
                let value = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
                print_json(&value)?;
            } else {
                print(&told(&report, folder))?;
            }
            Ok(if report.has_errors() { Exit::Failed } else { Exit::Done })
        }
    }
}

/// One line a finding, then a sum.
fn told(report: &LintReport, folder: &Path) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let _ = writeln!(text, "{}", printable(&finding.to_string()));
    }
    let errors = report.findings.iter().filter(|f| f.severity == Severity::Error).count();
    let warnings = report.findings.len() - errors;
    let _ = writeln!(
        text,
        "{}: {} prompts, {} partials, {errors} errors, {warnings} warnings",
        printable(&folder.display().to_string()),
        report.prompts,
        report.partials
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_make_the_command_fail() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.prompt"), "---\nname: a\nversion: 1\n---\nHi").unwrap();
        let check = |json| PromptCommand::Check { folder: dir.path().to_owned(), json };
        assert_eq!(command(&check(false)).unwrap(), Exit::Done);
        std::fs::write(dir.path().join("b.prompt"), "---\nname: b\n---\n{{#if}").unwrap();
        assert_eq!(command(&check(true)).unwrap(), Exit::Failed);
        let text = told(&lint(dir.path()).unwrap(), dir.path());
        assert!(
            text.contains("b.prompt:4: error: ")
                && text.ends_with("2 prompts, 0 partials, 1 errors, 0 warnings\n")
        );
    }
}
