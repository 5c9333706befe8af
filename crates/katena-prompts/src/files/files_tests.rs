use std::fs;

use katena_core::{ErrorKind, Message, ResponseFormat, Role};

use super::{PromptFile, PromptLibrary, Severity, lint};
use crate::{Partials, vars};

const FULL: &str = "---
name: ask
version: 2
format: jinja
model: gpt-5-mini
options:
  temperature: 0
  max_tokens: 64
  stop: [END]
  reasoning_effort: low
  extra: {user: u1}
input:
  properties:
    question: {type: string}
    tone: {type: string, enum: [kind, dry], default: kind}
    count: {type: integer}
  required: [question]
  additionalProperties: false
output:
  type: object
  properties: {answer: {type: string}}
---

<<<system>>>

Be {{ tone }}.
\\<<<user>>> is no mark.

<<<messages history?>>>
<<<user>>>
{{ question }}{% if count %} ({{ count }} words){% endif %}
<<<image photo>>>
";

fn parse(text: &str) -> katena_core::Result<PromptFile> {
    PromptFile::parse(text, &Partials::new())
}

#[cfg(feature = "jinja")]
#[test]
fn a_file_gives_a_request() {
    let prompt = parse(FULL).unwrap();
    let vars = vars! { "question" => "Why?", "photo" => "https://example.org/a.png" };
    let error = prompt.request(&vars).unwrap_err();
    assert_eq!(error.context("variable"), Some("photo"), "not declared and nothing else is allowed");
    let prompt = parse(&FULL.replace("  additionalProperties: false\n", "")).unwrap();
    let request = prompt.request(&vars.clone().with_messages("history", vec![Message::user("a")])).unwrap();
    assert_eq!(request.messages.len(), 3);
    assert_eq!(request.messages[0].text(), "Be kind.\n<<<user>>> is no mark.");
    assert_eq!((request.messages[2].role, request.messages[2].parts.len()), (Role::User, 2));
    assert_eq!((request.temperature, request.max_tokens), (Some(0.0), Some(64)));
    assert!(
        matches!(&request.response_format, Some(ResponseFormat::JsonSchema { name, .. }) if name == "ask")
    );
    assert_eq!(request.context.labels.get("prompt"), Some("ask@2"));
    assert_eq!(request.context.labels.get("prompt_hash"), Some(prompt.hash()));
    for wrong in
        [vars.clone().with("tone", "rude"), vars.clone().with("count", "x"), vars! { "photo" => "x" }]
    {
        assert_eq!(prompt.render(&wrong).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(prompt.render(&vars.with("count", 3)).unwrap()[1].text(), "Why? (3 words)");
}

#[test]
fn wrong_files_name_the_line() {
    for (text, line) in [
        ("", "1"),
        ("---\nname: a\n", "1"),
        ("---\nname: a\nnam: b\n---\nx", "3"),
        ("---\nname: a\n---\n", "4"),
        ("---\nname: a\n---\n<<<system>>>\n\nx\n{{#if}\n", "7"),
        ("---\nname: a\n---\n<<<robot>>>\nx", "4"),
        ("---\nname: a\n---\n<<<messages h>>>\nx", "5"),
        ("---\nname: a\n---\nx\n\n{{> nowhere}}", "6"),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(error.context("line"), Some(line), "{text}\n{error}");
    }
    for options in [
        "{temperature: 3}",
        "{tempreature: 1}",
        "{temperature: warm}",
        "{reasoning_effort: low, reasoning_tokens: 1}",
    ] {
        assert!(parse(&format!("---\nname: a\noptions: {options}\n---\nx")).is_err(), "{options}");
    }
    for input in ["{properties: 1}", "{properties: {a: {type: text}}}", "{properties: {}, required: [a]}"] {
        assert!(parse(&format!("---\nname: a\ninput: {input}\n---\nx")).is_err(), "{input}");
    }
    assert!(parse(&format!("---\na: {}\n---\nx", "[".repeat(100_000))).is_err());
}

#[test]
fn the_hash_covers_the_partials_that_are_used() {
    let text = "---\nname: a\n---\n{{> one}}";
    let hash = |p: &Partials| PromptFile::parse(text, p).unwrap().hash().to_owned();
    let partials = Partials::new().with("one", "1").with("zwei", "2");
    assert_eq!(hash(&partials), hash(&partials.clone().with("zwei", "other")));
    assert_ne!(hash(&partials), hash(&partials.clone().with("one", "other")));
}

#[test]
fn a_library_picks_up_changes_and_keeps_what_works() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::create_dir(at("partials")).unwrap();
    fs::write(at("a.prompt"), "---\nname: a\n---\nA {{> p}}").unwrap();
    fs::write(at("sub/b.prompt"), "---\nname: b\n---\nB").unwrap();
    fs::write(at("partials/p.hbs"), "one").unwrap();
    fs::write(at("notes.txt"), "not a prompt").unwrap();
    let library = PromptLibrary::open(dir.path()).unwrap();
    assert_eq!(library.names(), ["a", "sub/b"]);
    let text = |name: &str| library.get(name).unwrap().render(&vars! {}).unwrap()[0].text();
    assert_eq!((text("a").as_str(), text("sub/b").as_str()), ("A one", "B"));
    assert!(library.reload().unwrap().is_empty());

    fs::write(at("partials/p.hbs"), "two").unwrap();
    fs::write(at("sub/b.prompt"), "---\nname: b\n---\nC").unwrap();
    fs::write(at("c.prompt"), "---\nname: c\n---\nC").unwrap();
    let reloaded = library.reload().unwrap();
    assert_eq!(
        (reloaded.added, reloaded.changed),
        (vec!["c".to_owned()], vec!["a".to_owned(), "sub/b".to_owned()])
    );
    assert_eq!((text("a").as_str(), text("sub/b").as_str()), ("A two", "C"));

    fs::write(at("a.prompt"), "---\nname: a\n---\n{{#if}").unwrap();
    fs::remove_file(at("c.prompt")).unwrap();
    let reloaded = library.reload().unwrap();
    assert_eq!(reloaded.removed, ["c"]);
    assert_eq!((reloaded.failed[0].0.as_str(), reloaded.failed[0].1.context("line")), ("a", Some("4")));
    assert_eq!(text("a"), "A two");
    assert!(PromptLibrary::open(dir.path()).unwrap_err().context("file").unwrap().ends_with("a.prompt"));
}

#[test]
fn nothing_outside_the_folder_is_read() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.prompt"), "---\nname: s\n---\nsecret").unwrap();
    let dir = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(outside.path().join("secret.prompt"), dir.path().join("l.prompt")).unwrap();
    let library = PromptLibrary::open(dir.path()).unwrap();
    assert!(library.names().is_empty());
    for name in ["../secret", "/etc/passwd", "link/secret", "l", ".."] {
        assert_eq!(library.get(name).unwrap_err().kind(), ErrorKind::NotFound);
    }
    fs::write(dir.path().join("large.prompt"), vec![b'x'; (1 << 20) + 1]).unwrap();
    assert!(PromptFile::load(dir.path().join("large.prompt")).unwrap_err().to_string().contains("1 MiB"));
    fs::write(dir.path().join("include.prompt"), "---\nname: i\n---\n{{> ../secret}}").unwrap();
    assert!(PromptFile::load(dir.path().join("include.prompt")).is_err());
}

