//! The cache of vectors around an embedder that counts.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use katena_core::fake::HashEmbedder;
use katena_core::{
    Cancel, Context, EmbedRequest, EmbedResponse, EmbedRole, Embedder, EmbedderInfo, Error, ErrorKind,
    Result, Tokenizer, Usage,
};
use katena_embeddings::{CachedEmbedder, EmbedCache};
use tokio::sync::Semaphore;

/// Remembers what it was sent; each call takes a permit; so many calls fail.
#[derive(Debug)]
struct Counting {
    info: EmbedderInfo,
    inner: HashEmbedder,
    sent: Mutex<Vec<Vec<String>>>,
    gate: Semaphore,
    failures: AtomicUsize,
}

fn counting(model: &str, permits: usize, failures: usize) -> Arc<Counting> {
    Arc::new(Counting {
        info: EmbedderInfo::new(model, 16),
        inner: HashEmbedder::new(16),
        sent: Mutex::default(),
        gate: Semaphore::new(permits),
        failures: AtomicUsize::new(failures),
    })
}

impl Counting {
    fn sent(&self) -> Vec<Vec<String>> {
        self.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl Embedder for Counting {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }
    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        None
    }
    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        self.sent.lock().unwrap().push(request.texts.clone());
        self.gate.acquire().await.unwrap().forget();
        let left = |n: usize| n.checked_sub(1);
        if self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err(Error::new(ErrorKind::Unavailable, "busy"));
        }
        let response = self.inner.embed(request).await?;
        Ok(response.with_usage(Usage::new(request.texts.len() as u64, 0)))
    }
}

const MANY: usize = 1000;

#[tokio::test]
async fn only_misses_are_sent_and_the_order_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let inner = counting("m", MANY, 0);
    let cached = CachedEmbedder::new(inner.clone(), EmbedCache::open(folder.path()).unwrap());
    let first = cached.embed(&EmbedRequest::documents(["a", "b", "a"])).await.unwrap();
    assert_eq!((first.vectors.len(), first.usage.input_tokens), (3, Some(2)));
    assert_eq!(first.vectors[0], first.vectors[2]);
    let texts = ["c", "b", "d", "a", "c"];
    let second = cached.embed(&EmbedRequest::documents(texts)).await.unwrap();
    assert_eq!(inner.sent(), [vec!["a", "b"], vec!["c", "d"]]);
    let plain = HashEmbedder::new(16).embed(&EmbedRequest::documents(texts)).await.unwrap();
    assert_eq!(second.vectors, plain.vectors);
    let third = cached.embed(&EmbedRequest::documents(["d", "a"])).await.unwrap();
    assert_eq!(third.usage.input_tokens, Some(0), "nothing was sent");
    let stats = cached.cache().stats();
    assert_eq!((stats.hits, stats.misses, stats.vectors, stats.failed_writes), (6, 4, 4, 0));
    assert!(cached.embed(&EmbedRequest::default()).await.unwrap().vectors.is_empty());
}

#[tokio::test]
async fn models_and_roles_are_apart_and_runs_share() {
    let folder = tempfile::tempdir().unwrap();
    let open = |model: &str| {
        let inner = counting(model, MANY, 0);
        (inner.clone(), CachedEmbedder::new(inner, EmbedCache::open(folder.path()).unwrap()))
    };
    let (one, cached) = open("m");
    cached.embed(&EmbedRequest::documents(["a"])).await.unwrap();
    cached.embed(&EmbedRequest::documents(["a"]).with_role(EmbedRole::Query)).await.unwrap();
    assert_eq!(one.sent().len(), 2);
    let (other, cached) = open("n");
    cached.embed(&EmbedRequest::documents(["a"])).await.unwrap();
    assert_eq!(other.sent().len(), 1);
    let (again, cached) = open("m");
    cached.embed(&EmbedRequest::documents(["a"])).await.unwrap();
    assert!(again.sent().is_empty(), "another run finds it");
}

