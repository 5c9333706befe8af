//! Random load on one local model for a while, with cancels, deadlines and constrained answers; the process' memory over time.
//!
//!     soak MINUTES [MODEL.gguf]
//!
//! Without a model: a tiny one with made-up weights, which is asked far more often. Fails if the resident memory after the
//! warm-up (a fifth of the time, at least half a minute) leaves ± 5 % of its mean, or if an answer ends in an error that was not asked for.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use katena_core::{
    Cancel, ChatEvent, ChatModel, ChatRequest, Context, Error, ErrorKind, Message, ResponseFormat, Result,
};
use katena_llama_cpp::{LlamaChat, LlamaOptions};

const CLIENTS: u64 = 12;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(e) => {
            eprintln!("soak: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Repeatable numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

#[derive(Debug, Default)]
struct Counts {
    answers: Cell<u64>,
    dropped: Cell<u64>,
    cancelled: Cell<u64>,
    refused: Cell<u64>,
    failed: Cell<u64>,
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

#[tokio::main(flavor = "current_thread")]
async fn run() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments
        .next()
        .and_then(|m| m.parse().ok())
        .filter(|m| *m > 0.0)
        .ok_or_else(|| Error::config("usage: soak MINUTES [MODEL.gguf]"))?;
    let folder = tempfile::tempdir()?;
    let (model, context) = match arguments.next() {
        Some(path) => (PathBuf::from(path), 512),
        None => (katena_testkit::tiny::TinyLlama::new().write(folder.path().join("tiny.gguf")), 256),
    };
    let options =
        LlamaOptions::new().with_threads(1).with_slots(4).with_context_tokens(context).with_queue(8);
    let chat = LlamaChat::load(&model, options)?;
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let counts = Rc::new(Counts::default());
    let clients = futures_util::future::join_all((0..CLIENTS).map(|n| {
        let (chat, counts) = (chat.clone(), counts.clone());
        async move { client(n, &chat, &counts, end, u64::from(context)).await }
    }));
    let mut watched = Vec::new();
    let watch = watch(end, minutes, &counts, &mut watched);
    futures_util::future::join(clients, watch).await;

    let warm = (minutes * 60.0 / 5.0).max(30.0);
    let kept: Vec<f64> = watched.iter().filter(|(at, _)| *at >= warm).map(|w| w.1).collect();
    if kept.is_empty() {
        return Err(Error::config("too short: nothing was measured after the warm-up"));
    }
    let mean = kept.iter().sum::<f64>() / kept.len() as f64;
    let low = kept.iter().copied().fold(f64::INFINITY, f64::min);
    let high = kept.iter().copied().fold(0.0, f64::max);
    let half = kept.len() / 2;
    let mean_of = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    println!(
        "resident after the warm-up: mean {mean:.1} MiB, {low:.1} to {high:.1} ({:+.2} % to {:+.2} %), second half against first {:+.2} %",
        (low / mean - 1.0) * 100.0,
        (high / mean - 1.0) * 100.0,
        (mean_of(&kept[half..]) / mean_of(&kept[..half.max(1)]) - 1.0) * 100.0
    );
    println!("{counts:?}");
    Ok(counts.failed.get() == 0 && low >= mean * 0.95 && high <= mean * 1.05)
}

async fn watch(end: Instant, minutes: f64, counts: &Counts, watched: &mut Vec<(f64, f64)>) {
    let started = Instant::now();
    let mut printed = 0.0;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // proc(5): the second number is the resident pages, of 4 KiB here.
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: f64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
        let at = started.elapsed().as_secs_f64();
        watched.push((at, pages / 256.0));
        if at >= printed {
            printed += (minutes * 60.0 / 20.0).max(5.0);
            println!("{at:6.0} s  {:7.1} MiB  {} answers", pages / 256.0, counts.answers.get());
        }
    }
}

async fn client(n: u64, chat: &LlamaChat, counts: &Counts, end: Instant, context: u64) {
    let mut random = Random((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    while Instant::now() < end {
        match one(chat, &mut random, counts, context).await {
            Ok(()) => add(&counts.answers),
            Err(e) => match e.kind() {
                ErrorKind::Cancelled | ErrorKind::Timeout => add(&counts.cancelled),
                // A full queue, a prompt that can't fit, an answer cut off before its JSON ended.
                ErrorKind::Unavailable | ErrorKind::ContextTooLong | ErrorKind::InvalidOutput => {
                    add(&counts.refused);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                _ => {
                    add(&counts.failed);
                    eprintln!("soak: {e}");
                }
            },
        }
    }
}

/// One request, random in its length, its end and its form.
async fn one(chat: &LlamaChat, random: &mut Random, counts: &Counts, context: u64) -> Result<()> {
    let system = ["You are brief.", "You are a poet who writes of rivers and stones.", "Answer in one word."];
    let mut messages = Vec::new();
    if random.below(4) > 0 {
        messages.push(Message::system(system[random.below(3) as usize]));
    }
    let words = random.below(context / 8) + 1;
    let text: Vec<String> = (0..words).map(|_| format!("w{}", random.below(50))).collect();
    messages.push(Message::user(text.join(" ")));
    let mut request = ChatRequest::new(messages).with_max_tokens(random.below(48) as u32 + 1);
    request = match random.below(3) {
        0 => request.with_temperature(0.0),
        1 => request.with_temperature(0.9).with_seed(random.below(1000)),
        _ => request.with_logprobs(2),
    };
    if random.below(8) == 0 {
        let schema = serde_json::json!({
            "type": "object", "properties": { "a": { "type": "integer" }, "b": { "type": "boolean" } },
            "required": ["a", "b"], "additionalProperties": false
        });
        let name = "pair".to_owned();
        request = request.with_response_format(ResponseFormat::JsonSchema { name, schema });
    }
    let cancel = Cancel::new();
    let mut call = Context::new().with_cancel(cancel.clone());
    if random.below(10) == 0 {
        call = call.with_deadline(Instant::now() + Duration::from_millis(random.below(400)));
    }
    request = request.with_context(call);
    // How many events are read before it is dropped or cancelled, if it is.
    let (drop_after, cancel_after) = match random.below(6) {
        0 => (Some(random.below(12)), None),
        1 => (None, Some(random.below(12))),
        _ => (None, None),
    };
    let mut stream = chat.stream(&request).await?;
    let mut events = 0;
    loop {
        if drop_after == Some(events) {
            add(&counts.dropped);
            return Ok(());
        }
        if cancel_after == Some(events) {
            cancel.cancel();
        }
        match stream.next().await {
            None => return Err(Error::unexpected("the answer has no end")),
            Some(event) => {
                if let ChatEvent::Finished(_) = event? {
                    return Ok(());
                }
            }
        }
        events += 1;
    }
}
