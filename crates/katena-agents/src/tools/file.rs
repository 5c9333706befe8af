//! Texts below one folder.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use katena_core::{Error, ErrorKind, Result, Run, Tool, ToolCall, ToolOutput, ToolSpec};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::quote;

/// Reads texts and lists folders below one folder, and nothing outside of it: no `..`, no absolute paths, no link that leads
/// out, even one that is put in place meanwhile. Hidden files are left out unless allowed.
///
/// A file is given with its lines' numbers where the reading begins, quoted, at most 64 KiB; only regular files of UTF-8 text
/// of at most 16 MiB are read.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use katena_agents::tools::FileReader;
/// use katena_core::{Run, Tool, ToolCall};
/// # let folder = tempfile::tempdir().unwrap();
/// std::fs::write(folder.path().join("notes.txt"), "one\ntwo\n").unwrap();
/// let tool = FileReader::new(folder.path())?;
/// let read = ToolCall::new("1", "read_file", r#"{"path":"notes.txt"}"#);
/// assert_eq!(tool.call(read, &Run::new()).await?.text(), "notes.txt, lines 1-2\n> one\n> two\n");
/// let out = ToolCall::new("2", "read_file", r#"{"path":"../../etc/passwd"}"#);
/// assert!(tool.call(out, &Run::new()).await.is_err());
/// # Ok::<(), katena_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct FileReader {
    spec: ToolSpec,
    root: PathBuf,
    max_bytes: usize,
    max_entries: usize,
    hidden: bool,
}

/// The largest file.
const MAX_FILE: u64 = 16 << 20;

#[derive(Deserialize, JsonSchema)]
struct Args {
    /// A file or folder below the root, with `/` between names; empty or `.` for the root itself.
    #[serde(default)]
    path: String,
    /// The first line to read, from 1.
    #[serde(default)]
    #[schemars(range(min = 1))]
    first_line: Option<u64>,
}

