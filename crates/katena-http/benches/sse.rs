//! Throughput of the SSE decoder on a chat-like stream in memory, by the size of the pieces.
//!
//! `cargo bench -p katena-http --bench sse`

#![allow(missing_docs)]

use std::fmt::Write as _;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use katena_http::sse::SseDecoder;

/// About 5.3 MB in 20,001 events, each like a chunk of a streamed chat answer.
fn stream() -> Vec<u8> {
    let mut text = String::new();
    for n in 0..20_000 {
        let _ = write!(
            text,
            "data: {{\"id\":\"chatcmpl-0123456789abcdefghijklmnop\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"some-model-2025-01-01\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{n}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        );
    }
    text.push_str("data: [DONE]\n\n");
    text.into_bytes()
}

fn decode(stream: &[u8], split: usize) -> usize {
    let mut decoder = SseDecoder::new();
    let (mut events, mut bytes) = (0, 0);
    for piece in stream.chunks(split) {
        decoder.push(piece).expect("within the limit");
        while let Some(event) = decoder.next_event() {
            events += 1;
            bytes += event.data.len();
        }
    }
    assert_eq!(events, 20_001);
    bytes
}

fn bench(c: &mut Criterion) {
    let stream = stream();
    let mut group = c.benchmark_group("sse");
    group.throughput(Throughput::Bytes(stream.len() as u64)).sample_size(20);
    for split in [1, 7, 64, 260, 1400, 16_384, stream.len()] {
        group.bench_with_input(BenchmarkId::from_parameter(split), &split, |b, &split| {
            b.iter(|| decode(&stream, split));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
