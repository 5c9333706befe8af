//! The workspace's own commands. `cargo xtask help` lists them.
//!
//! This program links no Katena crate, so that it builds in seconds and can set up what the others need to build.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod ask;
mod deny;
mod lines;
mod process;
mod servers;
mod setup;
mod stages;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::fmt;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  ask \"QUESTION\" [PATH] [FLAGS]  set up what is missing, build katena, ask it about the folder PATH
                                (default: examples/handbook); `cargo xtask ask --help` lists its flags
  test                          set up, then every check: format, clippy, tidy, deny, unit, contract,
                                integration, end-to-end and doc tests, with their servers
  tidy                          the rules of the house that a script can see
  deny                          dependencies: bans, licences, sources
  servers                       start the test servers, print their addresses, stop them at end of input
  help                          this

Exit codes: 0 done, 1 something failed, 2 the set-up needs you (the exact command is printed).
Downloads and tools go to $KATENA_CACHE, else $XDG_CACHE_HOME/katena, else ~/.cache/katena.
";

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something failed: exit code 1.
    Failed(String),
    /// The person at the keyboard has to do something first: exit code 2.
    NeedsYou(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) | Self::NeedsYou(text) => f.write_str(text),
        }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

type Result<T, E = Stop> = std::result::Result<T, E>;

/// A line of progress: never on stdout, which belongs to the program that is run.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<_> = args.collect();
    let result = match command.to_str() {
        Some("ask") => ask::run(rest),
        Some("test") => test::run(),
        Some("tidy") => tidy::run(),
        Some("deny") => deny::run(),
        Some("servers") => servers::run(),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Stop::NeedsYou(format!("no command {:?}\n\n{HELP}", other.unwrap_or("")))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("xtask: {stop}");
            ExitCode::from(if matches!(stop, Stop::NeedsYou(_)) { 2 } else { 1 })
        }
    }
}
