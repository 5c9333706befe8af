//! `cargo xtask deny`: bans, licences and sources of all dependencies, by the rules in `deny.toml`.

use crate::{Result, Stop, process, tools, workspace};

/// Checks, with what is found on stdout.
pub(crate) fn run() -> Result<()> {
    let program = tools::cargo_deny()?;
    let mut command = workspace::cargo();
    // As a cargo subcommand, so that it asks the same cargo for the dependency graph.
    let path = program.parent().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    command.env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap_or_default()));
    command.args([
        "deny",
        "--all-features",
        "--workspace",
        "--locked",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    if process::show(&command, |_| ())? {
        Ok(())
    } else {
        Err(Stop::Failed("cargo deny found something".into()))
    }
}
