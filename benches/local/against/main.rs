//! The local engine beside llama.cpp's own tools and server: the same model file, one thread, CPU time. Both programs of a pair
//! run at the same time on one core: the system gives it to them in turn, every few milliseconds, so that what neighbours do to
//! the machine's speed is done to both. `tools.sh` builds the tools first.
//!
//!     against-llama-cpp MODEL.gguf [--pairs N] [CASE…]
//!
//! Cases: generation-1, generation-8, generation-16, prompt, prefix, constrained, clients, server; only by name, for comparison:
//! unified-8, unified-16, prompt-template. Each line has the ratio of CPU time for a token (ours ÷ theirs, geometric mean), its 95 %
//! interval, and the bound that its upper end is judged by. A sample is three runs in one process on both sides, or one long run of
//! several streams: what the machine does changes from second to second, so both programs must do the same at the same time.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

mod ours;
mod ratio;
mod theirs;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use katena_core::{Error, Result};
use serde_json::Value;

use ours::RUNS;
use ratio::{Sample, interval};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use theirs::Cells;

const CASES: [&str; 8] =
    ["generation-1", "generation-8", "generation-16", "prompt", "prefix", "constrained", "clients", "server"];
const COMPARISONS: [&str; 3] = ["unified-8", "unified-16", "prompt-template"];
/// At least 0.97 of their speed.
const BESIDE: f64 = 1.0 / 0.97;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(e) => {
            eprintln!("against-llama-cpp: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "--child") {
        return child(&arguments[1..]).map(|()| true);
    }
    let mut pairs = 10;
    if let Some(at) = arguments.iter().position(|a| a == "--pairs") {
        pairs = arguments.get(at + 1).and_then(|n| n.parse().ok()).unwrap_or(0);
        arguments.drain(at..(at + 2).min(arguments.len()));
    }
    if arguments.is_empty() || pairs < 3 || arguments[1..].iter().any(|a| !known(a)) {
        return Err(Error::config(
            "usage: against-llama-cpp MODEL.gguf [--pairs N] [CASE…], at least three pairs",
        ));
    }
    let model = PathBuf::from(arguments.remove(0));
    let cases: Vec<&str> =
        if arguments.is_empty() { CASES.to_vec() } else { arguments.iter().map(String::as_str).collect() };
    stay_on_one_core()?;
    println!("| case | beside | pairs | CPU time, ours ÷ theirs | 95 % interval | bound | |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut good = true;
    for case in cases {
        good &= Bench { model: &model, pairs }.case(case)?;
    }
    Ok(good)
}

fn known(case: &str) -> bool {
    CASES.contains(&case) || COMPARISONS.contains(&case)
}

/// Keeps this process and those that it starts on one core, the last that it may use.
fn stay_on_one_core() -> Result<()> {
    let allowed = sched_getaffinity(None).map_err(std::io::Error::from)?;
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).rev().find(|n| allowed.is_set(*n)).unwrap_or(0));
    Ok(sched_setaffinity(None, &one).map_err(std::io::Error::from)?)
}

/// In the child: measures and prints one line of JSON.
#[tokio::main(flavor = "current_thread")]
async fn child(arguments: &[String]) -> Result<()> {
    let [model, case, numbers @ ..] = arguments else { return Err(Error::config("a child needs a case")) };
    let model = Path::new(model);
    let number = |n: usize| numbers.get(n).and_then(|x| x.parse::<u32>().ok()).unwrap_or(1);
    let found = match case.as_str() {
        "generation" => ours::generation(model, number(0), number(1), number(2)).await?,
        "prompt" => ours::prompt(model, number(0) == 1).await?,
        "prefix" => ours::prefix(model, number(0)).await?,
        "constrained" => ours::constrained(model, number(0), number(1) == 1).await?,
        "clients" => ours::clients(model, number(0), number(1)).await?,
        _ => return Err(Error::config("there is no such case")),
    };
    println!("{found}");
    Ok(())
}

struct Bench<'a> {
    model: &'a Path,
    pairs: u32,
}

fn number(value: &Value, key: &str) -> Result<f64> {
    value[key].as_f64().ok_or_else(|| Error::unexpected("the child's numbers are incomplete"))
}

fn sample(found: Found) -> Result<(Sample, Running)> {
    let Found { value, running } = found;
    Ok((Sample { seconds: number(&value, "seconds")?, tokens: number(&value, "tokens")? }, running))
}

/// What a child printed, and the child, which may go on.
struct Found {
    value: Value,
    running: Running,
}

/// A child; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn list(value: &Value) -> Result<&[Value]> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Error::unexpected("the child's numbers are incomplete"))
}

