//! Graphs without checkpoints: order, choices, loops, parallel branches, sub-graphs, limits, cancelling, panics, events.
#![allow(missing_docs, clippy::unwrap_used, clippy::unnecessary_wraps, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::ScriptedChat;
use katena_core::{
    Cancel, ChainExt, CompiledGraph, Context, END, Error, ErrorKind, Event, Graph, NodeContext, Run, StepId,
    Streamed, func,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    path: Vec<String>,
    turns: u32,
}

/// A graph whose nodes write their names down.
fn graph(names: &[&'static str]) -> Graph<State> {
    names.iter().fold(Graph::new("g"), |graph, name| {
        graph.node(*name, async |mut state: State, ctx: NodeContext| {
            state.path.push(ctx.node().to_owned());
            state.turns += 1;
            Ok(state)
        })
    })
}

fn fold(mut before: State, states: Vec<State>) -> katena_core::Result<State> {
    let len = before.path.len();
    before.path.push("(".into());
    for state in states {
        before.path.extend(state.path.into_iter().skip(len));
        before.turns = before.turns.max(state.turns);
        before.path.push("|".into());
    }
    Ok(before)
}

fn path(graph: &CompiledGraph<State>) -> String {
    graph.run(State::default()).now_or_never().unwrap().unwrap().path.join(" ")
}

#[test]
fn choices_and_loops() {
    let graph = graph(&["draft", "check", "publish"])
        .edge("draft", "check")
        .branch("check", |s| if s.turns > 4 { "publish" } else { "draft" }, ["publish", "draft"])
        .entry("draft")
        .finish("publish")
        .build()
        .unwrap();
    assert_eq!(path(&graph), "draft check draft check draft check publish");
}

#[test]
fn branches_are_folded_in_the_order_of_the_fan_out() {
    let graph = graph(&["first", "a", "b", "c", "d", "e", "last"])
        .edge("first", "split")
        .fan_out("split", ["b", "inner", "merge", "a"])
        .branch("b", |s| if s.turns < 4 { "b" } else { "merge" }, ["b", "merge"])
        .fan_out("inner", ["c", "d"])
        .edge("c", "inner merge")
        .edge("d", "inner merge")
        .join("inner merge", fold)
        .edge("inner merge", "e")
        .edge("e", "merge")
        .edge("a", "merge")
        .join("merge", fold)
        .edge("merge", "last")
        .entry("first")
        .finish("last")
        .build()
        .unwrap();
    assert_eq!(path(&graph), "first ( b b b | ( c | d | e | | a | last");
}

#[test]
fn chains_and_graphs_are_nodes() {
    let model = ScriptedChat::texts(["four"]);
    let ask =
        func(async |s: State, _run| Ok(format!("{} turns in words?", s.turns))).chat(model.clone()).text();
    let ask = ask.map(|text: String| State { path: vec![text], turns: 0 });
    let inner = graph(&["x", "y"]).edge("x", "y").entry("x").finish("y").build().unwrap();
    let outer = Graph::<Vec<String>>::new("outer")
        .subgraph(
            "part",
            inner,
            |all: &Vec<String>| State { path: all.clone(), turns: 0 },
            |_, part: State| part.path,
        )
        .chain(
            "ask",
            func(async |all: Vec<String>, run: Run| {
                run.emit(Event::Text("hello".into())).await;
                Ok(all)
            }),
        )
        .edge("part", "ask")
        .entry("part")
        .finish("ask")
        .build()
        .unwrap();
    assert_eq!(outer.run(vec!["a".to_owned()]).now_or_never().unwrap().unwrap(), ["a", "x", "y"]);
    let whole = Graph::<State>::new("g").chain("ask", ask).entry("ask").finish("ask").build().unwrap();
    assert_eq!(path(&whole), "four");
    assert_eq!(model.requests().len(), 1);
}

#[test]
fn a_loop_ends_at_the_step_limit() {
    let endless = || graph(&["a", "b"]).edge("a", "b").branch("b", |_| "a", ["a", END]).entry("a");
    let error = endless().build().unwrap().run(State::default()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Budget);
    assert_eq!(error.to_string(), "budget: the graph `g` has taken the 25 steps that it may (next: b)");
    let three = graph(&["a", "b", "c"]).edge("a", "b").edge("b", "c").entry("a").finish("c");
    assert_eq!(path(&three.with_step_limit(3).build().unwrap()), "a b c");
    let none = graph(&["a"]).entry("a").finish("a").with_step_limit(0).build().unwrap();
    assert_eq!(none.run(State::default()).now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Budget);
    // A branch that turns for ever.
    let split = graph(&["a", "b"])
        .fan_out("s", ["a", "b"])
        .branch("a", |_| "a", ["a", "j"])
        .edge("b", "j")
        .join("j", fold)
        .entry("s")
        .finish("j");
    let error = split.build().unwrap().run(State::default()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Budget);
}

#[test]
fn a_choice_outside_of_its_targets_is_an_error() {
    let wrong = graph(&["a", "b"]).branch("a", |_| "b", ["a", END]).edge("b", "a").entry("a");
    assert!(wrong.build().unwrap_err().message().contains("node `b` is unreachable"));
    let wrong = graph(&["a", "b"]).branch("a", |_| "c", ["b", END]).finish("b").entry("a").build().unwrap();
    let error = wrong.run(State::default()).now_or_never().unwrap().unwrap_err();
    let message = "the branch after `a` chose `c`, which is none of its targets (`b`, `__end__`)";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, message));
}

