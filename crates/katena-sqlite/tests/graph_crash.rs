//! A graph whose process is killed at random moments goes on from its last step, and repeats no effect that was recorded.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::unnecessary_wraps, reason = "tests")]
#![expect(clippy::print_stdout, reason = "says what was seen")]

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use katena_core::{
    Checkpoint, CheckpointInfo, CheckpointStore, CompiledGraph, END, EffectKey, Error, ErrorKind, Graph,
    GraphOutcome, NodeContext, Result,
};
use katena_sqlite::{Database, SqliteCheckpoints};
use serde::{Deserialize, Serialize};

const FOLDER: &str = "KATENA_GRAPH_CRASH_FOLDER";
const KILLS: usize = 100;
const KILLS_A_RUN: usize = 20;
const TURNS: u32 = 6;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    folder: PathBuf,
    turn: u32,
    trace: Vec<String>,
}

/// A line in a file is the effect; the line names the visit. Appending so little is one write: whole or not at all.
fn append(folder: &Path, line: &str) {
    let mut file = std::fs::File::options().append(true).create(true).open(folder.join("effects")).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Does two effects and writes their results down.
async fn work(mut state: State, ctx: NodeContext) -> Result<State> {
    for name in ["mail", "bill"] {
        let line = ctx.idempotency_key(name).unwrap();
        let seen: String = ctx
            .effect(name, async || {
                append(&state.folder, &line);
                Ok(format!("{}:{name}:{}", ctx.node(), state.turn))
            })
            .await?;
        state.trace.push(seen);
        tokio::task::yield_now().await;
    }
    Ok(state)
}

async fn plain(mut state: State, ctx: NodeContext) -> Result<State> {
    state.trace.push(ctx.node().to_owned());
    Ok(state)
}

fn fold(mut before: State, states: Vec<State>) -> Result<State> {
    let len = before.trace.len();
    before.trace.extend(states.into_iter().flat_map(|s| s.trace.into_iter().skip(len)));
    before.turn += 1;
    Ok(before)
}

/// Eleven nodes: a loop around a fan-out with a line, a choice and a sub-graph in its branches.
fn graph(turns: u32) -> CompiledGraph<State> {
    let inner = Graph::<State>::new("inner")
        .node("read", plain)
        .node("write", work)
        .edge("read", "write")
        .entry("read")
        .finish("write")
        .build()
        .unwrap();
    Graph::<State>::new("crash")
        .node("plan", work)
        .node("left", work)
        .node("left twice", work)
        .node("middle", plain)
        .node("publish", work)
        .subgraph("right", inner, |s: &State| s.clone(), |_, s| s)
        .fan_out("split", ["left", "middle", "right"])
        .join("merge", fold)
        .edge("plan", "split")
        .branch("left", |s| if s.turn % 2 == 0 { "left twice" } else { "merge" }, ["left twice", "merge"])
        .edge("left twice", "merge")
        .edge("middle", "merge")
        .edge("right", "merge")
        .branch("merge", move |s| if s.turn < turns { "plan" } else { "publish" }, ["plan", "publish"])
        .edge("publish", END)
        .entry("plan")
        .with_step_limit(200)
        .build()
        .unwrap()
}

fn open(folder: &Path) -> SqliteCheckpoints {
    SqliteCheckpoints::new(Database::open(folder.join("graph.katena")).unwrap()).unwrap()
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}

/// Not a test of its own: the process that is killed. Begins the thread or goes on with it.
#[tokio::test]
async fn child_that_runs_the_graph() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    let graph = graph(TURNS).with_checkpoints(open(&folder));
    say("ready");
    let outcome = if graph.history("t").await.unwrap().is_empty() {
        graph.start("t", State { folder, ..State::default() }).await
    } else {
        graph.resume("t").await
    };
    assert!(matches!(outcome.unwrap(), GraphOutcome::Finished(_)));
    say("finished");
}

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(0) % below
}

/// Runs the child and kills it some time after it has begun; true if it has come to its end before.
fn run_and_kill(folder: &Path, patience: Duration) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_runs_the_graph", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::result::Result::ok);
    assert!(lines.any(|l| l.ends_with("ready")), "the child has not begun");
    std::thread::sleep(patience);
    child.kill().unwrap();
    child.wait().unwrap();
    lines.any(|l| l.ends_with("finished"))
}

/// How often each effect is in the world, by its key.
fn world(folder: &Path) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for line in std::fs::read_to_string(folder.join("effects")).unwrap_or_default().lines() {
        *all.entry(line.to_owned()).or_default() += 1;
    }
    all
}

