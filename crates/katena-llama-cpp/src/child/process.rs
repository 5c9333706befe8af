//! Starting and ending the engine's process.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use katena_core::{Error, Result};

#[cfg(unix)]
pub(super) type Socket = std::os::unix::net::UnixStream;
/// Never made: a process is not started here.
#[cfg(not(unix))]
pub(super) type Socket = std::net::TcpStream;

/// Says to a program that it is an engine.
pub(super) const MARK: &str = "KATENA_LLAMA_CHILD";

/// What becomes of the engine's own output (llama.cpp's last words before an abort, a panic's message).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChildLog {
    /// It goes to this process's standard error.
    #[default]
    Stderr,
    /// It is thrown away.
    Discard,
}

/// How the engine's process is started.
///
/// ```
/// use katena_llama_cpp::child::{ChildCommand, ChildLog};
/// let command = ChildCommand::this_program().with_env("OMP_WAIT_POLICY", "PASSIVE").with_log(ChildLog::Discard);
/// assert!(format!("{command:?}").contains("OMP_WAIT_POLICY"));
/// ```
#[derive(Clone)]
pub struct ChildCommand {
    /// Unset: this program itself.
    program: Option<PathBuf>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log: ChildLog,
}

impl fmt::Debug for ChildCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("ChildCommand")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &names)
            .field("log", &self.log)
            .finish()
    }
}

impl ChildCommand {
    /// This program once more; its `main` calls [`run_if_child`](super::run_if_child) first.
    pub fn this_program() -> Self {
        Self { program: None, args: Vec::new(), env: Vec::new(), log: ChildLog::default() }
    }

    /// Another program, which calls [`serve`](super::serve).
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: Some(program.into()), ..Self::this_program() }
    }

    /// Adds an argument.
    pub fn with_arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Sets an environment variable of the process.
    pub fn with_env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets what becomes of its output.
    pub fn with_log(mut self, log: ChildLog) -> Self {
        self.log = log;
        self
    }

    /// Starts it, with one end of a socket pair as its standard input.
    ///
    /// # Errors
    /// What the system says; `Unsupported` where there are no socket pairs.
    #[cfg(unix)]
    pub(super) fn start(&self) -> Result<(Child, Socket)> {
        let (ours, theirs) = Socket::pair()?;
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()?,
        };
        let mut command = Command::new(&program);
        command.args(&self.args).env(MARK, "1");
        // A failed assertion of ggml would start a debugger for its backtrace, which takes seconds.
        command.env("GGML_NO_BACKTRACE", "1");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs))).stdout(Stdio::null());
        command.stderr(match self.log {
            ChildLog::Stderr => Stdio::inherit(),
            ChildLog::Discard => Stdio::null(),
        });
        let child = command
            .spawn()
            .map_err(|e| Error::from(e).with_context("file", program.display().to_string()))?;
        // `command` holds the other end; with it open, the end of the process would not be seen.
        drop(command);
        Ok((child, ours))
    }

    #[cfg(not(unix))]
    pub(super) fn start(&self) -> Result<(Child, Socket)> {
        Err(Error::unsupported("engines in a process of their own need a Unix system"))
    }
}

/// The engine's end: its standard input.
///
/// # Errors
/// `Config` if that is no socket: the program was not started as an engine.
#[cfg(unix)]
pub(super) fn own_socket() -> Result<Socket> {
    use std::os::fd::AsFd;
    let socket = Socket::from(io::stdin().as_fd().try_clone_to_owned()?);
    match socket.peer_addr() {
        Ok(_) => Ok(socket),
        Err(e) => {
            Err(Error::config("this program was not started as an engine: its input is no socket")
                .with_source(e))
        }
    }
}

#[cfg(not(unix))]
pub(super) fn own_socket() -> Result<Socket> {
    Err(Error::unsupported("engines in a process of their own need a Unix system"))
}

/// Waits for the end of a process, at most `patience`, then kills it; it is no zombie afterwards.
pub(super) fn reap(child: &mut Child, patience: Duration) -> io::Result<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            // It may have ended by itself just now.
            let _ = child.kill();
            return child.wait();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
