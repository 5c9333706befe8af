//! Memory does not grow with the corpus. One test alone in its process, as it looks at the process's peak.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "common/lazy.rs"]
mod lazy;

#[tokio::test]
async fn ten_times_the_corpus_takes_less_than_a_fifth_more() {
    let small_report = lazy::ingest(4).await.unwrap();
    let Some(small) = lazy::peak_kilobytes() else {
        println!("skipped: this system does not tell a process's peak memory");
        return;
    };
    let large_report = lazy::ingest(40).await.unwrap();
    let large = lazy::peak_kilobytes().unwrap();
    println!("peak {small} kB for 4 MB, {large} kB for 40 MB");
    assert_eq!(large_report.chunks_embedded, 10 * small_report.chunks_embedded);
    assert!(large < small + small / 5, "{small} kB, then {large} kB");
}
