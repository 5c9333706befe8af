//! The main job on the example handbook with the real models.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests and their helpers")]

use std::io::Read as _;
use std::process::Stdio;
use std::sync::OnceLock;

use katena_tests::{Answer, holds, katena, required, root, run};
use serde_json::Value;

/// Arguments that name the models, or `None` where there are none.
fn models() -> Option<[String; 4]> {
    let chat = required("KATENA_TEST_CHAT_MODEL")?;
    let embedder = required("KATENA_TEST_EMBED_MODEL")?;
    Some(["--model".into(), chat, "--embedder".into(), embedder])
}

/// One index of the handbook for all tests of this file.
fn store() -> &'static str {
    static STORE: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let (_, path) = STORE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("handbook.katena").to_str().unwrap().to_owned();
        (dir, path)
    });
    path
}

fn command(command: &str, question: &str, flags: &[&str]) -> Option<std::process::Command> {
    let models = models()?;
    let models = if command == "ask" { &models[..] } else { &models[2..] };
    let mut katena = katena();
    katena.args([command, question]).arg(root().join("examples/handbook"));
    katena.args(["--store", store(), "--threads", "1"]).args(models).args(flags);
    Some(katena)
}

fn ask(question: &str, flags: &[&str]) -> Option<Answer> {
    Some(run(&mut command("ask", question, flags)?))
}

fn questions(list: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("examples/handbook-questions.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    all[list].as_array().unwrap().clone()
}

#[test]
fn the_answer_comes_with_its_sources() {
    let Some(answer) = ask("How many days of paid annual leave do I get if I work full time?", &["--json"])
    else {
        return;
    };
    let answer = answer.done();
    let sources = answer.json["sources"].as_array().unwrap();
    assert!((1..=4).contains(&sources.len()));
    let hit = sources.iter().find(|s| s["uri"].as_str().unwrap().ends_with("leave-and-time-off.md")).unwrap();
    assert!(hit["quote"].as_str().unwrap().contains("25 days"), "{hit}");
    let (first, last) = (hit["lines"]["first"].as_u64().unwrap(), hit["lines"]["last"].as_u64().unwrap());
    assert!(first <= 7 && 7 <= last, "{hit}");
    let file = std::fs::read_to_string(root().join("examples/handbook/leave-and-time-off.md")).unwrap();
    let span = hit["span"]["start"].as_u64().unwrap() as usize..hit["span"]["end"].as_u64().unwrap() as usize;
    assert_eq!(&file[span], hit["quote"].as_str().unwrap(), "the span is where the quote stands");
    assert!(!answer.json["answer"].as_str().unwrap().is_empty());
    for citation in answer.json["citations"].as_array().unwrap() {
        let n = citation["number"].as_u64().unwrap();
        assert!(sources.iter().any(|s| s["number"] == n), "{citation}");
        assert!(["named_by_model", "matched_by_text"].contains(&citation["origin"].as_str().unwrap()));
    }
    assert!(answer.number("/counts/prompt_tokens") < 700, "{answer:#?}");
    assert!(answer.json["seconds"]["first_token"].as_f64().unwrap() > 0.0);
    let pdf = ask("How long must you stay outside at the assembly point?", &["--json"]).unwrap();
    assert!(pdf.json["sources"].as_array().unwrap().iter().any(|s| s["page"].as_u64().is_some()), "{pdf:#?}");
}

#[test]
fn people_see_places_then_the_answer_then_quotes() {
    let Some(mut katena) =
        command("ask", "On which day of the month are salaries paid?", &["--max-tokens", "24"])
    else {
        return;
    };
    let mut child = katena.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    // Stdout is a pipe here; what is read first was written first, before the model was loaded.
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    let n = out.read(&mut buffer).unwrap();
    let first = String::from_utf8_lossy(&buffer[..n]).into_owned();
    assert!(first.starts_with("Found:\n[1] ") && first.contains("onboarding.md, line"), "{first}");
    out.read_to_end(&mut seen).unwrap();
    assert!(child.wait().unwrap().success());
    let rest = String::from_utf8_lossy(&seen);
    assert!(rest.contains("\nSources:\n[1] ") && rest.contains("26th"), "{rest}");
    let mut err = String::new();
    child.stderr.unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("time to first token") && err.contains("skipped"), "{err}");
}

#[test]
fn thirty_questions_find_their_source() {
    let (mut hits, mut answered) = (0, 0);
    let all = questions("answerable");
    assert_eq!(all.len(), 30);
    for q in &all {
        let Some(mut katena) = command("search", q["question"].as_str().unwrap(), &["--json", "--quiet"])
        else {
            return;
        };
        let found = run(&mut katena);
        let source = q["source"].as_str().unwrap();
        let hit = found.json["sources"].as_array().into_iter().flatten().any(|s| {
            s["uri"].as_str().unwrap().ends_with(source)
                && holds(s["quote"].as_str().unwrap(), q["answer"].as_str().unwrap())
        });
        if !hit {
            eprintln!("missed: {} ({source}: {})", q["question"], q["answer"]);
        }
        hits += u32::from(hit);
        answered += u32::from(found.code == 0);
    }
    eprintln!(
        "the right source is among the 4, and its quote holds the answer: {hits} of 30; refused: {}",
        30 - answered
    );
    assert!(hits >= 28);
    assert!(answered >= 26, "{answered} of 30 were held to be answerable");
}

#[test]
fn questions_without_an_answer_are_refused() {
    let mut refused = 0;
    let all = questions("unanswerable");
    assert_eq!(all.len(), 10);
    for q in &all {
        let question = q.as_str().or_else(|| q["question"].as_str()).unwrap();
        let Some(answer) = ask(question, &["--json", "--quiet", "--max-tokens", "48"]) else { return };
        if answer.code == 3 {
            assert_eq!(answer.json["found"], false);
            refused += 1;
        } else {
            eprintln!("answered: {question}: {}", answer.json["answer"]);
        }
    }
    eprintln!("refused: {refused} of 10");
    assert!(refused >= 9);
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_cleanly() {
    for _ in 0..3 {
        let Some((status, out)) = interrupted() else { return };
        // On a busy machine the answer may have ended before the signal came.
        if status.code() != Some(0) {
            assert_eq!(status.code(), Some(130), "{out}");
            return;
        }
    }
    panic!("the answer goes on to its end");
}

/// How `ask` ends, and what it wrote, when it is interrupted in its answer.
#[cfg(unix)]
fn interrupted() -> Option<(std::process::ExitStatus, String)> {
    let question = "What should I do when my laptop gets stolen?";
    let mut katena = command("ask", question, &["--max-tokens", "2000"])?;
    let mut child = katena.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut byte = [0; 1];
    let mut seen = Vec::new();
    // The answer has begun once something stands after its heading.
    while out.read(&mut byte).unwrap() == 1 {
        seen.push(byte[0]);
        let text = String::from_utf8_lossy(&seen);
        if text.split_once("Answer:\n").is_some_and(|(_, a)| a.len() > 3) {
            break;
        }
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    Some((child.wait().unwrap(), String::from_utf8_lossy(&seen).into_owned()))
}
