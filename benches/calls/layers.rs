//! The layers' own cost: a call of a fake model through all of them, beside the bare fake.
//!
//! `cargo run --release -p katena-call-benches --bin layers`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for the command line")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use katena_core::fake::EchoChat;
use katena_core::{ChatModel, ChatModelExt as _, ChatRequest, Context, Labels, Message};
use katena_layers::{
    Budget, Cache, CachePolicy, CircuitBreaker, Concurrency, Cost, Fallback, Guard, MaxLength, MemoryLedger,
    Meter, PerMinute, RateLimit, Retry, Timeout, Trace,
};

const CALLS: usize = 2_000;
const ROUNDS: usize = 9;

fn all(model: impl ChatModel + 'static) -> Arc<dyn ChatModel> {
    let meter = Meter::new(MemoryLedger::new())
        .with_budget(Budget::daily("day", Cost::dollars(1e6)).for_each("tenant"));
    model
        .layer(Timeout::default())
        .layer(Concurrency::new(64))
        .layer(RateLimit::new(PerMinute::requests(100_000_000)))
        .layer(Retry::default())
        .layer(CircuitBreaker::default())
        .layer(Fallback::chat(EchoChat::new()))
        .layer(meter)
        .layer(Cache::new().with_policy(CachePolicy::All))
        .layer(Guard::new().with_input(MaxLength::new(100_000)).with_output(MaxLength::new(100_000)))
        .layer(Trace::new())
}

/// Each call asks something else, so that the cache misses.
fn request(round: usize, n: usize) -> ChatRequest {
    let text =
        format!("Question {round}-{n}: what does a call cost that goes through every layer of the house?");
    ChatRequest::new([Message::user(text)])
        .with_context(Context::new().with_labels(Labels::new().with("tenant", "acme")))
}

async fn calls(model: &dyn ChatModel, round: usize) -> Duration {
    let requests: Vec<_> = (0..CALLS).map(|n| request(round, n)).collect();
    let start = Instant::now();
    for request in &requests {
        black_box(model.generate(request).await.unwrap());
    }
    start.elapsed()
}

async fn streams(model: &dyn ChatModel, round: usize) -> Duration {
    let requests: Vec<_> = (0..CALLS).map(|n| request(ROUNDS + round, n)).collect();
    let start = Instant::now();
    for request in &requests {
        let mut stream = model.stream(request).await.unwrap();
        while let Some(event) = stream.next().await {
            black_box(event.unwrap());
        }
    }
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6 / CALLS as f64
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let bare: Arc<dyn ChatModel> = Arc::new(EchoChat::new());
    let layered = all(EchoChat::new());
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..ROUNDS {
        times[0].push(calls(&*bare, round).await);
        times[1].push(calls(&*layered, round).await);
        times[2].push(streams(&*bare, round).await);
        times[3].push(streams(&*layered, round).await);
    }
    let [bare, layered, bare_stream, layered_stream] = times.map(median);
    println!("ten layers around a fake, every answer new; medians of {ROUNDS} rounds of {CALLS} calls");
    println!("generate: {bare:.2} us bare, {layered:.2} us layered, {:.2} us added", layered - bare);
    println!(
        "stream:   {bare_stream:.2} us bare, {layered_stream:.2} us layered, {:.2} us added",
        layered_stream - bare_stream
    );
}
