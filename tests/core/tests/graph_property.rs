//! Random graphs of choices, loops, fan-outs, sub-graphs and questions: a process that dies after every step ends in the same
//! state as one that is left in peace.
#![allow(missing_docs, clippy::unwrap_used, clippy::unnecessary_wraps, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt as _;
use katena_core::{
    ChainExt, Checkpoint, CheckpointInfo, CheckpointStore, CheckpointedGraph, CompiledGraph, END, EffectKey,
    Error, ErrorKind, Graph, GraphCall, GraphOutcome, MemoryCheckpoints, NodeContext, Result,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    hash: u64,
    visits: Vec<String>,
}

impl State {
    fn mix(&mut self, text: &str) {
        let bytes = text.bytes().chain([0]);
        self.hash =
            bytes.fold(self.hash, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3).rotate_left(7));
        self.visits.push(text.to_owned());
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % n
    }
}

fn task(graph: Graph<State>, name: &str) -> Graph<State> {
    graph.node(name, async |mut state: State, ctx: NodeContext| {
        let seen: String =
            ctx.effect("note", async || Ok(format!("{} at {}", ctx.node(), state.visits.len()))).await?;
        state.mix(&seen);
        if let Some(answer) = ctx.answer() {
            state.mix(&answer.to_string());
        }
        if state.hash.is_multiple_of(5) && ctx.thread().is_some() {
            let answer = ctx.interrupt("more?").await?;
            state.mix(&answer.to_string());
        }
        Ok(state)
    })
}

/// Adds a line of units; gives the first node, and ends it at `end`.
fn line(
    mut graph: Graph<State>,
    random: &mut Random,
    prefix: &str,
    depth: usize,
    end: &str,
) -> (Graph<State>, String) {
    let units = 1 + random.below(if depth == 0 { 4 } else { 2 });
    let mut doors: Vec<(String, String)> = Vec::new();
    for n in 0..units {
        let name = format!("{prefix}{n}");
        let exit = match random.below(if depth < 2 { 6 } else { 4 }) {
            4 => {
                let (join, branches) = (format!("{name}/join"), 2 + random.below(2));
                let mut firsts = Vec::new();
                for b in 0..branches {
                    let (next, first) = line(graph, random, &format!("{name}/{b}/"), depth + 1, &join);
                    graph = next;
                    firsts.push(first);
                }
                graph = graph.fan_out(&name, firsts).join(&join, |mut before: State, states: Vec<State>| {
                    states.into_iter().flat_map(|s| s.visits).for_each(|v| before.mix(&v));
                    before.visits.truncate(50);
                    Ok(before)
                });
                join
            }
            5 => {
                let (inner, first) = line(Graph::new(format!("inner {name}")), random, &name, depth + 1, END);
                let inner = inner.entry(first).with_step_limit(20).build().unwrap();
                graph = graph.subgraph(
                    &name,
                    inner,
                    |s: &State| State { hash: s.hash, visits: Vec::new() },
                    |mut s, t: State| {
                        t.visits.iter().for_each(|v| s.mix(v));
                        s
                    },
                );
                name.clone()
            }
            _ => {
                graph = task(graph, &name);
                name.clone()
            }
        };
        if exit == name && random.below(6) == 0 {
            graph = graph.interrupt_before(&name);
        }
        doors.push((name, exit));
    }
    for n in 0..units {
        let next = doors.get(n + 1).map_or(end, |d| &d.0).to_owned();
        let mut targets = vec![next];
        while random.below(3) == 0 {
            targets.push(doors[random.below(units)].0.clone());
        }
        targets.dedup();
        let choices = targets.clone();
        graph = graph.branch(
            &doors[n].1,
            move |s| choices[usize::try_from(s.hash % 97).unwrap() % choices.len()].clone(),
            targets,
        );
    }
    (graph, doors.swap_remove(0).0)
}

