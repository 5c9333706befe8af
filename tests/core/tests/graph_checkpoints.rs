//! Graphs with checkpoints: going on, questions, effects, other processes, other versions.
#![allow(missing_docs, clippy::unwrap_used, clippy::unnecessary_wraps, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::{
    ChainExt, Checkpoint, CheckpointInfo, CheckpointStatus, CheckpointStore, CheckpointedGraph, END, Error,
    ErrorKind, Event, Graph, GraphCall, GraphOutcome, MemoryCheckpoints, NodeContext, Result, Streamed,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    path: Vec<String>,
}

/// What has been done to the world.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Vec<String>>>);

impl World {
    fn done(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn now<T>(work: impl Future<Output = T>) -> T {
    work.now_or_never().expect("nothing here waits")
}

/// Nodes that write their names down and do one effect.
fn graph(world: &World, names: &[&'static str]) -> Graph<State> {
    names.iter().fold(Graph::new("g"), |graph, name| {
        let world = world.clone();
        graph.node(*name, move |mut state: State, ctx: NodeContext| {
            let world = world.clone();
            async move {
                let node = ctx.node().to_owned();
                let number: usize = ctx
                    .effect("write", async || {
                        let mut done = world.0.lock().unwrap();
                        done.push(node.clone());
                        Ok(done.iter().filter(|n| **n == node).count())
                    })
                    .await?;
                state.path.push(format!("{}{number}", ctx.node()));
                Ok(state)
            }
        })
    })
}

fn fold(mut before: State, states: Vec<State>) -> Result<State> {
    let len = before.path.len();
    before.path.extend(states.into_iter().flat_map(|s| s.path.into_iter().skip(len)));
    Ok(before)
}

/// Fails at its n-th chance, once.
#[derive(Clone, Default)]
struct Fuse(Arc<AtomicU32>);

impl Fuse {
    fn new(chance: u32) -> Self {
        Self(Arc::new(AtomicU32::new(chance)))
    }

    fn check(&self) -> Result<()> {
        let fires = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) == Ok(1);
        if fires { Err(Error::new(ErrorKind::Unavailable, "the fuse")) } else { Ok(()) }
    }
}

#[test]
fn an_error_leaves_the_last_checkpoint() {
    let (world, fuse) = (World::default(), Fuse::new(2));
    let fails = fuse.clone();
    let graph = graph(&world, &["a", "c"])
        .node("b", move |mut state: State, ctx: NodeContext| {
            let fails = fails.clone();
            async move {
                let _: u32 = ctx.effect("count", async || Ok(1)).await?;
                fails.check()?;
                state.path.push("b".into());
                Ok(state)
            }
        })
        .edge("a", "b")
        .edge("b", "c")
        .branch("c", |s| if s.path.len() > 3 { END } else { "a" }, ["a", END])
        .entry("a")
        .build()
        .unwrap()
        .with_checkpoints(MemoryCheckpoints::new());
    assert_eq!(now(graph.start("t", State::default())).unwrap_err().message(), "the fuse");
    let steps: Vec<_> = now(graph.history("t")).unwrap();
    let nodes: Vec<_> = steps.iter().map(|s| s.node.as_str()).collect();
    assert_eq!(nodes, ["a", "b", "c", "a", "b"], "the second b has failed");
    let state = now(graph.resume("t")).unwrap().finished().unwrap();
    assert_eq!(state.path, ["a1", "b", "c1", "a2", "b", "c2"]);
    assert_eq!(world.done(), ["a", "c", "a", "c"]);
    let last = now(graph.history("t")).unwrap().pop().unwrap();
    assert_eq!((last.status, last.node.as_str()), (CheckpointStatus::Finished, END));
    // At its end nothing is done any more.
    let count = now(graph.history("t")).unwrap().len();
    assert_eq!(now(graph.resume("t")).unwrap(), GraphOutcome::Finished(state));
    assert_eq!(now(graph.history("t")).unwrap().len(), count);
    let again = now(graph.start("t", State::default())).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InvalidInput, "{again}");
    now(graph.delete("t")).unwrap();
    assert_eq!(now(graph.resume("t")).unwrap_err().kind(), ErrorKind::NotFound);
    now(graph.start("t", State::default())).unwrap();
}

#[test]
fn effects_of_a_failed_visit_are_not_done_again() {
    let (world, fuse) = (World::default(), Fuse::new(1));
    let done = world.clone();
    let graph = Graph::<u32>::new("g")
        .node("a", move |n: u32, ctx: NodeContext| {
            let (done, fuse) = (done.clone(), fuse.clone());
            async move {
                let write = async |what: String| {
                    done.0.lock().unwrap().push(what.clone());
                    Ok(what)
                };
                let first: String = ctx.effect("first", async || write("first".into()).await).await?;
                fuse.check()?;
                let second: String = ctx.effect("second", async || write("second".into()).await).await?;
                assert_eq!((first.as_str(), second.as_str()), ("first", "second"));
                Ok(n + 1)
            }
        })
        .entry("a")
        .finish("a")
        .build()
        .unwrap()
        .with_checkpoints(MemoryCheckpoints::new());
    now(graph.start("t", 1)).unwrap_err();
    assert_eq!(world.done(), ["first"]);
    assert_eq!(now(graph.resume("t")).unwrap(), GraphOutcome::Finished(2));
    assert_eq!(world.done(), ["first", "second"]);
}

#[test]
fn effects_of_loops_branches_and_sub_graphs_are_apart() {
    let world = World::default();
    let inner = graph(&world, &["x", "a"]).edge("x", "a").entry("x").finish("a").build().unwrap();
    let graph = graph(&world, &["a", "b", "c"])
        .subgraph("sub", inner, |s: &State| s.clone(), |_, s| s)
        .fan_out("split", ["b", "sub", "c"])
        .edge("a", "split")
        .branch("b", |s| if s.path.len() % 3 == 0 { "j" } else { "b" }, ["b", "j"])
        .edge("c", "j")
        .edge("sub", "j")
        .join("j", fold)
        .branch("j", |s| if s.path.len() > 8 { END } else { "a" }, ["a", END])
        .entry("a")
        .build()
        .unwrap()
        .with_checkpoints(MemoryCheckpoints::new());
    let state = now(graph.start("t", State::default())).unwrap().finished().unwrap();
    let mut names: Vec<String> = state.path.iter().map(|p| p[..1].to_owned()).collect();
    let mut done = world.done();
    names.sort();
    done.sort();
    assert_eq!(done, names, "each visit has its own effect");
    assert_eq!(done.len(), 12);
}

/// A store that fails at its n-th call, before or after it has done it.
#[derive(Debug)]
struct Flaky {
    inner: MemoryCheckpoints,
    calls: AtomicU32,
    bad: u32,
    late: bool,
}

impl Flaky {
    fn new(bad: u32, late: bool) -> Arc<Self> {
        Arc::new(Self { inner: MemoryCheckpoints::new(), calls: AtomicU32::new(0), bad, late })
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let bad = self.calls.fetch_add(1, Ordering::SeqCst) == self.bad;
        if bad && !self.late {
            return Err(Error::new(ErrorKind::Unavailable, "injected"));
        }
        let result = work.await;
        if bad { Err(Error::new(ErrorKind::Unavailable, "injected")) } else { result }
    }
}

#[async_trait::async_trait]
impl CheckpointStore for Flaky {
    async fn put(&self, thread: &str, checkpoint: Checkpoint) -> Result<()> {
        self.call(self.inner.put(thread, checkpoint)).await
    }
    async fn latest(&self, thread: &str) -> Result<Option<Checkpoint>> {
        self.call(self.inner.latest(thread)).await
    }
    async fn get(&self, thread: &str, step: u64) -> Result<Option<Checkpoint>> {
        self.call(self.inner.get(thread, step)).await
    }
    async fn list(&self, thread: &str) -> Result<Vec<CheckpointInfo>> {
        self.inner.list(thread).await
    }
    async fn delete(&self, thread: &str) -> Result<()> {
        self.inner.delete(thread).await
    }
    async fn effect(&self, thread: &str, owner: u64, key: &katena_core::EffectKey) -> Result<Option<String>> {
        self.call(self.inner.effect(thread, owner, key)).await
    }
    async fn record_effect(
        &self,
        thread: &str,
        owner: u64,
        key: katena_core::EffectKey,
        result: String,
    ) -> Result<()> {
        self.call(self.inner.record_effect(thread, owner, key, result)).await
    }
}

/// The store fails at each of its calls in turn. The run ends as it would have; an effect is done twice only if recording
/// it has failed.
#[test]
fn a_store_that_fails_anywhere() {
    let build = |world: &World| {
        let inner = graph(world, &["x", "y"]).edge("x", "y").entry("x").finish("y").build().unwrap();
        graph(world, &["a", "b", "c", "d"])
            .subgraph("sub", inner, |s: &State| s.clone(), |_, s| s)
            .edge("a", "split")
            .fan_out("split", ["b", "sub", "c"])
            .branch("b", |s| if s.path.len() % 3 == 0 { "j" } else { "b" }, ["b", "j"])
            .edge("c", "j")
            .edge("sub", "j")
            .join("j", fold)
            .branch("j", |s| if s.path.len() > 8 { "d" } else { "a" }, ["a", "d"])
            .entry("a")
            .finish("d")
            .build()
            .unwrap()
    };
    let strip =
        |state: State| -> Vec<char> { state.path.iter().map(|p| p.chars().next().unwrap()).collect() };
    let smooth = World::default();
    let store = Flaky::new(u32::MAX, false);
    let wanted = now(build(&smooth).with_checkpoints(store.clone()).start("t", State::default()));
    let wanted = strip(wanted.unwrap().finished().unwrap());
    let calls = store.calls.load(Ordering::SeqCst);
    assert!(calls > 40, "{calls}");
    for (bad, late) in (0..calls).flat_map(|bad| [(bad, false), (bad, true)]) {
        let world = World::default();
        let store = Flaky::new(bad, late);
        let graph = build(&world).with_checkpoints(store.clone());
        let first = now(graph.start("t", State::default()));
        let error = first.unwrap_err();
        assert_eq!(error.message(), "injected", "call {bad}: {error}");
        let known = now(store.inner.latest("t")).unwrap().is_some();
        let state = if known { now(graph.resume("t")) } else { now(graph.start("t", State::default())) };
        let state = state.unwrap().finished().unwrap();
        assert_eq!(strip(state), wanted, "call {bad}");
        let repeated = world.done().len() - smooth.done().len();
        assert!(repeated <= usize::from(!late), "call {bad}, late {late}: {repeated} effects were repeated");
    }
}

fn asks() -> Graph<State> {
    Graph::<State>::new("g").node("asks", async |mut state: State, ctx: NodeContext| {
        let one = ctx.interrupt("first?").await?;
        state.path.push(one.to_string());
        let two = ctx.interrupt(json!({"second": state.path.len()})).await?;
        state.path.push(two.to_string());
        Ok(state)
    })
}

#[test]
fn a_node_asks_twice() {
    let store = Arc::new(MemoryCheckpoints::new());
    let build = || asks().entry("asks").finish("asks").build().unwrap().with_checkpoints(store.clone());
    let outcome = now(build().start("t", State::default())).unwrap();
    let GraphOutcome::Interrupted(at) = &outcome else { panic!("{outcome:?}") };
    assert_eq!((at.interrupts[0].node.as_str(), &at.interrupts[0].value), ("asks", &json!("first?")));
    let first = at.interrupts[0].id.clone();
    // Nothing happens without an answer, and nothing is written.
    assert_eq!(now(build().resume("t")).unwrap(), outcome);
    let last = now(build().history("t")).unwrap().pop().unwrap();
    assert_eq!((last.step, last.status), (at.step, CheckpointStatus::Interrupted));
    let one = || GraphCall::answers("t", [(first.clone(), 1)]);
    let outcome = now(build().run(one())).unwrap();
    assert_eq!(outcome.interrupts()[0].value, json!({"second": 1}));
    // The same answer once more is not taken for the second question's.
    let twice = now(build().run(one())).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::InvalidInput, "{twice}");
    let state = now(build().answer("t", Value::Null)).unwrap().finished().unwrap();
    assert_eq!(state.path, ["1", "null"]);
    assert_eq!(now(build().answer("t", 3)).unwrap_err().message(), "the thread waits for no answer");
}

