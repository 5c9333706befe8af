//! A folder of prompt files.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use katena_core::{Error, ErrorKind, Result};

use super::{MAX_FILE, PromptFile};
use crate::partials::Partials;

/// More files are refused.
const MAX_FILES: usize = 10_000;
/// Folders deeper than this are refused.
const MAX_DEPTH: usize = 16;
/// A file that changed this short a time ago may change again without a new time stamp.
const FRESH: Duration = Duration::from_secs(2);

/// Reads a regular file of at most 1 MiB of UTF-8.
pub(super) fn read(path: &Path) -> Result<String> {
    let file = fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::invalid_input("this is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::invalid_input("a prompt file is at most 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid_input("a prompt file is UTF-8"))
}

/// What the files of a folder are.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) prompts: BTreeMap<String, PathBuf>,
    pub(super) partials: BTreeMap<String, PathBuf>,
}

impl Listing {
    /// Lists a folder and those in it. Links are not followed, hidden files left out.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let mut listing = Self::default();
        listing.folder(root, root, 0)?;
        Ok(listing)
    }

    fn folder(&mut self, root: &Path, at: &Path, depth: usize) -> Result<()> {
        let told = |e: std::io::Error| Error::from(e).with_context("file", at.display().to_string());
        if depth > MAX_DEPTH || self.prompts.len() + self.partials.len() > MAX_FILES {
            return Err(Error::invalid_input(
                "the folder has more than 10000 prompts, or is deeper than 16 levels",
            )
            .with_context("file", at.display().to_string()));
        }
        for entry in fs::read_dir(at).map_err(told)? {
            let entry = entry.map_err(told)?;
            let path = entry.path();
            let kind = entry.file_type().map_err(told)?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|n| !n.starts_with('.')) else { continue };
            if kind.is_dir() {
                self.folder(root, &path, depth + 1)?;
            } else if kind.is_file() {
                self.file(root, at, path.clone(), name)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, root: &Path, at: &Path, path: PathBuf, name: &str) -> Result<()> {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let in_partials = at.file_name().is_some_and(|n| n == "partials");
        let old = if let Some(partial) = partial_name(stem, extension, in_partials) {
            self.partials.insert(partial, path.clone())
        } else if extension == "prompt" {
            let relative = path.strip_prefix(root).unwrap_or(&path).with_extension("");
            let parts: Vec<_> = relative.components().map(|c| c.as_os_str().to_string_lossy()).collect();
            self.prompts.insert(parts.join("/"), path.clone())
        } else {
            None
        };
        match old {
            Some(_) => Err(Error::config("two partials have the same name")
                .with_context("file", path.display().to_string())),
            None => Ok(()),
        }
    }
}

fn partial_name(stem: &str, extension: &str, in_partials: bool) -> Option<String> {
    let known = matches!(extension, "hbs" | "handlebars" | "prompt" | "jinja" | "j2" | "mustache");
    match stem.strip_prefix('_') {
        Some(name) if known => Some(name.to_owned()),
        None if known && in_partials => Some(stem.to_owned()),
        _ => None,
    }
}

/// The partials of a single file: those in `partials/` and `_name.hbs` beside it.
pub(super) fn partials_beside(folder: &Path) -> Result<Partials> {
    let mut listing = Listing::default();
    for at in [folder.to_owned(), folder.join("partials")] {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        for entry in entries.flatten().take(MAX_FILES) {
            let name = entry.file_name();
            let is_file = entry.file_type().is_ok_and(|t| t.is_file());
            if let (true, Some(name)) = (is_file, name.to_str())
                && !name.starts_with('.')
            {
                listing.file(folder, &at, entry.path(), name)?;
            }
        }
    }
    read_partials(&listing)
}

pub(super) fn read_partials(listing: &Listing) -> Result<Partials> {
    let mut partials = Partials::new();
    for (name, path) in &listing.partials {
        let text = read(path).map_err(|e| e.with_context("file", path.display().to_string()))?;
        partials = partials.with(name, text);
    }
    Ok(partials)
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    /// Too young to rely on.
    fresh: bool,
}

impl Stamp {
    fn of(path: &Path) -> Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        let modified = meta.modified().ok();
        let age = modified.and_then(|m| SystemTime::now().duration_since(m).ok());
        Ok(Self { modified, len: meta.len(), fresh: age.is_none_or(|a| a < FRESH) })
    }

    fn is_same(self, new: Self) -> bool {
        !self.fresh && self == new
    }
}

struct Entry {
    stamp: Stamp,
    prompt: Arc<PromptFile>,
}

#[derive(Default)]
struct State {
    prompts: BTreeMap<String, Entry>,
    partials: Partials,
}

