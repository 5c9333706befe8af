//! The side that starts workers.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use katena_core::{Document, Error, ErrorKind, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::{Job, Reply};
use crate::limits::Limits;
use crate::parser::{ParseJob, Parser, named, runtime, took_too_long};

/// Parses in worker processes, so that no file can take more time or memory than its limits, or take the program down.
///
/// The program must call [`serve`](super::serve) when started with these arguments. A worker parses one file after another;
/// one that dies or is stopped is replaced for the next file, and its file is an error that says why. As many workers are
/// kept as files were parsed at once; they end when the parser is dropped. They get none of the environment's
/// variables but the search paths: a parser of foreign files needs no keys.
///
/// ```no_run
/// use katena_loaders::{DirectoryLoader, ProcessParser};
/// let me = std::env::current_exe()?;
/// let loader = DirectoryLoader::new("docs").with_parser(ProcessParser::new(me, ["__parse"]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ProcessParser {
    program: PathBuf,
    args: Vec<OsString>,
    idle: Arc<Mutex<VecDeque<Worker>>>,
}

impl ProcessParser {
    /// Starts `program` with `args` as worker when a file is to be parsed.
    pub fn new<A: Into<OsString>>(program: impl Into<PathBuf>, args: impl IntoIterator<Item = A>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            idle: Arc::default(),
        }
    }

    fn take_idle(&self) -> Option<Worker> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back()
    }

    fn put_idle(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(worker);
    }

    async fn parse_in_worker(&self, job: &ParseJob) -> Result<Vec<Document>> {
        runtime()?;
        if let Some(mut worker) = self.take_idle() {
            match worker.parse(job).await {
                Ok(documents) => {
                    self.put_idle(worker);
                    return Ok(documents);
                }
                Err(Failed::File(error)) => {
                    self.put_idle(worker);
                    return Err(error);
                }
                Err(Failed::Time(error)) => {
                    worker.stop().await;
                    return Err(error);
                }
                // It may have ended by itself, or been tired by earlier files: a fresh one shows.
                Err(Failed::Worker(_)) => worker.stop().await,
            }
        }
        let mut worker = Worker::start(self)?;
        match worker.parse(job).await {
            Ok(documents) => {
                self.put_idle(worker);
                Ok(documents)
            }
            Err(Failed::File(error)) => {
                self.put_idle(worker);
                Err(error)
            }
            Err(Failed::Time(error)) => {
                worker.stop().await;
                Err(error)
            }
            Err(Failed::Worker(what)) => Err(worker.post_mortem(&what, &job.limits).await),
        }
    }
}

#[async_trait]
impl Parser for ProcessParser {
    /// # Errors
    /// As [`parse`](crate::parse); `Timeout` beyond the time limit, `InvalidInput` beyond the memory limit or where the worker
    /// died of the file, `Config` if the worker can't be started or there is no tokio runtime.
    async fn parse(&self, job: ParseJob) -> Result<Vec<Document>> {
        named(self.parse_in_worker(&job).await, &job.source.uri)
    }
}

impl fmt::Debug for ProcessParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessParser").field("program", &self.program).finish_non_exhaustive()
    }
}

/// Why there are no documents.
enum Failed {
    /// The worker said so; it is well.
    File(Error),
    /// It took too long; the worker is still at it.
    Time(Error),
    /// The worker is gone, or talks nonsense.
    Worker(String),
}

/// A running worker. Dropping it kills it.
struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    errors: ChildStderr,
    /// The end of what it wrote on stderr.
    last_words: Vec<u8>,
}