#[test]
fn questions_in_parallel_and_inside() {
    let world = World::default();
    let inner = asks().entry("asks").finish("asks").interrupt_before("asks").build().unwrap();
    let build = |store: &Arc<MemoryCheckpoints>| {
        graph(&world, &["a", "b", "last"])
            .subgraph("sub", inner.clone(), |s: &State| s.clone(), |_, s| s)
            .fan_out("split", ["a", "sub", "b"])
            .edge("a", "j")
            .edge("b", "j")
            .edge("sub", "j")
            .join("j", fold)
            .edge("j", "last")
            .entry("split")
            .finish("last")
            .interrupt_before("b")
            .interrupt_before("last")
            .build()
            .unwrap()
            .with_checkpoints(store.clone())
    };
    let store = Arc::new(MemoryCheckpoints::new());
    let outcome = now(build(&store).start("t", State::default())).unwrap();
    let nodes: Vec<_> = outcome.interrupts().iter().map(|i| i.node.clone()).collect();
    assert_eq!(nodes, ["asks", "b"], "a has gone on meanwhile");
    assert_eq!(world.done(), ["a"]);
    let vague = now(build(&store).answer("t", true)).unwrap_err();
    assert!(vague.message().contains("say to which"), "{vague}");
    let ids: Vec<_> = outcome.interrupts().iter().map(|i| i.id.clone()).collect();
    let outcome = now(build(&store).run(GraphCall::answers("t", [(&ids[0], true)]))).unwrap();
    let values: Vec<_> = outcome.interrupts().iter().map(|i| &i.value).collect();
    assert_eq!(values, [&json!("first?"), &Value::Null]);
    let all = [(outcome.interrupts()[0].id.clone(), json!("A")), (ids[1].clone(), json!("B"))];
    let outcome = now(build(&store).run(GraphCall::answers("t", all))).unwrap();
    assert_eq!(outcome.interrupts()[0].value, json!({"second": 1}));
    assert_eq!(world.done(), ["a", "b"]);
    let outcome = now(build(&store).answer("t", 2)).unwrap();
    assert_eq!(outcome.interrupts()[0].node, "last");
    let state = now(build(&store).answer("t", 2)).unwrap().finished().unwrap();
    assert_eq!(state.path, ["a1", "\"A\"", "2", "b1", "last1"]);
}

