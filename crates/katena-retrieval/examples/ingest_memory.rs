//! Ingests a made-up corpus into a store that keeps only hashes, and prints the peak memory.
//!
//! `cargo run --release -p katena-retrieval --example ingest_memory -- 100` (megabytes; 10 unless told otherwise).
//! Documents of 20 kB come lazily, so what is measured is the ingestion itself: it must not grow with the corpus.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example")]

#[path = "../tests/common/lazy.rs"]
mod lazy;

use katena_core::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let megabytes: usize = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(10);
    let start = std::time::Instant::now();
    let report = lazy::ingest(megabytes).await?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{megabytes} MB: {} documents, {} chunks, {:.0} chunks/s, peak RSS {} kB",
        report.added,
        report.chunks_embedded,
        report.chunks_embedded as f64 / seconds,
        lazy::peak_kilobytes().unwrap_or(0)
    );
    Ok(())
}
