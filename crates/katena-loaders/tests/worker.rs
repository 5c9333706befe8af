//! Workers that die, hang or lie, and the files after that.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use katena_core::{ErrorKind, Source};
use katena_loaders::{Format, Limits, ParseJob, Parser, ProcessParser};

fn job(path: &std::path::Path) -> ParseJob {
    ParseJob::new(path, Format::Text, Source::new("the.txt"))
}

fn text(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

/// A worker that is a shell script.
fn script(text: &str) -> ProcessParser {
    ProcessParser::new("/bin/sh", ["-c", text])
}

#[tokio::test]
async fn many_files_in_one_worker_and_at_once() {
    let (_folder, path) = text("hello");
    let parser = support::workers();
    for _ in 0..200 {
        assert_eq!(parser.parse(job(&path)).await.unwrap()[0].text, "hello");
    }
    let all = futures_util::future::join_all((0..8).map(|_| parser.parse(job(&path)))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let error = parser.parse(job("/no/such.txt".as_ref())).await.unwrap_err();
    assert_eq!((error.kind(), error.context("uri")), (ErrorKind::NotFound, Some("the.txt")));
    assert!(parser.parse(job(&path)).await.is_ok());
}

#[cfg(unix)]
#[tokio::test]
async fn whatever_a_worker_does_is_an_error_with_the_name() {
    let (_folder, path) = text("hello");
    let short = Limits::default().with_timeout(Duration::from_millis(300));
    let cases = [
        ("exit 3", "exit status: 3"),
        ("kill -9 $$", "killed"),
        ("kill -11 $$", "segmentation"),
        ("kill -24 $$", "longer than"),
        ("sleep 60", "longer than"),
        ("echo no json; sleep 60", "understood"),
        ("yes | tr -d '\\n' | head -c 200000000; sleep 60", "longer than"),
        ("echo memory allocation of 99 bytes failed >&2; exit 1", "memory"),
        ("head -c 1000000 /dev/zero >&2; echo last words >&2; exit 1", "last words"),
    ];
    for (what, says) in cases {
        let limits = if says == "longer than" { short.clone() } else { Limits::default() };
        let error = script(what).parse(job(&path).with_limits(limits)).await.unwrap_err();
        assert_eq!(error.context("uri"), Some("the.txt"), "{what}");
        assert!(error.message().contains(says), "{what}: {error}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_worker_can_not_speak_for_another_file_or_without_end() {
    let (_folder, path) = text("hello");
    let lie =
        r#"read job; echo '{"document":{"text":"x","source":{"uri":"other.txt"}}}'; echo '{"done":{}}'"#;
    let documents = script(lie).parse(job(&path)).await.unwrap();
    assert_eq!(documents[0].source.uri, "the.txt");
    let endless = "read job; head -c 80000000 /dev/zero | tr '\\0' x; sleep 60";
    let limits = Limits::default().with_max_text_bytes(1000);
    let error = script(endless).parse(job(&path).with_limits(limits)).await.unwrap_err();
    assert!(error.message().contains("too long"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_worker_that_ends_after_a_file_is_replaced() {
    let (_folder, path) = text("hello");
    let once =
        script(r#"read job; echo '{"document":{"text":"x","source":{"uri":""}}}'; echo '{"done":{}}'"#);
    for _ in 0..5 {
        assert_eq!(once.parse(job(&path)).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_missing_worker_is_a_wrong_setting() {
    let (_folder, path) = text("hello");
    let error = ProcessParser::new("/no/such/program", ["x"]).parse(job(&path)).await.unwrap_err();
    assert_eq!((error.kind(), error.context("uri")), (ErrorKind::Config, Some("the.txt")));
}

#[test]
fn idle_workers_of_another_runtime_are_replaced() {
    let (_folder, path) = text("hello");
    let parser = support::workers();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(runtime.block_on(parser.parse(job(&path))).is_ok());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_is_bounded() {
    let (_folder, path) = text(&"x".repeat(30 << 20));
    let limits = Limits::default().with_memory(16 << 20);
    let error = support::workers().parse(job(&path).with_limits(limits)).await.unwrap_err();
    assert_eq!(error.message(), "reading it needs more memory than allowed (16 MiB)");
}