impl Worker {
    fn start(parser: &ProcessParser) -> Result<Self> {
        let mut command = Command::new(&parser.program);
        command
            .args(&parser.args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SystemRoot", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let failed = |e: std::io::Error| {
            let program = parser.program.display();
            Error::config(format!("the worker process {program} can't be started: {e}")).with_source(e)
        };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::unexpected("the worker process has no pipes"));
        };
        Ok(Self { child, input, output: BufReader::new(output), errors, last_words: Vec::new() })
    }

    async fn parse(&mut self, job: &ParseJob) -> Result<Vec<Document>, Failed> {
        let limit = job.limits.timeout;
        match tokio::time::timeout(limit, self.exchange_and_listen(job)).await {
            Ok(result) => result,
            Err(_) => Err(Failed::Time(took_too_long(limit))),
        }
    }

    /// Reads stderr all the while, or a worker that writes much would wait for ever.
    async fn exchange_and_listen(&mut self, job: &ParseJob) -> Result<Vec<Document>, Failed> {
        let Self { input, output, errors, last_words, .. } = self;
        let listen = async {
            listen(errors, last_words).await;
            std::future::pending().await
        };
        match select(pin!(exchange(input, output, job)), pin!(listen)).await {
            Either::Left((result, _)) | Either::Right((result, _)) => result,
        }
    }

    async fn stop(mut self) {
        // It may be gone already.
        let _ = self.child.kill().await;
    }

    /// Says what a worker died of.
    async fn post_mortem(mut self, what: &str, limits: &Limits) -> Error {
        // A busy machine takes its time to end a process.
        let status = match tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await {
            Ok(Ok(status)) => Some(status),
            _ => None,
        };
        if status.is_none() {
            let _ = self.child.kill().await;
        }
        // What it had started may hold its stderr open.
        let patience = Duration::from_secs(1);
        let _ = tokio::time::timeout(patience, listen(&mut self.errors, &mut self.last_words)).await;
        cause_of_death(status, &String::from_utf8_lossy(&self.last_words), what, limits)
    }
}

/// Keeps the last of what is written, until the other side closes.
async fn listen(errors: &mut ChildStderr, last_words: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = errors.read(&mut buffer).await {
        last_words.extend_from_slice(&buffer[..n]);
        let surplus = last_words.len().saturating_sub(4096);
        last_words.drain(..surplus);
    }
}

async fn exchange(
    input: &mut ChildStdin,
    output: &mut BufReader<ChildStdout>,
    job: &ParseJob,
) -> Result<Vec<Document>, Failed> {
    let broken = |e: std::io::Error| Failed::Worker(e.to_string());
    let mut line = serde_json::to_vec(&Job::new(job)).map_err(|e| Failed::Worker(e.to_string()))?;
    line.push(b'\n');
    input.write_all(&line).await.map_err(broken)?;
    input.flush().await.map_err(broken)?;

    // JSON may take six bytes for one; sources and metadata come on top.
    let mut left = (job.limits.max_text_bytes as u64).saturating_mul(6).saturating_add(64 << 20);
    let mut documents = Vec::new();
    loop {
        line.clear();
        (&mut *output).take(left).read_until(b'\n', &mut line).await.map_err(broken)?;
        left = left.saturating_sub(line.len() as u64);
        if line.last() != Some(&b'\n') {
            let what = if left == 0 { "its answer is too long" } else { "it ended in mid-answer" };
            return Err(Failed::Worker(what.to_owned()));
        }
        match serde_json::from_slice(&line) {
            Ok(Reply::Document(mut document)) => {
                // A worker that a file has taken over must not speak for another file.
                document.source.uri.clone_from(&job.source.uri);
                documents.push(*document);
            }
            Ok(Reply::Done {}) => return Ok(documents),
            Ok(Reply::Failed(failure)) => return Err(Failed::File(failure.into_error())),
            Err(error) => return Err(Failed::Worker(format!("its answer can't be understood: {error}"))),
        }
    }
}

fn cause_of_death(status: Option<ExitStatus>, words: &str, what: &str, limits: &Limits) -> Error {
    if words.contains("memory allocation of") {
        let mebibytes = limits.memory >> 20;
        return Error::invalid_input(format!("reading it needs more memory than allowed ({mebibytes} MiB)"));
    }
    if words.contains("overflowed its stack") {
        return Error::invalid_input("it is nested too deeply: the parser's stack overflowed");
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        // The numbers are the same on all systems that have them.
        const KILL: i32 = 9;
        const SEGV: i32 = 11;
        const XCPU: i32 = 24;
        match status.and_then(|s| s.signal()) {
            Some(XCPU) => return took_too_long(limits.timeout),
            Some(KILL) => return Error::invalid_input("its parser was killed, perhaps for lack of memory"),
            Some(SEGV) => return Error::invalid_input("its parser crashed (segmentation fault)"),
            _ => {}
        }
    }
    let ended = status.map_or_else(|| "still running".to_owned(), |s| s.to_string());
    let said = words.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
    // The end of it, and nothing that a terminal would obey.
    let said: Vec<char> = said.chars().filter(|c| !c.is_control()).collect();
    let said: String = said[said.len().saturating_sub(200)..].iter().collect();
    Error::new(
        ErrorKind::InvalidInput,
        format!("its parser process failed: {what} ({ended}) {said}").trim_end().to_owned(),
    )
}
