//! The programs for local models in `examples/`, as a user runs them, with the real model.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests and their helpers")]

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use katena_tests::required;

/// An example of the same build as the `katena` command, with the test model; `None` where one of them is missing.
fn example(name: &str) -> Option<Command> {
    let model = required("KATENA_TEST_CHAT_MODEL")?;
    let program = katena_tests::binary().with_file_name("examples").join(name);
    assert!(program.exists(), "{} is not built", program.display());
    let mut command = Command::new(program);
    command
        .env("OMP_WAIT_POLICY", "PASSIVE")
        .arg(model)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command)
}

/// Reads until `text` was written.
fn until(child: &mut Child, seen: &mut String, text: &str) {
    let out = child.stdout.as_mut().unwrap();
    let (start, mut bytes, mut byte) = (seen.len(), Vec::new(), [0; 1]);
    while out.read(&mut byte).unwrap() == 1 {
        bytes.push(byte[0]);
        if String::from_utf8_lossy(&bytes).contains(text) {
            break;
        }
    }
    seen.push_str(&String::from_utf8_lossy(&bytes));
    assert!(seen[start..].contains(text), "{seen}");
}

#[test]
fn a_chat_keeps_its_history_and_knows_its_commands() {
    let Some(mut command) = example("local_chat") else { return };
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("chat.json");
    let mut child = command.spawn().unwrap();
    let input = format!(
        "/help\n/temperature warm\n/temperature 0\n/system Answer with one word.\nWhat is the capital of France?\n/history\n/tokens\n/stats\n/save {0}\n/clear\n\
         /history\n/load {0}\n/undo\n/nonsense\n/quit\n",
        saved.display()
    );
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}");
    for text in [
        "/undo ",
        "a number is missing",
        "you: What is the capital",
        "2 messages written",
        "2 messages read",
        "unknown",
    ] {
        assert!(out.contains(text), "no {text:?} in {out}\n{error}");
    }
    assert!(out.contains("of 8192 tokens") && out.contains("Stats"), "{out}");
    let kept: Vec<katena_core::Message> = serde_json::from_slice(&std::fs::read(saved).unwrap()).unwrap();
    assert_eq!(kept.len(), 2);
    // Whatever the model said: it was streamed, is in the history and in the file.
    let answer = kept[1].text();
    assert!(!answer.trim().is_empty() && out.matches(answer.trim()).count() >= 2, "{answer:?} in {out}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_not_the_chat() {
    let Some(mut command) = example("local_chat") else { return };
    let mut child = command.spawn().unwrap();
    let mut seen = String::new();
    until(&mut child, &mut seen, "> ");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"/temperature 0\n").unwrap();
    until(&mut child, &mut seen, "> ");
    input.write_all(b"Write a very long story about the sea.\n").unwrap();
    until(&mut child, &mut seen, " ");
    let interrupt = || {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    interrupt();
    until(&mut child, &mut seen, "(stopped)");
    until(&mut child, &mut seen, "> ");
    input.write_all(b"/tokens\n/quit\n").unwrap();
    until(&mut child, &mut seen, "of 8192 tokens");
    assert!(child.wait().unwrap().success(), "{seen}");
}

#[test]
fn every_document_of_a_folder_becomes_a_card() {
    let Some(mut command) = example("local_extraction") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        (
            "leave.md",
            "# Leave\n\nEverybody has 25 days of paid leave a year. Ask your manager two weeks before.",
        ),
        ("prices.txt", "A chair costs 80 euros, a table 240 euros, delivery 15 euros."),
        ("rooms.md", "# Rooms\n\nThe blue room has eight seats and a screen; the green one has four."),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let output = command.arg(folder.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let cards: Vec<serde_json::Value> = output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    assert_eq!(cards.len(), 3, "{error}");
    for card in &cards {
        let card = &card["card"];
        assert!(card["title"].is_string() && card["names_money"].is_boolean(), "{card}");
        assert!(["policy", "guide", "list", "other"].contains(&card["kind"].as_str().unwrap()), "{card}");
        assert!(card["keywords"].as_array().unwrap().len() <= 5, "{card}");
    }
}

#[test]
fn many_clients_share_what_they_have_in_common() {
    let Some(mut command) = example("many_clients") else { return };
    let output = command.arg("12").output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("all 12 answered"), "{out}");
}