/// The keys of the recorded effects, as the world names them.
async fn recorded(folder: &Path) -> Vec<String> {
    let database = Database::open(folder.join("graph.katena")).unwrap();
    let rows = database
        .read(|db| {
            let mut all = db.prepare("SELECT thread, place, name FROM katena_effects")?;
            let rows = all.query_map([], |r| {
                let key = EffectKey::new(r.get::<_, String>(1)?, r.get::<_, String>(2)?);
                Ok(format!("{}/{}/{}", r.get::<_, String>(0)?, key.place, key.name))
            })?;
            Ok(rows.collect::<std::result::Result<Vec<_>, _>>()?)
        })
        .await;
    // Killed before the tables were there.
    rows.unwrap_or_default()
}

/// Runs `work`; no effect that was recorded before is done in it.
async fn repeats_nothing<T>(folder: &Path, work: impl Future<Output = T>) -> T {
    let (before, done) = (recorded(folder).await, world(folder));
    let result = work.await;
    let now = world(folder);
    for key in &before {
        assert_eq!(now[key], done[key], "the recorded effect {key} was repeated");
    }
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_a_hundred_times() {
    let calm = tempfile::tempdir().unwrap();
    let state = State { folder: calm.path().to_owned(), ..State::default() };
    let wanted = graph(TURNS).with_checkpoints(open(calm.path())).start("t", state).await.unwrap();
    let wanted = wanted.finished().unwrap();
    let effects = world(calm.path());
    assert!(effects.len() > 40 && effects.values().all(|n| *n == 1), "{effects:?}");

    let (mut kills, mut runs, mut unrecorded) = (0, 0, 0);
    while kills < KILLS {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for _ in 0..KILLS_A_RUN {
            let patience = Duration::from_micros(random(20_000));
            if repeats_nothing(folder, async { run_and_kill(folder, patience) }).await {
                break;
            }
            kills += 1;
        }
        let graph = graph(TURNS).with_checkpoints(open(folder));
        let end = if graph.history("t").await.unwrap().is_empty() {
            graph.start("t", State { folder: folder.to_owned(), ..State::default() }).await
        } else {
            repeats_nothing(folder, graph.resume("t")).await
        };
        let end = end.unwrap().finished().unwrap();
        assert_eq!((end.turn, &end.trace), (wanted.turn, &wanted.trace));
        let all = world(folder);
        assert!(all.keys().eq(effects.keys()), "an effect is missing, or there is one too many");
        assert_eq!(recorded(folder).await.len(), effects.len());
        unrecorded += all.values().map(|n| n - 1).sum::<u32>();
        runs += 1;
    }
    println!("{kills} kills in {runs} runs; {unrecorded} effects were done but not recorded, and done again");
    // A death leaves at most one effect of each parallel branch unrecorded.
    assert!(usize::try_from(unrecorded).unwrap() <= 2 * kills);
}

/// Fails at its n-th call, before or after having done it.
#[derive(Debug)]
struct Flaky {
    inner: SqliteCheckpoints,
    calls: AtomicU32,
    bad: u32,
    late: bool,
}

impl Flaky {
    async fn call<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let bad = self.calls.fetch_add(1, Ordering::SeqCst) == self.bad;
        let injected = || Err(Error::new(ErrorKind::Unavailable, "injected"));
        if bad && !self.late {
            return injected();
        }
        let result = work.await;
        if bad { injected() } else { result }
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
    async fn effect(&self, thread: &str, owner: u64, key: &EffectKey) -> Result<Option<String>> {
        self.call(self.inner.effect(thread, owner, key)).await
    }
    async fn record_effect(&self, thread: &str, owner: u64, key: EffectKey, result: String) -> Result<()> {
        self.call(self.inner.record_effect(thread, owner, key, result)).await
    }
}

/// The file fails at each call in turn, done or not; what follows is the same whatever the machine does meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_fails_anywhere() {
    let run = async |bad: u32, late: bool| {
        let folder = tempfile::tempdir().unwrap();
        let state = State { folder: folder.path().to_owned(), ..State::default() };
        let inner = open(folder.path());
        let store = Arc::new(Flaky { inner, calls: AtomicU32::new(0), bad, late });
        let flaky = graph(1).with_checkpoints(store.clone());
        let mut end = flaky.start("t", state.clone()).await;
        if let Err(error) = &end {
            assert_eq!(error.message(), "injected");
            end = if flaky.history("t").await.unwrap().is_empty() {
                flaky.start("t", state).await
            } else {
                repeats_nothing(folder.path(), flaky.resume("t")).await
            };
        }
        let trace = end.unwrap().finished().unwrap().trace;
        let done: u32 = world(folder.path()).values().sum();
        (trace, done, store.calls.load(Ordering::SeqCst))
    };
    let (wanted, effects, calls) = run(u32::MAX, false).await;
    assert!(calls > 30 && effects == 10, "{calls} {effects}");
    for (bad, late) in (0..calls).flat_map(|bad| [(bad, false), (bad, true)]) {
        let (trace, done, _) = run(bad, late).await;
        assert_eq!(trace, wanted, "call {bad}");
        let repeated = done - effects;
        assert!(repeated <= u32::from(!late), "call {bad}, late {late}: {repeated} effects were repeated");
    }
}
