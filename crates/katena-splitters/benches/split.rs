//! Speed of splitting on generated English-like prose; MB/s are criterion's throughput.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use katena_core::TextSplitter;
use katena_splitters::RecursiveSplitter;

/// Prose with paragraphs, sentences and hard-wrapped lines; the same each time.
fn prose(bytes: usize) -> String {
    const WORDS: [&str; 16] = [
        "the",
        "measure",
        "of",
        "a",
        "library",
        "is",
        "what",
        "its",
        "users",
        "never",
        "notice",
        "because",
        "everything",
        "simply",
        "works",
        "today",
    ];
    let mut text = String::with_capacity(bytes + 80);
    let mut state = 7_u32;
    let mut column = 0;
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = WORDS[(state >> 28) as usize];
        text.push_str(word);
        column += word.len() + 1;
        text.push_str(match (state >> 12) % 90 {
            0 => ".\n\n",
            1..=7 => ". ",
            _ if column > 72 => "\n",
            _ => " ",
        });
        if text.ends_with('\n') {
            column = 0;
        }
    }
    text
}

fn split(c: &mut Criterion) {
    let text = prose(4 << 20);
    let mut group = c.benchmark_group("recursive");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("chars 1000", |b| {
        b.iter(|| RecursiveSplitter::chars(1000).split(&text).unwrap().len());
    });
    group.bench_function("chars 1000 overlap 200", |b| {
        b.iter(|| RecursiveSplitter::chars(1000).with_overlap(200).split(&text).unwrap().len());
    });
    group.bench_function("chars 1000, separators of its own", |b| {
        let splitter = RecursiveSplitter::chars(1000).with_separators(["\n\n", "\n", " "]);
        b.iter(|| splitter.split(&text).unwrap().len());
    });
    #[cfg(feature = "tiktoken")]
    {
        let short = &text[..1 << 20];
        group.throughput(Throughput::Bytes(short.len() as u64));
        group.sample_size(10);
        let tokenizer = std::sync::Arc::new(katena_splitters::TiktokenTokenizer::cl100k());
        group.bench_function("256 tokens of cl100k", |b| {
            b.iter(|| RecursiveSplitter::tokens(256, tokenizer.clone()).split(short).unwrap().len());
        });
    }
    group.finish();
}

criterion_group!(benches, split);
criterion_main!(benches);
