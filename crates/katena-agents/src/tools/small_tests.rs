//! The tools that need nothing: calculator, time, note, question, chain.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use katena_core::{Context, ErrorKind, func};
use serde_json::json;

use super::*;
use crate::tools::{AskHuman, ChainTool, CurrentTime, Think};

fn time() -> CurrentTime {
    // 2024-02-29 23:30:00 UTC.
    CurrentTime::new().with_now(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_249_400))
}

fn ask() -> AskHuman {
    AskHuman::new(async |question, _run| Ok(format!("re: {question}")))
}

fn chain() -> ChainTool<impl katena_core::Chain<Input = Vec<i64>, Output = serde_json::Value>> {
    ChainTool::new(
        "total",
        "Adds up.",
        func(async |n: Vec<i64>, _run: Run| Ok(json!({"sum": n.iter().sum::<i64>()}))),
    )
}

katena_testkit::tool_contract!(calculator, async { Calculator::new() });
katena_testkit::tool_contract!(current_time, async { time() });
katena_testkit::tool_contract!(think, async { Think::new() });
katena_testkit::tool_contract!(ask_human, async { ask() });
katena_testkit::tool_contract!(chain_tool, async { chain() });

fn call(tool: &dyn Tool, arguments: &str, run: &Run) -> Result<String> {
    let call = ToolCall::new("1", &tool.spec().name, arguments);
    tool.call(call, run).now_or_never().unwrap().map(|o| o.text())
}

fn fails(tool: &dyn Tool, arguments: &str) -> ErrorKind {
    call(tool, arguments, &Run::new()).unwrap_err().kind()
}

#[test]
fn calculations() {
    let tool = Calculator::new();
    let ok =
        |expression: &str| call(&tool, &json!({"expression": expression, "x": 1}).to_string(), &Run::new());
    assert_eq!(ok("0.1 + 0.2").unwrap(), "0.3");
    assert_eq!(ok("2^64").unwrap(), "18446744073709551616");
    for bad in ["", "1 +", "1/0", "__import__('os')", "system(1)", &"(".repeat(100_000), &"9".repeat(1 << 20)]
    {
        let error = ok(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{bad:.20}");
        assert!(error.to_string().len() < 1000);
    }
}

#[test]
fn times_in_zones() {
    let tool = time();
    let at = |zone: &str| call(&tool, &json!({"time_zone": zone}).to_string(), &Run::new());
    assert_eq!(call(&tool, "", &Run::new()).unwrap(), "Thursday, 2024-02-29 23:30:00 (+00:00 UTC)");
    assert_eq!(at("+05:30").unwrap(), "Friday, 2024-03-01 05:00:00 (+05:30)");
    assert_eq!(at("-8").unwrap(), "Thursday, 2024-02-29 15:30:00 (-08:00)");
    for bad in [
        "Mars/Olympus",
        "../../etc/passwd",
        "/etc/passwd",
        "+99:00",
        "+1:2:3",
        "++1",
        "a\0b",
        &"x".repeat(1 << 20),
    ] {
        let error = at(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{bad:.20}");
        assert!(error.to_string().len() < 300);
    }
    if std::path::Path::new("/usr/share/zoneinfo/Europe/Zurich").exists() {
        assert_eq!(at("Europe/Zurich").unwrap(), "Friday, 2024-03-01 00:30:00 (+01:00 Europe/Zurich)");
    } else {
        println!("skipped: no time zone database on this machine");
    }
}

#[test]
fn questions_and_notes_have_limits_and_hear_the_signal() {
    assert_eq!(call(&ask(), r#"{"question":" Why? "}"#, &Run::new()).unwrap(), "re: Why?");
    for (tool, field) in [(&ask() as &dyn Tool, "question"), (&Think::new(), "thought")] {
        assert_eq!(fails(tool, &json!({field: " "}).to_string()), ErrorKind::InvalidOutput);
        assert_eq!(fails(tool, &json!({field: "x".repeat(1 << 20)}).to_string()), ErrorKind::InvalidOutput);
    }
    let waits = AskHuman::new(async |_question, _run| std::future::pending().await);
    let context = Context::new();
    let run = Run::from(context.clone());
    let mut asked = waits.call(ToolCall::new("1", "ask_human", r#"{"question":"?"}"#), &run);
    assert!((&mut asked).now_or_never().is_none());
    context.cancel.cancel();
    assert_eq!(asked.now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    let tools: [&dyn Tool; 3] = [&Calculator::new(), &time(), &Think::new()];
    for tool in tools {
        let arguments = r#"{"expression":"1","thought":"x"}"#;
        assert_eq!(call(tool, arguments, &run).unwrap_err().kind(), ErrorKind::Cancelled);
    }
}

#[test]
fn chains_are_tools() {
    let tool = chain();
    assert_eq!(call(&tool, r#"{"input":[1,2,3],"more":0}"#, &Run::new()).unwrap(), r#"{"sum":6}"#);
    assert_eq!(tool.spec().parameters["required"], json!(["input"]));
    for bad in [r#"{"input":["x"]}"#, "{}", "[1,2]"] {
        assert_eq!(fails(&tool, bad), ErrorKind::InvalidOutput, "{bad}");
    }
}