/// What a [reload](PromptLibrary::reload) found, by prompt name. A changed prompt that can't be read stays as it was and is
/// in `failed`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("hi.prompt");
/// use katena_prompts::PromptLibrary;
/// let library = PromptLibrary::open(dir.path())?;
/// std::fs::write(&path, "---\nname: hi\n---\nHi!")?;
/// let reloaded = library.reload()?;
/// assert_eq!(reloaded.added, ["hi"]);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "what failed to load is in it"]
#[non_exhaustive]
pub struct Reloaded {
    /// New ones.
    pub added: Vec<String>,
    /// Ones with new content.
    pub changed: Vec<String>,
    /// Ones that are gone.
    pub removed: Vec<String>,
    /// Ones that can't be read, with the reason.
    pub failed: Vec<(String, Error)>,
}

impl Reloaded {
    /// True if nothing changed and nothing failed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty() && self.failed.is_empty()
    }
}

/// All prompt files (`*.prompt`) of a folder and its folders. A prompt's name here is its path without the extension, such
/// as `support/greet`. Partials are the templates in folders named `partials` and files `_name.hbs`.
///
/// Nothing watches the folder: call [`reload`](PromptLibrary::reload) when it may have changed. Names are looked up in a
/// list, so that no name leads out of the folder; links are not followed.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::create_dir(dir.path().join("support")).unwrap();
/// # std::fs::write(dir.path().join("_sign.hbs"), "Yours, {{from}}").unwrap();
/// # std::fs::write(dir.path().join("support/greet.prompt"), "---\nname: greet\n---\nHi {{to}}! {{> sign}}").unwrap();
/// # let folder = dir.path();
/// use katena_prompts::{PromptLibrary, vars};
/// let library = PromptLibrary::open(folder)?;
/// let prompt = library.get("support/greet")?;
/// assert_eq!(prompt.render(&vars! { "to" => "Ada", "from" => "Alan" })?[0].text(), "Hi Ada! Yours, Alan");
/// assert!(library.get("../secret").is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
pub struct PromptLibrary {
    root: PathBuf,
    state: RwLock<State>,
}

impl fmt::Debug for PromptLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptLibrary")
            .field("root", &self.root)
            .field("prompts", &self.names())
            .finish_non_exhaustive()
    }
}

impl PromptLibrary {
    /// Reads a folder.
    ///
    /// # Errors
    /// Kind `Config` with file and line of the first prompt that is wrong; those of the file system.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let library = Self { root: root.into(), state: RwLock::default() };
        match library.reload()?.failed.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(library),
        }
    }

    /// The prompt of that name.
    ///
    /// # Errors
    /// Kind `NotFound`.
    pub fn get(&self, name: &str) -> Result<Arc<PromptFile>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let found = state.prompts.get(name).map(|e| e.prompt.clone());
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "the library has no such prompt").with_context("prompt", name)
        })
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).prompts.keys().cloned().collect()
    }

    /// Picks up what changed: a file is read again if its time stamp or length differs or is too young to tell, and is new
    /// if its content is. Those who hold a prompt keep what they have.
    ///
    /// # Errors
    /// Those of the file system for the folder and its partials; what is wrong with one prompt is in the result.
    pub fn reload(&self) -> Result<Reloaded> {
        let listing = Listing::of(&self.root)?;
        let partials = read_partials(&listing)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let same_partials = partials == state.partials;
        let mut reloaded = Reloaded::default();
        let mut old = std::mem::take(&mut state.prompts);
        for (name, path) in listing.prompts {
            let before = old.remove(&name);
            let stamp = Stamp::of(&path);
            if let (Some(entry), Ok(stamp), true) = (&before, &stamp, same_partials)
                && entry.stamp.is_same(*stamp)
            {
                state.prompts.extend(before.map(|e| (name, e)));
                continue;
            }
            let loaded = stamp.and_then(|stamp| {
                let prompt = PromptFile::parse(&read(&path)?, &partials)?;
                Ok(Entry { stamp, prompt: Arc::new(prompt) })
            });
            match (loaded, before) {
                (Ok(entry), Some(before)) if before.prompt.hash() == entry.prompt.hash() => {
                    state.prompts.insert(name, Entry { stamp: entry.stamp, prompt: before.prompt });
                }
                (Ok(entry), before) => {
                    let list = if before.is_some() { &mut reloaded.changed } else { &mut reloaded.added };
                    list.push(name.clone());
                    state.prompts.insert(name, entry);
                }
                (Err(error), before) => {
                    let error = error.with_context("file", path.display().to_string());
                    reloaded.failed.push((name.clone(), error));
                    state.prompts.extend(before.map(|e| (name, e)));
                }
            }
        }
        reloaded.removed = old.into_keys().collect();
        state.partials = partials;
        Ok(reloaded)
    }
}
