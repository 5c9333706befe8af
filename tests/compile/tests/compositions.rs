//! The messages are rustc's and change with it: they are compared on the version that they were recorded with.

#![expect(clippy::print_stdout, reason = "a skipped comparison says so")]

use std::process::Command;

const RECORDED_WITH: &str = "rustc 1.95.";

#[test]
fn wrong_compositions_do_not_compile_and_say_why() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("rustc runs");
    let version = String::from_utf8_lossy(&version.stdout);
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    if version.starts_with(RECORDED_WITH) {
        cases.compile_fail("tests/fail/*.rs");
    } else {
        println!("skipped: messages were recorded with {RECORDED_WITH}x, this is {version}");
    }
}
