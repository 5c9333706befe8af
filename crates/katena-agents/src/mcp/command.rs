//! The program that is a server.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;

use katena_http::Secret;

/// A program that speaks MCP on its standard input and output.
///
/// It gets none of this program's environment but what is named here. It is ended when its client is dropped; what it writes to standard
/// error goes to `tracing` at level debug, with a limit.
///
/// ```
/// use katena_agents::mcp::McpCommand;
/// let command = McpCommand::new("/usr/bin/files-mcp").with_arg("--root").with_arg("/srv/docs").with_env("TOKEN", "hidden");
/// assert!(!format!("{command:?}").contains("hidden"));
/// ```
#[derive(Clone)]
pub struct McpCommand {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Secret)>,
    inherited: Vec<OsString>,
    directory: Option<PathBuf>,
}

impl fmt::Debug for McpCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&OsString> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("McpCommand")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("env", &names)
            .finish_non_exhaustive()
    }
}

impl McpCommand {
    /// A program, by its path or its name in this program's own `PATH`. No shell is involved.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            inherited: Vec::new(),
            directory: None,
        }
    }

    /// Adds an argument.
    pub fn with_arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Sets a variable of its environment.
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<Secret>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Hands on a variable of this program's environment, such as `PATH` or `HOME`, as it is when the server starts.
    pub fn with_inherited_env(mut self, name: impl Into<OsString>) -> Self {
        self.inherited.push(name.into());
        self
    }

    /// Sets the folder that it starts in.
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    pub(crate) fn build(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).env_clear();
        for name in &self.inherited {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value.expose())));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) fn shown(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }
}
