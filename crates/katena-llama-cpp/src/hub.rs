//! Downloads from a model hub that speaks Hugging Face's `resolve` addresses, or a mirror of it.
//!
//! `GET {endpoint}/{repo}/resolve/{revision}/{file}` answers with the file, or, for large ones, with a redirect to a store
//! on another host. The first reply names the file's size in `X-Linked-Size` and its SHA-256 in `X-Linked-ETag` (or `ETag`,
//! if that has 64 hexadecimal digits; small files have a git hash there, which is not checked). Source: the client library
//! `huggingface_hub`, `file_download.py`.

mod lock;
mod transfer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use katena_core::{Context, Error, Result};
use katena_http::{Endpoint, HttpClient, HttpOptions, Secret};

/// Told how many bytes are there, and of how many if that is known.
pub type HubProgress = Arc<dyn Fn(u64, Option<u64>) + Send + Sync>;

/// A hub and the folder that keeps what was fetched from it.
///
/// A file lies at `{folder}/{repo}/{revision}/{file}`; it is whole or not there. Once it is there it's not asked for again:
/// name a commit as revision where a branch may move, or remove the file. The token goes to the hub's own host alone.
///
/// ```no_run
/// # async fn f() -> katena_core::Result<()> {
/// use katena_llama_cpp::hub::{Hub, HubFile};
/// let hub = Hub::new("https://hub.example", "models")?;
/// let path = hub.download(&HubFile::new("owner/model", "model-q4_k_m.gguf")).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Hub {
    endpoint: Endpoint,
    token: Option<Secret>,
    folder: PathBuf,
    max_bytes: u64,
    client: HttpClient,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint.base().as_str())
            .field("token", &self.token.is_some())
            .field("folder", &self.folder)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub at this address, or a mirror of one.
    ///
    /// # Errors
    /// `Config` if it's no address.
    pub fn new(endpoint: impl AsRef<str>, folder: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self {
            endpoint: Endpoint::new(endpoint)?,
            token: None,
            folder: folder.into(),
            max_bytes: 256 << 30,
            client: HttpClient::with_options(HttpOptions::new().with_idle_timeout(Duration::from_secs(60))),
        })
    }

    /// Sets the token for gated and private repositories.
    pub fn with_token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the largest file that is fetched: 256 GiB.
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the client, with its own times and proxy.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    /// Where the file is or will be.
    ///
    /// # Errors
    /// `InvalidInput` for a repository, revision or file name that is none.
    pub fn place(&self, file: &HubFile) -> Result<PathBuf> {
        file.check()?;
        let mut path = self.folder.clone();
        path.extend(file.repo.split('/'));
        path.push(file.revision.replace('/', "--"));
        path.extend(file.file.split('/'));
        Ok(path)
    }

    /// Fetches the file unless it is there, and gives its path. What is there of an earlier try is gone on with. Two callers
    /// at once, of this process or another, fetch it once.
    ///
    /// # Errors
    /// `InvalidInput` for names that are none, or bytes that are not those of the hash; `Unauthenticated` and
    /// `PermissionDenied` for repositories that need a token or an agreement; `NotFound`; `Unavailable` if the connection
    /// breaks again and again (what is there is kept); `Config` for a file beyond the limit; `Cancelled` and `Timeout` by
    /// the file's context.
    pub async fn download(&self, file: &HubFile) -> Result<PathBuf> {
        let place = self.place(file)?;
        let named = |e: Error| {
            e.with_context("repo", file.repo.clone())
                .with_context("file", file.file.clone())
                .with_context("revision", file.revision.clone())
        };
        transfer::fetch(self, file, &place).await.map_err(named)?;
        Ok(place)
    }

    /// Removes a file that was fetched, and what is there of one that was not fetched to its end; true if there was one.
    ///
    /// # Errors
    /// `InvalidInput` for names that are none, and those of the file system.
    pub fn remove(&self, file: &HubFile) -> Result<bool> {
        let place = self.place(file)?;
        let mut any = false;
        for path in [place.clone(), beside(&place, RECORD), beside(&place, PART), beside(&place, PART_TAG)] {
            match std::fs::remove_file(path) {
                Ok(()) => any = true,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(any)
    }
}

/// Ends of the names beside a file: its hash, its beginning, what that is the beginning of, who fetches it.
const RECORD: &str = ".sha256";
const PART: &str = ".part";
const PART_TAG: &str = ".part-tag";
const LOCK: &str = ".lock";

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

/// A file of a repository.
#[derive(Clone)]
#[non_exhaustive]
pub struct HubFile {
    /// `owner/name`.
    pub repo: String,
    /// The file's path in it.
    pub file: String,
    /// Branch, tag or commit: `main`.
    pub revision: String,
    /// The SHA-256 that it must have, as 64 hexadecimal digits. Unset: what the hub says, if it says one.
    pub sha256: Option<String>,
    /// Told how far it is.
    pub progress: Option<HubProgress>,
    /// Cancel signal and deadline.
    pub context: Context,
}

impl fmt::Debug for HubFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubFile")
            .field("repo", &self.repo)
            .field("file", &self.file)
            .field("revision", &self.revision)
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

impl HubFile {
    /// A file of a repository's branch `main`.
    pub fn new(repo: impl Into<String>, file: impl Into<String>) -> Self {
        Self {
            repo: repo.into(),
            file: file.into(),
            revision: "main".into(),
            sha256: None,
            progress: None,
            context: Context::new(),
        }
    }

    /// Sets branch, tag or commit.
    pub fn with_revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// Sets the hash that it must have.
    pub fn with_sha256(mut self, hash: impl Into<String>) -> Self {
        self.sha256 = Some(hash.into().to_ascii_lowercase());
        self
    }

    /// Sets who is told how far it is.
    pub fn with_progress(mut self, progress: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Sets cancel signal and deadline.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Names become paths and addresses: only what can't leave its folder.
    fn check(&self) -> Result<()> {
        let bad = |what: &'static str, value: &str| {
            Err(Error::invalid_input("this is no name of a hub's repository, revision or file")
                .with_context("part", what)
                .with_context("value", value.to_owned()))
        };
        let sound = |name: &str, most: usize| {
            let parts: Vec<&str> = name.split('/').collect();
            parts.len() <= most
                && parts.iter().all(|p| {
                    (1..=200).contains(&p.len())
                        && !p.starts_with('.')
                        && !p.ends_with('.')
                        && p.chars().all(|c| c.is_alphanumeric() || "._-+ =()".contains(c))
                })
        };
        if !sound(&self.repo, 2) || !self.repo.is_ascii() || self.repo.contains(' ') {
            return bad("repo", &self.repo);
        }
        if !sound(&self.revision, 4) || !self.revision.is_ascii() || self.revision.contains(' ') {
            return bad("revision", &self.revision);
        }
        let ours = [RECORD, PART, PART_TAG, LOCK].iter().any(|end| self.file.ends_with(end));
        if !sound(&self.file, 8) || ours {
            return bad("file", &self.file);
        }
        if let Some(hash) = &self.sha256
            && !is_sha256(hash)
        {
            return bad("sha256", hash);
        }
        Ok(())
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