/// Events as lines: `+name` and `-name` with the depth as spaces, texts as they are.
async fn told(graph: &CompiledGraph<State>) -> (Vec<String>, katena_core::Result<State>) {
    let mut stream = graph.stream(State::default());
    let mut steps: Vec<(StepId, String, usize)> = vec![(StepId(0), String::new(), 0)];
    let (mut lines, mut result) = (Vec::new(), Err(Error::unexpected("no output")));
    while let Some(item) = stream.next().await {
        match item {
            Ok(Streamed::Event(event)) => match event.event {
                Event::StepStarted { parent, name } => {
                    let depth = steps.iter().find(|s| s.0 == parent).unwrap().2 + 1;
                    lines.push(format!("{:1$}+{name}", "", depth - 1));
                    steps.push((event.step, name, depth));
                }
                Event::StepFinished { ok } => {
                    let step = steps.iter().find(|s| s.0 == event.step).unwrap();
                    let mark = if ok { '-' } else { '!' };
                    lines.push(format!("{:1$}{mark}{2}", "", step.2 - 1, step.1));
                }
                Event::Text(text) => lines.push(text),
                other => lines.push(format!("{other:?}")),
            },
            Ok(Streamed::Output(state)) => result = Ok(state),
            Err(error) => result = Err(error),
        }
    }
    (lines, result)
}

#[tokio::test]
async fn every_step_tells_its_events() {
    let inner = graph(&["x"]).entry("x").finish("x").build().unwrap();
    /// The later its name, the later it ends.
    async fn slow(state: State, ctx: NodeContext) -> katena_core::Result<State> {
        for _ in 0..5 * (ctx.node().as_bytes()[0] - b'a' + 1) {
            tokio::task::yield_now().await;
        }
        Ok(state)
    }
    let graph = graph(&[])
        .node("a", slow)
        .node("b", slow)
        .node("say", async |state: State, ctx: NodeContext| {
            ctx.run().emit(Event::Text("words".into())).await;
            Ok(state)
        })
        .subgraph("part", inner, |s: &State| s.clone(), |_, s| s)
        .edge("say", "split")
        .fan_out("split", ["a", "b"])
        .edge("a", "join")
        .edge("b", "join")
        .join("join", fold)
        .edge("join", "part")
        .entry("say")
        .finish("part")
        .build()
        .unwrap();
    let (lines, result) = told(&graph).await;
    result.unwrap();
    let lines = lines.join("\n");
    assert_eq!(
        lines,
        "+say\nwords\n-say\n+split\n +a\n +b\n -a\n -b\n-split\n+join\n-join\n+part\n +x\n -x\n-part"
    );
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_node() {
    let panics = |graph: Graph<State>| {
        graph.node("bad", async |state: State, _ctx: NodeContext| {
            assert!(state.turns > 100, "out of turns");
            Ok(state)
        })
    };
    let line = panics(graph(&["a"])).edge("a", "bad").entry("a").finish("bad").build().unwrap();
    let split = panics(graph(&["a"]))
        .fan_out("s", ["a", "bad"])
        .edge("a", "j")
        .edge("bad", "j")
        .join("j", fold)
        .entry("s")
        .finish("j")
        .build()
        .unwrap();
    for (graph, end) in [(line, "!bad"), (split, "!s")] {
        let (lines, result) = told(&graph).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.context("step")), (ErrorKind::Unexpected, Some("bad")), "{error}");
        assert!(error.message().contains("out of turns"), "{error}");
        assert!(lines.iter().any(|l| l.trim() == "!bad"), "{lines:?}");
        assert_eq!(lines.last().unwrap(), end, "{lines:?}");
    }
    // So are those of the functions beside the nodes.
    let join = |_: State, _: Vec<State>| -> katena_core::Result<State> { panic!("in the join") };
    let join = graph(&["a", "b"]).fan_out("s", ["a", "b"]).edge("a", "j").edge("b", "j").join("j", join);
    let join = join.entry("s").finish("j").build().unwrap();
    let choice = graph(&["a"]).branch("a", |_| -> &str { panic!("in the choice") }, ["a", END]).entry("a");
    let choice = choice.build().unwrap();
    let inner = graph(&["x"]).entry("x").finish("x").build().unwrap();
    let lens = graph(&[]).subgraph("part", inner, |_| -> State { panic!("in the lens") }, |_, s| s);
    let lens = lens.entry("part").finish("part").build().unwrap();
    for (graph, step, words) in
        [(join, "j", "in the join"), (choice, "a", "in the choice"), (lens, "part", "in the lens")]
    {
        let error = graph.run(State::default()).await.unwrap_err();
        assert_eq!(error.context("step"), Some(step), "{error}");
        assert!(error.message().contains(words), "{error}");
    }
}

