//! The main job with its index on a server, and with a model behind HTTP.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests and their helpers")]

use katena_tests::{Answer, Bench, required, run};

fn library() -> Bench {
    let bench = Bench::new();
    bench.write("lamp.md", "The lighthouse keeper lights the lamp at nine in the evening.\n");
    bench.write("boat.md", "The ferry leaves from the north pier every forty minutes in summer.\n");
    bench.write("bread.txt", "The bakery beside the church sells its first bread at half past five.\n");
    bench
}

/// The same skipping, changing and removing as with a file, on the store that `--store` names.
fn works_on(store: &str) {
    let bench = library();
    let on = |command: &[&str]| -> Answer {
        let mut katena = bench.bare(command);
        run(katena.arg(bench.docs()).args(["--store", store, "--embedder", "hash:64", "--json"]))
    };
    let first = on(&["ingest"]).done();
    assert_eq!(first.number("/counts/documents/added"), 3);
    assert_eq!(first.number("/chunks"), 3);
    let again = on(&["ingest"]).done();
    assert_eq!(again.number("/counts/chunks_embedded"), 0, "{again:#?}");
    assert_eq!(again.number("/counts/chunks_skipped"), 3);
    assert_eq!(on(&["search", "when does the ferry leave the pier"]).done().files()[0], "boat.md");
    bench.write("boat.md", "The ferry stays in the harbour while the storm lasts.\n");
    std::fs::remove_file(bench.docs().join("bread.txt")).expect("it ends well");
    let changed = on(&["ingest"]).done();
    assert_eq!(changed.number("/counts/chunks_embedded"), 1, "{changed:#?}");
    assert_eq!(changed.number("/counts/documents/removed"), 1);
    assert_eq!(changed.number("/chunks"), 2);
    let found = on(&["search", "ferry harbour storm", "--top-k", "100"]).done();
    assert_eq!(found.files()[0], "boat.md");
    assert!(!found.files().contains(&"bread.txt".to_owned()));
}

#[test]
fn real_postgres_keeps_the_index() {
    if let Some(url) = required("KATENA_TEST_POSTGRES_URL") {
        works_on(&url);
    }
}

#[test]
fn sub_qdrant_keeps_the_index() {
    if let Some(url) = required("KATENA_TEST_QDRANT_URL") {
        let host = url.trim_start_matches("http://");
        works_on(&format!("qdrant://{host}/e2e{}", std::process::id()));
    }
}

#[test]
fn a_store_that_is_not_there_is_an_error_that_names_it() {
    let bench = library();
    let mut katena = bench.bare(&["ingest"]);
    let answer = run(katena.arg(bench.docs()).args([
        "--store",
        "postgres://me:secret@127.0.0.1:1/db",
        "--embedder",
        "hash:8",
    ]));
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(!answer.stderr.contains("secret"), "{}", answer.stderr);
}

#[test]
fn real_llama_server_answers_by_a_flag() {
    let Some(url) = required("KATENA_TEST_LLAMA_SERVER_URL") else { return };
    let bench = library();
    let mut katena = bench.command(&["ask", "When does the lighthouse keeper light the lamp?"]);
    let base = format!("{}/v1", url.trim_end_matches('/').trim_end_matches("/v1"));
    let answer = run(katena.args(["--model", "openai:local", "--base-url", &base, "--max-tokens", "40"]));
    assert!([0, 3].contains(&answer.code), "{answer:#?}");
    assert_eq!(answer.files()[0], "lamp.md");
    assert!(!answer.json["answer"].as_str().unwrap().is_empty());
    assert!(answer.number("/counts/prompt_tokens") < 700);
}

#[test]
fn a_model_server_that_is_not_there_fails_after_the_sources() {
    let bench = library();
    let mut katena = bench.bare(&["ask", "When does the lighthouse keeper light the lamp?"]);
    katena.arg(bench.docs()).args([
        "--embedder",
        "hash:64",
        "--model",
        "openai:x",
        "--base-url",
        "http://127.0.0.1:1/v1",
    ]);
    let answer = run(&mut katena);
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stdout.contains("[1] ") && answer.stdout.contains("lamp.md"), "{answer:#?}");
    assert!(answer.stderr.contains("katena:"), "{answer:#?}");
}
