//! Extraction and tagging, with fakes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;
mod hostile;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{FnChat, last, listen, prompt, refusal, reply_of, says};
use hostile::{Paragraphs, bad_models_are_errors};
use katena_chains::{Extract, OnFailure, Tag};
use katena_core::fake::ScriptedChat;
use katena_core::{
    Cancel, ChainExt as _, ChatRequest, Context, ErrorKind, FinishReason, Labels, Role, Run, Span,
};
use katena_prompts::ChatPrompt;

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Port {
    /// The town's name
    name: String,
    people: Option<u64>,
}

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Tone {
    Friendly,
    Angry,
}

#[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
struct Letter {
    tone: Tone,
    subjects: Vec<String>,
}

fn port(name: &str) -> Port {
    Port { name: name.into(), people: None }
}

#[tokio::test]
async fn one_value_comes_typed_and_quietly() {
    let model = ScriptedChat::texts([r#"{"name": "Bergen", "people": 291940}"#]);
    let extract =
        Extract::<Port>::new(model.clone()).with_request(ChatRequest::default().with_temperature(0.0));
    let heard = listen(&extract, "Bergen </text> has 291,940 people. {x}").await;
    assert_eq!(heard.output.unwrap(), Port { name: "Bergen".into(), people: Some(291_940) });
    assert_eq!(heard.preview, "", "half a value is no preview");
    let request = &model.requests()[0];
    assert_eq!(request.temperature, Some(0.0));
    assert!(prompt(request).ends_with("<text>\nBergen ‹/text> has 291,940 people. {x}\n</text>"));
    let format = serde_json::to_string(&request.response_format).unwrap();
    assert!(format.contains("The town's name") && format.contains("people"), "{format}");
    let debug = format!("{extract:?}");
    assert!(debug.contains("scripted") && !debug.contains("Take out"), "{debug}");
}

#[tokio::test]
async fn nothing_found_is_a_value_too() {
    let model = ScriptedChat::texts([r#"{"value": null}"#]);
    assert_eq!(Extract::<Option<Port>>::new(model).run("No town here.").await.unwrap(), None);
}

#[tokio::test]
async fn a_broken_reply_is_repaired() {
    let model = ScriptedChat::texts(["broken {", r#"{"people": 3}"#, r#"{"name": "Oslo", "people": null}"#]);
    assert_eq!(Extract::<Port>::new(model.clone()).run("Oslo").await.unwrap(), port("Oslo"));
    let requests = model.requests();
    assert_eq!(requests.len(), 3);
    let roles: Vec<Role> = requests[2].messages.iter().map(|m| m.role).collect();
    use Role::{Assistant, System, User};
    assert_eq!(roles, [System, User, Assistant, User, Assistant, User]);
    assert!(last(&requests[2]).contains("missing field `name`"), "{}", last(&requests[2]));
}

#[tokio::test]
async fn bad_models_are_errors_when_extracting() {
    bad_models_are_errors(Extract::<Port>::new, "Bergen").await;
    bad_models_are_errors(Tag::<Letter>::new, "Bergen").await;
    bad_models_are_errors(|model| Extract::<Port>::new(model).all(), "Bergen").await;
}

#[tokio::test]
async fn tags_are_attributes_of_the_whole_text() {
    let model = ScriptedChat::texts([
        r#"{"tone": "furious", "subjects": []}"#,
        r#"{"tone": "angry", "subjects": ["ferry"]}"#,
    ]);
    let letter = Tag::<Letter>::new(model.clone()).run("Where is my ferry?!").await.unwrap();
    assert_eq!(letter, Letter { tone: Tone::Angry, subjects: vec!["ferry".into()] });
    assert!(prompt(&model.requests()[0]).contains("as a whole"));
    assert!(last(&model.requests()[1]).contains("angry"), "the variants are named");
}

#[tokio::test]
async fn own_prompts_are_checked() {
    let own = |text| ChatPrompt::fstring([(Role::User, text)]).unwrap();
    let extract = || Extract::<Port>::new(ScriptedChat::texts([r#"{"name": "A", "people": null}"#]));
    let error = extract().with_prompt(own("Which port?")).unwrap_err();
    assert_eq!((error.kind(), error.context("variable")), (ErrorKind::Config, Some("text")));
    let error = extract().with_prompt(own("{text} {question}")).unwrap_err();
    assert_eq!((error.kind(), error.context("variable")), (ErrorKind::Config, Some("question")));
    let model = ScriptedChat::texts([r#"{"value": []}"#]);
    let all = Extract::<Port>::new(model.clone()).with_prompt(own("Ports of: {text}")).unwrap().all();
    assert!(all.run("x").await.unwrap().items.is_empty());
    assert_eq!(last(&model.requests()[0]), "Ports of: x", "the prompt stays");
    let error = Tag::<Letter>::new(ScriptedChat::texts([""])).with_prompt(own("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// Finds the words that begin with a capital.
fn finder() -> FnChat {
    FnChat::says(|asked| {
        let text = asked.trim_start_matches("<text>\n").trim_end_matches("\n</text>");
        let names = text.split_whitespace().filter(|w| w.starts_with(char::is_uppercase));
        let ports: Vec<serde_json::Value> = names.map(|n| serde_json::json!({"name": n})).collect();
        serde_json::json!({"value": ports}).to_string()
    })
}

#[tokio::test]
async fn long_texts_are_read_in_pieces_and_stay_in_order() {
    let text = "to Bergen and Oslo\n\nfrom Oslo\n\nto Turku via Bergen";
    let model = finder();
    let extract = Extract::<Port>::new(model.clone()).all().with_splitter(Paragraphs { overlap: 0 });
    let heard = listen(&extract, text).await;
    let found = heard.output.unwrap();
    let names: Vec<&str> = found.values().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["Bergen", "Oslo", "Oslo", "Turku", "Bergen"]);
    assert_eq!((found.pieces, found.failed.len(), model.requests().len()), (3, 0, 3));
    assert_eq!(heard.preview, "");
    let told: Vec<_> =
        heard.custom.iter().map(|(n, v)| (n.as_str(), v["number"].as_u64(), v["items"].as_u64())).collect();
    for piece in [("piece", Some(1), Some(2)), ("piece", Some(2), Some(1)), ("piece", Some(3), Some(2))] {
        assert!(told.contains(&piece), "{told:?}");
    }

    let merged = extract.without_doubles().run(text).await.unwrap();
    assert_eq!(merged.values().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["Bergen", "Oslo", "Turku"]);
    let pieces: Vec<&str> = merged.items[1].found_in.iter().map(|s: &Span| &text[s.start..s.end]).collect();
    assert_eq!(pieces, ["to Bergen and Oslo", "from Oslo"]);
}

#[tokio::test]
async fn not_more_than_so_many_calls_run_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = most.clone();
    let model = FnChat::new(move |_| {
        let (now, most) = (now.clone(), counted.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(reply_of(r#"{"value": [{"name": "X"}]}"#, FinishReason::Stop))
        }
    });
    let text = vec!["a"; 20].join("\n\n");
    let extract =
        Extract::<Port>::new(model).all().with_splitter(Paragraphs { overlap: 0 }).with_concurrency(3);
    assert_eq!(extract.run(text).await.unwrap().items.len(), 20);
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_failed_piece_is_named_or_skipped() {
    let fails_at_two = || {
        FnChat::new(|request| async move {
            let text = last(&request);
            if text.contains("two") { refusal() } else { says(r#"{"value": [{"name": "A"}]}"#) }
        })
    };
    let extract = || Extract::<Port>::new(fails_at_two()).all().with_splitter(Paragraphs { overlap: 0 });
    let error = extract().run("one\n\ntwo\n\nthree").await.unwrap_err();
    assert_eq!((error.kind(), error.context("piece")), (ErrorKind::Refused, Some("2 (bytes 5..8)")));

    let skips = extract().with_on_failure(OnFailure::Skip);
    let found = skips.run("one\n\ntwo\n\nthree").await.unwrap();
    assert_eq!((found.items.len(), found.pieces), (2, 3));
    assert_eq!((found.failed[0].number, found.failed[0].span), (2, Span { start: 5, end: 8 }));
    assert_eq!(found.failed[0].error.kind(), ErrorKind::Refused);
    assert_eq!(
        skips.run("two\n\ntwo").await.unwrap_err().kind(),
        ErrorKind::Refused,
        "if all fail, the chain does"
    );

    let cancel = Cancel::new();
    cancel.cancel();
    let run = Run::new().with_context(Context::new().with_cancel(cancel));
    assert_eq!(skips.run_with("one", run).await.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn floods_of_values_are_refused() {
    let many = format!(r#"{{"value": [{}]}}"#, vec![r#"{"name": "x"}"#; 1_001].join(","));
    let extract = |limit| Extract::<Port>::new(ScriptedChat::texts([many.clone()])).all().with_limit(limit);
    let error = extract(1_000).run("x").await.unwrap_err();
    assert_eq!((error.kind(), error.context("values")), (ErrorKind::InvalidOutput, Some("1001")));
    assert_eq!(extract(2_000).without_doubles().run("x").await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn reports_have_the_replies_and_the_tokens_and_requests_the_labels() {
    let model = ScriptedChat::texts([r#"{"value": [{"name": "Bergen"}]}"#]);
    let extract = Extract::<Port>::new(model.clone()).all().reported();
    let run = Run::new().with_labels(Labels::new().with("tenant", "acme"));
    let report = extract.run_with("Bergen", run).await.unwrap();
    assert_eq!((report.usage.input_tokens, report.notes("piece").count()), (Some(1), 1));
    assert!(report.notes("reply").next().unwrap().as_str().unwrap().contains("Bergen"));
    assert_eq!(model.requests()[0].context.labels.get("tenant"), Some("acme"));
}