#[test]
fn the_lint_finds_the_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("good.prompt", "---\nname: good\nversion: 1\ninput: {properties: {x: {}}}\n---\n{{x}}");
    write("bad1.prompt", "---\nversion: 1\ninput:\n  properties:\n    y: {}\n---\n\n{{x}} {{> p}}");
    write("bad2.prompt", "---\nname: good\nversion: 1\n---\n{{x}}\n");
    write("bad3.prompt", "---\nname: b\noptions: {temp: 1}\n---\nx");
    write("bad4.prompt", "---\nname: c\n---\n{{> none}}");
    write("_p.hbs", "{{z}}\n");
    write("_left.hbs", "{{z}}\n");
    let report = lint(dir.path()).unwrap();
    let mut found: Vec<String> = report
        .findings
        .iter()
        .map(|f| {
            format!("{}:{} {}", f.file.file_stem().unwrap().to_string_lossy(), f.line.unwrap_or(0), f.code)
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "_left:0 partial",
            "bad1:1 name",
            "bad1:5 unused",
            "bad1:8 undeclared",
            "bad1:8 undeclared",
            "bad2:5 schema",
            "bad3:3 parse",
            "bad4:4 parse",
            "good:1 duplicate",
        ]
    );
    assert!(report.has_errors());
    assert_eq!((report.prompts, report.partials), (5, 2));
    let shown = report.findings.iter().find(|f| f.code == "unused").unwrap().to_string();
    assert!(shown.contains("bad1.prompt:5: error: the variable `y` is declared"), "{shown}");
    assert_eq!(report.findings.iter().filter(|f| f.severity == Severity::Warning).count(), 2);
}
