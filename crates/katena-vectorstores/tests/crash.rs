//! The embedded store is killed at random moments, and its file is damaged.
#![cfg(feature = "embedded")]

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use katena_core::{
    CountRequest, Document, GetRequest, Record, Source, UpsertRequest, VectorQuery, VectorStore,
};
use katena_vectorstores::EmbeddedStore;

const FILE: &str = "KATENA_CRASH_FILE";
const FIRST: &str = "KATENA_CRASH_FIRST";
const BATCH: usize = 5;

fn record(batch: usize, n: usize) -> Record {
    let document = Document::new(format!("Batch word{batch} number {n}"), Source::new(format!("{batch}.md")));
    Record::new(document.with_id(format!("{batch}-{n}")), vec![batch as f32, n as f32, 1.0])
}

/// Not a test of its own: the process that is killed. Says each batch that the store has confirmed.
#[tokio::test]
async fn child_that_writes() {
    let Ok(file) = std::env::var(FILE) else { return };
    let first: usize = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = EmbeddedStore::open(file).unwrap();
    for batch in first.. {
        let mut records: Vec<Record> = (0..BATCH).map(|n| record(batch, n)).collect();
        // One that every batch replaces.
        records.push(Record::new(
            Document::new(format!("hot {batch}"), Source::new("hot")).with_id("hot"),
            vec![1.0; 3],
        ));
        store.upsert(UpsertRequest::new(records)).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "confirmed {batch}").unwrap();
        out.flush().unwrap();
    }
}

/// Starts the child, kills it after `patience`, and returns the last batch that it has confirmed.
fn write_and_die(file: &Path, first: usize, patience: Duration) -> Option<usize> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child_that_writes", "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("starts");
    std::thread::sleep(patience);
    assert!(child.try_wait().expect("can be asked").is_none(), "the child ended by itself");
    child.kill().expect("can be killed");
    child.wait().expect("ends");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    // The test harness writes its own words on the line's beginning.
    let confirmed = lines.map_while(Result::ok).filter_map(|l| l.rsplit_once("confirmed ")?.1.parse().ok());
    confirmed.last()
}

/// All that was confirmed is there, whole, once, in every index; returns the last batch that is there.
async fn inspect(file: &Path, from: usize, confirmed: Option<usize>) -> Option<usize> {
    let store = EmbeddedStore::open(file).expect("the file opens");
    store.database().check().await.expect("the file is whole");
    let count = usize::try_from(store.count(&CountRequest::new()).await.expect("counts")).expect("is small");
    let batches = count.saturating_sub(1) / BATCH;
    assert_eq!(count, if batches == 0 { 0 } else { batches * BATCH + 1 }, "a batch is there in part");
    if let Some(confirmed) = confirmed {
        assert!(batches > confirmed, "confirmed batch {confirmed} is lost: {batches} are there");
    }
    let hits = store.search(&VectorQuery::nearest(vec![1.0, 2.0, 3.0], count + 10)).await.expect("searches");
    let ids: BTreeSet<&str> = hits.iter().map(|h| h.item.id.as_str()).collect();
    assert_eq!((hits.len(), ids.len()), (count, count), "something is doubled or missing");
    for batch in from..batches {
        let ids = (0..BATCH).map(|n| format!("{batch}-{n}"));
        let wanted: Vec<Record> = (0..BATCH).map(|n| record(batch, n)).collect();
        assert_eq!(store.get(&GetRequest::new(ids)).await.expect("reads"), wanted);
        let words = VectorQuery::lexical(format!("word{batch}"), 100);
        assert_eq!(store.search(&words).await.expect("searches").len(), BATCH, "words of batch {batch}");
    }
    if batches > 0 {
        let hot = store.get(&GetRequest::new(["hot"])).await.expect("reads");
        assert_eq!(hot[0].document.text, format!("hot {}", batches - 1));
        assert_eq!(store.search(&VectorQuery::lexical("hot", 100)).await.expect("searches").len(), 1);
    }
    batches.checked_sub(1)
}

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(0) % below
}

#[tokio::test]
async fn killed_while_the_file_is_made_or_young() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("crash.katena");
        let confirmed = write_and_die(&file, 0, Duration::from_micros(random(60_000)));
        inspect(&file, 0, confirmed).await;
    }
}

#[tokio::test]
async fn killed_again_and_again_in_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("crash.katena");
    let (mut next, mut patience) = (0, 150_000);
    for _ in 0..40 {
        let confirmed = write_and_die(&file, next, Duration::from_micros(5_000 + random(patience)));
        let last = inspect(&file, next, confirmed).await;
        next = last.map_or(0, |l| l + 1);
        if next == 0 {
            // A busy machine did not come to write.
            patience = (2 * patience).min(20_000_000);
        }
    }
    assert!(next > 0, "no batch was ever written");
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_or_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("whole.katena");
    let records: Vec<Record> = (0..8).flat_map(|batch| (0..BATCH).map(move |n| record(batch, n))).collect();
    {
        let store = EmbeddedStore::open(&file).unwrap();
        store.upsert(UpsertRequest::new(records.clone())).await.unwrap();
    }
    let whole = std::fs::read(&file).unwrap();
    assert!(!dir.path().join("whole.katena-wal").exists());
    let (mut refused, mut missed) = (0, 0);
    for at in (0..whole.len()).step_by(whole.len() / 400) {
        let mut bytes = whole.clone();
        let bit = random(8);
        bytes[at] ^= 1 << bit;
        let file = dir.path().join(format!("{at}.katena"));
        std::fs::write(&file, bytes).unwrap();
        let Ok(store) = EmbeddedStore::open(&file) else {
            refused += 1;
            continue;
        };
        let ids = records.iter().map(|r| r.document.id.clone());
        let got = store.get(&GetRequest::new(ids)).await;
        let near = store.search(&VectorQuery::nearest(vec![1.0, 2.0, 3.0], 100)).await;
        let words = store.search(&VectorQuery::lexical("word3 number", 100)).await;
        for found in got.iter().flatten() {
            assert!(records.contains(found), "byte {at}, bit {bit}: wrong data");
        }
        for found in near.iter().chain(&words).flatten() {
            assert!(records.iter().any(|r| r.document == found.item), "byte {at}, bit {bit}: wrong data");
        }
        let all = |n: usize| n == records.len();
        if got.is_err() || near.is_err() || words.is_err() {
            refused += 1;
        } else if !all(got.map_or(0, |g| g.len())) || !all(near.map_or(0, |n| n.len())) {
            missed += 1;
            assert!(
                store.database().check().await.is_err(),
                "byte {at}, bit {bit}: records are missing and nothing says so"
            );
        }
        drop(store);
        std::fs::remove_file(&file).unwrap();
    }
    assert!(refused > 20, "only {refused} of 400 flips were noticed ({missed} by the check)");
}