impl FileReader {
    /// A tool named `read_file` for what lies below `root`.
    ///
    /// # Errors
    /// `NotFound` or `PermissionDenied` if there is no such folder; `Config` if it is none.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().canonicalize()?;
        if !root.is_dir() {
            return Err(Error::config("the root of a file reader is a folder"));
        }
        let what = "Reads a text file, or lists a folder, below the folder that you may read.";
        Ok(Self {
            spec: ToolSpec::of::<Args>("read_file", what),
            root,
            max_bytes: 64 << 10,
            max_entries: 500,
            hidden: false,
        })
    }

    /// Sets the most bytes of text that one call gives.
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the most entries of a folder that one call gives.
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// Lets files and folders be read whose names begin with a dot.
    pub fn with_hidden_files(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// The path below the root, by its letters alone.
    fn below(&self, path: &str) -> Result<PathBuf> {
        let mut below = PathBuf::new();
        if path.len() > 1024 || path.contains('\0') {
            return Err(Error::invalid_output("the path is longer than 1024 bytes or has a NUL"));
        }
        for part in Path::new(path).components() {
            match part {
                Component::CurDir => {}
                Component::Normal(name) => {
                    if !self.hidden && name.to_string_lossy().starts_with('.') {
                        return Err(denied("hidden files may not be read"));
                    }
                    below.push(name);
                }
                _ => return Err(denied("only paths below the root may be read")),
            }
        }
        Ok(below)
    }

    fn read(&self, path: &str, first_line: u64) -> Result<String> {
        let below = self.below(path)?;
        let shown =
            if below.as_os_str().is_empty() { ".".to_owned() } else { below.to_string_lossy().into_owned() };
        let gone = |e: std::io::Error| -> Error {
            let what = match e.kind() {
                std::io::ErrorKind::NotFound => "there is no such file",
                _ => "the file can't be read",
            };
            // Without its cause, which may tell of places outside.
            Error::new(ErrorKind::Tool, what).with_context("path", quote::line(&shown, 300))
        };
        let real = self.root.join(&below).canonicalize().map_err(gone)?;
        if !real.starts_with(&self.root) {
            return Err(denied("only paths below the root may be read"));
        }
        self.below(real.strip_prefix(&self.root).unwrap_or(&real).to_string_lossy().as_ref())?;
        let kind = std::fs::metadata(&real).map_err(gone)?;
        if kind.is_dir() {
            return self.list(&real, &shown).map_err(gone);
        }
        // Before it is opened: a pipe would wait for its writer.
        if !kind.is_file() {
            return Err(Error::new(ErrorKind::Tool, "this is no regular file"));
        }
        let file = File::open(&real).map_err(gone)?;
        self.check_opened(&file, &real)?;
        if file.metadata().map_err(gone)?.len() > MAX_FILE {
            return Err(Error::new(ErrorKind::Tool, "the file is larger than the limit of 16 MiB"));
        }
        self.text(file, first_line, &shown).map_err(gone)?
    }

    /// That what was opened lies below the root, whatever was changed since its path was looked at.
    fn check_opened(&self, file: &File, real: &Path) -> Result<()> {
        let outside = || denied("only paths below the root may be read");
        #[cfg(target_os = "linux")]
        {
            use std::os::fd::AsRawFd as _;
            let _ = real;
            let opened =
                std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|_| outside())?;
            if !opened.starts_with(&self.root) {
                return Err(outside());
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let again = real.canonicalize().map_err(|_| outside())?;
            if !again.starts_with(&self.root) {
                return Err(outside());
            }
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt as _;
                let (a, b) =
                    (file.metadata().map_err(|_| outside())?, again.metadata().map_err(|_| outside())?);
                if (a.dev(), a.ino()) != (b.dev(), b.ino()) {
                    return Err(outside());
                }
            }
        }
        if !file.metadata().map_err(|_| outside())?.is_file() {
            return Err(Error::new(ErrorKind::Tool, "this is no regular file"));
        }
        Ok(())
    }

    fn list(&self, folder: &Path, shown: &str) -> std::io::Result<String> {
        let mut names = Vec::new();
        let mut more = false;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !self.hidden && name.starts_with('.') {
                continue;
            }
            if names.len() >= self.max_entries {
                more = true;
                break;
            }
            let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
            names.push(format!("{}{slash}", quote::line(&name, 300)));
        }
        names.sort();
        let mut text = format!("{}, {} entries\n", quote::line(shown, 300), names.len());
        quote::block(&mut text, &names.join("\n"));
        if more {
            let _ = writeln!(text, "(there are more than {} entries)", self.max_entries);
        }
        Ok(text)
    }

    fn text(&self, file: File, first_line: u64, shown: &str) -> std::io::Result<Result<String>> {
        let no_text = || Error::new(ErrorKind::Tool, "the file is no UTF-8 text");
        let mut reader = BufReader::new(file.take(MAX_FILE));
        let mut line = Vec::new();
        let mut body = String::new();
        let (mut number, mut more) = (0, false);
        while {
            line.clear();
            reader.read_until(b'\n', &mut line)? > 0
        } {
            number += 1;
            let Ok(text) = std::str::from_utf8(&line) else { return Ok(Err(no_text())) };
            if text.contains('\0') {
                return Ok(Err(no_text()));
            }
            if number < first_line {
                continue;
            }
            if body.len() + text.len() > self.max_bytes {
                let cut = quote::cut(text, self.max_bytes - body.len());
                body.push_str(cut);
                number -= u64::from(cut.is_empty());
                more = true;
                break;
            }
            body.push_str(text);
        }
        if number < first_line && !(number == 0 && first_line == 1) {
            let error =
                Error::invalid_output("the file has fewer lines").with_context("lines", number.to_string());
            return Ok(Err(error));
        }
        let mut text = format!("{}, lines {first_line}-{number}\n", quote::line(shown, 300));
        quote::block(&mut text, &body);
        if more {
            let _ = writeln!(text, "(cut at {} bytes; go on from line {})", self.max_bytes, number + 1);
        }
        Ok(Ok(text))
    }
}

fn denied(why: &'static str) -> Error {
    Error::new(ErrorKind::PermissionDenied, why)
}

#[async_trait]
impl Tool for FileReader {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, call: ToolCall, run: &Run) -> Result<ToolOutput> {
        let args: Args = call.parse()?;
        run.context().check()?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|e| Error::config("a file reader needs a tokio runtime").with_source(e))?;
        let this = self.clone();
        let work =
            runtime.spawn_blocking(move || this.read(args.path.trim(), args.first_line.unwrap_or(1).max(1)));
        let done =
            async { work.await.map_err(|e| Error::unexpected("the reading broke off").with_source(e))? };
        Ok(run.context().cancel.guard(done).await.map_err(|e| e.with_context("tool", "read_file"))?.into())
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
