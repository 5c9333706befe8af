//! 10,000 agents at once over a fake model, three tool calls each, on two threads: runs a second, memory a run.
//!
//! `cargo run --release -p katena-compose-benches --bin agents`. The model answers at once: what is measured is the loop. For the memory all
//! runs wait inside their third tool call until the last one is there.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "prints a table")]

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use katena_agents::Agent;
use katena_core::{
    ChainExt, ChatCapabilities, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, FinishReason,
    FnTool, Message, ModelInfo, Part, Result, Role, Run, ToolCall, Usage,
};
use tokio::sync::Semaphore;

const RUNS: usize = 10_000;
const CALLS: usize = 3;

/// Calls the tool in three turns, then answers.
#[derive(Debug)]
struct Caller(ModelInfo);

impl Caller {
    fn answer(request: &ChatRequest) -> ChatResponse {
        let done = request.messages.iter().filter(|m| m.role == Role::Tool).count();
        let response = if done < CALLS {
            let call = ToolCall::new(format!("call-{done}"), "look_up", format!(r#"{{"number":{done}}}"#));
            ChatResponse::new(
                Message::new(Role::Assistant, vec![Part::ToolCall(call)]),
                FinishReason::ToolCalls,
            )
        } else {
            ChatResponse::new(Message::assistant("All three were looked up."), FinishReason::Stop)
        };
        response.with_usage(Usage::new(100, 10))
    }
}

#[async_trait]
impl ChatModel for Caller {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        tokio::task::yield_now().await;
        Ok(Self::answer(request))
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let events = ChatEvent::of_response(Self::answer(request)).into_iter().map(Ok);
        Ok(Box::pin(futures_util::stream::iter(events)))
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Args {
    number: u64,
}

/// What the third calls wait for, and who has come so far.
#[derive(Debug)]
struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

fn agent(gate: Arc<Gate>) -> Arc<Agent> {
    let tool = FnTool::with_state(
        "look_up",
        "Looks a number up.",
        gate,
        async |gate: Arc<Gate>, args: Args, _run: Run| {
            if args.number + 1 == CALLS as u64 {
                gate.arrived.add_permits(1);
                drop(gate.open.acquire().await);
            }
            Ok(format!("Number {} is fine.", args.number))
        },
    );
    let model =
        Caller(ModelInfo::new("bench", "caller").with_capabilities(ChatCapabilities::none().with_tools()));
    Arc::new(Agent::new(model).with_instructions("Look three numbers up.").with_tool(tool))
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or_default() * 1024
}

/// Starts all runs; `open` runs do not wait at the gate.
fn start(open: usize) -> (Arc<Gate>, Vec<tokio::task::JoinHandle<Result<usize>>>) {
    let gate = Arc::new(Gate { arrived: Semaphore::new(0), open: Semaphore::new(open) });
    let agent = agent(gate.clone());
    let runs = (0..RUNS).map(|n| {
        let agent = agent.clone();
        tokio::spawn(
            async move { Ok(agent.run(format!("Look up what belongs to {n}.")).await?.messages.len()) },
        )
    });
    (gate, runs.collect())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut rates = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let (_gate, runs) = start(RUNS);
        for run in runs {
            assert!(run.await.unwrap()? > CALLS, "a run lost messages");
        }
        rates.push(RUNS as f64 / begin.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let before = resident();
    let (gate, runs) = start(0);
    drop(gate.arrived.acquire_many(RUNS as u32).await);
    let during = resident();
    gate.open.add_permits(RUNS);
    for run in runs {
        run.await.unwrap()?;
    }
    println!("{RUNS} agents at once, {CALLS} tool calls in {} model calls each, two threads", CALLS + 1);
    println!("runs a second (median of {}): {:.0}", rates.len(), rates[rates.len() / 2]);
    println!("resident: {} MiB before, {} MiB with all in their third tool call", before >> 20, during >> 20);
    println!("a run: {} bytes", during.saturating_sub(before) / RUNS);
    Ok(())
}
