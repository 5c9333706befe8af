//! `prompt | fake model | parser` and its like: Katena beside langchain-rust, langchainrust, rig and LangChain for Python,
//! interleaved in one run, CPU time per call.
//!
//! `cargo run --release`; with langchain-core for Python where `python3` (or `$PYTHON`) finds it. Each system gets the same
//! prompt of two messages with two variables and a model that answers `hello` at once, of its own kind. rig has no
//! templates and its scripted model keeps every request, so its row is `format!` and a model call. langchainrust's step that
//! stands for the model is a closure. Streams are five pieces of text, read to the end.

mod katena_side;
mod langchain_rust_side;
mod langchainrust_side;
mod rig_side;

use std::collections::BTreeMap;
use std::future::Future;
use std::process::Command;

use cpu_time::ThreadTime;

const ROUNDS: usize = 15;
const PYTHON_ROUNDS: usize = 5;
const CALLS: usize = 20_000;

/// What each round measured: job → system → µs of CPU per call.
#[derive(Default)]
struct Figures(BTreeMap<(&'static str, &'static str), Vec<f64>>);

impl Figures {
    fn add(&mut self, job: &'static str, system: &'static str, micros: f64) {
        self.0.entry((job, system)).or_default().push(micros);
    }

    /// Runs `calls` calls and adds their mean.
    async fn time<F: Future<Output = ()>>(
        &mut self,
        job: &'static str,
        system: &'static str,
        calls: usize,
        mut call: impl FnMut() -> F,
    ) {
        for _ in 0..calls / 10 {
            call().await;
        }
        let start = ThreadTime::now();
        for _ in 0..calls {
            call().await;
        }
        self.add(job, system, start.elapsed().as_secs_f64() * 1e6 / calls as f64);
    }

    fn median(&self, job: &'static str, system: &'static str) -> Option<f64> {
        let mut all = self.0.get(&(job, system))?.clone();
        all.sort_by(f64::total_cmp);
        Some(all[all.len() / 2])
    }

    /// The median over the rounds of Katena's share of another's time in the same round.
    fn ratio(&self, job: &'static str, system: &'static str) -> Option<f64> {
        let (ours, theirs) = (self.0.get(&(job, "katena"))?, self.0.get(&(job, system))?);
        let mut all: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }
}

/// LangChain for Python prints `job micros` lines.
fn python(figures: &mut Figures) -> bool {
    let program = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/langchain_bench.py");
    let Ok(output) = Command::new(program).arg(script).output() else { return false };
    if !output.status.success() {
        return false;
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((job, micros)) = line.rsplit_once(' ') else { continue };
        let job = ["run", "stream", "ten steps"].into_iter().find(|j| *j == job);
        if let (Some(job), Ok(micros)) = (job, micros.parse()) {
            figures.add(job, "langchain (Python)", micros);
        }
    }
    true
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut figures = Figures::default();
    let mut has_python = true;
    for round in 0..ROUNDS {
        katena_side::measure(&mut figures, CALLS).await;
        langchain_rust_side::measure(&mut figures, CALLS).await;
        langchainrust_side::measure(&mut figures, CALLS).await;
        rig_side::measure(&mut figures, CALLS).await;
        if has_python && round < PYTHON_ROUNDS {
            has_python = python(&mut figures);
        }
    }
    if !has_python {
        println!("no langchain-core for Python: its rows are missing (pip install langchain-core==1.7.2)");
    }
    println!("CPU per call, medians of {ROUNDS} interleaved rounds of {CALLS} calls\n");
    println!("| job | system | µs | Katena ÷ it | it ÷ Katena |\n|---|---|---|---|---|");
    for (job, system) in figures.0.keys() {
        let micros = figures.median(job, system).unwrap_or_default();
        let ratio = figures.ratio(job, system).unwrap_or_default();
        println!("| {job} | {system} | {micros:.3} | {ratio:.4} | {:.1} |", 1.0 / ratio);
    }
}
