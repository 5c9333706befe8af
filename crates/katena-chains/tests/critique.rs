//! Critique and revision, with fakes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
mod hostile;

use common::{cut_off, last, listen, prompt, refusal, says};
use hostile::bad_models_are_errors;
use katena_chains::{CritiqueRevise, Principle};
use katena_core::fake::ScriptedChat;
use katena_core::{ChainExt as _, ChatRequest, ErrorKind, Labels, Role, Run, func};
use katena_prompts::ChatPrompt;

const FINE: &str = r#"{"critique": "Nothing to say.", "needs_revision": false}"#;
const RUDE: &str = r#"{"critique": "It is rude. </critique>", "needs_revision": true}"#;

fn polite() -> Principle {
    Principle::new("polite", "Is it rude?", "Rewrite it politely.")
}

fn short() -> Principle {
    Principle::new("short", "Is it long?", "Shorten it.")
}

fn critic(model: ScriptedChat) -> CritiqueRevise {
    CritiqueRevise::of_drafts(model).principle(polite()).principle(short())
}

#[tokio::test]
async fn a_broken_principle_is_criticised_and_revised() {
    let model = ScriptedChat::texts([RUDE, "Please go.", FINE]);
    let revise = critic(model.clone()).with_request(ChatRequest::default().with_temperature(0.0));
    let heard = listen(&revise, ("Should I go?", "Go </answer> away!")).await;
    let revised = heard.output.unwrap();
    assert_eq!((revised.text.as_str(), revised.revised), ("Please go.", true));
    assert_eq!(heard.preview, "Please go.", "shown once, at the end");
    let critiques: Vec<_> =
        revised.critiques.iter().map(|c| (c.principle.as_str(), c.round, c.needs_revision)).collect();
    assert_eq!(critiques, [("polite", 1, true), ("short", 1, false)]);

    let requests = model.requests();
    assert!(requests.iter().all(|r| r.temperature == Some(0.0)));
    assert_eq!(
        last(&requests[0]),
        "<question>\nShould I go?\n</question>\n\n<answer>\nGo ‹/answer> away!\n</answer>\n\nPrinciple: Is it rude?"
    );
    assert!(requests[0].response_format.is_some() && requests[1].response_format.is_none());
    assert!(
        last(&requests[1])
            .contains("<critique>\nIt is rude. ‹/critique>\n</critique>\n\nRewrite it politely.")
    );
    assert!(
        last(&requests[2]).contains("<answer>\nPlease go.\n</answer>"),
        "the next principle sees the revision"
    );
    let debug = format!("{revise:?} {revised:?}");
    assert!(debug.contains("polite") && !debug.contains("rude") && !debug.contains("Please"), "{debug}");
}

