//! The local engine beside llama.cpp's own tools and server: the same model file, one thread, pairs of runs one after the
//! other, CPU time. `tools.sh` builds the tools first.
//!
//!     against-llama-cpp MODEL.gguf [--pairs N] [CASE…]
//!
//! Cases: generation-1, generation-8, generation-16, prompt, prefix, constrained, clients, server. Each line has the ratio of CPU
//! time for a token (ours ÷ theirs, geometric mean), its 95 % interval, and the bound that its upper end is judged by. Each sample is the quickest of three runs in one process, on both sides.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]

mod ours;
mod ratio;
mod theirs;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use katena_core::{Error, Result};
use serde_json::Value;

use ratio::{Sample, interval};

const CASES: [&str; 8] =
    ["generation-1", "generation-8", "generation-16", "prompt", "prefix", "constrained", "clients", "server"];
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
    if arguments.is_empty() || pairs < 3 || arguments[1..].iter().any(|a| !CASES.contains(&a.as_str())) {
        return Err(Error::config(
            "usage: against-llama-cpp MODEL.gguf [--pairs N] [CASE…], at least three pairs",
        ));
    }
    let model = PathBuf::from(arguments.remove(0));
    let cases: Vec<&str> =
        if arguments.is_empty() { CASES.to_vec() } else { arguments.iter().map(String::as_str).collect() };
    println!("| case | beside | pairs | CPU time, ours ÷ theirs | 95 % interval | bound | |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut good = true;
    for case in cases {
        good &= Bench { model: &model, pairs }.case(case)?;
    }
    Ok(good)
}

/// In the child: measures and prints one line of JSON.
#[tokio::main(flavor = "current_thread")]
async fn child(arguments: &[String]) -> Result<()> {
    let [model, case, numbers @ ..] = arguments else { return Err(Error::config("a child needs a case")) };
    let model = Path::new(model);
    let number = |n: usize| numbers.get(n).and_then(|x| x.parse::<u32>().ok()).unwrap_or(1);
    let found = match case.as_str() {
        "generation" => ours::generation(model, number(0), number(1)).await?,
        "prompt" => ours::prompt(model, numbers.first().map(|_| number(0))).await?,
        "prefix" => ours::prefix(model, number(0)).await?,
        "constrained" => ours::constrained(model, number(0), number(1)).await?,
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

fn sample(value: &Value) -> Result<Sample> {
    Ok(Sample { seconds: number(value, "seconds")?, tokens: number(value, "tokens")? })
}

fn list(value: &Value) -> Result<&[Value]> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Error::unexpected("the child's numbers are incomplete"))
}

impl Bench<'_> {
    fn child(&self, case: &str, numbers: &[u32]) -> Result<Value> {
        let output = Command::new(std::env::current_exe()?)
            .arg("--child")
            .arg(self.model)
            .arg(case)
            .args(numbers.iter().map(u32::to_string))
            .stderr(Stdio::inherit())
            .output()?;
        serde_json::from_slice(&output.stdout)
            .map_err(|_| Error::unexpected("the child failed").with_context("case", case.to_owned()))
    }

    /// Runs pairs, the first of each pair in turn ours and theirs.
    fn pairs(
        &self,
        mut ours: impl FnMut() -> Result<Sample>,
        mut theirs: impl FnMut() -> Result<Sample>,
    ) -> Result<Vec<(Sample, Sample)>> {
        (0..self.pairs)
            .map(|n| {
                Ok(if n % 2 == 0 {
                    let first = ours()?;
                    (first, theirs()?)
                } else {
                    let first = theirs()?;
                    (ours()?, first)
                })
            })
            .collect()
    }

    fn case(&self, case: &str) -> Result<bool> {
        match case {
            "generation-1" => self.generation(1, 96),
            "generation-8" => self.generation(8, 48),
            "generation-16" => self.generation(16, 32),
            "prompt" => {
                let theirs = || theirs::bench(self.model, 512, 0, 0);
                let pairs = self.pairs(|| sample(&self.child("prompt", &[0])?), theirs)?;
                let good = report("prompt of 512 tokens", "llama-bench", &pairs, BESIDE)?;
                // For comparison alone: beside the tokens of another request, which the cache keeps.
                let pairs = self.pairs(|| sample(&self.child("prompt", &[])?), theirs)?;
                report("the same, 512 others kept", "llama-bench, empty cache", &pairs, f64::INFINITY)?;
                Ok(good)
            }
            "prefix" => self.prefix(),
            "constrained" => {
                let found = self.child("constrained", &[self.pairs, 96])?;
                let pairs: Result<Vec<_>> =
                    list(&found["pairs"])?.iter().map(|p| Ok((sample(&p[1])?, sample(&p[0])?))).collect();
                eprintln!("first use of the schema: {:.3} CPU seconds", number(&found, "first_seconds")?);
                report("JSON Schema, a token", "free text", &pairs?, 1.1)
            }
            "clients" => {
                let found = self.child("clients", &[self.pairs, 16])?;
                let found = list(&found)?;
                let pairs: Result<Vec<_>> =
                    found.iter().map(|p| Ok((sample(&p["many"])?, sample(&p["few"])?))).collect();
                let enough = report("64 clients on 8 slots", "8 clients", &pairs?, 1.0 / 0.9)?;
                let slow: Result<Vec<f64>> = found.iter().map(|p| number(p, "slowest_by_median")).collect();
                Ok(line("slowest of 64 clients", "their median (wall time)", &slow?, 3.0)? && enough)
            }
            _ => {
                let server = theirs::Server::start(self.model, 16)?;
                server.load(16, 2)?;
                let pairs =
                    self.pairs(|| sample(&self.child("generation", &[16, 48])?), || server.load(16, 48))?;
                report("16 clients", "llama-server", &pairs, 1.0)
            }
        }
    }

    fn generation(&self, streams: u32, tokens: u32) -> Result<bool> {
        // Theirs continues after as many tokens as our prompts have.
        let depth = number(&self.child("generation", &[streams, 4])?, "prompt")? as u32;
        let ours = || sample(&self.child("generation", &[streams, tokens])?);
        if streams == 1 {
            let pairs = self.pairs(ours, || theirs::bench(self.model, 0, tokens, depth))?;
            return report("generation, 1 stream", "llama-bench", &pairs, BESIDE);
        }
        let name = format!("generation, {streams} streams");
        let pairs = self.pairs(ours, || theirs::batched(self.model, streams, depth, tokens, true))?;
        let good = report(&name, "llama-batched-bench, unified cache", &pairs, BESIDE)?;
        // For comparison alone: its other cache, which can't share prefixes.
        let pairs = self.pairs(ours, || theirs::batched(self.model, streams, depth, tokens, false))?;
        report(&name, "llama-batched-bench, split cache", &pairs, f64::INFINITY)?;
        Ok(good)
    }

    fn prefix(&self) -> Result<bool> {
        let found = self.child("prefix", &[self.pairs])?;
        let found = list(&found)?;
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