#[test]
fn the_answer_before_a_node_is_the_nodes() {
    let graph = Graph::<Value>::new("g")
        .node("a", async |_: Value, ctx: NodeContext| {
            let before = ctx.answer().cloned();
            let within = ctx.interrupt("within").await?;
            Ok(json!([before, within, ctx.thread(), ctx.idempotency_key("pay")]))
        })
        .entry("a")
        .finish("a")
        .interrupt_before("a")
        .build()
        .unwrap()
        .with_checkpoints(MemoryCheckpoints::new());
    now(graph.start("t", Value::Null)).unwrap();
    now(graph.answer("t", "before")).unwrap();
    let end = now(graph.answer("t", "within")).unwrap().finished().unwrap();
    assert_eq!(end, json!(["before", "within", "t", "t/0:0/pay"]));
}

#[tokio::test]
async fn interrupts_are_told() {
    let graph =
        asks().entry("asks").finish("asks").build().unwrap().with_checkpoints(MemoryCheckpoints::new());
    let mut stream = graph.stream(GraphCall::start("t", State::default()));
    let (mut told, mut outcome) = (None, None);
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            Streamed::Event(event) => match event.event {
                Event::Custom { name, value } if name == "interrupt" => told = Some(value),
                Event::StepFinished { ok } => assert!(ok, "to ask is no failure"),
                _ => {}
            },
            Streamed::Output(output) => outcome = Some(output),
        }
    }
    assert_eq!(told.unwrap(), json!({"node": "asks", "value": "first?"}));
    assert_eq!(outcome.unwrap().interrupts().len(), 1);
}