fn random_graph(seed: u64) -> CompiledGraph<State> {
    let mut random = Random(seed);
    let (graph, first) = line(Graph::new("random"), &mut random, "n", 0, END);
    graph.entry(first).with_step_limit(if seed.is_multiple_of(4) { 3 } else { 40 }).build().unwrap()
}

/// Dies after the first step that a process has kept; `calls` counts the processes.
#[derive(Debug, Default)]
struct Mortal {
    inner: MemoryCheckpoints,
    dead: AtomicU32,
}

impl Mortal {
    fn alive(&self) -> Result<()> {
        if self.dead.load(Ordering::SeqCst) == 1 {
            Err(Error::new(ErrorKind::Unavailable, "dead"))
        } else {
            Ok(())
        }
    }
}

#[async_trait::async_trait]
impl CheckpointStore for Mortal {
    async fn put(&self, thread: &str, checkpoint: Checkpoint) -> Result<()> {
        self.alive()?;
        let takes_over = checkpoint.info.owner == checkpoint.info.step;
        self.inner.put(thread, checkpoint).await?;
        self.dead.store(u32::from(!takes_over), Ordering::SeqCst);
        Ok(())
    }
    async fn latest(&self, thread: &str) -> Result<Option<Checkpoint>> {
        self.inner.latest(thread).await
    }
    async fn get(&self, thread: &str, step: u64) -> Result<Option<Checkpoint>> {
        self.inner.get(thread, step).await
    }
    async fn list(&self, thread: &str) -> Result<Vec<CheckpointInfo>> {
        self.inner.list(thread).await
    }
    async fn delete(&self, thread: &str) -> Result<()> {
        self.inner.delete(thread).await
    }
    async fn effect(&self, thread: &str, owner: u64, key: &EffectKey) -> Result<Option<String>> {
        self.alive()?;
        self.inner.effect(thread, owner, key).await
    }
    async fn record_effect(&self, thread: &str, owner: u64, key: EffectKey, result: String) -> Result<()> {
        self.alive()?;
        self.inner.record_effect(thread, owner, key, result).await
    }
}

/// Runs to the end, answering what is asked and beginning again after each death; the number of processes.
fn run(
    graph: &CheckpointedGraph<State>,
    reborn: impl Fn(),
) -> (std::result::Result<State, ErrorKind>, usize) {
    let mut call = GraphCall::start("t", State::default());
    for processes in 1..2000 {
        reborn();
        call = match graph.run(call).now_or_never().unwrap() {
            Ok(GraphOutcome::Finished(state)) => return (Ok(state), processes),
            Ok(outcome) => {
                let ids =
                    outcome.interrupts().iter().map(|i| (i.id.clone(), format!("answer to {}", i.node)));
                GraphCall::answers("t", ids)
            }
            Err(error) if error.message() == "dead" => GraphCall::resume("t"),
            Err(error) => return (Err(error.kind()), processes),
        };
    }
    panic!("it never ends");
}

#[test]
fn dying_after_every_step_changes_nothing() {
    let (mut finished, mut limited, mut deaths) = (0, 0, 0);
    for seed in 0..400 {
        let graph = random_graph(seed);
        let (wanted, _) = run(&graph.with_checkpoints(MemoryCheckpoints::new()), || {});
        let store = Arc::new(Mortal::default());
        let mortal = graph.with_checkpoints(store.clone());
        let (state, processes) = run(&mortal, || store.dead.store(0, Ordering::SeqCst));
        assert_eq!(state, wanted, "seed {seed}: {}", graph.to_mermaid());
        match wanted {
            Ok(_) => finished += 1,
            Err(kind) => {
                assert_eq!(kind, ErrorKind::Budget, "seed {seed}");
                limited += 1;
            }
        }
        deaths += processes - 1;
    }
    assert!(finished > 250 && limited > 20 && deaths > 3000, "{finished} {limited} {deaths}");
}
