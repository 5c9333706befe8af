//! A folder, file by file.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, stream};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ignore::{DirEntry, Walk, WalkBuilder};
use katena_core::{Document, DocumentLoader, DocumentStream, Error, ErrorKind, Result, Source};

use crate::file::{items, uri_of};
use crate::format::Format;
use crate::limits::Limits;
use crate::parser::{InProcessParser, ParseJob, Parser, runtime};

/// What the latest load of a [`DirectoryLoader`] has met so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Files that were loaded.
    pub loaded: usize,
    /// Files that could not be loaded, each an `Err` item with its `uri`.
    pub failed: usize,
    /// Folders and entries that could not be listed, each an `Err` item without a `uri`.
    pub unlisted: usize,
    /// Files whose extension names no known format.
    pub unknown: usize,
    /// Symbolic links to folders or to what lies outside the root, which are not followed.
    pub links: usize,
    /// Pipes, sockets and devices.
    pub special: usize,
}

/// Loads the files of a folder and its subfolders whose format is known by their extension, one file at a time.
///
/// - `uri` is the path relative to the root, with `/` between names on every system. The root may be a single file.
/// - The order is always the same: folder by folder, sorted by name.
/// - Hidden files and what `.gitignore` and `.ignore` files inside the root exclude are left out. Files with an unknown
///   extension are skipped and [counted](Self::counts).
/// - Symbolic links to files are followed if they stay inside the root, links to folders never. Pipes and devices are
///   not opened.
/// - A file that can't be read or parsed is an `Err` item with its `uri`. A folder that can't be listed is an `Err` without
///   one: the listing is incomplete.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use futures_util::StreamExt;
/// use katena_core::DocumentLoader;
/// use katena_loaders::DirectoryLoader;
///
/// let folder = tempfile::tempdir().unwrap();
/// std::fs::create_dir(folder.path().join("sub")).unwrap();
/// std::fs::write(folder.path().join("sub/a.md"), "# A").unwrap();
/// std::fs::write(folder.path().join("photo.jpeg"), "…").unwrap();
///
/// let loader = DirectoryLoader::new(folder.path()).with_exclude("drafts/**");
/// let documents: Vec<_> = loader.load().collect().await;
/// assert_eq!(documents[0].as_ref().unwrap().source.uri, "sub/a.md");
/// assert_eq!((loader.counts().loaded, loader.counts().unknown), (1, 1));
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct DirectoryLoader {
    settings: Settings,
    parser: Arc<dyn Parser>,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Clone)]
struct Settings {
    root: PathBuf,
    globs: Vec<String>,
    excludes: Vec<String>,
    max_depth: Option<usize>,
    formats: BTreeMap<String, Format>,
    limits: Limits,
}

impl DirectoryLoader {
    /// Loads everything below `path` that is in a known format.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            settings: Settings {
                root: path.into(),
                globs: Vec::new(),
                excludes: Vec::new(),
                max_depth: None,
                formats: BTreeMap::new(),
                limits: Limits::default(),
            },
            parser: Arc::new(InProcessParser::new()),
            counts: Arc::default(),
        }
    }

    /// Loads only files that this pattern (or another one given) matches, such as `*.md` or `docs/**/*.html`. A pattern
    /// without `/` matches names in any folder. A wrong pattern is the stream's one item, an `Err` of kind `Config`.
    pub fn with_glob(mut self, pattern: impl Into<String>) -> Self {
        self.settings.globs.push(pattern.into());
        self
    }

    /// Leaves out files and whole folders that this pattern matches.
    pub fn with_exclude(mut self, pattern: impl Into<String>) -> Self {
        self.settings.excludes.push(pattern.into());
        self
    }

    /// Goes so many folders deep; 1 means the root's own files only.
    pub fn with_max_depth(mut self, depth: usize) -> Self {
        self.settings.max_depth = Some(depth);
        self
    }

    /// Loads files with this extension (without its dot) as this format.
    pub fn with_format(mut self, extension: impl Into<String>, format: Format) -> Self {
        self.settings.formats.insert(extension.into().to_lowercase(), format);
        self
    }

    /// Sets what each file may ask for.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Sets who parses; [`InProcessParser`] by default.
    pub fn with_parser(mut self, parser: impl Parser + 'static) -> Self {
        self.parser = Arc::new(parser);
        self
    }

    /// What the latest load has met so far; complete when its stream has ended.
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files that a load would read, in its order, for instance to know their number beforehand. Blocks while it
    /// lists.
    ///
    /// # Errors
    /// The items are what a load would report for the listing.
    pub fn list(&self) -> Vec<Result<ParseJob>> {
        match Lister::new(&self.settings, Arc::default()) {
            Ok(mut lister) => std::iter::from_fn(|| lister.next()).collect(),
            Err(error) => vec![Err(error)],
        }
    }
}

impl DocumentLoader for DirectoryLoader {
    fn load(&self) -> DocumentStream {
        let state = Loading {
            settings: self.settings.clone(),
            lister: None,
            parser: Arc::clone(&self.parser),
            counts: Arc::clone(&self.counts),
            ready: VecDeque::new(),
            ended: false,
        };
        stream::unfold(state, |mut state| async move {
            let item = state.next().await?;
            Some((item, state))
        })
        .boxed()
    }
}

struct Loading {
    settings: Settings,
    lister: Option<Lister>,
    parser: Arc<dyn Parser>,
    counts: Arc<Mutex<Counts>>,
    ready: VecDeque<Result<Document>>,
    ended: bool,
}