impl Bench<'_> {
    fn child(&self, case: &str, numbers: &[u32]) -> Result<Found> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--child")
            .arg(self.model)
            .arg(case)
            .args(numbers.iter().map(u32::to_string))
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take();
        let running = Running(child);
        let mut line = String::new();
        if let Some(out) = out {
            BufReader::new(out).read_line(&mut line)?;
        }
        let value = serde_json::from_str(&line)
            .map_err(|_| Error::unexpected("the child failed").with_context("case", case.to_owned()))?;
        Ok(Found { value, running })
    }

    /// Runs pairs, both programs of a pair at once. Ours goes on until theirs has ended, where it does not end by itself.
    fn pairs(
        &self,
        ours: impl Fn() -> Result<(Sample, Running)> + Sync,
        theirs: impl Fn() -> Result<Sample>,
    ) -> Result<Vec<(Sample, Sample)>> {
        (0..self.pairs)
            .map(|_| {
                std::thread::scope(|scope| {
                    let ours = scope.spawn(&ours);
                    let theirs = theirs();
                    let ours = ours.join().map_err(|_| Error::unexpected("a run panicked"))?;
                    Ok((ours?.0, theirs?))
                })
            })
            .collect()
    }

    fn case(&self, case: &str) -> Result<bool> {
        match case {
            "generation-1" => self.generation(1, 96),
            "generation-8" => self.generation(8, 384),
            "generation-16" => self.generation(16, 256),
            "unified-8" => self.streams(8, 384, Cells::Unified),
            "unified-16" => self.streams(16, 256, Cells::Unified),
            "prompt" => self.prompt(0, "prompt of 512 tokens", BESIDE),
            "prompt-template" => self.prompt(1, "prompt of 512 tokens, its first 24 kept", f64::INFINITY),
            "prefix" => self.prefix(),
            "constrained" => {
                let held = |held| sample(self.child("constrained", &[96, held])?);
                let pairs = self.pairs(|| held(1), || Ok(held(0)?.0))?;
                report("JSON Schema, a token", "free text", &pairs, 1.1)
            }
            "clients" => {
                let slow = Mutex::new(Vec::new());
                let many = || {
                    let found = self.child("clients", &[64, 16])?;
                    slow.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(number(&found.value, "slowest_by_median")?);
                    sample(found)
                };
                let pairs = self.pairs(many, || Ok(sample(self.child("clients", &[8, 16])?)?.0))?;
                let enough = report("64 clients on 8 slots", "8 clients", &pairs, 1.0 / 0.9)?;
                let slow = slow.into_inner().unwrap_or_else(PoisonError::into_inner);
                Ok(line("slowest of 64 clients", "their median (wall time)", &slow, 3.0)? && enough)
            }
            _ => {
                let server = theirs::Server::start(self.model, 16)?;
                server.load(16, 2)?;
                let pairs = self
                    .pairs(|| sample(self.child("generation", &[16, 48, RUNS])?), || server.load(16, 48))?;
                report("16 clients", "llama-server", &pairs, 1.0)
            }
        }
    }

    fn prompt(&self, template: u32, name: &str, bound: f64) -> Result<bool> {
        let ours = || sample(self.child("prompt", &[template])?);
        let pairs = self.pairs(ours, || theirs::bench(self.model, 512, 0, 0))?;
        report(name, "llama-bench, empty cache", &pairs, bound)
    }

    /// Theirs continues after as many tokens as our prompts have.
    fn depth(&self, streams: u32) -> Result<u32> {
        Ok(number(&self.child("generation", &[streams, 4])?.value, "prompt")? as u32)
    }

    fn generation(&self, streams: u32, tokens: u32) -> Result<bool> {
        if streams > 1 {
            return self.streams(streams, tokens, Cells::Split);
        }
        let depth = self.depth(1)?;
        let ours = || sample(self.child("generation", &[1, tokens, RUNS])?);
        let pairs = self.pairs(ours, || theirs::bench(self.model, 0, tokens, depth))?;
        report("generation, 1 stream", "llama-bench", &pairs, BESIDE)
    }

    fn streams(&self, streams: u32, tokens: u32, cells: Cells) -> Result<bool> {
        let depth = self.depth(streams)?;
        let ours = || sample(self.child("generation", &[streams, tokens])?);
        let pairs = self.pairs(ours, || theirs::batched(self.model, streams, depth, tokens, cells))?;
        let (cache, bound) = match cells {
            Cells::Unified => (", unified cache", f64::INFINITY),
            Cells::Split => ("", BESIDE),
        };
        let beside = format!("llama-batched-bench{cache}");
        report(&format!("generation, {streams} streams"), &beside, &pairs, bound)
    }

    fn prefix(&self) -> Result<bool> {
        let found = self.child("prefix", &[self.pairs])?;
        let found = list(&found.value)?;
        let ratios = |key: &str| -> Result<Vec<f64>> {
            found.iter().map(|p| Ok(number(&p[1], key)? / number(&p[0], key)?)).collect()
        };
        let good =
            line("first token after 512 shared tokens", "the first request (CPU)", &ratios("cpu")?, 0.1)?;
        line("the same", "the first request (wall time)", &ratios("wall")?, f64::INFINITY)?;
        Ok(good)
    }
}

fn report(case: &str, beside: &str, pairs: &[(Sample, Sample)], bound: f64) -> Result<bool> {
    let speed = |pick: fn(&(Sample, Sample)) -> Sample| {
        let all: Vec<f64> = pairs.iter().map(|p| 1.0 / pick(p).each()).collect();
        interval(&all).map_or(0.0, |i| i.mean)
    };
    eprintln!("{case}: {:.1} and {:.1} tokens a CPU second", speed(|p| p.0), speed(|p| p.1));
    let ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours.each() / theirs.each()).collect();
    line(case, beside, &ratios, bound)
}

fn line(case: &str, beside: &str, ratios: &[f64], bound: f64) -> Result<bool> {
    let i = interval(ratios).ok_or_else(|| Error::unexpected("too few pairs"))?;
    let good = i.high <= bound;
    let (limit, verdict) = match (bound.is_finite(), good) {
        (false, _) => ("–".to_owned(), "for comparison"),
        (true, true) => (format!("≤ {bound:.3}"), "holds"),
        (true, false) => (format!("≤ {bound:.3}"), "missed"),
    };
    println!(
        "| {case} | {beside} | {} | {:.3} | {:.3} to {:.3} | {limit} | {verdict} |",
        ratios.len(),
        i.mean,
        i.low,
        i.high
    );
    Ok(good)
}
