//! Decoding a streamed chat answer: Katena beside eventsource-stream, on the same bytes in one run.
//!
//! `cargo run --release -p katena-benches --bin stream-decode`
//!
//! The stream has 20,000 events, read in pieces of 260 bytes, as small events arrive over TLS. Two measures: the events
//! alone; and events, JSON and the folded answer. The peer's JSON is read with serde_json into a `Value` and into a
//! lean struct of the fields that are folded; Katena's decoder does all its checks and makes its events and the finished
//! response. Medians of interleaved rounds; only the ratios mean something.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for the command line")]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use katena_core::{Accumulator, ChatEvent};
use katena_http::sse::{SseDecoder, SseStream};
use katena_llms::openai_chat::OpenAiStreamDecoder;
use serde::Deserialize;
use serde_json::Value;

const EVENTS: usize = 20_000;
const PIECE: usize = 260;
const ROUNDS: usize = 15;

fn chat_stream() -> Vec<bytes::Bytes> {
    let mut text = String::new();
    for n in 0..EVENTS {
        let _ = write!(
            text,
            "data: {{\"id\":\"chatcmpl-0123456789abcdefghijklmnop\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"some-model-2025-01-01\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{n}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        );
    }
    text.push_str(
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    let whole = bytes::Bytes::from(text);
    (0..whole.len()).step_by(PIECE).map(|at| whole.slice(at..(at + PIECE).min(whole.len()))).collect()
}

/// The peer's events, one after another, of a source that is never pending.
fn each_peer_event(pieces: &[bytes::Bytes], mut each: impl FnMut(String)) {
    let bytes = stream::iter(pieces.iter().cloned().map(Ok::<_, Infallible>));
    let mut events = Box::pin(bytes.eventsource());
    while let Some(event) = events.next().now_or_never().unwrap() {
        each(event.unwrap().data);
    }
}

fn each_own_event(pieces: &[bytes::Bytes], mut each: impl FnMut(String)) {
    let bytes = stream::iter(pieces.iter().cloned().map(Ok));
    let mut events = SseStream::new(bytes);
    while let Some(event) = events.next().now_or_never().unwrap() {
        each(event.unwrap().data);
    }
}

fn own_decoder(pieces: &[bytes::Bytes]) -> usize {
    let (mut decoder, mut count) = (SseDecoder::new(), 0);
    for piece in pieces {
        decoder.push(piece).unwrap();
        while let Some(event) = decoder.next_event() {
            count += black_box(event).data.len().min(1);
        }
    }
    count
}

fn peer_value(pieces: &[bytes::Bytes]) -> usize {
    let mut answer = String::new();
    each_peer_event(pieces, |data| {
        if data != "[DONE]" {
            let chunk: Value = serde_json::from_str(&data).unwrap();
            answer.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or(""));
        }
    });
    answer.len()
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
}
#[derive(Deserialize)]
struct Choice {
    delta: Delta,
}
#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

fn peer_struct(pieces: &[bytes::Bytes]) -> usize {
    let mut answer = String::new();
    each_peer_event(pieces, |data| {
        if data != "[DONE]" {
            let chunk: Chunk = serde_json::from_str(&data).unwrap();
            answer.push_str(chunk.choices[0].delta.content.as_deref().unwrap_or(""));
        }
    });
    answer.len()
}

fn own_fold(pieces: &[bytes::Bytes]) -> usize {
    let (mut sse, mut decoder) = (SseDecoder::new(), OpenAiStreamDecoder::new("v"));
    for piece in pieces {
        sse.push(piece).unwrap();
        while let Some(event) = sse.next_event() {
            decoder.push(&event.event, &event.data).unwrap();
            while let Some(event) = decoder.next_event() {
                black_box(event);
            }
        }
    }
    decoder.finish().unwrap();
    let mut length = 0;
    while let Some(event) = decoder.next_event() {
        if let ChatEvent::Finished(response) = event {
            length = response.text().len();
        }
    }
    length
}

/// As [`own_fold`], with the law of streaming checked by a second fold.
fn own_checked(pieces: &[bytes::Bytes]) -> usize {
    let (mut sse, mut decoder, mut answer) =
        (SseDecoder::new(), OpenAiStreamDecoder::new("v"), Accumulator::new());
    for piece in pieces {
        sse.push(piece).unwrap();
        while let Some(event) = sse.next_event() {
            decoder.push(&event.event, &event.data).unwrap();
            while let Some(event) = decoder.next_event() {
                answer.push(&event).unwrap();
            }
        }
    }
    decoder.finish().unwrap();
    while let Some(event) = decoder.next_event() {
        answer.push(&event).unwrap();
    }
    answer.finish().unwrap().text().len()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn main() {
    let pieces = chat_stream();
    let bytes: usize = pieces.iter().map(bytes::Bytes::len).sum();
    type Work<'a> = (&'a str, Box<dyn Fn() -> usize + 'a>);
    let count = |each: fn(&[bytes::Bytes], &mut dyn FnMut(String)), pieces: &[bytes::Bytes]| {
        let mut count = 0;
        each(pieces, &mut |data| count += black_box(data).len().min(1));
        count
    };
    let works: Vec<Work<'_>> = vec![
        ("events: eventsource-stream", Box::new(|| count(|p, f| each_peer_event(p, f), &pieces))),
        ("events: katena, as a stream", Box::new(|| count(|p, f| each_own_event(p, f), &pieces))),
        ("events: katena, decoder alone", Box::new(|| own_decoder(&pieces))),
        ("answer: eventsource-stream + serde_json::Value", Box::new(|| peer_value(&pieces))),
        ("answer: eventsource-stream + serde_json struct", Box::new(|| peer_struct(&pieces))),
        ("answer: katena", Box::new(|| own_fold(&pieces))),
        ("answer: katena, law checked", Box::new(|| own_checked(&pieces))),
    ];
    let mut times = vec![Vec::new(); works.len()];
    let mut results = vec![0; works.len()];
    for _ in 0..ROUNDS {
        for (n, (_, work)) in works.iter().enumerate() {
            let start = Instant::now();
            results[n] = black_box(work());
            times[n].push(start.elapsed());
        }
    }
    assert!(results[..3].iter().all(|n| *n == EVENTS + 2), "{results:?}");
    assert!(results[3..].iter().all(|n| *n == results[3]), "{results:?}");
    println!(
        "{} events, {bytes} bytes, pieces of {PIECE}; medians of {ROUNDS} interleaved rounds",
        EVENTS + 2
    );
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    for ((name, _), median) in works.iter().zip(&medians) {
        println!("{name:48} {:7.2} ms", median * 1e3);
    }
    println!(
        "events: {:.1} x as a stream, {:.1} x the decoder alone",
        medians[0] / medians[1],
        medians[0] / medians[2]
    );
    println!(
        "answer: {:.1} x against Value, {:.1} x against a struct",
        medians[3] / medians[5],
        medians[4] / medians[5]
    );
}
