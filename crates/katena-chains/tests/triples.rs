//! Knowledge triples, with fakes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
mod hostile;

use common::{FnChat, last, listen, prompt, refusal, says};
use hostile::{Paragraphs, bad_models_are_errors};
use katena_chains::{KnowledgeTriples, OnFailure, Triples};
use katena_core::fake::ScriptedChat;
use katena_core::{ChainExt as _, ChatRequest, ErrorKind, Role};
use katena_prompts::ChatPrompt;
use serde_json::json;

fn fact(subject: &str, relation: &str, object: &str, evidence: &str) -> serde_json::Value {
    json!({"subject": subject, "relation": relation, "object": object, "evidence": evidence})
}

fn reply(facts: &[serde_json::Value]) -> String {
    json!({"triples": facts}).to_string()
}

fn quotes<'t>(text: &'t str, found: &Triples) -> Vec<(String, Vec<&'t str>)> {
    let quote = |e: &katena_chains::Evidence| &text[e.span.start..e.span.end];
    found.triples.iter().map(|t| (t.to_string(), t.evidence.iter().map(quote).collect())).collect()
}

#[tokio::test]
async fn facts_come_with_the_place_that_states_them() {
    let text = "Ada  Lovelace\nwrote the first program. It ran on the “Engine”.";
    let facts = [
        fact(" Ada Lovelace ", "wrote", "the first program", "Ada Lovelace wrote the first program"),
        fact("the program", "ran on", "the Engine", "\"It ran on the \"Engine\".\""),
    ];
    let model = ScriptedChat::texts([reply(&facts)]);
    let triples =
        KnowledgeTriples::new(model.clone()).with_request(ChatRequest::default().with_temperature(0.0));
    let heard = listen(&triples, text).await;
    let names = heard.names().join(" ");
    let found = heard.output.unwrap();
    assert_eq!(
        quotes(text, &found),
        [
            (
                "(Ada Lovelace, wrote, the first program)".into(),
                vec!["Ada  Lovelace\nwrote the first program"]
            ),
            ("(the program, ran on, the Engine)".into(), vec!["It ran on the “Engine”."]),
        ]
    );
    assert_eq!(found.triples[0].evidence[0].quote, "Ada  Lovelace\nwrote the first program");
    assert_eq!((found.unfounded, found.incomplete, found.merged), (0, 0, 0));
    assert_eq!((heard.preview.as_str(), names.as_str()), ("", "triples"));
    assert_eq!(heard.custom[0].1["triples"][0]["subject"], "Ada Lovelace");
    assert_eq!(model.requests()[0].temperature, Some(0.0));
    assert!(prompt(&model.requests()[0]).contains("word for word"));
    let debug = format!("{triples:?} {found:?}");
    assert!(!debug.contains("Ada") && !debug.contains("quoted data"), "{debug}");
}

#[tokio::test]
async fn unfounded_and_incomplete_facts_are_dropped_and_counted() {
    let facts = [
        fact("Ada", "wrote", "programs", "Ada wrote programs"),
        fact("Ada", "lived in", "London", "Ada lived in London"),
        fact("Ada", "is", "a", "A"),
        fact("Ada", "is", "x", " "),
        fact("Ada", " ", "programs", "Ada wrote programs"),
    ];
    let found =
        KnowledgeTriples::new(ScriptedChat::texts([reply(&facts)])).run("Ada wrote programs.").await.unwrap();
    assert_eq!((found.triples.len(), found.unfounded, found.incomplete), (1, 3, 1));
}

#[tokio::test]
async fn doubles_become_one_with_all_their_evidence() {
    let text = "Ada wrote programs.\n\nYes, Ada wrote  programs!";
    let facts = [
        fact("Ada", "wrote", "programs", "Ada wrote programs"),
        fact("ADA", "wrote", " Programs", "Ada wrote programs"),
        fact("Ada", "Wrote", "programs", "programs"),
    ];
    let model = ScriptedChat::texts([reply(&facts), reply(&facts[..1])]);
    let triples =
        KnowledgeTriples::new(model.clone()).with_splitter(Paragraphs { overlap: 0 }).with_concurrency(1);
    let found = triples.run(text).await.unwrap();
    let evidence = vec!["Ada wrote programs", "programs", "Ada wrote  programs"];
    assert_eq!(quotes(text, &found), [("(Ada, wrote, programs)".into(), evidence)]);
    assert_eq!((found.merged, model.requests().len()), (3, 2));
}

#[tokio::test]
async fn a_failed_piece_is_named_or_skipped() {
    let model = || {
        FnChat::new(|request| async move {
            let good = reply(&[fact("a", "is", "one", "one piece")]);
            if last(&request).contains("two") { refusal() } else { says(&good) }
        })
    };
    let triples = || KnowledgeTriples::new(model()).with_splitter(Paragraphs { overlap: 0 });
    let error = triples().run("one piece\n\ntwo").await.unwrap_err();
    assert_eq!((error.kind(), error.context("piece")), (ErrorKind::Refused, Some("2 (bytes 11..14)")));
    let found = triples().with_on_failure(OnFailure::Skip).run("one piece\n\ntwo").await.unwrap();
    assert_eq!((found.triples.len(), found.failed[0].number), (1, 2));
}

#[tokio::test]
async fn bad_models_are_errors_when_taking_facts() {
    bad_models_are_errors(KnowledgeTriples::new, "Ada wrote programs.").await;
    let many = reply(&vec![fact("a", "b", "c", "d"); 201]);
    let model = || ScriptedChat::texts([many.clone()]);
    let error = KnowledgeTriples::new(model()).run("Ada").await.unwrap_err();
    assert_eq!((error.kind(), error.context("triples")), (ErrorKind::InvalidOutput, Some("201")));
    assert_eq!(KnowledgeTriples::new(model()).with_limit(201).run("Ada").await.unwrap().unfounded, 201);
}

#[tokio::test]
async fn own_prompts_are_checked() {
    let own = |text| ChatPrompt::fstring([(Role::User, text)]).unwrap();
    let model = ScriptedChat::texts([reply(&[])]);
    let error = KnowledgeTriples::new(model.clone()).with_prompt(own("x")).unwrap_err();
    assert_eq!((error.kind(), error.context("variable")), (ErrorKind::Config, Some("text")));
    let triples = KnowledgeTriples::new(model.clone()).with_prompt(own("Facts: {text}")).unwrap();
    assert!(triples.run("Ada</text>").await.unwrap().triples.is_empty());
    assert_eq!(last(&model.requests()[0]), "Facts: Ada‹/text>");
}
