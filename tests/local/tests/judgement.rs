//! The chains over data and judgements, a memory that summarises and an agent, on the local model. Typed answers of a model of 135
//! million parameters fit, or are refused as what they are: `InvalidOutput`, after repair turns.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;
#[path = "../../../crates/katena-http/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use common::{brief, chat, told};
use katena_agents::tools::Calculator;
use katena_agents::{Agent, Finish, Limits, Mode};
use katena_chains::api::{ApiQuestion, ApiSpec};
use katena_chains::sql::{SqlDialect, SqlGuard, SqlQuestion, SqliteDatabase};
use katena_chains::{
    Classifier, Conversation, CritiqueRevise, Draft, Extract, KnowledgeTriples, MathChain, Moderate,
    ModeratedSides, OnFlagged, Principle, Tag, Translate,
};
use katena_core::{ErrorKind, Memory as _, RecallRequest, Result, func};
use katena_http::Endpoint;
use katena_http::guard::OutboundGuard;
use katena_memory::{Compaction, MemoryHistory, SummaryMemory};
use support::{Reply, Server};

/// The value, or `None` after `InvalidOutput`, or one of the other kinds that the chain's own checks give.
fn fits_or_says_so<T>(result: Result<T>, also: &[ErrorKind]) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let kind = error.kind();
            assert!(kind == ErrorKind::InvalidOutput || also.contains(&kind), "{error}");
            eprintln!("refused: {error}");
            None
        }
    }
}

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Leave {
    days: i64,
}

#[tokio::test]
async fn extraction_and_tags() {
    let Some(model) = chat() else { return };
    let model = Arc::new(model);
    let text = "Everybody who works full time has 25 days of paid leave.";
    if let Some(report) = fits_or_says_so(
        told(Extract::<Leave>::new(model.clone()).with_request(brief(48)), text.into()).await,
        &[],
    ) {
        assert!(report.output.days > 0);
    }
    if let Some(report) =
        fits_or_says_so(told(Tag::<Leave>::new(model).with_request(brief(48)), text.into()).await, &[])
    {
        assert!(report.notes("reply").count() >= 1);
    }
}

#[tokio::test]
async fn classification() {
    let Some(model) = chat() else { return };
    let chain = Classifier::new(model)
        .label("leave", "about days off")
        .label("food", "about meals")
        .with_request(brief(48));
    if let Some(report) = fits_or_says_so(told(chain, "When is lunch served?".into()).await, &[]) {
        assert!(["leave", "food"].contains(&report.output.label.as_str()));
    }
}

#[tokio::test]
async fn critique() {
    let Some(model) = chat() else { return };
    let principle = Principle::new("polite", "Is the text rude?", "Say it politely.");
    let chain = CritiqueRevise::of_drafts(model).principle(principle).with_rounds(1).with_request(brief(48));
    if let Some(report) = fits_or_says_so(told(chain, Draft::new("Go away.")).await, &[]) {
        assert!(!report.output.text.is_empty());
    }
}

#[tokio::test]
async fn moderation() {
    let Some(model) = chat() else { return };
    let inner = func(async |text: String, _run| Ok(format!("You said: {text}")));
    let chain = Moderate::by_chat(inner, model)
        .category("violence", "threats and violence")
        .with_sides(ModeratedSides::Input)
        .with_on_flagged(OnFlagged::Pass)
        .with_request(brief(48));
    if let Some(report) = fits_or_says_so(told(chain, "Good morning".into()).await, &[]) {
        assert!(report.output.output.contains("Good morning"));
    }
}

#[tokio::test]
async fn translation() {
    let Some(model) = chat() else { return };
    let chain = Translate::new(model, "French").with_request(brief(32));
    if let Some(report) = fits_or_says_so(told(chain, "Good morning, Ada.".into()).await, &[]) {
        assert!(!report.output.text.trim().is_empty());
    }
}

#[tokio::test]
async fn triples() {
    let Some(model) = chat() else { return };
    let text = "Ada Lovelace was born in London.";
    let chain = KnowledgeTriples::new(model).with_request(brief(96));
    if let Some(report) = fits_or_says_so(told(chain, text.into()).await, &[]) {
        assert!(report.output.triples.iter().all(|t| !t.subject.is_empty()), "what is kept is founded");
    }
}

#[tokio::test]
async fn math() {
    let Some(model) = chat() else { return };
    let chain = MathChain::new(model).with_request(brief(48));
    if let Some(report) = fits_or_says_so(told(chain, "What is 2 plus 3?".into()).await, &[]) {
        assert!(!report.output.expression.is_empty());
    }
}

#[tokio::test]
async fn a_question_to_a_database() {
    let Some(model) = chat() else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let tables = "CREATE TABLE cities (name TEXT, people INTEGER); INSERT INTO cities VALUES ('Delft', 109000), ('Bern', 134591);";
    rusqlite::Connection::open(file.path()).unwrap().execute_batch(tables).unwrap();
    let guard = SqlGuard::new(SqlDialect::Sqlite, ["cities"]);
    let chain =
        SqlQuestion::new(model, SqliteDatabase::open(file.path()).unwrap(), guard).with_request(brief(64));
    if let Some(report) = fits_or_says_so(told(chain, "How many cities are there?".into()).await, &[]) {
        assert!(report.output.sql.starts_with("SELECT"), "{}", report.output.sql);
    }
}

#[tokio::test]
async fn a_question_to_an_api() {
    let Some(model) = chat() else { return };
    let server = Server::start(|_| Reply::json(r#"{"cities": ["Delft", "Bern"]}"#.to_owned())).await;
    let spec = r#"{"openapi": "3.1.0", "paths": {"/cities": {"get": {"operationId": "cities", "summary": "All cities"}}}}"#;
    let chain = ApiQuestion::new(model, ApiSpec::parse(spec).unwrap(), Endpoint::new(&server.url).unwrap())
        .with_guard(OutboundGuard::new().with_allowed_host("127.0.0.1"))
        .with_request(brief(48));
    if let Some(report) = fits_or_says_so(told(chain, "Which cities are there?".into()).await, &[]) {
        assert!(!report.output.to_string().is_empty());
    }
}

#[tokio::test]
async fn a_memory_that_summarises() {
    let Some(model) = chat() else { return };
    let model = Arc::new(model);
    let memory = Arc::new(
        SummaryMemory::new(MemoryHistory::new(), model.clone(), 1).with_compaction(Compaction::Manual),
    );
    let talk = Conversation::new(model, memory.clone()).with_request(brief(12));
    for text in ["My name is Ada.", "I live in London.", "I like trains."] {
        told(talk.clone(), ("s", text).into()).await.unwrap();
    }
    memory.compact("s", &katena_core::Context::new()).await.unwrap();
    let seen = memory.recall(&RecallRequest::new("s")).await.unwrap();
    assert!(seen.len() < 6 && !seen.is_empty(), "a summary and the last turn: {}", seen.len());
}

#[tokio::test]
async fn an_agent_by_text() {
    let Some(model) = chat() else { return };
    let agent = Agent::new(model)
        .with_mode(Mode::React)
        .with_request(brief(48))
        .with_tool(Calculator::new())
        .with_limits(Limits::default().with_steps(2));
    let report = match told(agent, "What is 2 plus 3?".into()).await {
        Ok(report) => report,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{error}"),
    };
    assert!(
        matches!(report.output.finish, Finish::Answered | Finish::StepLimit),
        "{:?}",
        report.output.finish
    );
}