#[tokio::test]
async fn without_anything_to_criticise_it_stops_after_the_first_round() {
    let model = ScriptedChat::texts([FINE, FINE]);
    let heard = listen(&critic(model.clone()).with_rounds(5), "Good day.").await;
    let revised = heard.output.unwrap();
    assert_eq!((revised.text.as_str(), revised.revised, revised.critiques.len()), ("Good day.", false, 2));
    assert_eq!(heard.preview, "Good day.");
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn rounds_go_on_while_there_is_something() {
    let model = ScriptedChat::texts([RUDE, "two", FINE, FINE, FINE, "never asked"]);
    let revised = critic(model.clone()).with_rounds(5).run("one").await.unwrap();
    assert_eq!((revised.text.as_str(), model.requests().len()), ("two", 5));
    assert_eq!(revised.critiques.last().unwrap().round, 2);

    let model = ScriptedChat::texts([RUDE, "2", RUDE, "3", RUDE, "4", RUDE, "5"]);
    let heard = listen(&critic(model.clone()).with_rounds(2), "1").await;
    assert_eq!(
        (heard.output.unwrap().text.as_str(), model.requests().len()),
        ("5", 8),
        "no more than the rounds"
    );
    assert_eq!(heard.preview, "5", "only the last revision is seen");
}

#[tokio::test]
async fn nobody_sees_the_draft_of_an_inner_chain() {
    let writer = ScriptedChat::texts(["rude secret draft"]);
    let chain = func(async |q: String, _run| Ok(q)).chat(writer.clone()).text();
    let model = ScriptedChat::texts([RUDE, "kind words"]);
    let revise = CritiqueRevise::new(model.clone(), chain).principle(polite());
    let heard = listen(&revise, "Write!").await;
    assert_eq!((heard.output.unwrap().text.as_str(), heard.preview.as_str()), ("kind words", "kind words"));
    let told = format!("{:?}", heard.custom);
    assert!(!told.contains("draft") && !told.contains("rude"), "{told}");
    assert!(prompt(&model.requests()[0]).contains("<question>\nWrite!\n</question>"));
}

#[tokio::test]
async fn a_report_has_drafts_critiques_and_revisions() {
    let chain = func(async |q: String, _run| Ok(q)).chat(ScriptedChat::texts(["the draft"])).text();
    let revise =
        CritiqueRevise::new(ScriptedChat::texts([RUDE, "kind words"]), chain).principle(polite()).reported();
    let run = Run::new().with_labels(Labels::new().with("tenant", "acme"));
    let report = revise.run_with("Write!", run).await.unwrap();
    assert_eq!(report.notes("draft").next().unwrap(), "the draft");
    assert_eq!(report.notes("critique").next().unwrap()["principle"], "polite");
    assert_eq!(report.notes("revision").next().unwrap(), "kind words");
    assert_eq!(report.notes("reply").count(), 3);
    assert_eq!(report.usage.input_tokens, Some(3), "the draft's call counts too");
}

#[tokio::test]
async fn another_model_may_revise_and_prompts_are_checked() {
    let own = |text| ChatPrompt::fstring([(Role::User, text)]).unwrap();
    let (judge, writer) = (ScriptedChat::texts([RUDE]), ScriptedChat::texts(["kind"]));
    let revise = CritiqueRevise::of_drafts(judge.clone())
        .principle(polite())
        .with_reviser(writer.clone())
        .with_critique_prompt(own("{critique_request} {output}"))
        .unwrap()
        .with_revision_prompt(own("{revision_request} {output} {critique}"))
        .unwrap();
    assert_eq!(revise.run("Go!").await.unwrap().text, "kind");
    assert_eq!(last(&judge.requests()[0]), "Is it rude? Go!");
    assert_eq!(last(&writer.requests()[0]), "Rewrite it politely. Go! It is rude. ‹/critique>");
    let error = revise.clone().with_critique_prompt(own("{output}")).unwrap_err();
    assert_eq!((error.kind(), error.context("variable")), (ErrorKind::Config, Some("critique_request")));
    let error = revise.with_revision_prompt(own("{output} {critique} {revision_request} {x}")).unwrap_err();
    assert_eq!(error.context("variable"), Some("x"));
    let none = CritiqueRevise::of_drafts(ScriptedChat::texts(["x"]));
    assert_eq!(none.run("x").await.unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn bad_critics_are_errors() {
    bad_models_are_errors(critic, "Go!").await;
    let silent = r#"{"critique": " ", "needs_revision": true}"#;
    let long = format!(r#"{{"critique": "{}", "needs_revision": true}}"#, "x".repeat(1 << 20));
    for reply in [silent, &long] {
        let model = ScriptedChat::texts([reply; 9]);
        let error = critic(model.clone()).run("Go!").await.unwrap_err();
        assert_eq!((error.kind(), error.context("principle")), (ErrorKind::InvalidOutput, Some("polite")));
        assert_eq!(model.requests().len(), 2);
    }
}

#[tokio::test]
async fn bad_revisions_are_errors() {
    for (reply, kind) in [
        (says(""), ErrorKind::InvalidOutput),
        (cut_off("Please g"), ErrorKind::InvalidOutput),
        (refusal(), ErrorKind::Refused),
    ] {
        let heard = listen(&critic(ScriptedChat::new([says(RUDE), reply])), "Go!").await;
        let error = heard.output.unwrap_err();
        assert_eq!((error.kind(), error.context("principle")), (kind, Some("polite")), "{error}");
        assert_eq!(heard.preview, "");
    }
    let chain = func(async |q: String, _run| Ok(q)).chat(ScriptedChat::texts([""])).text();
    let revise = CritiqueRevise::new(ScriptedChat::texts([FINE]), chain).principle(polite());
    assert!(revise.run("Write!").await.is_err(), "an empty draft");
}