/// Counts itself while it runs.
struct Alive(Arc<AtomicU32>);

impl Alive {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn hanging(count: &Arc<AtomicU32>) -> CompiledGraph<State> {
    let hang = |graph: Graph<State>, name: &'static str| {
        let count = count.clone();
        graph.node(name, move |_state: State, _ctx: NodeContext| {
            let alive = Alive::new(&count);
            async move {
                let _alive = alive;
                std::future::pending().await
            }
        })
    };
    let inner = hang(graph(&[]), "x").entry("x").finish("x").build().unwrap();
    hang(hang(graph(&["a"]), "b"), "c")
        .subgraph("d", inner, |s: &State| s.clone(), |_, s| s)
        .fan_out("s", ["a", "b", "c", "d"])
        .join("j", fold)
        .edge("a", "j")
        .edge("b", "j")
        .edge("c", "j")
        .edge("d", "j")
        .entry("s")
        .finish("j")
        .build()
        .unwrap()
}

#[test]
fn cancelling_stops_every_branch() {
    let count = Arc::new(AtomicU32::new(0));
    let graph = hanging(&count);
    let cancel = Cancel::new();
    let run = Run::from(Context::new().with_cancel(cancel.clone()));
    let mut running = graph.run_with(State::default(), run);
    assert!(running.as_mut().now_or_never().is_none());
    assert_eq!(count.load(Ordering::SeqCst), 3, "three branches hang");
    cancel.cancel();
    let error = running.as_mut().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(count.load(Ordering::SeqCst), 0, "none is left");
}

#[test]
fn dropping_the_stream_stops_every_branch() {
    let count = Arc::new(AtomicU32::new(0));
    let graph = hanging(&count);
    let mut stream = graph.stream(State::default());
    while stream.next().now_or_never().is_some() {}
    assert_eq!(count.load(Ordering::SeqCst), 3);
    drop(stream);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn an_error_of_one_branch_ends_the_others() {
    let count = Arc::new(AtomicU32::new(0));
    let (alive, fail) = (count.clone(), count.clone());
    let graph = graph(&[])
        .node("hangs", move |_: State, _: NodeContext| {
            let alive = Alive::new(&alive);
            async move {
                let _alive = alive;
                std::future::pending().await
            }
        })
        .node("fails", move |_: State, _: NodeContext| {
            assert_eq!(fail.load(Ordering::SeqCst), 1, "the other has begun");
            async move { Err(Error::invalid_input("no")) }
        })
        .fan_out("s", ["hangs", "fails"])
        .join("j", fold)
        .edge("hangs", "j")
        .edge("fails", "j")
        .entry("s")
        .finish("j")
        .build()
        .unwrap();
    let error = graph.run(State::default()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn interrupts_need_checkpoints() {
    let before =
        graph(&["a", "b"]).edge("a", "b").entry("a").finish("b").interrupt_before("b").build().unwrap();
    let within = graph(&[]).node("asks", async |state: State, ctx: NodeContext| {
        ctx.interrupt("sure?").await?;
        Ok(state)
    });
    let within = within.entry("asks").finish("asks").build().unwrap();
    for graph in [before, within] {
        let error = graph.run(State::default()).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn two_effects_of_one_name_are_refused() {
    let graph = graph(&[]).node("a", async |state: State, ctx: NodeContext| {
        let _: u32 = ctx.effect("send", async || Ok(1)).await?;
        let _: u32 = ctx.effect("send", async || Ok(2)).await?;
        Ok(state)
    });
    let graph = graph.entry("a").finish("a").build().unwrap();
    let error = graph.run(State::default()).now_or_never().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.context("effect")), (ErrorKind::Config, Some("send")));
}
