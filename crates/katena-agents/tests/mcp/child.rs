//! Servers that are programs of their own: this test's binary, started again.

use std::time::Duration;

use katena_agents::mcp::{McpClient, McpCommand, McpLimits, McpOptions};
use katena_core::{ErrorKind, Run};

use crate::support::{call, server};

const MODE: &str = "KATENA_TEST_MCP_CHILD";

/// What the program does when it was started as a server; nothing in a test run.
#[test]
fn child_server() {
    let Ok(mode) = std::env::var(MODE) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match mode.as_str() {
        // The test harness has already written lines to standard output that are no messages.
        "good" => runtime.block_on(server().serve_stdio(Run::new())).unwrap(),
        "environment" => {
            let inherited = std::env::var_os("HOME").is_some() || std::env::var_os("PATH").is_some();
            assert!(!inherited, "the environment was handed on");
            runtime.block_on(server().serve_stdio(Run::new())).unwrap();
        }
        "crash" => {
            let crash = katena_core::FnTool::new(
                "crash",
                "Ends the program.",
                async |_: serde_json::Map<String, serde_json::Value>,
                       _run: Run|
                       -> katena_core::Result<String> { std::process::exit(3) },
            );
            runtime.block_on(server().with_tool(crash).serve_stdio(Run::new())).unwrap();
        }
        "stubborn" => {
            // Neither the end of its input nor that of its client ends it.
            let file = std::env::var("KATENA_TEST_PID_FILE").unwrap();
            std::fs::write(file, std::process::id().to_string()).unwrap();
            let _ = runtime.block_on(server().serve_stdio(Run::new()));
            loop {
                std::thread::park();
            }
        }
        "silent" => loop {
            std::thread::park();
        },
        other => panic!("no mode {other}"),
    }
    std::process::exit(0);
}

fn program(mode: &str) -> McpCommand {
    McpCommand::new(std::env::current_exe().unwrap())
        .with_arg("child::child_server")
        .with_arg("--exact")
        .with_arg("--nocapture")
        .with_env(MODE, mode)
}

#[tokio::test]
async fn a_program_is_started_called_and_ended() {
    for mode in ["good", "environment"] {
        let client = McpClient::stdio(program(mode), McpOptions::new("child")).await.unwrap();
        let run = Run::new();
        assert_eq!(call(&client, "child__add", r#"{"a":40,"b":2}"#, &run).await.unwrap(), "42");
        let found = call(&client, "child__search", r#"{"query":"tea"}"#, &run).await.unwrap();
        assert!(found.contains("> tea for nobody"));
    }
}

#[tokio::test]
async fn many_calls_at_once_keep_their_answers() {
    let client = McpClient::stdio(program("good"), McpOptions::new("child")).await.unwrap();
    let calls = (0..100).map(|n| {
        let client = client.clone();
        async move {
            let sum =
                call(&client, "child__add", &format!(r#"{{"a":{n},"b":1}}"#), &Run::new()).await.unwrap();
            assert_eq!(sum, (n + 1).to_string());
        }
    });
    futures_util::future::join_all(calls).await;
}

#[tokio::test]
async fn a_crash_in_the_middle_is_unavailable() {
    let client = McpClient::stdio(program("crash"), McpOptions::new("child")).await.unwrap();
    let error = call(&client, "child__crash", "{}", &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_temporary());
}

#[tokio::test]
async fn a_program_that_never_says_hello_is_a_timeout() {
    let limits = McpLimits::new().with_connect_timeout(Duration::from_millis(500));
    let options = McpOptions::new("child").with_limits(limits);
    let error = McpClient::stdio(program("silent"), options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn programs_that_do_not_start_or_end_at_once_are_errors() {
    let nothing = McpCommand::new("/no/such/program");
    let error = McpClient::stdio(nothing, McpOptions::new("child")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_temporary()), (ErrorKind::NotFound, false));
    let folder = McpCommand::new("/");
    let error = McpClient::stdio(folder, McpOptions::new("child")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    // Runs no test, and so ends at once.
    let ends = McpCommand::new(std::env::current_exe().unwrap()).with_arg("no_such_test").with_arg("--exact");
    let error = McpClient::stdio(ends, McpOptions::new("child")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_program_that_does_not_want_to_end_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let command = program("stubborn").with_env("KATENA_TEST_PID_FILE", file.to_str().unwrap());
    let client = McpClient::stdio(command, McpOptions::new("child")).await.unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{}", std::fs::read_to_string(file).unwrap()));
    assert!(process.exists());
    drop(client);
    // A zombie that was waited for has no folder any more.
    while process.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
