use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use katena_core::{Cancel, Context, ErrorKind};

use super::*;
use crate::endpoint::Endpoint;

#[derive(Debug, Default)]
struct Rotating(AtomicUsize);

#[async_trait]
impl CredentialsProvider for Rotating {
    async fn credentials(&self) -> Result<Credentials> {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Credentials::new(format!("KEY{n}"), "s"))
    }
}

fn request() -> HttpRequest {
    let endpoint = Endpoint::new("https://h").unwrap();
    HttpRequest::post(&endpoint, "x").unwrap().with_json("body").unwrap()
}

#[tokio::test]
async fn each_try_has_its_own_key_and_time() {
    let auth = AwsAuth::provider(Arc::new(Rotating::default()));
    let sign = async |seconds| {
        let now = move || UNIX_EPOCH + Duration::from_secs(seconds);
        auth.apply_with(request(), "us-east-1", "bedrock", now).await.unwrap()
    };
    let (first, second) = (sign(0).await, sign(5).await);
    let get = |r: &HttpRequest, name| r.header(name).unwrap().expose().to_owned();
    assert!(get(&first, "authorization").contains("KEY0/19700101/us-east-1/bedrock/"));
    assert!(get(&second, "authorization").contains("KEY1/"));
    assert_ne!(get(&first, "x-amz-date"), get(&second, "x-amz-date"));
    assert_eq!(get(&first, "x-amz-content-sha256"), get(&second, "x-amz-content-sha256"));
}

#[tokio::test]
async fn a_bearer_key_is_sent_and_not_shown() {
    let auth = AwsAuth::bearer("hidden-key");
    let sent = auth.apply(request(), "r", "s").await.unwrap();
    assert_eq!(sent.header("authorization").unwrap().expose(), "Bearer hidden-key");
    assert!(sent.header("x-amz-date").is_none());
    assert!(!format!("{auth:?} {sent:?}").contains("hidden"));
}

#[tokio::test]
async fn a_cancelled_call_fetches_nothing() {
    let provider = Arc::new(Rotating::default());
    let cancel = Cancel::new();
    cancel.cancel();
    let request = request().with_context(Context::new().with_cancel(cancel));
    let error = AwsAuth::provider(provider.clone()).apply(request, "r", "s").await.unwrap_err();
    assert_eq!((error.kind(), provider.0.load(Ordering::SeqCst)), (ErrorKind::Cancelled, 0));
}
