//! `cargo xtask test`: every check, from nothing.

use std::process::Command;

use crate::servers::{self, Servers};
use crate::stages::Stages;
use crate::{Result, Stop, deny, process, setup, tidy, workspace};

/// The chat model's file in the cache's `models` folder; `katena models fetch` puts it there.
pub(crate) const CHAT_MODEL: &str = "smollm2-135m-instruct-q4_1.gguf";
const EMBED_MODEL: &str = "all-minilm-l6-v2-f16.gguf";
const EMBED_SOURCE: &str = "all-minilm-l6-v2";

const EXAMPLES: [&str; 17] = [
    "compose",
    "tool_call",
    "answer_with_fakes",
    "answer_locally",
    "switch_vendor",
    "typed_extraction",
    "fallback",
    "budget_alert",
    "recorded_test",
    "chat_qa",
    "sql_question",
    "agent_with_tools",
    "approval_graph",
    "mcp_both_ways",
    "local_chat",
    "local_extraction",
    "many_clients",
];

/// Runs all stages, prints their table, fails if one failed.
pub(crate) fn run() -> Result<()> {
    let mut stages = Stages::default();
    let ready = stages.check("set-up", || {
        setup::system(setup::BUILD)?;
        setup::system(setup::TEST)?;
        components()
    });
    if ready.is_none() {
        stages.close();
        return Err(Stop::NeedsYou("the set-up is not complete; see above".into()));
    }
    let features = workspace::features(&workspace::metadata()?);
    // Downloads wait for the network, compilers for the processor: both at once.
    let fetching = std::thread::spawn(servers::fetch);

    stages.command("format", cargo().args(["fmt", "--all", "--check"]));
    stages.check("tidy", tidy::run);
    let all = |command: &mut Command| {
        command.args(["--workspace", "--locked", "--features", &features]);
    };
    let mut clippy = cargo();
    clippy.arg("clippy");
    all(&mut clippy);
    clippy.args(["--all-targets", "--", "-D", "warnings"]);
    stages.command("clippy", &clippy);

    // Everything that the tests run, so that no test stage compiles: also the binary that end-to-end tests start.
    let mut build = cargo();
    build.arg("build");
    all(&mut build);
    build.args(["--bins", "--lib", "--tests", "--examples"]);
    let built = stages.command("build", &build);

    stages
        .check("fetch servers", || fetching.join().unwrap_or_else(|_| Err(Stop::Failed("panicked".into()))));
    // What tests leave behind goes with it.
    let scratch = std::env::temp_dir().join(format!("katena-tests-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let mut environment = vec![("TMPDIR", scratch.to_string_lossy().into_owned())];
    environment.extend([("KATENA_REQUIRE_SERVERS", "1".into()), ("KATENA_REQUIRE_MODELS", "1".into())]);
    let mut running = None;
    if built {
        let katena = workspace::target()?.join("debug/katena");
        stages.command("fetch models", Command::new(&katena).args(["models", "fetch"]));
        environment.push(("KATENA_BIN", katena.to_string_lossy().into_owned()));
        let models = workspace::cache()?.join("models");
        for (name, file) in [
            ("KATENA_TEST_CHAT_MODEL", CHAT_MODEL),
            ("KATENA_TEST_EMBED_MODEL", EMBED_MODEL),
            ("KATENA_TEST_EMBED_SOURCE", EMBED_SOURCE),
        ] {
            environment.push((name, models.join(file).to_string_lossy().into_owned()));
        }
        running = stages.check("start servers", || Servers::start(&models.join(CHAT_MODEL)));
    }
    if let Some(servers) = &running {
        environment.extend(servers.environment().iter().cloned());
    }

    let nextest = process::works(cargo().args(["nextest", "--version"]));
    for (name, targets) in
        [("unit tests", &["--lib", "--bins"][..]), ("contract, integration, e2e tests", &["--test", "*"][..])]
    {
        let mut tests = cargo();
        if nextest {
            tests.args(["nextest", "run", "--no-fail-fast", "--no-tests=pass", "--status-level=slow"]);
            tests.args(["--final-status-level=fail", "--show-progress=none"]);
        } else {
            tests.args(["test", "--no-fail-fast"]);
        }
        all(&mut tests);
        stages.tests(name, tests.args(targets).envs(environment.iter().cloned()));
    }
    let mut doc = cargo();
    doc.args(["test", "--doc", "--no-fail-fast"]);
    all(&mut doc);
    stages.tests("doc tests", doc.envs(environment.iter().cloned()));
    drop(running);
    let _ = std::fs::remove_dir_all(&scratch);
    stages.check("examples", examples);

    stages.check("deny: bans, licences, sources", deny::run);
    if stages.close() { Ok(()) } else { Err(Stop::Failed("something failed; see the table".into())) }
}

/// Runs the examples, which the build stage has made; none needs a server or a model.
fn examples() -> Result<()> {
    let folder = workspace::target()?.join("debug/examples");
    for name in EXAMPLES {
        process::output(&mut Command::new(folder.join(name)))?;
        println!("{name}: ran");
    }
    Ok(())
}

/// Cargo as every stage calls it: the same settings, so that nothing is compiled twice, llama.cpp least of all.
fn cargo() -> Command {
    let mut command = workspace::cargo();
    setup::compiler_cache(&mut command);
    // One thread for each test's model, and no spinning while it waits: the tests themselves fill the cores.
    command.env("OMP_WAIT_POLICY", "PASSIVE").env("OMP_NUM_THREADS", "1");
    command
}

/// rustfmt and clippy, which a minimal toolchain lacks.
fn components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if !process::works(workspace::cargo().args([subcommand, "--version"])) {
            process::output(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}
