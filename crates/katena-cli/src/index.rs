//! The index of a folder: its store, its embedder, and bringing it up to date.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use katena_core::{Context, VectorStore};
use katena_loaders::{DirectoryLoader, ProcessParser};
use katena_retrieval::{Answerability, FusedRetriever, IngestReport, VectorIndex};
use katena_splitters::RecursiveSplitter;
use katena_sqlite::{Database, SqliteRecords};
use katena_vectorstores::{EmbeddedStore, PgVectorStore, QdrantOptions, QdrantStore};

use crate::args::Documents;
use crate::failure::{Failure, Result};
use crate::progress::Progress;
use crate::{cache, engine, output};

/// Tokens of a chunk, in the embedder's own. With 200 the example handbook's questions find their source more often than
/// with 130 or 160; the prompt stays under 700 tokens all the same, since the chain trims the weakest passages.
const CHUNK_TOKENS: usize = 200;
/// Tokens that a chunk shares with the one before it.
const OVERLAP_TOKENS: usize = 40;
/// Characters of a chunk where the embedder has no tokenizer.
const CHUNK_CHARS: usize = 480;

/// An index that is up to date.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) index: VectorIndex,
    pub(crate) report: IngestReport,
    pub(crate) folder: PathBuf,
    pub(crate) store: String,
    pub(crate) namespace: String,
    pub(crate) embedder: String,
    pub(crate) embedder_load: Duration,
    pub(crate) ingest: Duration,
}

impl Ready {
    /// Searches by meaning and by words, and judges whether the documents can answer: by the similarity that was asked
    /// for, or by what is known of the default embedder. Of others nothing is known.
    pub(crate) fn retriever(&self, top_k: u8, min_similarity: Option<f32>) -> FusedRetriever {
        let retriever = self.index.retriever().top_k(top_k.into());
        let known = Answerability::minilm();
        match min_similarity {
            Some(least) => retriever.with_answerability(known.with_sure(least).with_maybe(least)),
            None if self.embedder.to_lowercase().contains("minilm-l6-v2") => {
                retriever.with_answerability(known)
            }
            None => retriever,
        }
    }
}

/// Where an index is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Postgres(String),
    Qdrant { url: String, collection: String },
}

impl Place {
    fn parse(store: Option<&str>, key: &str) -> Result<Self> {
        let Some(store) = store else {
            return Ok(Self::File(cache::folder()?.join("indexes").join(format!("{key}.katena"))));
        };
        if store.starts_with("postgres://") || store.starts_with("postgresql://") {
            return Ok(Self::Postgres(store.to_owned()));
        }
        for (scheme, http) in [("qdrant://", "http://"), ("qdrants://", "https://")] {
            if let Some(rest) = store.strip_prefix(scheme) {
                let (host, collection) = rest.split_once('/').unwrap_or((rest, ""));
                if host.is_empty() {
                    return Err(Failure::set_up("--store qdrant://HOST:PORT[/COLLECTION] needs a host"));
                }
                let host = if host.contains(':') { host.to_owned() } else { format!("{host}:6334") };
                let collection = if collection.is_empty() { "katena" } else { collection };
                return Ok(Self::Qdrant { url: format!("{http}{host}"), collection: collection.to_owned() });
            }
        }
        if let Some((scheme, _)) = store.split_once("://") {
            return Err(Failure::set_up(format!(
                "--store: {scheme}:// is not known; use FILE.katena, postgres:// or qdrant://"
            )));
        }
        Ok(Self::File(PathBuf::from(store)))
    }

    /// For people, without a password.
    fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Postgres(url) => match (url.split_once("://"), url.rsplit_once('@')) {
                (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
                _ => url.clone(),
            },
            Self::Qdrant { url, collection } => format!("{url}/{collection}"),
        }
    }

    /// The file whose lock lets one process at a time write to this place.
    fn lock(&self) -> Result<PathBuf> {
        match self {
            Self::File(path) => {
                let mut name = path.as_os_str().to_owned();
                name.push(".lock");
                Ok(PathBuf::from(name))
            }
            other => Ok(cache::folder()?.join("indexes").join(format!("{}.lock", hash(&other.shown())))),
        }
    }
}

/// The first 16 hex digits of a hash.
fn hash(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes())[..8].iter().fold(String::new(), |s, b| format!("{s}{b:02x}"))
}

/// The documents' folder: the argument, else the variable that `cargo xtask ask` sets, else the current folder.
fn folder(documents: &Documents) -> Result<PathBuf> {
    let set = std::env::var_os("KATENA_DEFAULT_PATH").filter(|v| !v.is_empty()).map(PathBuf::from);
    let path = documents.path.clone().or(set).unwrap_or_else(|| PathBuf::from("."));
    path.canonicalize().map_err(|e| Failure::set_up(format!("{}: {e}", path.display())))
}