impl Loading {
    async fn next(&mut self) -> Option<Result<Document>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if self.ended {
                return None;
            }
            match self.next_job().await {
                Ok(Some(job)) => {
                    let result = self.parser.parse(job).await;
                    let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
                    match &result {
                        Ok(_) => counts.loaded += 1,
                        Err(_) => counts.failed += 1,
                    }
                    drop(counts);
                    self.ready.extend(items(result));
                }
                Ok(None) => self.ended = true,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next file. Listing blocks, so it is done on a blocking thread.
    async fn next_job(&mut self) -> Result<Option<ParseJob>> {
        let handle = runtime().inspect_err(|_| self.ended = true)?;
        let lister = self.lister.take();
        let settings = self.settings.clone();
        let counts = Arc::clone(&self.counts);
        let work = handle.spawn_blocking(move || {
            let mut lister = match lister {
                Some(lister) => lister,
                None => match Lister::new(&settings, counts) {
                    Ok(lister) => lister,
                    Err(error) => return (None, Err(error)),
                },
            };
            let next = lister.next().transpose();
            (Some(lister), next)
        });
        let (lister, next) = work.await.unwrap_or_else(|e| {
            (None, Err(Error::unexpected("the folder's listing broke off").with_source(e)))
        });
        self.ended |= lister.is_none();
        self.lister = lister;
        next
    }
}

/// Walks the folder, in order.
struct Lister {
    walk: Walk,
    root: PathBuf,
    /// The root without links, to tell where a link leads.
    real_root: PathBuf,
    globs: Option<GlobSet>,
    formats: BTreeMap<String, Format>,
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

impl Lister {
    fn new(settings: &Settings, counts: Arc<Mutex<Counts>>) -> Result<Self> {
        *counts.lock().unwrap_or_else(PoisonError::into_inner) = Counts::default();
        let root = settings.root.clone();
        let globs = if settings.globs.is_empty() { None } else { Some(glob_set(&settings.globs)?) };
        let excludes = glob_set(&settings.excludes)?;
        let real_root = root.canonicalize().map_err(|e| unlisted(Error::from(e), Some(&root)))?;
        let mut builder = WalkBuilder::new(&root);
        builder
            .standard_filters(false)
            .hidden(true)
            .ignore(true)
            .git_ignore(true)
            // What a folder outside the root says about it is another matter.
            .parents(false)
            .require_git(false)
            .follow_links(false)
            .max_depth(settings.max_depth)
            .sort_by_file_name(std::ffi::OsStr::cmp);
        let above = root.clone();
        builder.filter_entry(move |entry| !excludes.is_match(relative(entry.path(), &above)));
        Ok(Self {
            walk: builder.build(),
            root,
            real_root,
            globs,
            formats: settings.formats.clone(),
            limits: settings.limits.clone(),
            counts,
        })
    }

    fn next(&mut self) -> Option<Result<ParseJob>> {
        loop {
            match self.walk.next()? {
                Ok(entry) => {
                    if let Some(job) = self.job(&entry) {
                        return Some(Ok(job));
                    }
                }
                Err(error) => {
                    self.count(|c| c.unlisted += 1);
                    let kind = match error.io_error().map(std::io::Error::kind) {
                        Some(std::io::ErrorKind::PermissionDenied) => ErrorKind::PermissionDenied,
                        Some(std::io::ErrorKind::NotFound) => ErrorKind::NotFound,
                        _ => ErrorKind::Unexpected,
                    };
                    return Some(Err(unlisted(Error::new(kind, error.to_string()), None)));
                }
            }
        }
    }

    /// The job for an entry, unless it is no file that is wanted.
    fn job(&self, entry: &DirEntry) -> Option<ParseJob> {
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            return None;
        }
        let mut uri = relative(path, &self.root);
        if uri.as_os_str().is_empty() {
            // The root itself is a file.
            uri = PathBuf::from(path.file_name()?);
        }
        if self.globs.as_ref().is_some_and(|globs| !globs.is_match(&uri)) {
            return None;
        }
        if kind.is_symlink() && entry.depth() > 0 && !self.leads_to_file_inside(path) {
            self.count(|c| c.links += 1);
            return None;
        }
        if !kind.is_symlink() && !kind.is_file() {
            self.count(|c| c.special += 1);
            return None;
        }
        let Some(format) = self.format(path) else {
            self.count(|c| c.unknown += 1);
            return None;
        };
        Some(ParseJob::new(path, format, Source::new(uri_of(&uri))).with_limits(self.limits.clone()))
    }

    fn format(&self, path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_lowercase();
        self.formats.get(&extension).copied().or_else(|| Format::from_extension(&extension))
    }

    /// A dangling link does not.
    fn leads_to_file_inside(&self, link: &Path) -> bool {
        link.canonicalize().is_ok_and(|real| real.starts_with(&self.real_root) && real.is_file())
    }

    fn count(&self, f: impl FnOnce(&mut Counts)) {
        f(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn relative(path: &Path, root: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_path_buf()
}

/// The error of a listing: without `uri`, because it is not one document's.
fn unlisted(error: Error, path: Option<&Path>) -> Error {
    match path {
        Some(path) => error.with_context("path", path.to_string_lossy()),
        None => error,
    }
}

fn glob_set(patterns: &[String]) -> Result<GlobSet> {
    let wrong = |e: globset::Error| Error::config(format!("wrong pattern: {e}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
        let anywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
        set.add(GlobBuilder::new(&anywhere).literal_separator(true).build().map_err(wrong)?);
        // `drafts/**` means the folder too, which is then not even listed.
        if let Some(folder) = anywhere.strip_suffix("/**") {
            set.add(GlobBuilder::new(folder).literal_separator(true).build().map_err(wrong)?);
        }
    }
    set.build().map_err(wrong)
}
