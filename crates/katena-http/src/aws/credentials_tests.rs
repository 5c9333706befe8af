use std::sync::Mutex as StdMutex;
use std::time::UNIX_EPOCH;

use super::*;

fn clock() -> (Arc<StdMutex<SystemTime>>, impl Fn() -> SystemTime + Send + Sync + 'static) {
    let time = Arc::new(StdMutex::new(UNIX_EPOCH + Duration::from_secs(1_000_000)));
    let seen = time.clone();
    (time, move || *seen.lock().unwrap())
}

/// Answers by script; each fetch yields once, so that others can come in between.
#[derive(Debug)]
struct Script {
    calls: AtomicU64,
    answers: StdMutex<Vec<Result<Credentials>>>,
}

impl Script {
    fn new(answers: Vec<Result<Credentials>>) -> Arc<Self> {
        Arc::new(Self { calls: AtomicU64::new(0), answers: StdMutex::new(answers) })
    }
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl CredentialsProvider for Script {
    async fn credentials(&self) -> Result<Credentials> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.answers.lock().unwrap().remove(0)
    }
}

fn key(id: &str, seconds: u64) -> Credentials {
    Credentials::new(id, "s").with_expiry(UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds))
}

#[tokio::test]
async fn a_hundred_waiters_share_one_fetch() {
    let (_, now) = clock();
    let script = Script::new(vec![Ok(key("A", 3600))]);
    let cached = CachedCredentials::with_now(script.clone(), now);
    let all = futures_util::future::join_all((0..100).map(|_| cached.credentials())).await;
    assert!(all.into_iter().all(|c| c.unwrap().access_key_id() == "A"));
    assert_eq!(script.calls(), 1);
}

#[tokio::test]
async fn waiters_share_an_error_and_the_next_call_tries_again() {
    let (_, now) = clock();
    let script = Script::new(vec![Err(unauthenticated("no")), Ok(key("A", 3600))]);
    let cached = CachedCredentials::with_now(script.clone(), now);
    let all = futures_util::future::join_all((0..20).map(|_| cached.credentials())).await;
    assert!(all.iter().all(|c| c.is_err()));
    assert_eq!(script.calls(), 1);
    assert_eq!(cached.credentials().await.unwrap().access_key_id(), "A");
}

#[tokio::test]
async fn renewed_before_they_end_and_kept_while_good() {
    let (time, now) = clock();
    let script = Script::new(vec![
        Ok(key("A", 1000)),
        Err(Error::new(ErrorKind::Unavailable, "down")),
        Ok(key("B", 5000)),
        Err(Error::new(ErrorKind::Unavailable, "down")),
    ]);
    let cached = CachedCredentials::with_now(script.clone(), now);
    let get = async || cached.credentials().await.map(|c| c.access_key_id().to_owned());
    let wait = |seconds| *time.lock().unwrap() += Duration::from_secs(seconds);
    assert_eq!(get().await.unwrap(), "A");
    wait(600);
    assert_eq!(get().await.unwrap(), "A");
    assert_eq!(script.calls(), 1);
    wait(200);
    // Three minutes are left; the renewal fails, but the old ones are still good.
    assert_eq!((get().await.unwrap().as_str(), script.calls()), ("A", 2));
    assert_eq!((get().await.unwrap().as_str(), script.calls()), ("B", 3));
    wait(10_000);
    assert_eq!(get().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn the_environment() {
    let lookup = |pairs: &'static [(&str, &str)]| {
        move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    };
    let found = Credentials::from_lookup(lookup(&[
        ("AWS_ACCESS_KEY_ID", "A"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_SESSION_TOKEN", "t"),
    ]));
    assert_eq!(found.unwrap(), Some(Credentials::new("A", "s").with_session_token("t")));
    assert_eq!(Credentials::from_lookup(lookup(&[("AWS_ACCESS_KEY_ID", "  ")])).unwrap(), None);
    let half = Credentials::from_lookup(lookup(&[("AWS_ACCESS_KEY_ID", "A")])).unwrap_err();
    assert_eq!(half.kind(), ErrorKind::Unauthenticated);
}