/// Opens the store; where it has no room for the records of what is in, they lie in a file of their own.
async fn open(place: &Place) -> Result<(Arc<dyn VectorStore>, Option<SqliteRecords>)> {
    let make_parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            std::fs::create_dir_all(parent).map_err(|e| Failure::failed(format!("{}: {e}", parent.display())))
        }
        _ => Ok(()),
    };
    match place {
        Place::File(path) => {
            make_parent(path)?;
            Ok((Arc::new(EmbeddedStore::open(path)?), None))
        }
        Place::Postgres(url) => Ok((Arc::new(PgVectorStore::connect(url).await?), None)),
        Place::Qdrant { url, collection } => {
            let mut options = QdrantOptions::new(url).with_collection(collection);
            if let Some(key) = std::env::var("QDRANT_API_KEY").ok().filter(|k| !k.is_empty()) {
                options = options.with_api_key(key);
            }
            let store = QdrantStore::connect_with(options).await?;
            // One file for each server and collection.
            let file = cache::folder()?.join("indexes").join(format!("{}.records", hash(&place.shown())));
            make_parent(&file)?;
            Ok((Arc::new(store), Some(SqliteRecords::new(Database::open(file)?)?)))
        }
    }
}

/// Brings the folder's index up to date and opens it. Only what has changed is read, split and embedded.
pub(crate) async fn ready(documents: &Documents, context: &Context, progress: Progress) -> Result<Ready> {
    let folder = folder(documents)?;
    let key = format!("{}-{}", name_of(&folder), hash(&folder.to_string_lossy()));
    let place = Place::parse(documents.store.as_deref(), &key)?;

    let start = Instant::now();
    let embedder = {
        let (name, threads) = (documents.embedder.clone(), documents.threads);
        blocking(move || engine::embedder(name.as_deref(), threads, progress)).await?
    };
    let embedder_load = start.elapsed();

    let start = Instant::now();
    let _lock = lock(&place, progress).await?;
    let (store, records) = open(&place).await?;
    let mut index = VectorIndex::new(store, embedder.clone()).with_namespace(&key).with_titles();
    if let Some(records) = records {
        index = index.with_records(records);
    }
    let report = ingest(&index, &folder, documents, context, progress).await?;
    let ingest = start.elapsed();

    for (source, error) in &report.failed {
        progress.note(&format!(
            "not read: {}: {}",
            output::place(source),
            output::printable(error.message())
        ));
    }
    if let Some(was) = &report.rebuilt {
        progress.note(&format!("the index was built anew: {was}"));
    } else if let Some(was) = &report.splitter_was {
        progress.note(&format!("the documents were split anew: they were split otherwise ({was})"));
    }
    progress.note(&output::counts_line(&report, ingest));
    let name = embedder.info().model.clone();
    Ok(Ready {
        index,
        report,
        folder,
        store: place.shown(),
        namespace: key,
        embedder: name,
        embedder_load,
        ingest,
    })
}

/// Runs blocking work beside the runtime, so that Ctrl-C is heard.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Failure::failed(e.to_string()))?
}

async fn lock(place: &Place, progress: Progress) -> Result<File> {
    let path = place.lock()?;
    blocking(move || cache::lock(&path, "another katena is writing to this index", progress)).await
}

/// The folder's name, as far as it is fit for a name in a store.
fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(32).collect()
}

async fn ingest(
    index: &VectorIndex,
    folder: &Path,
    documents: &Documents,
    context: &Context,
    progress: Progress,
) -> Result<IngestReport> {
    let worker = std::env::current_exe()?;
    let mut loader = DirectoryLoader::new(folder).with_parser(ProcessParser::new(worker, ["__parse"]));
    for glob in &documents.glob {
        loader = loader.with_glob(glob);
    }
    let splitter = match index.embedder().tokenizer() {
        Some(tokenizer) => RecursiveSplitter::tokens(CHUNK_TOKENS, tokenizer).with_overlap(OVERLAP_TOKENS),
        None => RecursiveSplitter::chars(CHUNK_CHARS).with_overlap(CHUNK_CHARS / 5),
    };
    let total = {
        let loader = loader.clone();
        blocking(move || Ok(loader.list().len() as u64)).await?
    };
    let bar = progress.documents(total);
    let start = Instant::now();
    let scope = folder.to_string_lossy().into_owned();
    let work = index.ingest(loader, splitter).mirror(scope);
    let work = if documents.rebuild { work.rebuild() } else { work.rebuild_on_change() };
    let report = work
        .with_context(context.clone())
        .with_progress(Arc::new(move |now| {
            let rate = now.chunks_embedded as f64 / start.elapsed().as_secs_f64().max(1e-3);
            bar.set(now.documents);
            bar.say(format!(
                "chunks: {} embedded ({rate:.0}/s), {} skipped",
                now.chunks_embedded, now.chunks_skipped
            ));
        }))
        .await?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_told_apart() {
        let parse = |s: &str| Place::parse(Some(s), "k").map_err(|f| f.message);
        assert_eq!(parse("a/b.katena"), Ok(Place::File("a/b.katena".into())));
        let postgres = parse("postgres://me:secret@host:5432/db").unwrap();
        assert_eq!(postgres.shown(), "postgres://host:5432/db", "no password on the screen");
        let qdrant = |url: &str, collection: &str| {
            Ok(Place::Qdrant { url: url.into(), collection: collection.into() })
        };
        assert_eq!(parse("qdrant://127.0.0.1:7000/docs"), qdrant("http://127.0.0.1:7000", "docs"));
        assert_eq!(parse("qdrant://host"), qdrant("http://host:6334", "katena"));
        assert!(parse("qdrant://").is_err());
        assert!(parse("mysql://x").unwrap_err().contains("mysql"));
    }
}