/// A thread's processes: the second comes while the first is in the middle of a step.
#[tokio::test]
async fn the_last_process_to_take_a_thread_over_goes_on() {
    let store = Arc::new(MemoryCheckpoints::new());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let sent = Arc::new(AtomicU32::new(0));
    let build = |waits: bool| {
        let (gate, sent) = (gate.clone(), sent.clone());
        Graph::<u32>::new("g")
            .node("a", move |n: u32, ctx: NodeContext| {
                let (gate, sent) = (gate.clone(), sent.clone());
                async move {
                    if waits {
                        gate.acquire().await.unwrap().forget();
                    }
                    let number: u32 =
                        ctx.effect("send", async || Ok(sent.fetch_add(1, Ordering::SeqCst))).await?;
                    Ok(n + number)
                }
            })
            .node("b", async |n: u32, _ctx: NodeContext| Ok(n))
            .edge("a", "b")
            .entry("a")
            .finish("b")
            .build()
            .unwrap()
            .with_checkpoints(store.clone())
    };
    let first = tokio::spawn({
        let graph = build(true);
        async move { graph.start("t", 1).await }
    });
    while store.latest("t").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(build(false).resume("t").await.unwrap(), GraphOutcome::Finished(1));
    gate.add_permits(1);
    let refused = first.await.unwrap().unwrap_err();
    assert_eq!((refused.kind(), refused.is_temporary()), (ErrorKind::Unavailable, false), "{refused}");
    assert_eq!(sent.load(Ordering::SeqCst), 1, "the effect was done once");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_resume_at_once_one_goes_on() {
    for _ in 0..20 {
        let world = World::default();
        let graph = graph(&world, &["a", "b"]).edge("a", "b").entry("a").finish("b").interrupt_before("a");
        let graph = graph.build().unwrap().with_checkpoints(MemoryCheckpoints::new());
        let outcome = graph.start("t", State::default()).await.unwrap();
        let id = outcome.interrupts()[0].id.clone();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (graph, id) = (graph.clone(), id.clone());
                tokio::spawn(async move { graph.run(GraphCall::answers("t", [(id, true)])).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(outcome) => {
                    outcome.finished().unwrap();
                    won += 1;
                }
                Err(e) => assert!(
                    matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::InvalidInput) && !e.is_temporary(),
                    "{e}"
                ),
            }
        }
        assert_eq!((won, world.done().len()), (1, 2));
    }
}

