//! llama.cpp's own tools and server, in processes of their own.
#![allow(clippy::many_single_char_names, reason = "the flags of the tools")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use katena_core::{Error, Result};
use serde_json::Value;

use crate::ours::{self, RUNS, SLOT_CONTEXT};
use crate::ratio::Sample;

/// Where `tools.sh` puts things.
pub(crate) fn tools() -> PathBuf {
    let cache = std::env::var_os("KATENA_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        base.unwrap_or_default().join("katena")
    });
    cache.join("tools")
}

/// Runs a tool; the JSON lines that it prints.
fn lines(tool: &str, model: &Path, flags: &str) -> Result<Vec<Value>> {
    let program = tools().join("llama-tools").join(tool);
    let output = Command::new(&program)
        .arg("-m")
        .arg(model)
        .args(flags.split(' '))
        .stderr(Stdio::null())
        .output()
        .map_err(|e| {
            Error::config("can't run llama.cpp's tool: see benches/local/tools.sh").with_source(e)
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line.trim()).ok()).collect();
    if !output.status.success() || found.is_empty() {
        return Err(Error::unexpected("llama.cpp's tool failed").with_context("tool", tool.to_owned()));
    }
    Ok(found)
}

fn number(value: &Value, key: &str) -> Result<f64> {
    value[key].as_f64().ok_or_else(|| {
        Error::unexpected("a number is missing in what was printed").with_context("key", key.to_owned())
    })
}

/// The sum of the runs, as for ours.
fn sum(runs: u32, seconds: impl Iterator<Item = Option<f64>>) -> Result<f64> {
    let found = seconds.collect::<Option<Vec<f64>>>().filter(|all| all.len() == runs as usize);
    let all = found.ok_or_else(|| Error::unexpected("llama.cpp's tool printed other runs than asked for"))?;
    Ok(all.into_iter().sum())
}

/// `llama-bench`: `prompt` tokens, or `generate` of them after `depth`.
pub(crate) fn bench(model: &Path, prompt: u32, generate: u32, depth: u32) -> Result<Sample> {
    let flags = format!("-t 1 -b 512 -ub 512 -r {RUNS} -o jsonl -p {prompt} -n {generate} -d {depth}");
    let found = lines("llama-bench", model, &flags)?;
    let samples = found[0]["samples_ns"].as_array().map(Vec::as_slice).unwrap_or_default();
    let seconds = sum(RUNS, samples.iter().map(Value::as_f64))? / 1e9;
    Ok(Sample { seconds, tokens: f64::from(RUNS * (prompt + generate)) })
}

/// How `llama-batched-bench` lays out its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cells {
    /// One for all streams.
    Unified,
    /// One for each, as it does by default, and as ours here.
    Split,
}

/// `llama-batched-bench`: `streams` side by side, each `generate` tokens after `depth`; the generation's part.
pub(crate) fn batched(model: &Path, streams: u32, depth: u32, generate: u32, cells: Cells) -> Result<Sample> {
    let context = SLOT_CONTEXT * streams;
    let mut flags = format!("-t 1 -b 512 -ub 512 -c {context} -npp {depth} -ntg {generate} -npl {streams}");
    flags.push_str(" --output-format jsonl");
    if cells == Cells::Unified {
        flags.push_str(" --kv-unified");
    }
    let found = lines("llama-batched-bench", model, &flags)?;
    let seconds = sum(1, found.iter().map(|line| line["t_tg"].as_f64()))?;
    Ok(Sample { seconds, tokens: f64::from(streams * generate) })
}

/// llama.cpp's HTTP server, the prebuilt one of the Python package `xllamacpp`.
pub(crate) struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    pub(crate) fn start(model: &Path, slots: u32) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("server.py");
        let mut process = Command::new("python3")
            .arg(script)
            .args([
                model.as_os_str(),
                slots.to_string().as_ref(),
                (slots * SLOT_CONTEXT).to_string().as_ref(),
            ])
            .env("PYTHONPATH", tools().join("xllamacpp-2026.10.11549"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut printed =
            BufReader::new(process.stdout.take().ok_or_else(|| Error::unexpected("no output"))?);
        let mut line = String::new();
        while printed.read_line(&mut line)? > 0 {
            if let Some(address) = line.trim().strip_prefix("listening http://") {
                return Ok(Self { process, address: address.to_owned() });
            }
            line.clear();
        }
        let _ = process.wait();
        Err(Error::config("llama.cpp's server did not start: see benches/local/tools.sh"))
    }

    fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // After the name in parentheses: state is the 3rd field of proc(5), the times are the 14th and 15th, in 1/100 s.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / 100.0)
    }

    fn ask(&self, prompt: &str, tokens: u32) -> Result<f64> {
        let body = serde_json::json!({
            "messages": [{ "role": "user", "content": prompt }],
            "temperature": 0.0, "max_tokens": tokens, "cache_prompt": true,
        })
        .to_string();
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let json: Value = answer
            .find('{')
            .zip(answer.rfind('}'))
            .and_then(|(from, to)| serde_json::from_str(&answer[from..=to]).ok())
            .ok_or_else(|| Error::unexpected("the server's answer is no JSON"))?;
        number(&json["usage"], "completion_tokens")
    }

    /// `clients` ask at the same time, as often as ours do.
    pub(crate) fn load(&self, clients: u32, tokens: u32) -> Result<Sample> {
        let mut all = Sample { seconds: 0.0, tokens: 0.0 };
        for _ in 0..RUNS {
            let now = self.once(clients, tokens)?;
            all = Sample { seconds: all.seconds + now.seconds, tokens: all.tokens + now.tokens };
        }
        Ok(all)
    }

    fn once(&self, clients: u32, tokens: u32) -> Result<Sample> {
        let before = self.cpu()?;
        let counts: Vec<Result<f64>> = std::thread::scope(|scope| {
            let asking: Vec<_> =
                (0..clients).map(|n| scope.spawn(move || self.ask(&ours::story(n), tokens))).collect();
            asking
                .into_iter()
                .map(|a| a.join().unwrap_or_else(|_| Err(Error::unexpected("a client died"))))
                .collect()
        });
        let tokens = counts.into_iter().sum::<Result<f64>>()?;
        Ok(Sample { seconds: self.cpu()? - before, tokens })
    }
}
