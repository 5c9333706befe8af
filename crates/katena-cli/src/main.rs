//! The command `katena`: ask your documents, with sources, from a local model. `katena help` says more.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod args;
mod ask;
mod cache;
mod engine;
mod failure;
mod focus;
mod index;
mod models;
mod output;
mod progress;
mod prompt;
mod search;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use katena_core::Context;
use serde_json::json;

use args::{Cli, Command, ModelsCommand, PromptCommand};
use failure::{Exit, Failure, Result};
use progress::{Progress, Quiet};

/// How long a cancelled run may take to end by itself: models stop within a step, a write is finished.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Parse) {
        return match katena_loaders::worker::serve(std::io::stdin().lock(), std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => Exit::Failed.into(),
        };
    }
    again_with_patient_threads();
    let json = match &cli.command {
        Command::Ask(a) => a.documents.json,
        Command::Search(a) => a.documents.json,
        Command::Ingest(a) => a.documents.json,
        Command::Prompt(a) => matches!(a.what, PromptCommand::Check { json: true, .. }),
        _ => false,
    };
    let exit = match start(cli.command) {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("katena: {failure}");
            }
            if json {
                let error = json!({"error": {"message": failure.message, "exit_code": failure.exit.code()}});
                let _ = output::print_json(&error);
            }
            failure.exit
        }
    };
    // The engine's thread may still be putting its model away: leaving without tearing C++'s statics down under it is safe.
    let _ = std::io::Write::flush(&mut std::io::stdout());
    signal_hook::low_level::exit(exit.code().into())
}

/// Runs a command to its end, or until Ctrl-C.
fn start(command: Command) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let context = Context::new();
    let cancel = context.cancel.clone();
    let work = async move {
        match command {
            Command::Ask(args) => ask::run(args, context).await,
            Command::Search(args) => search::search(args, context).await,
            Command::Ingest(args) => search::ingest(args, context).await,
            Command::Models(args) => {
                let progress = Progress::new(if args.quiet { Quiet::Yes } else { Quiet::No });
                match args.what.unwrap_or(ModelsCommand::List) {
                    ModelsCommand::Get(file) => models::hub::get(&file, progress, context).await,
                    what => index::blocking(move || models::command(what, progress)).await,
                }
            }
            Command::Prompt(args) => index::blocking(move || prompt::command(&args.what)).await,
            Command::Parse => Err(Failure::set_up("a worker is started by its parent only")),
        }
    };
    runtime.block_on(async {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            result = &mut work => return result,
            signal = interrupted() => signal?,
        }
        cancel.cancel();
        let ended = tokio::select! {
            result = tokio::time::timeout(GRACE, &mut work) => result.is_ok(),
            _ = interrupted() => false,
        };
        if !ended {
            // Something still computes; leaving without tearing it down is the one safe way out.
            eprintln!("katena: interrupted");
            signal_hook::low_level::exit(Exit::Interrupted.code().into());
        }
        Err(Failure { exit: Exit::Interrupted, message: "interrupted".into() })
    })
}

/// Resolves at Ctrl-C, or when the process is asked to end.
async fn interrupted() -> Result<()> {
    #[cfg(unix)]
    {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            signal = tokio::signal::ctrl_c() => signal?,
            _ = term.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// OpenMP's threads spin while they wait, which on a busy machine costs most of the speed, and read how to wait only when
/// a process starts: so this one starts again with that said, unless the user said otherwise.
fn again_with_patient_threads() {
    #[cfg(unix)]
    if std::env::var_os("OMP_WAIT_POLICY").is_none() {
        use std::os::unix::process::CommandExt as _;
        let mut args = std::env::args_os();
        let name = args.next().unwrap_or_default();
        let Ok(program) = std::env::current_exe() else { return };
        let error = std::process::Command::new(program)
            .arg0(name)
            .args(args)
            .env("OMP_WAIT_POLICY", "PASSIVE")
            .exec();
        eprintln!("katena: {error}; going on as it is");
    }
}