fn spawn(cached: &CachedEmbedder, texts: &[&str]) -> tokio::task::JoinHandle<Result<EmbedResponse>> {
    let (cached, request) = (cached.clone(), EmbedRequest::documents(texts.iter().copied()));
    tokio::spawn(async move { cached.embed(&request).await })
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_on_its_way_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let inner = counting("m", 0, 0);
    let cached = CachedEmbedder::new(inner.clone(), EmbedCache::open(folder.path()).unwrap());
    let first = spawn(&cached, &["a", "b"]);
    until(|| inner.sent().len() == 1).await;
    let second = spawn(&cached, &["b", "c"]);
    until(|| inner.sent().len() == 2).await;
    assert_eq!(inner.sent(), [vec!["a", "b"], vec!["c"]]);
    inner.gate.add_permits(2);
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!(first.vectors[1], second.vectors[0]);
    assert_eq!(inner.sent().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_takes_over_when_the_other_fails() {
    let folder = tempfile::tempdir().unwrap();
    let inner = counting("m", 0, 1);
    let cached = CachedEmbedder::new(inner.clone(), EmbedCache::open(folder.path()).unwrap());
    let first = spawn(&cached, &["a"]);
    until(|| inner.sent().len() == 1).await;
    let second = spawn(&cached, &["a"]);
    inner.gate.add_permits(2);
    let results = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(results[1].as_ref().unwrap().vectors.len(), 1);
    assert_eq!(inner.sent().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_can_be_stopped_and_a_dropped_call_lets_go() {
    let folder = tempfile::tempdir().unwrap();
    let inner = counting("m", 0, 0);
    let cached = CachedEmbedder::new(inner.clone(), EmbedCache::open(folder.path()).unwrap());
    let first = spawn(&cached, &["a"]);
    until(|| inner.sent().len() == 1).await;
    let soon = Context::new().with_deadline(Instant::now() + Duration::from_millis(50));
    let late = cached.embed(&EmbedRequest::documents(["a"]).with_context(soon)).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    let cancel = Cancel::new();
    let request = EmbedRequest::documents(["a"]).with_context(Context::new().with_cancel(cancel.clone()));
    let waiting = tokio::spawn({
        let cached = cached.clone();
        async move { cached.embed(&request).await }
    });
    cancel.cancel();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(inner.sent().len(), 1);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    inner.gate.add_permits(1);
    assert_eq!(cached.embed(&EmbedRequest::documents(["a"])).await.unwrap().vectors.len(), 1);
    assert_eq!(inner.sent().len(), 2);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_counted_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache");
    let cache = EmbedCache::open(&path).unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    let inner = counting("m", MANY, 0);
    let cached = CachedEmbedder::new(inner.clone(), cache);
    for _ in 0..2 {
        assert_eq!(cached.embed(&EmbedRequest::documents(["a"])).await.unwrap().vectors.len(), 1);
    }
    assert_eq!((inner.sent().len(), cached.cache().stats().failed_writes), (2, 2));
}

#[tokio::test]
async fn nothing_of_the_text_is_kept_or_shown() {
    let folder = tempfile::tempdir().unwrap();
    let cached = CachedEmbedder::new(counting("m", MANY, 0), EmbedCache::open(folder.path()).unwrap());
    cached.embed(&EmbedRequest::documents(["very secret words"])).await.unwrap();
    assert!(!format!("{:?}", cached.cache()).contains("secret"));
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"secret") && !bytes.is_empty());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

#[test]
fn without_a_runtime_it_says_so() {
    use futures_util::FutureExt as _;
    let folder = tempfile::tempdir().unwrap();
    let cached = CachedEmbedder::new(counting("m", MANY, 0), EmbedCache::open(folder.path()).unwrap());
    let result = cached.embed(&EmbedRequest::documents(["a"])).now_or_never().expect("no waiting");
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Config);
}
