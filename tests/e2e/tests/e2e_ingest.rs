//! Ingestion as a user sees it: only what has changed is done, and a crash at any moment is repaired by running again.
//!
//! The embedder is `hash:64`, a double: these tests are about what is read, skipped and kept, not about meaning.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests and their helpers")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use katena_core::{CountRequest, GetRequest, VectorStore as _};
use katena_tests::{Bench, Dice, run};
use katena_vectorstores::EmbeddedStore;

fn page(topic: &str, version: u32) -> String {
    let paragraph = |n: u32| {
        format!(
            "The {topic} has a rule number {n}. It says that everybody looks after the {topic} on day {n} of the week, \
             writes the result into the {topic} book, and tells the neighbour about it in version {version} of the plan.\n\n"
        )
    };
    (0..6).map(paragraph).collect()
}

fn garden() -> Bench {
    let bench = Bench::new();
    for topic in ["bees", "roses", "compost", "fence"] {
        bench.write(&format!("{topic}.md"), &page(topic, 1));
    }
    bench
}

#[test]
fn asking_again_embeds_nothing() {
    let bench = garden();
    let first = bench.ingest().done();
    let chunks = first.number("/chunks");
    assert!(chunks >= 8, "{first:#?}");
    assert_eq!(first.number("/counts/documents/added"), 4);
    assert_eq!(first.number("/counts/chunks_embedded"), chunks);
    assert!(first.stderr.contains("4 added"), "the counts are told: {}", first.stderr);

    let again = bench.ingest().done();
    assert_eq!(again.number("/counts/documents/unchanged"), 4);
    assert_eq!(again.number("/counts/chunks_embedded"), 0);
    assert_eq!(again.number("/counts/chunks_skipped"), chunks);
    assert!(again.stderr.contains(&format!("0 embedded, {chunks} skipped")), "{}", again.stderr);
    assert_eq!(again.stderr.lines().count(), 1, "quiet when not a terminal: {}", again.stderr);
}

#[test]
fn a_changed_file_embeds_its_changed_chunks_only() {
    let bench = garden();
    let first = bench.ingest().done();
    let mut text = page("bees", 1);
    text.push_str("Bees also like the new lavender beside the gate very much, says the gardener.\n");
    bench.write("bees.md", &text);
    let second = bench.ingest().done();
    assert_eq!(second.number("/counts/documents/replaced"), 1);
    assert_eq!(second.number("/counts/documents/unchanged"), 3);
    let embedded = second.number("/counts/chunks_embedded");
    assert!((1..=2).contains(&embedded), "of {} chunks {embedded} were embedded", first.number("/chunks"));
    let found = run(&mut bench.command(&["search", "lavender beside the gate"])).done();
    assert_eq!(found.files()[0], "bees.md");
}

#[test]
fn a_removed_file_disappears() {
    let bench = garden();
    let before = bench.ingest().done().number("/chunks");
    let question = ["search", "compost book", "--top-k", "100"];
    assert!(run(&mut bench.command(&question)).files().contains(&"compost.md".to_owned()));
    std::fs::remove_file(bench.docs().join("compost.md")).unwrap();
    let found = run(&mut bench.command(&question));
    assert_eq!(found.number("/counts/documents/removed"), 1);
    assert!(!found.files().contains(&"compost.md".to_owned()), "{found:#?}");
    assert!(bench.ingest().number("/chunks") < before);
}

#[test]
fn another_embedder_rebuilds_and_says_why() {
    let bench = garden();
    let chunks = bench.ingest().done().number("/chunks");
    let other = |name: &str| {
        let mut command = bench.bare(&["ingest"]);
        run(command.arg(bench.docs()).arg("--store").arg(bench.store()).args(["--json", "--embedder", name]))
            .done()
    };
    let rebuilt = other("hash:32");
    assert_eq!(rebuilt.number("/counts/chunks_embedded"), chunks);
    assert_eq!(rebuilt.number("/chunks"), chunks, "the old ones are gone");
    assert!(rebuilt.json["rebuilt_because_of"].as_str().unwrap().contains("hash-64"), "{rebuilt:#?}");
    assert!(
        rebuilt.stderr.contains("built anew") && rebuilt.stderr.contains("hash-64"),
        "{}",
        rebuilt.stderr
    );
    assert_eq!(other("hash:32").number("/counts/chunks_embedded"), 0);
}

