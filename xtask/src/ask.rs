//! `cargo xtask ask`: set up, build, run.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::{Result, Stop, say, setup, workspace};

/// Sets up what is missing, builds the release binary and becomes `katena ask ARGS`.
pub(crate) fn run(args: Vec<OsString>) -> Result<()> {
    setup::system(setup::BUILD)?;
    let binary = workspace::target()?.join("release/katena");
    if !binary.exists() {
        say("building katena; the first time takes several minutes, llama.cpp is compiled");
    }
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--locked", "-p", "katena-cli"]).stdin(Stdio::null());
    if !std::io::stderr().is_terminal() || binary.exists() {
        build.arg("--quiet");
    }
    setup::compiler_cache(&mut build);
    // Cargo reports on stderr; stdout stays the answer's.
    if !build.status()?.success() {
        return Err(Stop::Failed("the build failed; see above".into()));
    }
    let error = Command::new(&binary)
        .arg("ask")
        .args(args)
        .env("KATENA_DEFAULT_PATH", workspace::root().join("examples/handbook"))
        .exec();
    Err(Stop::Failed(format!("{}: {error}", binary.display())))
}
