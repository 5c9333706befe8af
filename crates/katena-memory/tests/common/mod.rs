//! What the tests with servers and with several processes share.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::print_stderr, reason = "says why tests are skipped")]

use std::future::Future;
use std::process::{Command, Stdio};

use katena_core::{ChatHistory, Message, ToolCall, ToolResult};

/// The URL in `variable`; without it the tests are skipped, or fail if servers are required.
pub(crate) fn url(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        let required = std::env::var("KATENA_REQUIRE_SERVERS").is_ok_and(|v| v == "1");
        assert!(!required, "{variable} is not set, and KATENA_REQUIRE_SERVERS=1");
        eprintln!("skipped: {variable} is not set");
    }
    url
}

/// Tells a child process of a test what to open and as whom to write.
const CHILD: &str = "KATENA_MEMORY_TEST_CHILD";
const TURNS: usize = 40;

fn turn(writer: usize, n: usize) -> Vec<Message> {
    let call = ToolCall::new("call_1", "look", "{}");
    vec![
        Message::user(format!("{writer}/{n}")),
        Message::new(katena_core::Role::Assistant, vec![katena_core::Part::ToolCall(call.clone())]),
        Message::tool(ToolResult::text(&call, format!("{writer}/{n}"))),
        Message::assistant(format!("{writer}/{n}")),
    ]
}

/// Two processes append to one conversation while both, and this one, read it. `test` is the name of the test that calls
/// this: it is started again as the child, where `place` comes from this process.
pub(crate) async fn two_processes_keep_order<H, F>(test: &str, place: &str, open: impl Fn(String) -> F)
where
    H: ChatHistory,
    F: Future<Output = H>,
{
    if let Ok(child) = std::env::var(CHILD) {
        let (writer, place) = child.split_once(' ').expect("a writer and a place");
        let (writer, history) = (writer.parse().expect("a number"), open(place.to_owned()).await);
        for n in 0..TURNS {
            history.append("shared", turn(writer, n)).await.expect("appending");
            // What one has written, it reads, in calls that are whole.
            let read = history.messages("shared").await.expect("reading");
            check(&read, Some((writer, n + 1)));
        }
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let children: Vec<_> = (0..2)
        .map(|writer| {
            let mut command = Command::new(&program);
            command.args(["--exact", test, "--nocapture"]).env(CHILD, format!("{writer} {place}"));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a child process")
        })
        .collect();
    let history = open(place.to_owned()).await;
    let mut before: Vec<Message> = Vec::new();
    let waiting = tokio::task::spawn_blocking(move || {
        children.into_iter().map(|c| c.wait_with_output().expect("the child's end")).collect::<Vec<_>>()
    });
    while !waiting.is_finished() {
        let now = history.messages("shared").await.expect("reading");
        assert!(now.starts_with(&before), "what was read once stays as it was");
        before = now;
    }
    for child in waiting.await.expect("waiting") {
        let text = String::from_utf8_lossy(&child.stdout);
        let errors = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && text.contains("1 passed"), "{text}\n{errors}");
    }
    let all = history.messages("shared").await.expect("reading");
    assert_eq!(all.len(), 2 * TURNS * turn(0, 0).len(), "nothing is lost");
    assert!(all.starts_with(&before));
    check(&all, None);
    let other = open(place.to_owned()).await;
    assert!(other.messages("shared").await.expect("reading") == all, "two readers see one order");
    assert_eq!(other.count("shared").await.expect("counting"), all.len());
}

/// Calls are whole, and each process's own are in its order.
fn check(all: &[Message], has: Option<(usize, usize)>) {
    let mut next = [0; 2];
    for call in all.chunks(turn(0, 0).len()) {
        let first = call[0].text();
        let writer: usize = first.split('/').next().and_then(|w| w.parse().ok()).expect("a writer");
        assert!(call == turn(writer, next[writer]), "the call {first} stands where {} should", next[writer]);
        next[writer] += 1;
    }
    if let Some((writer, turns)) = has {
        assert_eq!(next[writer], turns);
    }
}
