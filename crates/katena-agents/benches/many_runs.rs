//! 10,000 agent runs at once over a fake model, each with 3 tool calls: runs a second, and memory of a run that waits.
//! `cargo bench -p katena-agents --bench many_runs [-- RUNS]`
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints its measurement"
)]

use std::sync::Arc;
use std::time::Instant;

use katena_agents::Agent;
use katena_core::{
    Chain as _, ChatCapabilities, ChatModel, ChatRequest, ChatResponse, ChatStream, Error, FinishReason,
    FnTool, Message, ModelInfo, Part, Result, Role, Run, ToolCall, Usage,
};

/// Calls a tool in its first three turns. The first reply comes when every run has asked, so that all are under way at once.
#[derive(Debug)]
struct Busy(ModelInfo, tokio::sync::Barrier);

#[async_trait::async_trait]
impl ChatModel for Busy {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let turn = request.messages.iter().filter(|m| m.role == Role::Tool).count();
        if turn == 0 {
            self.1.wait().await;
        } else {
            tokio::task::yield_now().await;
        }
        let (message, finish) = if turn < 3 {
            let call = ToolCall::new(format!("c{turn}"), "lookup", format!(r#"{{"query":"part {turn}"}}"#));
            (Message::new(Role::Assistant, vec![Part::ToolCall(call)]), FinishReason::ToolCalls)
        } else {
            (Message::assistant("Here is the answer to the question."), FinishReason::Stop)
        };
        Ok(ChatResponse::new(message, finish).with_usage(Usage::new(100, 10)))
    }
    async fn stream(&self, _request: &ChatRequest) -> Result<ChatStream> {
        Err(Error::unsupported("nobody listens here"))
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Lookup {
    /// What to look for.
    query: String,
}

/// Peak and present resident memory in bytes.
fn memory() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let read = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        line.and_then(|l| l.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1024
    };
    (read("VmHWM:"), read("VmRSS:"))
}

fn main() {
    // Test runners ask every target for its tests.
    if std::env::args().any(|a| a == "--list" || a == "--test") {
        return;
    }
    let runs = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(10_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let info = ModelInfo::new("fake", "busy").with_capabilities(ChatCapabilities::none().with_tools());
        let lookup = FnTool::new("lookup", "Looks something up.", async |args: Lookup, _run: Run| {
            tokio::task::yield_now().await;
            Ok(format!("found {}", args.query))
        });
        let agent = Arc::new(
            Agent::new(Busy(info, tokio::sync::Barrier::new(runs)))
                .with_instructions("Answer the question.")
                .with_tool(lookup),
        );
        let (_, before) = memory();
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..runs {
            let agent = agent.clone();
            tasks.spawn(async move {
                let output = agent.call(format!("Question {n}?").into(), &Run::new()).await.unwrap();
                assert_eq!((output.steps, output.messages.len()), (4, 7));
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let time = start.elapsed();
        let (peak, _) = memory();
        println!("{runs} runs of 4 model calls and 3 tool calls in {:.3} s", time.as_secs_f64());
        println!("{:.0} runs a second", runs as f64 / time.as_secs_f64());
        println!(
            "{} bytes of memory a run, {:.1} MiB in all",
            (peak - before) / runs,
            peak as f64 / 1_048_576.0
        );
    });
}