#[test]
fn two_at_once_wait_for_each_other_and_lose_nothing() {
    let bench = garden();
    let alone = Bench::new();
    for n in 0..40 {
        for b in [&bench, &alone] {
            b.write(&format!("extra-{n}.txt"), &page(&format!("pond{n}"), 1));
        }
    }
    for topic in ["bees", "roses", "compost", "fence"] {
        alone.write(&format!("{topic}.md"), &page(topic, 1));
    }
    let expected = alone.ingest().done().number("/chunks");
    let both: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| bench.ingest())).collect();
        runs.into_iter().map(|r| r.join().unwrap()).collect()
    });
    let mut embedded = 0;
    for answer in both {
        let answer = answer.done();
        assert_eq!(answer.number("/chunks"), expected);
        embedded += answer.number("/counts/chunks_embedded");
    }
    assert_eq!(embedded, expected, "each chunk was embedded by one of them");
}

#[test]
fn folders_in_one_store_keep_to_themselves() {
    let (bench, other) = (garden(), Bench::new());
    other.write("ships.md", &page("ships", 1));
    bench.ingest().done();
    let mut shared = other.bare(&["ingest"]);
    shared.arg(other.docs()).arg("--store").arg(bench.store()).args(["--embedder", "hash:64", "--json"]);
    assert!(run(&mut shared).done().number("/chunks") < bench.ingest().number("/chunks"));
    let found = run(&mut bench.command(&["search", "ships book", "--top-k", "100"]));
    assert!(!found.files().contains(&"ships.md".to_owned()), "{found:#?}");
}

/// Every chunk that the records name, and what the store holds. Fails if they differ.
fn content(store: &Path, namespace: &str) -> BTreeSet<(String, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(store).unwrap();
        let records = store.records().unwrap();
        let mut named = Vec::new();
        for uri in records.uris(namespace, None).await.unwrap() {
            let record = records.get(namespace, &uri).await.unwrap().unwrap();
            assert!(record.complete, "{uri} is not complete");
            named.extend(record.chunks);
        }
        let count = store.count(&CountRequest::new().with_namespace(namespace)).await.unwrap();
        assert_eq!(count, named.len() as u64, "the store holds what the records name and nothing else");
        let got = store.get(&GetRequest::new(named.clone()).with_namespace(namespace)).await.unwrap();
        assert_eq!(got.len(), named.len(), "nothing is lost");
        let set: BTreeSet<_> =
            got.into_iter().map(|r| (r.document.source.to_string(), r.document.text)).collect();
        assert_eq!(set.len(), named.len(), "nothing is doubled");
        set
    })
}

#[test]
fn a_kill_at_any_moment_is_repaired_by_running_again() {
    const KILLS: usize = 60;
    let bench = garden();
    for n in 0..24 {
        bench.write(&format!("extra-{n}.txt"), &page(&format!("pond{n}"), 1));
    }
    let start = Instant::now();
    let namespace = bench.ingest().done().json["namespace"].as_str().unwrap().to_owned();
    let mut whole = start.elapsed();
    let mut dice = Dice::new(7);
    let mut killed = 0;
    for round in 0..KILLS * 4 {
        if killed == KILLS {
            break;
        }
        // Something is always to be done: three files change, one goes, one comes; now and then all is built anew.
        for _ in 0..3 {
            let n = dice.roll(24);
            bench.write(&format!("extra-{n}.txt"), &page(&format!("pond{n}"), round as u32 + 2));
        }
        let _ = std::fs::remove_file(bench.docs().join(format!("extra-{}.txt", dice.roll(24))));
        let mut command = bench.command(&["ingest"]);
        if dice.roll(3) == 0 {
            command.arg("--rebuild");
        }
        let mut child =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.roll(whole.as_micros() as u64)));
        if child.try_wait().unwrap().is_none() {
            killed += 1;
        } else {
            // The first run may have been the slowest by far.
            whole = whole * 7 / 8;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Half of the time the next round finds what the kill left behind.
        if dice.roll(2) == 0 {
            bench.ingest().done();
            let fresh = Bench::new();
            let mut command = fresh.bare(&["ingest"]);
            command.arg(bench.docs()).arg("--store").arg(fresh.store()).args([
                "--embedder",
                "hash:64",
                "--json",
            ]);
            run(&mut command).done();
            assert_eq!(
                content(&bench.store(), &namespace),
                content(&fresh.store(), &namespace),
                "after kill {killed}"
            );
        }
    }
    assert_eq!(killed, KILLS, "so many runs were killed before their end");
    bench.ingest().done();
    content(&bench.store(), &namespace);
}
