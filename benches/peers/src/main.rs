//! 2,000 concurrent streams from a loopback server: events a second and memory a stream, Katena beside async-openai and genai.
//!
//! `cargo run --release` starts a server and each client in a process of its own, one after another, three times, and
//! prints the medians and their ratios.

mod clients;
mod server;

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

const STREAMS: usize = 2_000;
const EVENTS: usize = 200;
const ROUNDS: usize = 3;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What one client process measured.
#[derive(Debug, Clone, Copy)]
struct Figures {
    events_per_second: f64,
    cpu_micros_per_event: f64,
    bytes_per_stream: f64,
}

async fn measure(client: &str) -> Result<Figures, Error> {
    let program = std::env::current_exe()?;
    let mut server = tokio::process::Command::new(&program)
        .args(["server"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut port = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut port).await?;
    let output = tokio::process::Command::new(&program).args([client, port.trim()]).output().await?;
    if !output.status.success() {
        return Err(format!("{client}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().ok_or("too few figures");
    Ok(Figures { events_per_second: next()??, cpu_micros_per_event: next()??, bytes_per_stream: next()?? })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

async fn compare() -> Result<(), Error> {
    let mut all = vec![Vec::new(); clients::NAMES.len()];
    for _ in 0..ROUNDS {
        for (figures, name) in all.iter_mut().zip(clients::NAMES) {
            figures.push(measure(name).await?);
        }
    }
    println!("{STREAMS} streams of {EVENTS} events at once, medians of {ROUNDS} runs");
    let of = |figures: &[Figures], f: fn(&Figures) -> f64| median(figures.iter().map(f).collect());
    let own: [f64; 3] = [
        of(&all[0], |f| f.events_per_second),
        of(&all[0], |f| f.cpu_micros_per_event),
        of(&all[0], |f| f.bytes_per_stream),
    ];
    for (figures, name) in all.iter().zip(clients::NAMES) {
        let speed = of(figures, |f| f.events_per_second);
        let cpu = of(figures, |f| f.cpu_micros_per_event);
        let memory = of(figures, |f| f.bytes_per_stream);
        println!(
            "{name:13} {speed:8.0} events/s  {cpu:5.2} us of processor an event  {:6.1} KiB a stream   katena has {:.2} x \
             the events/s, {:.2} x the processor time, {:.2} x the memory",
            memory / 1024.0,
            own[0] / speed,
            own[1] / cpu,
            own[2] / memory
        );
    }
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Error> {
    rlimit::increase_nofile_limit(16_384)?;
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (None, _) => compare().await,
        (Some("server"), _) => server::serve(STREAMS, EVENTS).await,
        (Some(client), Some(port)) => {
            let before = resident()?;
            let start = std::time::Instant::now();
            let events = clients::run(client, &format!("http://127.0.0.1:{port}/v1/"), STREAMS).await?;
            let seconds = start.elapsed().as_secs_f64();
            if events != STREAMS * EVENTS {
                return Err(format!("{events} events came").into());
            }
            let (cpu, memory) =
                (cpu_seconds()? * 1e6 / events as f64, (resident()? - before) / STREAMS as f64);
            println!("{} {cpu} {memory}", events as f64 / seconds);
            Ok(())
        }
        _ => Err("usage: katena-peers".into()),
    }
}

/// Processor time of this process, in seconds.
fn cpu_seconds() -> Result<f64, Error> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).ok_or("no processor time");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// The most memory that this process has held, in bytes.
fn resident() -> Result<f64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib * 1024.0)
}