fn versioned(name: &str, nodes: &[&'static str], version: u32) -> Graph<State> {
    let graph = nodes.iter().fold(Graph::<State>::new(name), |graph, node| {
        graph.node(*node, async |mut state: State, ctx: NodeContext| {
            state.path.push(ctx.node().to_owned());
            Ok(state)
        })
    });
    let graph = nodes.windows(2).fold(graph, |graph, pair| graph.edge(pair[0], pair[1]));
    graph.entry(nodes[0]).finish(*nodes.last().unwrap()).interrupt_before("b").with_version(version)
}

#[test]
fn checkpoints_of_other_graphs_and_versions_are_refused() {
    let store = Arc::new(MemoryCheckpoints::new());
    let open = |graph: Graph<State>| graph.build().unwrap().with_checkpoints(store.clone());
    now(open(versioned("g", &["a", "b"], 2)).start("t", State::default())).unwrap();
    let cases = [
        (versioned("h", &["a", "b"], 2), ErrorKind::InvalidInput, "is of the graph `g`, not of `h`"),
        (versioned("g", &["a", "b", "c"], 2), ErrorKind::InvalidInput, "has other nodes"),
        (
            versioned("g", &["a", "b"], 1),
            ErrorKind::Unsupported,
            "is of version 2 of the graph, this is version 1",
        ),
        (versioned("g", &["a", "b"], 3), ErrorKind::InvalidInput, "has no migration"),
        (
            versioned("g", &["a", "c"], 3)
                .interrupt_before("c")
                .node("b", async |s: State, _c: NodeContext| Ok(s))
                .edge("b", END),
            ErrorKind::Config,
            "`b` is unreachable",
        ),
    ];
    for (graph, kind, words) in cases {
        let error = match graph.build() {
            Ok(graph) => now(graph.with_checkpoints(store.clone()).answer("t", true)).unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(words), "{error}");
    }
    now(open(versioned("g", &["a", "b"], 2)).answer("t", true)).unwrap().finished().unwrap();
}

#[test]
fn older_checkpoints_are_migrated() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct New {
        names: Vec<String>,
        count: usize,
    }
    let store = Arc::new(MemoryCheckpoints::new());
    let old = versioned("g", &["a", "b"], 1).build().unwrap().with_checkpoints(store.clone());
    now(old.start("t", State::default())).unwrap();
    let new = |migrate: fn(u32, Value) -> Result<Value>| {
        Graph::<New>::new("g")
            .node("b", async |mut state: New, _ctx: NodeContext| {
                state.count += 1;
                Ok(state)
            })
            .entry("b")
            .finish("b")
            .with_version(2)
            .with_migration(migrate)
            .build()
            .unwrap()
            .with_checkpoints(store.clone())
    };
    let broken = now(new(|_, state| Ok(state)).answer("t", 1)).unwrap_err();
    assert!(broken.message().contains("another form"), "{broken}");
    let graph = new(|version, mut state| {
        assert_eq!(version, 1);
        Ok(json!({"names": state["path"].take(), "count": 1}))
    });
    let state = now(graph.answer("t", 1)).unwrap().finished().unwrap();
    assert_eq!(state, New { names: vec!["a".into()], count: 2 });
    let gone = Graph::<New>::new("g").node("z", async |s: New, _c: NodeContext| Ok(s)).entry("z").finish("z");
    let gone =
        gone.with_version(3).with_migration(|_, s| Ok(s)).build().unwrap().with_checkpoints(store.clone());
    now(old.start("u", State::default())).unwrap();
    let error = now(gone.resume("u")).unwrap_err();
    assert!(error.message().contains("stands at the node `b`"), "{error}");
}

