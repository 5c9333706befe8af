//! The loop: tools, policies, limits, streaming.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use futures_util::StreamExt as _;
use katena_agents::*;
use katena_core::fake::ScriptedChat;
use katena_core::{
    Cancel, ChainExt, ChatEvent, ChatResponse, Clock as _, Context, Error, ErrorKind, Event, FinishReason,
    FnTool, Labels, ManualClock, Media, Message, Part, Role, Run, Streamed, ToolChoice, ToolOutput, Usage,
};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

#[tokio::test]
async fn tools_run_until_the_answer_and_the_transcript_has_all_of_it() {
    let log = Log::default();
    let model = script([call("search", r#"{"query":"bern"}"#), text("Dry.")]);
    let agent = Agent::new(model.clone()).with_instructions("Be short.").with_tool(search(&log, "no rain"));
    let output = agent.run("Rain?").await.unwrap();
    assert_eq!((output.text().as_str(), output.finish, output.steps), ("Dry.", Finish::Answered, 2));
    assert_eq!(output.usage.total_tokens(), Some(30));
    assert_eq!(output.messages.len(), 3, "call, result, answer");
    assert_eq!(said(&results(&output.messages)[0]), "no rain");
    assert_eq!(log.lines(), ["search bern"]);
    let second = &model.requests()[1];
    let roles: Vec<Role> = second.messages.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(second.tools.len(), 1);
}

#[tokio::test]
async fn calls_of_one_turn_run_at_once_and_keep_their_order() {
    let barrier = Arc::new(tokio::sync::Barrier::new(3));
    let meet = FnTool::with_state(
        "meet",
        "Waits for the others.",
        barrier,
        async |b: Arc<tokio::sync::Barrier>, args: Query, _run: Run| {
            b.wait().await;
            Ok(args.query)
        },
    );
    let q = |n: u32| format!(r#"{{"query":"{n}"}}"#);
    let (a, b, c) = (q(1), q(2), q(3));
    let model = script([calls([("a", "meet", &*a), ("b", "meet", &*b), ("c", "meet", &*c)]), text("done")]);
    let output = Agent::new(model).with_tool(meet).run("go").await.unwrap();
    let said: Vec<String> = results(&output.messages).iter().map(said).collect();
    assert_eq!(said, ["1", "2", "3"]);
    let ids: Vec<String> = results(&output.messages).into_iter().map(|r| r.call_id).collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[tokio::test]
async fn concurrency_is_bounded_and_a_sequential_tool_runs_alone() {
    let log = Log::default();
    let slow = |name: &str| {
        FnTool::with_state(
            name,
            "Takes turns.",
            (log.clone(), name.to_owned()),
            async |(log, name): (Log, String), _: Nothing, _run: Run| {
                log.push(format!("{name} begins"));
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                log.push(format!("{name} ends"));
                Ok("ok")
            },
        )
    };
    let model = script([
        calls([("1", "a", "{}"), ("2", "alone", "{}"), ("3", "b", "{}"), ("4", "c", "{}")]),
        text("done"),
    ]);
    let agent = Agent::new(model)
        .with_tool(slow("a"))
        .with_tool_options(slow("alone"), ToolOptions::new().sequential())
        .with_tools([slow("b"), slow("c")]);
    agent.run("go").await.unwrap();
    let expected =
        ["a begins", "a ends", "alone begins", "alone ends", "b begins", "c begins", "b ends", "c ends"];
    assert_eq!(log.lines(), expected);

    let log2 = log.clone();
    let model = script([calls([("3", "b", "{}"), ("4", "c", "{}")]), text("done")]);
    Agent::new(model).with_tools([slow("b"), slow("c")]).with_tool_concurrency(1).run("go").await.unwrap();
    assert_eq!(log2.lines()[8..], ["b begins", "b ends", "c begins", "c ends"]);
}

#[tokio::test]
async fn events_come_live_and_results_are_told() {
    let log = Log::default();
    let mut asks = calls([("c1", "search", r#"{"query":"x y"}"#)]).unwrap();
    asks.message.parts.insert(0, Part::text("Let me look."));
    asks.message.parts.insert(0, Part::Reasoning { text: "hm hm".to_owned(), signature: None });
    let agent = Agent::new(script([Ok(asks), text("Found it.")])).with_tool(search(&log, "42"));
    let mut stream = agent.stream("go");
    let (mut reasoning, mut said, mut arguments, mut names, mut kinds) =
        (String::new(), String::new(), String::new(), Vec::new(), Vec::new());
    let mut output = None;
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            Streamed::Event(event) => match event.event {
                Event::Model(ChatEvent::Start { kind, .. }) => kinds.push(kind),
                Event::Model(ChatEvent::Delta { part, text }) => match kinds[part] {
                    katena_core::PartKind::Reasoning => reasoning.push_str(&text),
                    katena_core::PartKind::Text => said.push_str(&text),
                    _ => arguments.push_str(&text),
                },
                Event::Model(ChatEvent::Finished(_)) => kinds.clear(),
                Event::Custom { name, value } => names.push((name, value)),
                _ => {}
            },
            Streamed::Output(o) => output = Some(o),
        }
    }
    assert_eq!((reasoning.as_str(), said.as_str()), ("hm hm", "Let me look.Found it."));
    assert_eq!(arguments, r#"{"query":"x y"}"#);
    assert_eq!(names[0].0, "tool_call");
    assert_eq!(names[0].1, json!({"id": "c1", "name": "search", "arguments": "{\"query\":\"x y\"}"}));
    assert_eq!(names[1].0, "tool_result");
    assert_eq!(names[1].1, json!({"id": "c1", "name": "search", "ok": true, "text": "42"}));
    assert_eq!(output.unwrap().text(), "Found it.");
}

#[tokio::test]
async fn a_report_has_the_tools_steps() {
    let log = Log::default();
    let agent =
        Agent::new(script([call("search", r#"{"query":"x"}"#), text("ok")])).with_tool(search(&log, "42"));
    let report = agent.reported().run("go").await.unwrap();
    assert!(report.steps.iter().any(|s| s.name == "search" && s.ok == Some(true)));
    assert_eq!(report.notes("tool_result").count(), 1);
    assert_eq!(report.usage.total_tokens(), Some(30));
}

fn broken(kind: ErrorKind) -> FnTool {
    FnTool::with_state("broken", "Fails.", kind, async |kind: ErrorKind, _: Nothing, _run: Run| {
        Err::<String, _>(Error::new(kind, "it is broken"))
    })
}

#[tokio::test]
async fn a_tools_error_goes_to_the_model_with_its_kind() {
    let model = script([call("broken", "{}"), text("sorry")]);
    let output = Agent::new(model).with_tool(broken(ErrorKind::Unavailable)).run("go").await.unwrap();
    let error = error_of(&results(&output.messages)[0]);
    assert_eq!(error["ok"], false);
    assert_eq!(error["error"], json!({"kind": "unavailable", "message": "it is broken", "retryable": true}));
    assert!(error["hint"].as_str().unwrap().contains("later"));
}

#[tokio::test]
async fn by_policy_a_tools_error_ends_the_run() {
    let fail = |agent: Agent| async move { agent.run("go").await.unwrap_err() };
    let model = || script([call("broken", "{}"), text("sorry")]);
    let error = fail(
        Agent::new(model()).with_tool(broken(ErrorKind::NotFound)).with_on_tool_error(OnToolError::Fail),
    )
    .await;
    assert_eq!((error.kind(), error.context("tool")), (ErrorKind::NotFound, Some("broken")));
    let options = ToolOptions::new().with_on_error(OnToolError::Fail);
    let error = fail(Agent::new(model()).with_tool_options(broken(ErrorKind::NotFound), options)).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // A tool's own policy wins over the agent's.
    let options = ToolOptions::new().with_on_error(OnToolError::Tell);
    let agent = Agent::new(model())
        .with_on_tool_error(OnToolError::Fail)
        .with_tool_options(broken(ErrorKind::NotFound), options);
    assert_eq!(agent.run("go").await.unwrap().text(), "sorry");
}

#[tokio::test]
async fn a_panic_in_a_tool_is_an_error_of_that_tool() {
    let bang = FnTool::new("bang", "Panics.", async |_: Nothing, _run: Run| -> katena_core::Result<String> {
        panic!("secret words")
    });
    let log = Log::default();
    let model = script([calls([("1", "bang", "{}"), ("2", "search", r#"{"query":"x"}"#)]), text("ok")]);
    let output = Agent::new(model).with_tool(bang).with_tool(search(&log, "42")).run("go").await.unwrap();
    let results = results(&output.messages);
    assert_eq!(error_of(&results[0])["error"]["kind"], "unexpected");
    assert!(!common::said(&results[0]).contains("secret"));
    assert_eq!(common::said(&results[1]), "42");
}

#[tokio::test]
async fn cancelling_ends_the_run_at_once() {
    let cancel = Cancel::new();
    let stop = FnTool::with_state(
        "stop",
        "Cancels.",
        cancel.clone(),
        async |cancel: Cancel, _: Nothing, _run: Run| {
            cancel.cancel();
            std::future::pending::<()>().await;
            Ok("never")
        },
    );
    let model = script([call("stop", "{}"), text("never")]);
    let agent = Agent::new(model.clone()).with_tool(stop);
    let run = Run::new().with_context(Context::new().with_cancel(cancel));
    assert_eq!(agent.run_with("go", run).await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(model.requests().len(), 1);
}

#[tokio::test]
async fn the_callers_deadline_ends_the_run() {
    let clock = ManualClock::new();
    let sleepy = FnTool::with_state(
        "sleepy",
        "Sleeps.",
        clock.clone(),
        async |clock: ManualClock, _: Nothing, _run: Run| {
            clock.advance(Duration::from_secs(90));
            std::future::pending::<()>().await;
            Ok("never")
        },
    );
    let agent = Agent::new(script([call("sleepy", "{}"), text("never")])).with_tool(sleepy);
    let context = Context::new().with_deadline(clock.now() + Duration::from_secs(60));
    let run = Run::new().with_context(context).with_clock(Arc::new(clock));
    assert_eq!(agent.run_with("go", run).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn labels_reach_models_and_tools() {
    let log = Log::default();
    let tool = FnTool::with_state("who", "Says who.", log.clone(), async |log: Log, _: Nothing, run: Run| {
        log.push(run.context().labels.get("tenant").unwrap_or("nobody"));
        Ok("ok")
    });
    let model = script([call("who", "{}"), text("ok")]);
    let agent = Agent::new(model.clone()).with_tool(tool);
    agent.run_with("go", Run::new().with_labels(Labels::new().with("tenant", "acme"))).await.unwrap();
    assert_eq!(log.lines(), ["acme"]);
    assert!(model.requests().iter().all(|r| r.context.labels.get("tenant") == Some("acme")));
}

fn forever(n: usize) -> ScriptedChat {
    let queries: Vec<String> = (0..n).map(|n| format!(r#"{{"query":"{n}"}}"#)).collect();
    let mut replies: Vec<_> = queries.iter().map(|q| call("search", q)).collect();
    replies.push(text("Best effort."));
    script(replies)
}

#[tokio::test]
async fn at_the_step_limit_there_is_one_answer_without_tools() {
    let log = Log::default();
    let model = forever(3);
    let agent =
        Agent::new(model.clone()).with_tool(search(&log, "x")).with_limits(Limits::default().with_steps(3));
    let output = agent.run("go").await.unwrap();
    assert_eq!((output.text().as_str(), output.finish, output.steps), ("Best effort.", Finish::StepLimit, 4));
    assert_eq!(model.requests()[3].tool_choice, Some(ToolChoice::None));
    assert_eq!(model.requests()[2].tool_choice, None);
    assert_eq!(output.clone().complete().unwrap_err().kind(), ErrorKind::Budget);
    assert!(output.messages.iter().all(|m| m.role != Role::User), "the nudge is no part of the conversation");
}

#[tokio::test]
async fn limits_of_zero_are_refused_and_the_default_is_sane() {
    let agent = Agent::new(script([text("x")])).with_limits(Limits::default().with_steps(0));
    assert_eq!(agent.run("go").await.unwrap_err().kind(), ErrorKind::Config);
    assert!(Limits::default().steps >= 10);
}

#[tokio::test]
async fn at_the_token_limit_room_is_kept_for_an_answer() {
    let log = Log::default();
    // 15 tokens a turn. Two turns make 30; a third would leave no room for last words below 65.
    let model = forever(2);
    let agent =
        Agent::new(model.clone()).with_tool(search(&log, "x")).with_limits(Limits::default().with_tokens(65));
    let output = agent.run("go").await.unwrap();
    assert_eq!((output.finish, log.lines().len()), (Finish::TokenLimit, 2));
    assert_eq!(output.text(), "Best effort.");
    assert!(output.usage.total_tokens().unwrap() <= 65);
    let room = model.requests().last().unwrap().max_tokens.unwrap();
    assert!(room < 65 && output.finish != Finish::Answered);

    let model = forever(30);
    let agent =
        Agent::new(model.clone()).with_tool(search(&log, "x")).with_limits(Limits::default().with_tokens(20));
    let output = agent.run("go").await.unwrap();
    assert_eq!((output.finish, output.text().as_str(), model.requests().len()), (Finish::TokenLimit, "", 1));
}

#[tokio::test]
async fn a_token_limit_needs_a_model_that_counts() {
    let log = Log::default();
    let mut reply = call("search", r#"{"query":"x"}"#).unwrap();
    reply.usage = Usage::default();
    let agent = Agent::new(script([Ok(reply)]))
        .with_tool(search(&log, "x"))
        .with_limits(Limits::default().with_tokens(99));
    assert_eq!(agent.run("go").await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn cost_is_counted_limited_and_never_guessed() {
    let log = Log::default();
    let agent = |limit: f64| {
        Agent::new(forever(3)).with_tool(search(&log, "x")).with_cost_limit(limit, |info, usage| {
            assert_eq!(info.model, "scripted");
            Some(usage.total_tokens()? as f64 * 0.1)
        })
    };
    // 1.5 a turn: after three turns one more and an answer would cost 7.5.
    let output = agent(7.0).run("go").await.unwrap();
    assert_eq!((output.finish, output.steps), (Finish::CostLimit, 4));
    assert!((output.cost.unwrap() - 6.0).abs() < 1e-9, "{:?}", output.cost);
    let agent = Agent::new(text_only()).with_cost(|_, _| None);
    assert_eq!(agent.run("go").await.unwrap_err().kind(), ErrorKind::Budget);
}

fn text_only() -> ScriptedChat {
    script([text("hello")])
}

#[tokio::test]
async fn the_time_limit_cuts_tools_and_leaves_time_for_an_answer() {
    let clock = ManualClock::new();
    let sleepy = FnTool::with_state(
        "sleepy",
        "Sleeps.",
        clock.clone(),
        async |clock: ManualClock, _: Nothing, _run: Run| {
            clock.advance(Duration::from_secs(85));
            std::future::pending::<()>().await;
            Ok("never")
        },
    );
    let agent = Agent::new(script([call("sleepy", "{}"), text("What I know.")]))
        .with_tool(sleepy)
        .with_time_limit(Duration::from_secs(100), Arc::new(clock));
    let output = agent.run("go").await.unwrap();
    assert_eq!((output.finish, output.text().as_str()), (Finish::TimeLimit, "What I know."));
    assert_eq!(error_of(&results(&output.messages)[0])["error"]["kind"], "timeout");
}

#[tokio::test]
async fn out_of_time_there_is_no_further_call() {
    let clock = ManualClock::new();
    let late = FnTool::with_state(
        "late",
        "Sleeps.",
        clock.clone(),
        async |clock: ManualClock, _: Nothing, _run: Run| {
            clock.advance(Duration::from_secs(101));
            Ok("late")
        },
    );
    let model = script([call("late", "{}"), text("never")]);
    let agent =
        Agent::new(model.clone()).with_tool(late).with_time_limit(Duration::from_secs(100), Arc::new(clock));
    let output = agent.run("go").await.unwrap();
    assert_eq!((output.finish, output.text().as_str(), model.requests().len()), (Finish::TimeLimit, "", 1));
}

#[tokio::test]
async fn the_same_call_over_and_over_is_told_once_and_then_stopped() {
    let log = Log::default();
    let same = || call("search", r#"{"query":"x"}"#);
    let model = script([same(), same(), same(), same(), text("I give up.")]);
    let output = Agent::new(model).with_tool(search(&log, "nothing")).run("go").await.unwrap();
    assert_eq!((output.finish, output.text().as_str()), (Finish::Repetition, "I give up."));
    assert_eq!(log.lines().len(), 2);
    let results = results(&output.messages);
    assert_eq!(results.len(), 3);
    assert!(said(&results[2]).contains("again and again"));
}

#[tokio::test]
async fn output_is_cut_and_foreign_parts_are_left_out() {
    let big = FnTool::new("big", "Much.", async |_: Nothing, _run: Run| Ok("é".repeat(1000)));
    let odd = FnTool::new("odd", "Odd.", async |_: Nothing, _run: Run| {
        let image = Part::Image {
            media: serde_json::from_value::<Media>(json!({"url": {"url": "https://x.test"}})).unwrap(),
        };
        let fake = Part::ToolCall(katena_core::ToolCall::new("9", "delete", "{}"));
        Ok(ToolOutput::new(vec![Part::text("see"), image, fake]))
    });
    let empty = FnTool::new("empty", "Nothing.", async |_: Nothing, _run: Run| Ok(""));
    let model = script([calls([("1", "big", "{}"), ("2", "odd", "{}"), ("3", "empty", "{}")]), text("ok")]);
    let agent = Agent::new(model)
        .with_tool_options(big, ToolOptions::new().with_output_bytes(101))
        .with_tools([odd, empty]);
    let results = results(&agent.run("go").await.unwrap().messages);
    assert!(said(&results[0]).starts_with(&"é".repeat(50)));
    assert!(said(&results[0]).ends_with("[cut off: 1900 more bytes]"));
    let kinds: Vec<_> = results[1].parts.iter().map(std::mem::discriminant).collect();
    assert!(
        !kinds.contains(&std::mem::discriminant(&Part::ToolCall(katena_core::ToolCall::new("", "", ""))))
    );
    assert_eq!(results[1].parts.len(), 3, "text, image, note");
    assert!(said(&results[1]).contains("left out: 1"));
    assert_eq!(said(&results[2]), "[no output]");
}

#[tokio::test]
async fn options_of_the_request_reach_the_model() {
    let model = script([text("ok")]);
    let options = katena_core::ChatRequest::new([]).with_temperature(0.0).with_max_tokens(7);
    Agent::new(model.clone()).with_request(options).run("go").await.unwrap();
    let request = &model.requests()[0];
    assert_eq!((request.temperature, request.max_tokens), (Some(0.0), Some(7)));
}

#[tokio::test]
async fn what_is_put_together_wrongly_is_said() {
    let log = Log::default();
    let twice = Agent::new(script([])).with_tool(search(&log, "a")).with_tool(search(&log, "b"));
    let error = twice.run("go").await.unwrap_err();
    assert_eq!((error.kind(), error.context("tool")), (ErrorKind::Config, Some("search")));
    let unknown = Agent::new(script([])).with_approval_pause(Needs::tools(["serach"]));
    assert_eq!(unknown.run("go").await.unwrap_err().context("tool"), Some("serach"));
    let nothing = Agent::new(script([])).run(Vec::<Message>::new()).await;
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_marked() {
    let cut = ChatResponse::new(Message::assistant("It is"), FinishReason::Length);
    let output = Agent::new(script([Ok(cut)])).run("go").await.unwrap();
    assert_eq!(output.finish, Finish::Cut);
    assert_eq!(output.complete().unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct City {
    name: String,
    people: u64,
}

#[tokio::test]
async fn a_typed_answer_comes_after_the_tools_and_is_repaired() {
    let log = Log::default();
    let model = script([
        call("search", r#"{"query":"delft"}"#),
        call("answer", r#"{"name":"Delft"}"#),
        text("It has 109000 people."),
        call("answer", r#"{"name":"Delft","people":109000}"#),
    ]);
    let agent = Agent::new(model.clone()).with_tool(search(&log, "109000")).json::<City>();
    let output = agent.run("How many?").await.unwrap();
    assert_eq!(output.value, City { name: "Delft".to_owned(), people: 109_000 });
    let result = error_of(&results(&output.output.messages)[1]);
    assert!(result["error"]["message"].as_str().unwrap().contains("people"), "{result}");
    assert!(model.requests()[3].messages.last().unwrap().text().contains("no answer of the form"));
    let orphans = output.output.messages.iter().flat_map(Message::tool_calls).count();
    assert_eq!(orphans, results(&output.output.messages).len(), "each call has its result");
    assert_eq!(output.output.messages.last().unwrap().text(), r#"{"name":"Delft","people":109000}"#);
}

#[tokio::test]
async fn typed_answers_may_be_lists_or_text_and_are_not_taken_beside_other_calls() {
    let log = Log::default();
    let model = script([
        calls([("1", "search", r#"{"query":"x"}"#), ("2", "answer", r#"{"value":[1]}"#)]),
        text("```json\n[1, 2]\n```"),
    ]);
    let output = Agent::new(model).with_tool(search(&log, "2")).json::<Vec<u32>>().run("go").await.unwrap();
    assert_eq!(output.value, [1, 2]);
    assert!(said(&results(&output.output.messages)[1]).contains("not taken"));
    let model = TextOnly::new(["Thought: easy\nFinal Answer: {\"name\":\"Bern\",\"people\":1}"]);
    let output = Agent::new(model).json::<City>().run("go").await.unwrap();
    assert_eq!(output.value.name, "Bern");
}

#[tokio::test]
async fn a_typed_answer_that_never_fits_is_an_error() {
    let bad = || text("no JSON here");
    let agent = Agent::new(script([bad(), bad(), bad(), bad()])).json::<City>();
    assert_eq!(agent.run("go").await.unwrap_err().kind(), ErrorKind::InvalidOutput);
}
