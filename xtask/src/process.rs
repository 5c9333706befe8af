//! Running programs: quietly, with their output shown, or in the background until told to stop.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, Stop};

/// True if `program --version` runs.
pub(crate) fn has(program: &str) -> bool {
    works(Command::new(program).arg("--version"))
}

/// True if the command ends well; its output is thrown away.
pub(crate) fn works(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Runs to the end and returns what it printed on stdout.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().map_err(|e| Stop::Failed(format!("{name}: {e}")))?;
    if !out.status.success() {
        return Err(Stop::Failed(format!(
            "{name} ended with {}: {}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr).trim()
        )));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs to the end, showing each line of stdout and stderr as it comes and handing it to `line`. True if it ended well.
pub(crate) fn show(command: &Command, mut line: impl FnMut(&str)) -> Result<bool> {
    // One pipe for both, so that the order of the lines stays.
    let mut joined = Command::new("sh");
    joined.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        joined.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => joined.env(name, value),
            None => joined.env_remove(name),
        };
    }
    let mut child = joined.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or_else(|| Stop::Failed("no pipe".into()))?;
    let mut reader = BufReader::new(out);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        print!("{text}");
        let _ = std::io::stdout().flush();
        line(text.trim_end());
        bytes.clear();
    }
    Ok(child.wait()?.success())
}

/// A background program that ends when this value is dropped, or when this process ends in any way.
///
/// A shell holds the reading end of a pipe whose writing end is ours: at its end, however it came about, the shell
/// signals the program's own pid. The shell leads a process group of its own, so that Ctrl-C doesn't reach it first.
#[derive(Debug)]
pub(crate) struct Background {
    name: &'static str,
    shell: Child,
    hold: Option<ChildStdin>,
    log: PathBuf,
    pid: PathBuf,
}

const SUPERVISE: &str = r#"
log=$1 pid=$2 signal=$3; shift 3
"$@" </dev/null >"$log" 2>&1 &
p=$!
echo $p >"$pid"
read -r _
kill -s "$signal" $p 2>/dev/null
( sleep 10; kill -s KILL $p ) >/dev/null 2>&1 </dev/null &
k=$!
wait $p
kill $k 2>/dev/null
exit 0
"#;

impl Background {
    /// Starts `command`; log and pid files go to `dir`. `signal` ends it, as `kill -s` names it.
    pub(crate) fn start(name: &'static str, command: &Command, dir: &Path, signal: &str) -> Result<Self> {
        let (log, pid) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.pid")));
        let mut shell = Command::new("sh");
        shell.args(["-c", SUPERVISE, "sh"]).args([&log, &pid]).arg(signal);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                shell.env(key, value);
            }
        }
        shell.current_dir(command.get_current_dir().unwrap_or(dir));
        let mut shell = shell.stdin(Stdio::piped()).process_group(0).spawn()?;
        let hold = shell.stdin.take();
        Ok(Self { name, shell, hold, log, pid })
    }

    /// Waits until `ready` says so.
    pub(crate) fn wait_until(&self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            let gone = self.is_gone();
            if gone || start.elapsed() > limit {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<_> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(20)..].join("\n    ");
                let what = if gone { "ended at once" } else { "did not answer in time" };
                return Err(Stop::Failed(format!("server {} {what}; its log:\n    {tail}", self.name)));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn is_gone(&self) -> bool {
        let Ok(pid) = std::fs::read_to_string(&self.pid) else { return false };
        let Ok(pid) = pid.trim().parse::<u32>() else { return false };
        // The third field is the state; Z is a program that has ended and that the shell has not yet looked at.
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.rsplit(')').next().is_some_and(|s| s.trim_start().starts_with('Z')),
            Err(_) => Path::new("/proc/self/stat").exists(),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.hold.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("katena-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_dropped_background_program_has_ended() {
        let dir = scratch("dropped");
        let marker = dir.join("stopped");
        let script =
            format!("trap 'touch {}; exit 0' TERM; echo up; while :; do sleep 0.05; done", marker.display());
        let server = Background::start("looper", &sh(&script), &dir, "TERM").unwrap();
        let log = dir.join("looper.log");
        let up = || std::fs::read_to_string(&log).is_ok_and(|l| l.contains("up"));
        server.wait_until(Duration::from_secs(30), up).unwrap();
        drop(server);
        assert!(marker.exists(), "it was asked to stop and waited for");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_server_that_ends_at_once_is_an_error_with_its_log() {
        let dir = scratch("dead");
        let server = Background::start("dead", &sh("echo no such option; exit 3"), &dir, "TERM").unwrap();
        let error = server.wait_until(Duration::from_secs(30), || false).unwrap_err().to_string();
        assert!(error.contains("ended at once") && error.contains("no such option"), "{error}");
        drop(server);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
