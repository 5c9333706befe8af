//! What a step of a graph costs: without checkpoints, with them in memory, with them on the disk, and with an effect.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use katena_core::{ChainExt, CheckpointStore, CompiledGraph, END, Graph, MemoryCheckpoints, NodeContext};
use katena_sqlite::{Database, SqliteCheckpoints};
use serde::{Deserialize, Serialize};

const STEPS: u64 = 50;

/// A state of about a kilobyte.
#[derive(Clone, Serialize, Deserialize)]
struct State {
    turn: u64,
    messages: Vec<String>,
}

fn state() -> State {
    State { turn: 0, messages: (0..10).map(|n| format!("message {n}: {}", "word ".repeat(18))).collect() }
}

fn graph() -> CompiledGraph<State> {
    Graph::<State>::new("turns")
        .node("turn", async |mut state: State, _ctx: NodeContext| {
            state.turn += 1;
            Ok(state)
        })
        .branch("turn", |s| if s.turn < STEPS { "turn" } else { END }, ["turn", END])
        .entry("turn")
        .with_step_limit(STEPS)
        .build()
        .unwrap()
}

fn with_effects() -> CompiledGraph<State> {
    Graph::<State>::new("turns")
        .node("turn", async |mut state: State, ctx: NodeContext| {
            state.turn += ctx.effect("one", async || Ok(1_u64)).await?;
            Ok(state)
        })
        .branch("turn", |s| if s.turn < STEPS { "turn" } else { END }, ["turn", END])
        .entry("turn")
        .with_step_limit(STEPS)
        .build()
        .unwrap()
}

fn steps(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sqlite =
        || SqliteCheckpoints::new(Database::open(folder.path().join("bench.katena")).unwrap()).unwrap();
    let mut group = c.benchmark_group("graph step");
    group.throughput(Throughput::Elements(STEPS)).sample_size(10).measurement_time(Duration::from_secs(4));
    let bare = graph();
    group.bench_function("bare", |b| b.iter(|| runtime.block_on(bare.run(state())).unwrap()));
    let next = AtomicU64::new(0);
    let mut kept =
        |name: &str, graph: CompiledGraph<State>, store: &dyn Fn() -> std::sync::Arc<dyn CheckpointStore>| {
            let graph = graph.with_checkpoints(store());
            group.bench_function(name, |b| {
                b.iter_custom(|runs| {
                    let mut all = Duration::ZERO;
                    for _ in 0..runs {
                        let thread = next.fetch_add(1, Ordering::Relaxed).to_string();
                        let start = Instant::now();
                        runtime.block_on(graph.start(&thread, state())).unwrap();
                        all += start.elapsed();
                        runtime.block_on(graph.delete(&thread)).unwrap();
                    }
                    all
                });
            });
        };
    kept("in memory", graph(), &|| std::sync::Arc::new(MemoryCheckpoints::new()));
    kept("sqlite", graph(), &|| std::sync::Arc::new(sqlite()));
    kept("sqlite, with an effect", with_effects(), &|| std::sync::Arc::new(sqlite()));
    // The floor: one synced transaction of the same size, nothing else.
    let database = Database::open(folder.path().join("floor.katena")).unwrap();
    database.write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (body TEXT)")?)).unwrap();
    let body = serde_json::to_string(&state()).unwrap();
    group.bench_function("floor: 50 synced inserts", |b| {
        b.iter(|| {
            for _ in 0..STEPS {
                let body = body.clone();
                let insert = database
                    .write(move |tx| Ok(tx.prepare_cached("INSERT INTO t VALUES (?1)")?.execute([body])?));
                runtime.block_on(insert).unwrap();
            }
        });
    });
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
