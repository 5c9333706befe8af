//! Models that misbehave: each time a clear error or a repaired run.
#![allow(missing_docs, clippy::unwrap_used, clippy::unnecessary_wraps, reason = "tests")]

mod common;

use common::*;
use futures_util::StreamExt as _;
use katena_agents::*;
use katena_core::fake::{FlakyChat, ScriptedChat};
use katena_core::{
    ChainExt, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, ErrorKind, Event, FinishReason,
    Message, ModelInfo, Part, PartKind, Result, Role, Streamed, ToolCall,
};

fn agent(model: ScriptedChat, log: &Log) -> Agent {
    Agent::new(model).with_tool(search(log, "42")).with_tool(delete(log))
}

async fn repaired(bad: Result<ChatResponse>) -> (Log, Vec<katena_core::ToolResult>, ScriptedChat) {
    let log = Log::default();
    let model = script([bad, call("search", r#"{"query":"again"}"#), text("ok")]);
    let output = agent(model.clone(), &log).run("go").await.unwrap();
    assert_eq!(output.text(), "ok");
    (log, results(&output.messages), model)
}

#[tokio::test]
async fn broken_arguments_are_told_and_repaired() {
    let bad = [
        r#"{"query": "#,
        "not json",
        "[1,2]",
        "\"text\"",
        "null",
        r#"{"query": 7}"#,
        r"{}",
        "",
        r#"{"query": "a", "query": }"#,
        "{'query': 'x'}",
        "\u{feff}{}",
        r#"{"query": "x"} trailing"#,
    ];
    for arguments in bad {
        let (log, results, model) = repaired(call("search", arguments)).await;
        let error = error_of(&results[0]);
        assert_eq!(error["error"]["kind"], "invalid_output", "{arguments}");
        assert_eq!(error["error"]["retryable"], true);
        assert_eq!(log.lines(), ["search again"], "{arguments}");
        // What goes back to the vendor is an object: several refuse the conversation otherwise.
        for call in model.requests().last().unwrap().messages.iter().flat_map(Message::tool_calls) {
            let text = if call.arguments.is_empty() { "{}" } else { &call.arguments };
            assert!(serde_json::from_str::<serde_json::Value>(text).unwrap().is_object(), "{text}");
        }
    }
}

#[tokio::test]
async fn the_schemas_problem_is_named() {
    let (_, results, _) = repaired(call("search", r#"{"qeury": "x"}"#)).await;
    assert!(error_of(&results[0])["error"]["message"].as_str().unwrap().contains("`query` is missing"));
    let (_, results, _) = repaired(call("search", r#"{"query": [1]}"#)).await;
    assert!(error_of(&results[0])["error"]["message"].as_str().unwrap().contains("of type string"));
}

#[tokio::test]
async fn an_unknown_tool_is_told_with_the_known_ones() {
    for name in ["serach", "", "shell", "search\n", "SEARCH", "функция"] {
        let (log, results, _) = repaired(call(name, "{}")).await;
        let error = error_of(&results[0]);
        assert_eq!(error["error"]["kind"], "not_found");
        assert!(error["hint"].as_str().unwrap().contains("search, delete"));
        assert_eq!(log.lines().len(), 1);
    }
}

#[tokio::test]
async fn wrong_again_and_again_is_an_error() {
    let log = Log::default();
    let names = ["a", "b", "c", "d", "e", "f"];
    let model = script(names.map(|n| call(n, "{}")));
    let error = agent(model.clone(), &log).run("go").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOutput);
    assert!(error.context("problem").unwrap().contains("no tool"));
    assert_eq!(model.requests().len(), 4, "three repairs");
}

#[tokio::test]
async fn a_megabyte_of_arguments_is_not_run_and_not_sent_back() {
    let big = format!(r#"{{"query":"{}"}}"#, "x".repeat(1024 * 1024));
    let (log, results, model) = repaired(call("search", &big)).await;
    assert!(error_of(&results[0])["error"]["message"].as_str().unwrap().contains("longer than"));
    assert_eq!(log.lines(), ["search again"]);
    let size = serde_json::to_string(&model.requests().last().unwrap().messages).unwrap().len();
    assert!(size < 4096, "{size}");
}

#[tokio::test]
async fn deep_nesting_is_refused_and_overflows_nothing() {
    for depth in [200, 10_000, 100_000] {
        let deep = format!(r#"{{"query":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let (log, results, _) = repaired(call("search", &deep)).await;
        assert!(results[0].is_error);
        assert_eq!(log.lines(), ["search again"]);
    }
}

#[tokio::test]
async fn duplicate_and_empty_ids_become_unique() {
    let log = Log::default();
    let query: Vec<String> = (0..6).map(|n| format!(r#"{{"query":"{n}"}}"#)).collect();
    let model = script([
        calls([
            ("x", "search", &*query[1]),
            ("x", "search", &*query[2]),
            ("", "search", &*query[3]),
            ("", "search", &*query[4]),
        ]),
        // The same id in a later turn.
        calls([("x", "search", &*query[5])]),
        text("ok"),
    ]);
    let output = agent(model, &log).run("go").await.unwrap();
    let ids: Vec<String> =
        output.messages.iter().flat_map(Message::tool_calls).map(|c| c.id.clone()).collect();
    let answered: Vec<String> = results(&output.messages).into_iter().map(|r| r.call_id).collect();
    assert_eq!(ids, answered, "results map one to one");
    let unique: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), 5, "{ids:?}");
    assert_eq!(log.lines(), ["search 1", "search 2", "search 3", "search 4", "search 5"]);
}

#[tokio::test]
async fn more_calls_than_the_limit_are_told_not_run() {
    let log = Log::default();
    let many = calls((0..50).map(|_| ("x", "search", r#"{"query":"x"}"#)));
    let model = script([many, text("ok")]);
    let limits = Limits::default().with_calls(4);
    let output = agent(model, &log).with_limits(limits).run("go").await.unwrap();
    assert_eq!(log.lines().len(), 4);
    assert_eq!(results(&output.messages).iter().filter(|r| r.is_error).count(), 46);
}

fn empty(finish: FinishReason) -> Result<ChatResponse> {
    Ok(ChatResponse::new(Message::new(Role::Assistant, Vec::new()), finish))
}

#[tokio::test]
async fn an_empty_reply_is_asked_for_once_more() {
    let log = Log::default();
    let model = script([empty(FinishReason::Stop), text("here")]);
    let output = agent(model.clone(), &log).run("go").await.unwrap();
    assert_eq!((output.text().as_str(), output.messages.len()), ("here", 1));
    assert!(model.requests()[1].messages.last().unwrap().text().contains("empty"));

    for blank in [
        empty(FinishReason::Stop),
        empty(FinishReason::ToolCalls),
        text("  \n "),
        empty(FinishReason::Length),
    ] {
        let error = agent(script([blank.clone(), blank]), &log).run("go").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOutput);
        assert!(error.message().contains("empty"));
    }
}

#[tokio::test]
async fn a_refusal_ends_with_the_models_words() {
    let log = Log::default();
    let refuses = Message::new(Role::Assistant, vec![Part::Refusal { text: "I won't.".to_owned() }]);
    let model = script([Ok(ChatResponse::new(refuses, FinishReason::Stop))]);
    let error = agent(model, &log).run("go").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "I won't."));
    let filtered = ChatResponse::new(Message::assistant("Well"), FinishReason::ContentFilter);
    let error = agent(script([Ok(filtered)]), &log).run("go").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    // A refusal beside a tool call: nothing runs.
    let mut both = call("delete", r#"{"path":"/a"}"#).unwrap();
    both.message.parts.push(Part::Refusal { text: "No.".to_owned() });
    let error = agent(script([Ok(both)]), &log).run("go").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn calls_of_a_reply_that_was_cut_off_are_not_run() {
    let mut cut = calls([("1", "search", r#"{"query":"x"}"#), ("2", "delete", r#"{"path":"/a"}"#)]).unwrap();
    cut.finish = FinishReason::Length;
    let (log, results, _) = repaired(Ok(cut)).await;
    assert_eq!(log.lines(), ["search again"]);
    assert!(error_of(&results[1])["error"]["message"].as_str().unwrap().contains("cut off"));
    // Arguments that were cut to nothing would be `{}`.
    let mut cut = call("delete", "").unwrap();
    cut.finish = FinishReason::Length;
    let (log, _, _) = repaired(Ok(cut)).await;
    assert_eq!(log.lines(), ["search again"]);
}

#[tokio::test]
async fn a_stream_that_breaks_off_runs_nothing_and_is_an_error() {
    let log = Log::default();
    let inner = script([call("delete", r#"{"path":"/a"}"#), text("never")]);
    let model = FlakyChat::new(inner, 1).with_failures_mid_stream();
    let agent = Agent::new(model).with_tool(delete(&log));
    let error = agent.stream("go").output().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(log.lines().is_empty());
}

/// Streams events as they are given.
#[derive(Debug)]
struct Events(ModelInfo, std::sync::Mutex<Vec<Vec<ChatEvent>>>);

#[async_trait::async_trait]
impl ChatModel for Events {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
    async fn generate(&self, _request: &ChatRequest) -> Result<ChatResponse> {
        Err(katena_core::Error::unsupported("only streams"))
    }
    async fn stream(&self, _request: &ChatRequest) -> Result<ChatStream> {
        let events = self.1.lock().unwrap().remove(0);
        Ok(futures_util::stream::iter(events.into_iter().map(Ok)).boxed())
    }
}

fn events(scripts: Vec<Vec<ChatEvent>>) -> Events {
    let can = katena_core::ChatCapabilities::none().with_tools();
    Events(ModelInfo::new("fake", "events").with_capabilities(can), std::sync::Mutex::new(scripts))
}

#[tokio::test]
async fn interleaved_parts_are_put_together() {
    let log = Log::default();
    let call =
        |id: &str, q: &str| Part::ToolCall(ToolCall::new(id, "search", format!(r#"{{"query":"{q}"}}"#)));
    let parts = vec![Part::text("Let me look twice."), call("1", "a"), call("2", "b")];
    let done = ChatResponse::new(Message::new(Role::Assistant, parts.clone()), FinishReason::ToolCalls);
    let first = vec![
        ChatEvent::start(0, PartKind::Text),
        ChatEvent::start_tool(1, "1", "search"),
        ChatEvent::delta(0, "Let me "),
        ChatEvent::start_tool(2, "2", "search"),
        ChatEvent::delta(2, r#"{"query":"#),
        ChatEvent::delta(1, r#"{"query":"a"#),
        ChatEvent::delta(0, "look twice."),
        ChatEvent::delta(2, r#""b"}"#),
        ChatEvent::delta(1, r#""}"#),
        ChatEvent::end(2, parts[2].clone()),
        ChatEvent::end(0, parts[0].clone()),
        ChatEvent::end(1, parts[1].clone()),
        ChatEvent::Finished(Box::new(done)),
    ];
    let second = ChatEvent::of_response(ChatResponse::new(Message::assistant("42"), FinishReason::Stop));
    let agent = Agent::new(events(vec![first, second])).with_tool(search(&log, "x"));
    let mut stream = agent.stream("go");
    let (mut live, mut output) = (0, None);
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            Streamed::Event(e) => live += usize::from(matches!(e.event, Event::Model(_))),
            Streamed::Output(o) => output = Some(o),
        }
    }
    assert_eq!(output.unwrap().text(), "42");
    assert_eq!(live, 13 + 4, "every event was passed on");
    assert_eq!(log.lines(), ["search a", "search b"]);
}

#[tokio::test]
async fn a_stream_without_an_end_is_an_error() {
    let log = Log::default();
    let cut = vec![ChatEvent::start_tool(0, "1", "delete"), ChatEvent::delta(0, r#"{"path":"/a"}"#)];
    let agent = Agent::new(events(vec![cut])).with_tool(delete(&log));
    let error = agent.stream("go").output().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(log.lines().is_empty());
}

#[tokio::test]
async fn react_text_that_cannot_be_read_is_repaired_or_an_error() {
    let log = Log::default();
    let model = TextOnly::new(["Thought: hm", "Action: search\nAction Input: x", "Final Answer: ok"]);
    let output = Agent::new(model.clone()).with_tool(search(&log, "42")).run("go").await.unwrap();
    assert_eq!((output.text().as_str(), output.steps), ("ok", 3));
    assert!(model.0.requests()[1].messages.last().unwrap().text().contains("can't be read"));
    assert_eq!(output.messages.len(), 3, "the repair is no part of the conversation");

    let model = TextOnly::new(vec!["Thought: hm"; 9]);
    let error = Agent::new(model).with_tool(search(&log, "42")).run("go").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOutput);

    let model = TextOnly::new([
        "Action: serach\nAction Input: x",
        "Action: search\nAction Input: {broken",
        "Final Answer: ok",
    ]);
    let output = Agent::new(model).with_tool(search(&log, "42")).run("go").await.unwrap();
    assert!(results(&output.messages).iter().all(|r| r.is_error));
}

#[tokio::test]
async fn react_streams_thoughts_and_the_answer() {
    let log = Log::default();
    let model = TextOnly::new([
        "Thought: look it up\nAction: search\nAction Input: x",
        "Thought: I know\nFinal Answer: It is 42.",
    ]);
    let agent = Agent::new(model).with_tool(search(&log, "42"));
    let mut stream = agent.stream("go");
    let (mut said, mut names) = (String::new(), Vec::new());
    while let Some(item) = stream.next().await {
        if let Streamed::Event(e) = item.unwrap() {
            match e.event {
                Event::Text(piece) => said.push_str(&piece),
                Event::Custom { name, .. } => names.push(name),
                _ => {}
            }
        }
    }
    assert_eq!(said, "It is 42.");
    assert_eq!(names, ["thought", "tool_call", "tool_result", "thought"]);
}
