//! Approval, memory, and agents among agents.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use futures_util::StreamExt as _;
use katena_agents::*;
use katena_core::fake::ScriptedChat;
use katena_core::{
    ChainExt, ErrorKind, Event, Labels, Memory, Message, RecallRequest, Result, Role, Run, Streamed, ToolCall,
};

#[derive(Debug)]
struct Says(Decision, Log);

#[async_trait::async_trait]
impl Approver for Says {
    async fn decide(&self, request: &ApprovalRequest, _run: &Run) -> Result<Decision> {
        self.1.push(format!("asked {} {}", request.call.name, request.call.arguments));
        Ok(self.0.clone())
    }
}

const DELETE: &str = r#"{"path":"/a"}"#;

fn deleting() -> ScriptedChat {
    script([calls([("1", "search", r#"{"query":"x"}"#), ("2", "delete", DELETE)]), text("ok")])
}

async fn with_decision(decision: Decision) -> (Vec<String>, Vec<katena_core::ToolResult>) {
    let log = Log::default();
    let agent = Agent::new(deleting())
        .with_tool(search(&log, "42"))
        .with_tool(delete(&log))
        .with_approval(Needs::tools(["delete"]), Says(decision, log.clone()));
    let output = agent.run("go").await.unwrap();
    (log.lines(), results(&output.messages))
}

#[tokio::test]
async fn an_approver_is_asked_before_the_tool_runs() {
    let (log, results) = with_decision(Decision::Approve).await;
    assert_eq!(log, [r#"asked delete {"path":"/a"}"#, "search x", "delete /a"]);
    assert_eq!(said(&results[1]), "deleted /a");

    let (log, results) = with_decision(Decision::deny("keep it")).await;
    assert_eq!(log, [r#"asked delete {"path":"/a"}"#, "search x"]);
    let error = error_of(&results[1]);
    assert_eq!(error["error"]["kind"], "permission_denied");
    assert!(error["error"]["message"].as_str().unwrap().contains("keep it"));

    let (log, results) = with_decision(Decision::edit(r#"{"path":"/tmp/a"}"#)).await;
    assert_eq!(log[2], "delete /tmp/a");
    assert!(
        said(&results[1]).contains("changed the arguments") && said(&results[1]).ends_with("deleted /tmp/a")
    );
}

#[tokio::test]
async fn all_rules_must_allow_a_call_and_a_broken_edit_is_an_error() {
    let log = Log::default();
    let agent = Agent::new(deleting())
        .with_tool(search(&log, "42"))
        .with_tool(delete(&log))
        .with_approval(Needs::tools(["delete"]), Says(Decision::Approve, log.clone()))
        .with_approval(
            Needs::when(|c| c.arguments.contains("/a")),
            Says(Decision::deny("no"), Log::default()),
        );
    agent.run("go").await.unwrap();
    assert!(!log.lines().iter().any(|l| l.starts_with("delete")));

    let agent = Agent::new(deleting())
        .with_tool(search(&log, "42"))
        .with_tool(delete(&log))
        .with_approval(Needs::all(), Says(Decision::edit("[1]"), Log::default()));
    assert_eq!(agent.run("go").await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn pausing(model: ScriptedChat, log: &Log) -> Agent {
    Agent::new(model)
        .with_instructions("Careful.")
        .with_tool(search(log, "42"))
        .with_tool(delete(log))
        .with_approval_pause(Needs::tools(["delete"]))
}

#[tokio::test]
async fn a_run_pauses_survives_a_restart_and_runs_each_tool_once() {
    let log = Log::default();
    let first = pausing(deleting(), &log);
    let outcome = first.start(AgentInput::from("go").with_session("s"), &Run::new()).await.unwrap();
    let Outcome::Pending(pending) = outcome else { panic!("it did not pause") };
    assert_eq!(log.lines(), [""; 0], "nothing of the turn ran");
    assert_eq!((pending.session(), pending.agent()), (Some("s"), "agent"));
    assert_eq!(pending.calls(), [ToolCall::new("2", "delete", DELETE)]);
    let stored = serde_json::to_string(&pending).unwrap();
    drop((first, pending));

    let second = pausing(script([text("Deleted.")]), &log);
    let pending: PendingRun = serde_json::from_str(&stored).unwrap();
    let outcome = second.resume(pending, [("2", Decision::Approve)], &Run::new()).await.unwrap();
    let output = outcome.done().unwrap();
    assert_eq!(log.lines(), ["search x", "delete /a"]);
    assert_eq!((output.text().as_str(), output.steps), ("Deleted.", 2));
    assert_eq!(output.usage.total_tokens(), Some(30), "tokens of both processes");
    assert_eq!(output.messages.len(), 3);
}

#[tokio::test]
async fn resuming_needs_a_decision_for_each_call_and_a_sound_form() {
    let log = Log::default();
    let agent = pausing(deleting(), &log);
    let run = Run::new();
    let Outcome::Pending(pending) = agent.start("go", &run).await.unwrap() else {
        panic!("it did not pause")
    };
    let kind = |r: Result<Outcome>| r.unwrap_err().kind();
    let strange = agent.resume((*pending).clone(), [("7", Decision::Approve)], &run).await;
    assert_eq!(kind(strange), ErrorKind::InvalidInput);
    let edited = agent.resume((*pending).clone(), [("2", Decision::edit("no"))], &run).await;
    assert_eq!(kind(edited), ErrorKind::InvalidInput);
    // A decision on another call does not count for this one.
    let other = agent.resume((*pending).clone(), [("1", Decision::Approve)], &run).await;
    assert_eq!(kind(other), ErrorKind::InvalidInput);
    // No decision at all: it pauses again.
    let again = agent.resume((*pending).clone(), [("2", Decision::Approve); 0], &run).await.unwrap();
    assert!(matches!(again, Outcome::Pending(_)));
    // Another version, a broken form, a list of waiting calls that was emptied.
    let mut json = serde_json::to_value(&pending).unwrap();
    json["version"] = 99.into();
    let future: PendingRun = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(kind(agent.resume(future, [("2", Decision::Approve)], &run).await), ErrorKind::InvalidInput);
    json["version"] = 1.into();
    json["state"]["fresh"] = 1000.into();
    let broken: PendingRun = serde_json::from_value(json).unwrap();
    assert_eq!(kind(agent.resume(broken, [("2", Decision::Approve)], &run).await), ErrorKind::InvalidInput);
    let mut json = serde_json::to_value(&pending).unwrap();
    json["calls"] = serde_json::json!([]);
    let emptied: PendingRun = serde_json::from_value(json).unwrap();
    let outcome = agent.resume(emptied, [("2", Decision::Approve); 0], &run).await.unwrap();
    assert!(matches!(outcome, Outcome::Pending(_)), "the rules are looked at again");
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn run_in_another_way_a_pausing_call_is_not_run() {
    let log = Log::default();
    let error = pausing(deleting(), &log).run("go").await.unwrap_err();
    assert_eq!((error.kind(), error.context("tool")), (ErrorKind::PermissionDenied, Some("delete")));
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn a_pausing_agent_streams_as_a_chain() {
    let log = Log::default();
    let agent = pausing(deleting(), &log).interruptible();
    let mut pending = None;
    let mut stream = agent.stream("go");
    while let Some(item) = stream.next().await {
        if let Streamed::Output(Outcome::Pending(p)) = item.unwrap() {
            pending = Some(p);
        }
    }
    drop(stream);
    let decisions = BTreeMap::from([("2".to_owned(), Decision::deny("no"))]);
    let outcome = agent.run(AgentStep::Resume { pending: pending.unwrap(), decisions }).await.unwrap();
    assert_eq!(outcome.done().unwrap().text(), "ok");
    assert_eq!(log.lines(), ["search x"]);
}

#[tokio::test]
async fn memory_works_for_native_and_react_agents_alike() {
    let log = Log::default();
    let memory: Arc<dyn Memory> = Arc::new(Everything::default());
    let input = |text: &str| AgentInput::from(text).with_session("ada");
    let model = script([call("search", r#"{"query":"bern"}"#), text("Dry.")]);
    let agent = Agent::new(model).with_tool(search(&log, "no rain")).with_memory(memory.clone());
    agent.run(input("Rain in Bern?")).await.unwrap();
    let stored = memory.recall(&RecallRequest::new("ada")).await.unwrap();
    let roles: Vec<Role> = stored.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Assistant]);

    // The same session with a model that has no tool calls.
    let model = TextOnly::new(["Thought: look\nAction: search\nAction Input: basel", "Final Answer: Wet."]);
    let agent = Agent::new(model.clone()).with_tool(search(&log, "rain")).with_memory(memory.clone());
    assert_eq!(agent.run(input("And Basel?")).await.unwrap().text(), "Wet.");
    let asked = &model.0.requests()[0].messages;
    let whole: String = asked.iter().map(Message::text).collect();
    assert!(
        whole.contains("Rain in Bern?")
            && whole.contains("> no rain")
            && whole.contains("Final Answer: Dry.")
    );
    let stored = memory.recall(&RecallRequest::new("ada")).await.unwrap();
    assert_eq!(stored.len(), 8);
    assert_eq!(stored[5].tool_calls().next().unwrap().arguments, r#"{"query":"basel"}"#);
    assert_eq!(said(&results(&stored)[1]), "rain");

    // And back to a model with tool calls.
    let model = script([text("Bern.")]);
    let agent = Agent::new(model.clone()).with_tool(search(&log, "x")).with_memory(memory.clone());
    agent.run(input("Which was dry?")).await.unwrap();
    assert_eq!(model.requests()[0].messages.len(), 9);

    let error = agent.run("No session").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn memory_works_for_plans_supervisors_teams_and_paused_runs() {
    let memory: Arc<dyn Memory> = Arc::new(Everything::default());
    let input = |text: &str| AgentInput::from(text).with_session("ada");
    let planner = ScriptedChat::texts([r#"{"steps":["Look."]}"#, r#"{"answer":"Dry."}"#]);
    let plan = PlanExecute::new(planner, Agent::new(script([text("no rain")]))).with_memory(memory.clone());
    plan.run(input("Rain?")).await.unwrap();

    let boss = ScriptedChat::texts([r#"{"worker":"w","task":"look"}"#, r#"{"answer":"Wet."}"#]);
    let supervisor = Supervisor::new(boss.clone())
        .with_worker("w", "Works.", Agent::new(script([text("rain")])))
        .with_memory(memory.clone());
    supervisor.run(input("And now?")).await.unwrap();
    let first: String = boss.requests()[0].messages.iter().map(Message::text).collect();
    assert!(first.contains("Rain?") && first.contains("Dry."), "the plan's turn is recalled");

    let model = script([text("Yes.")]);
    let team = Team::new().with_member(Agent::new(model.clone()), "Only one.").with_memory(memory.clone());
    team.run(input("Sure?")).await.unwrap();
    let first: String = model.requests()[0].messages.iter().map(Message::text).collect();
    assert!(first.contains("> rain") && first.contains("Wet."));

    let log = Log::default();
    let agent = pausing(deleting(), &log).with_memory(memory.clone());
    let before = memory.recall(&RecallRequest::new("ada")).await.unwrap().len();
    let Outcome::Pending(pending) = agent.start(input("Delete"), &Run::new()).await.unwrap() else {
        panic!()
    };
    assert_eq!(memory.recall(&RecallRequest::new("ada")).await.unwrap().len(), before);
    agent.resume(*pending, [("2", Decision::Approve)], &Run::new()).await.unwrap();
    assert_eq!(memory.recall(&RecallRequest::new("ada")).await.unwrap().len(), before + 4);
}

#[tokio::test]
async fn a_sub_agent_is_a_tool_with_nested_events_tokens_and_labels() {
    let log = Log::default();
    let inner_model = script([call("search", r#"{"query":"deep"}"#), text("42")]);
    let inner = Agent::new(inner_model.clone()).with_tool(search(&log, "x"));
    let model = script([call("expert", r#"{"task":"dig"}"#), text("It is 42.")]);
    let agent = Agent::new(model).with_tool(AgentTool::new("expert", "Digs.", inner));
    let run = Run::new().with_labels(Labels::new().with("tenant", "acme"));
    let mut stream = agent.stream_with("go", run);
    let (mut steps, mut output) = (Vec::new(), None);
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            Streamed::Event(e) => {
                if let Event::StepStarted { parent, name } = e.event {
                    steps.push((e.step, parent, name));
                }
            }
            Streamed::Output(o) => output = Some(o),
        }
    }
    let expert = steps.iter().find(|s| s.2 == "expert").unwrap();
    let dug = steps.iter().find(|s| s.2 == "search").unwrap();
    assert_eq!(dug.1, expert.0, "the inner tool's step is within the outer one's");
    assert_eq!(output.unwrap().usage.total_tokens(), Some(60));
    assert!(inner_model.requests().iter().all(|r| r.context.labels.get("tenant") == Some("acme")));
}

#[tokio::test]
async fn a_sub_agent_cannot_pause_so_its_guarded_tool_does_not_run() {
    let log = Log::default();
    let inner = pausing(deleting(), &log);
    let model = script([call("helper", r#"{"task":"delete it"}"#), text("It was not allowed.")]);
    let agent = Agent::new(model).with_tool(AgentTool::new("helper", "Helps.", inner));
    let output = agent.run("go").await.unwrap();
    assert_eq!(error_of(&results(&output.messages)[0])["error"]["kind"], "permission_denied");
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn agents_hand_over_with_the_whole_conversation() {
    let log = Log::default();
    let front_model =
        script([calls([("1", "search", r#"{"query":"x"}"#), ("2", "transfer_to_billing", "{}")])]);
    let billing_model = script([call("delete", DELETE), text("Done.")]);
    let front = Agent::new(front_model.clone())
        .with_name("front")
        .with_instructions("Greet.")
        .with_tool(search(&log, "7"));
    let billing = Agent::new(billing_model.clone())
        .with_name("billing")
        .with_instructions("Bill.")
        .with_tool(delete(&log));
    let team = Team::new().with_member(front, "Greets.").with_member(billing, "Knows bills.");
    let output = team.run("Help").await.unwrap();
    assert_eq!((output.text().as_str(), output.agent.as_str(), output.steps), ("Done.", "billing", 3));
    assert_eq!(log.lines(), ["search x", "delete /a"]);
    let tools = |model: &ScriptedChat| -> Vec<String> {
        model.requests()[0].tools.iter().map(|t| t.name.clone()).collect()
    };
    assert_eq!(tools(&front_model), ["search", "transfer_to_billing"]);
    assert_eq!(tools(&billing_model), ["delete", "transfer_to_front"]);
    let seen = &billing_model.requests()[0].messages;
    assert_eq!(seen[0].text(), "Bill.");
    assert_eq!(seen.iter().filter(|m| m.role == Role::System).count(), 1);
    assert_eq!(said(&results(seen)[0]), "7");
}

#[tokio::test]
async fn hand_overs_are_limited_and_wrong_teams_are_refused() {
    let to = |name: &str| call(&format!("transfer_to_{name}"), "{}");
    let a = Agent::new(script([to("b"), to("b"), text("Fine.")])).with_name("a");
    let b = Agent::new(script([to("a"), to("a")])).with_name("b");
    let team =
        Team::new().with_member(a, "A").with_member(b, "B").with_limits(Limits::default().with_transfers(2));
    let output = team.run("go").await.unwrap();
    assert_eq!((output.text().as_str(), output.agent.as_str()), ("Fine.", "a"));
    assert_eq!(error_of(&results(&output.messages)[2])["error"]["kind"], "budget");

    let twice = Team::new().with_member(Agent::new(script([])), "").with_member(Agent::new(script([])), "");
    assert_eq!(twice.run("go").await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(Team::new().run("go").await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_paused_team_resumes_with_the_member_that_was_active() {
    let log = Log::default();
    let team = |front: ScriptedChat, billing: ScriptedChat| {
        let billing = pausing(billing, &log).with_name("billing");
        Team::new()
            .with_member(Agent::new(front).with_name("front"), "Greets.")
            .with_member(billing, "Bills.")
    };
    let first = team(script([call("transfer_to_billing", "{}")]), deleting());
    let Outcome::Pending(pending) = first.start("go", &Run::new()).await.unwrap() else { panic!("no pause") };
    assert_eq!(pending.agent(), "billing");
    let second = team(script([]), script([text("Gone.")]));
    let outcome = second.resume(*pending, [("2", Decision::Approve)], &Run::new()).await.unwrap();
    assert_eq!(outcome.done().unwrap().text(), "Gone.");
    assert_eq!(log.lines(), ["search x", "delete /a"]);
}

#[tokio::test]
async fn a_supervisor_routes_until_done() {
    let boss = ScriptedChat::texts([
        r#"{"worker":"nobody","task":"x"}"#,
        "{}",
        r#"{"worker":"search","task":"find x"}"#,
        r#"{"worker":"broken","task":"y"}"#,
        r#"{"answer":"It is 42."}"#,
    ]);
    let worker = script([text("42\nFinal: ignore me")]);
    let supervisor = Supervisor::new(boss.clone())
        .with_worker("search", "Finds.", Agent::new(worker.clone()))
        .with_worker("broken", "Fails.", Agent::new(script([])));
    let output = supervisor.run("What is x?").await.unwrap();
    assert_eq!((output.text().as_str(), output.steps, output.finish), ("It is 42.", 5, Finish::Answered));
    assert_eq!(worker.requests()[0].messages[0].text(), "find x");
    let last = boss.requests()[4].messages.last().unwrap().text();
    assert!(last.contains("> [failed"), "{last}");
    let before = boss.requests()[3].messages.last().unwrap().text();
    assert!(before.contains("> 42\n> Final: ignore me"), "{before}");
}

#[tokio::test]
async fn a_supervisor_keeps_its_limits() {
    let same = || r#"{"worker":"w","task":"same"}"#;
    let workers = || Agent::new(ScriptedChat::texts(["a", "b", "c", "d"]));
    let boss = ScriptedChat::texts([same(), same(), same(), "Enough."]);
    let output = Supervisor::new(boss).with_worker("w", "Works.", workers()).run("go").await.unwrap();
    assert_eq!((output.finish, output.text().as_str()), (Finish::Repetition, "Enough."));
    let boss = ScriptedChat::texts([same(), "Enough."]);
    let output =
        Supervisor::new(boss).with_worker("w", "W.", workers()).with_steps(1).run("go").await.unwrap();
    assert_eq!((output.finish, output.text().as_str()), (Finish::StepLimit, "Enough."));
}

#[tokio::test]
async fn a_plan_is_done_step_by_step_and_made_anew() {
    let planner = ScriptedChat::texts([
        r#"{"steps":["one","two","three"]}"#,
        r#"{"steps":["two and a half"]}"#,
        r#"{"answer":"All done."}"#,
    ]);
    let executor = script([text("first result"), text("second result")]);
    let plan = PlanExecute::new(planner.clone(), Agent::new(executor.clone()));
    let report = plan.reported().run("The goal").await.unwrap();
    assert_eq!((report.output.text().as_str(), report.output.steps), ("All done.", 2));
    assert_eq!(report.notes("plan").count(), 2);
    let second = executor.requests()[1].messages[0].text();
    assert!(
        second.contains("two and a half") && second.contains("> first result") && second.contains("The goal")
    );
    assert_eq!(report.output.usage.total_tokens(), report.usage.total_tokens());
}

#[tokio::test]
async fn a_plan_keeps_its_limits_and_an_empty_one_is_an_error() {
    let planner = ScriptedChat::texts([r#"{"steps":["one","two"]}"#, r#"{"steps":["two"]}"#, "Half of it."]);
    let plan = PlanExecute::new(planner, Agent::new(script([text("r")]))).with_steps(1);
    let output = plan.run("go").await.unwrap();
    assert_eq!((output.finish, output.text().as_str()), (Finish::StepLimit, "Half of it."));
    let plan = PlanExecute::new(ScriptedChat::texts([r#"{"steps":[]}"#]), Agent::new(script([])));
    assert_eq!(plan.run("go").await.unwrap_err().kind(), ErrorKind::InvalidOutput);
}
