//! The worker's side.

use std::io::{BufRead, Read, Write};

use katena_core::{Error, Result};

use super::{Failure, Job, Reply};
use crate::limits::Limits;
use crate::parser::parse_here;

/// A job is a path, a source and limits: more than this is none.
const MAX_JOB: u64 = 1 << 20;

/// Parses jobs from `input` and answers on `output` until the input ends. Call it in a process that does nothing else, on its
/// main thread, before any other thread is started: it bounds the whole process's memory and processor time by each job's
/// limits (on Linux; elsewhere the other side's time limit holds alone).
///
/// It ends early, and cleanly, once the process has grown: a fresh one takes over.
///
/// ```
/// // What a program does under its hidden subcommand: katena_loaders::worker::serve(stdin().lock(), stdout().lock())
/// let mut output = Vec::new();
/// katena_loaders::worker::serve(&b""[..], &mut output)?;
/// assert!(output.is_empty());
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidInput` for a line that is no job, and what reading and writing give.
pub fn serve(mut input: impl BufRead, mut output: impl Write) -> Result<()> {
    let bounds = Bounds::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        input.by_ref().take(MAX_JOB).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let job: Job = serde_json::from_slice(&line)
            .map_err(|e| Error::invalid_input("this is no parsing job").with_source(e))?;
        let job = job.into_parse_job();
        bounds.apply(&job.limits)?;
        match parse_here(&job) {
            Ok(documents) => {
                for document in documents {
                    put(&mut output, &Reply::Document(Box::new(document)))?;
                }
                put(&mut output, &Reply::Done {})?;
            }
            Err(error) => put(&mut output, &Reply::Failed(Failure::new(&error)))?,
        }
        output.flush()?;
        if bounds.has_grown(&job.limits) {
            return Ok(());
        }
    }
}

fn put(output: &mut impl Write, reply: &Reply) -> Result<()> {
    serde_json::to_writer(&mut *output, reply)
        .map_err(|e| Error::unexpected("the answer can't be sent").with_source(e))?;
    output.write_all(b"\n")?;
    Ok(())
}

/// What the process may use, counted from what it used when it started.
struct Bounds {
    #[cfg(target_os = "linux")]
    base: Option<u64>,
}

#[cfg(target_os = "linux")]
impl Bounds {
    fn new() -> Self {
        Self { base: size("VmSize:") }
    }

    fn apply(&self, limits: &Limits) -> Result<()> {
        use rlimit::Resource;

        let set = |resource: Resource, soft: u64| {
            let (_, hard) = resource.get()?;
            resource.set(soft.min(hard), hard)
        };
        if let Some(base) = self.base {
            // Address space, not resident memory: an allocation beyond it fails at once and nothing is swapped out.
            set(Resource::AS, base.saturating_add(limits.memory))?;
        }
        let used = processor_seconds().unwrap_or(0);
        set(Resource::CPU, used.saturating_add(limits.timeout.as_secs()).saturating_add(1))?;
        set(Resource::CORE, 0)?;
        Ok(())
    }

    fn has_grown(&self, limits: &Limits) -> bool {
        match (self.base, size("VmSize:")) {
            (Some(base), Some(now)) => now > base.saturating_add(limits.memory / 3),
            _ => false,
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Bounds {
    fn new() -> Self {
        Self {}
    }
    fn apply(&self, _: &Limits) -> Result<()> {
        Ok(())
    }
    fn has_grown(&self, _: &Limits) -> bool {
        false
    }
}

/// A size of this process from `/proc`, in bytes.
#[cfg(target_os = "linux")]
fn size(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// Processor time used so far, rounded up; the kernel counts it in hundredths of a second.
#[cfg(target_os = "linux")]
fn processor_seconds() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold anything; the fields after it are counted from the state, the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks.div_ceil(100))
}