/// Whatever stands in the store: an error or a run, never a panic.
#[test]
fn damaged_checkpoints_are_errors() {
    let world = World::default();
    let inner = graph(&world, &["x"]).entry("x").finish("x").build().unwrap();
    let build = |store: Arc<MemoryCheckpoints>| {
        graph(&world, &["a", "b"])
            .subgraph("sub", inner.clone(), |s: &State| s.clone(), |_, s| s)
            .fan_out("split", ["a", "sub"])
            .edge("a", "j")
            .edge("sub", "j")
            .join("j", fold)
            .edge("j", "b")
            .entry("split")
            .finish("b")
            .interrupt_before("a")
            .build()
            .unwrap()
            .with_checkpoints(store)
    };
    let store = Arc::new(MemoryCheckpoints::new());
    now(build(store.clone()).start("t", State::default())).unwrap();
    let steps: Vec<Checkpoint> = (0..now(store.list("t")).unwrap().len())
        .map(|n| now(store.get("t", n as u64)).unwrap().unwrap())
        .collect();
    let resume = |body: String| {
        let store = Arc::new(MemoryCheckpoints::new());
        now(store.put("t", Checkpoint::new(CheckpointInfo::new(0, 0, "x"), body))).unwrap();
        let graph = build(store);
        let result = now(graph.resume("t"));
        let _ = now(graph.at("t", 0));
        let _ = now(graph.answer("t", 1));
        result
    };
    for bad in ["", "{}", "null", "[]", "{\"format\": 1}", "{\"format\": \"x\"}", &"[".repeat(100_000)] {
        assert_eq!(resume(bad.to_owned()).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:.20}");
    }
    assert_eq!(
        resume("{\"format\": 2, \"all\": \"new\"}".to_owned()).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    let mut refused = 0;
    for step in &steps {
        let whole: Value = serde_json::from_str(&step.body).unwrap();
        let mut places = Vec::new();
        pointers(&whole, String::new(), &mut places);
        let names = ["a", "b", "sub", "split", "j", "x", END, "nobody"].map(|n| json!(n));
        let odd = [json!(null), json!(-1), json!(u64::MAX), json!([]), json!({}), json!([[]]), json!(true)];
        for place in &places {
            for value in names.iter().chain(&odd) {
                let mut body = whole.clone();
                *body.pointer_mut(place).unwrap() = value.clone();
                refused += usize::from(resume(body.to_string()).is_err());
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

fn pointers(value: &Value, at: String, all: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(k, v)| pointers(v, format!("{at}/{k}"), all)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, v)| pointers(v, format!("{at}/{n}"), all));
        }
        _ => {}
    }
    if !at.is_empty() {
        all.push(at);
    }
}

#[test]
fn states_that_json_can_not_keep_are_refused() {
    fn one<S: katena_core::GraphState>() -> CheckpointedGraph<S> {
        let graph =
            Graph::<S>::new("g").node("a", async |s: S, _ctx: NodeContext| Ok(s)).entry("a").finish("a");
        graph.build().unwrap().with_checkpoints(MemoryCheckpoints::new())
    }
    let deep = |depth: usize| (0..depth).fold(Value::Null, |inner, _| json!([inner]));
    let fine = now(one::<Value>().start("t", deep(90))).unwrap();
    assert_eq!(fine, GraphOutcome::Finished(deep(90)));
    let error = now(one::<Value>().start("t", deep(110))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let keys: std::collections::BTreeMap<(u8, u8), u8> = [((1, 2), 3)].into();
    let error = now(one().start("t", keys)).unwrap_err();
    assert!(error.message().contains("can't be written as JSON"), "{error}");
}

#[test]
fn time_travel() {
    let world = World::default();
    let store = Arc::new(MemoryCheckpoints::new());
    let graph = graph(&world, &["a", "b", "c"])
        .edge("a", "b")
        .edge("b", "c")
        .entry("a")
        .finish("c")
        .build()
        .unwrap()
        .with_checkpoints(store.clone());
    now(graph.start("t", State::default())).unwrap();
    let at = now(graph.at("t", 1)).unwrap();
    assert_eq!((at.step, at.state.path), (1, vec!["a1".to_owned()]));
    assert_eq!(now(graph.at("t", 9)).unwrap_err().kind(), ErrorKind::NotFound);

    // Back to before b, with another state.
    let edit = |mut state: State| {
        state.path.push("edited".into());
        state
    };
    assert_eq!(now(graph.rewind("t", 1, edit)).unwrap(), 4);
    let state = now(graph.resume("t")).unwrap().finished().unwrap();
    assert_eq!(state.path, ["a1", "edited", "b2", "c2"], "b and c are done anew");
    let history = now(graph.history("t")).unwrap();
    let lines: Vec<_> = history.iter().map(|i| (i.step, i.parent, i.node.as_str())).collect();
    let wanted = [
        (0, None, "a"),
        (1, Some(0), "b"),
        (2, Some(1), "c"),
        (3, Some(2), END),
        (4, Some(1), "b"),
        (5, Some(4), "b"),
        (6, Some(5), "c"),
        (7, Some(6), END),
    ];
    assert_eq!(lines, wanted);

    // A thread of its own from the same place.
    now(graph.fork("t", 2, "u", |state| state)).unwrap();
    assert_eq!(now(graph.fork("t", 2, "u", |state| state)).unwrap_err().kind(), ErrorKind::InvalidInput);
    let state = now(graph.resume("u")).unwrap().finished().unwrap();
    assert_eq!(state.path, ["a1", "b1", "c3"]);
    assert_eq!(now(graph.history("t")).unwrap().len(), 8, "the old one stays");
    assert_eq!(world.done(), ["a", "b", "c", "b", "c", "c"]);
    assert_eq!(now(graph.rewind("nobody", 0, |s| s)).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_question_can_be_answered_again_after_going_back() {
    let graph =
        asks().entry("asks").finish("asks").build().unwrap().with_checkpoints(MemoryCheckpoints::new());
    let first = now(graph.start("t", State::default())).unwrap();
    let GraphOutcome::Interrupted(first) = first else { panic!() };
    now(graph.answer("t", 1)).unwrap();
    now(graph.answer("t", 2)).unwrap();
    now(graph.rewind("t", first.step, |s| s)).unwrap();
    let again = now(graph.resume("t")).unwrap();
    assert_eq!(again.interrupts(), first.interrupts);
    now(graph.answer("t", 7)).unwrap();
    assert_eq!(now(graph.answer("t", 8)).unwrap().finished().unwrap().path, ["7", "8"]);
}

#[test]
fn states_inside_of_a_fan_out_are_not_edited() {
    let world = World::default();
    let graph = graph(&world, &["a", "b"])
        .fan_out("s", ["a", "b"])
        .edge("a", "j")
        .edge("b", "j")
        .join("j", fold)
        .entry("s")
        .finish("j")
        .interrupt_before("b")
        .build()
        .unwrap()
        .with_checkpoints(MemoryCheckpoints::new());
    let outcome = now(graph.start("t", State::default())).unwrap();
    let GraphOutcome::Interrupted(at) = outcome else { panic!() };
    let error = now(graph.rewind("t", at.step, |mut s| {
        s.path.push("x".into());
        s
    }))
    .unwrap_err();
    assert!(error.message().contains("inside of `s`"), "{error}");
    now(graph.rewind("t", at.step, |s| s)).unwrap();
    let state = now(graph.answer("t", 1)).unwrap().finished().unwrap();
    assert_eq!(state.path, ["a1", "b1"], "what a had done stays done");
}

#[test]
fn the_step_limit_is_kept_over_restarts_and_an_answer_gives_new_steps() {
    let store = Arc::new(MemoryCheckpoints::new());
    let build = |limit| {
        Graph::<u32>::new("g")
            .node("a", async |n: u32, _c: NodeContext| Ok(n + 1))
            .node("b", async |n: u32, _c: NodeContext| Ok(n))
            .branch("a", |n| if n % 10 == 0 { "b" } else { "a" }, ["a", "b"])
            .branch("b", |n| if *n < 30 { "a" } else { END }, ["a", END])
            .entry("a")
            .interrupt_before("b")
            .with_step_limit(limit)
            .build()
            .unwrap()
            .with_checkpoints(store.clone())
    };
    assert_eq!(now(build(4).start("t", 0)).unwrap_err().kind(), ErrorKind::Budget);
    assert_eq!(now(build(4).resume("t")).unwrap_err().kind(), ErrorKind::Budget);
    assert_eq!(now(build(11).resume("t")).unwrap().interrupts().len(), 1);
    assert_eq!(now(build(11).answer("t", 1)).unwrap().interrupts().len(), 1);
    assert_eq!(now(build(11).answer("t", 1)).unwrap().interrupts().len(), 1);
    assert_eq!(now(build(11).answer("t", 1)).unwrap(), GraphOutcome::Finished(30));
}

/// With checkpoints an error lets the other branches end the step that they are in.
#[tokio::test]
async fn an_error_lets_the_steps_under_way_end() {
    let world = World::default();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let fuse = Fuse::new(1);
    let (wait, open) = (gate.clone(), gate.clone());
    let done = world.clone();
    let graph = graph(&world, &["after"])
        .node("slow", move |state: State, ctx: NodeContext| {
            let (wait, done) = (wait.clone(), done.clone());
            async move {
                wait.acquire().await.unwrap().forget();
                ctx.effect("mail", async || {
                    done.0.lock().unwrap().push("mail".into());
                    Ok(())
                })
                .await?;
                Ok(state)
            }
        })
        .node("fails", move |state: State, _: NodeContext| {
            let (open, fuse) = (open.clone(), fuse.clone());
            async move {
                open.add_permits(1);
                fuse.check()?;
                Ok(state)
            }
        })
        .fan_out("s", ["slow", "fails"])
        .edge("slow", "after")
        .edge("after", "j")
        .edge("fails", "j")
        .join("j", fold)
        .entry("s")
        .finish("j")
        .build()
        .unwrap()
        .with_checkpoints(MemoryCheckpoints::new());
    graph.start("t", State::default()).await.unwrap_err();
    assert_eq!(world.done(), ["mail"], "the slow step has ended, the one after it has not begun");
    graph.resume("t").await.unwrap().finished().unwrap();
    assert_eq!(world.done(), ["mail", "after"]);
}

#[tokio::test]
async fn a_cancelled_run_goes_on_later() {
    let world = World::default();
    let (hang, done) = (Arc::new(tokio::sync::Semaphore::new(0)), world.clone());
    let gate = hang.clone();
    let graph = graph(&world, &["a", "b"])
        .node("hang", move |state: State, _ctx: NodeContext| {
            let hang = hang.clone();
            async move {
                hang.acquire().await.unwrap().forget();
                Ok(state)
            }
        })
        .edge("a", "s")
        .fan_out("s", ["b", "hang"])
        .edge("b", "j")
        .edge("hang", "j")
        .join("j", fold)
        .entry("a")
        .finish("j")
        .build()
        .unwrap()
        .with_checkpoints(MemoryCheckpoints::new());
    {
        let mut stream = graph.stream(GraphCall::start("t", State::default()));
        // All that comes before the hanging branch.
        while stream.next().now_or_never().is_some() {}
    }
    assert_eq!(done.done(), ["a", "b"]);
    gate.add_permits(1);
    let state = graph.resume("t").await.unwrap().finished().unwrap();
    assert_eq!((state.path.as_slice(), done.done().len()), (&["a1".to_owned(), "b1".to_owned()][..], 2));
}

#[test]
fn debug_shows_no_states() {
    let state = State { path: vec!["secret".into()] };
    let graph =
        asks().entry("asks").finish("asks").build().unwrap().with_checkpoints(MemoryCheckpoints::new());
    let call = GraphCall::start("t", state.clone());
    let shown = format!("{call:?} {graph:?}");
    let outcome = now(graph.run(call)).unwrap();
    let checkpoint = now(graph.store().latest("t")).unwrap().unwrap();
    assert!(checkpoint.body.contains("secret"));
    let shown = format!("{shown} {outcome:?} {checkpoint:?} {:?}", GraphOutcome::Finished(state));
    assert!(!shown.contains("secret") && !shown.contains("first?"), "{shown}");
}
