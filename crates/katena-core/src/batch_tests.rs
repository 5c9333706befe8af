use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::clock::ManualClock;
use crate::context::Cancel;

/// Tells what it was told to, in turn; the last for ever.
#[derive(Debug)]
struct Scripted {
    info: ModelInfo,
    looks: Mutex<VecDeque<Result<ChatBatch>>>,
}

fn model(looks: impl IntoIterator<Item = Result<ChatBatch>>) -> Scripted {
    Scripted { info: ModelInfo::new("test", "m"), looks: Mutex::new(looks.into_iter().collect()) }
}

#[allow(clippy::unnecessary_wraps, reason = "a look in the script")]
fn state(state: BatchState) -> Result<ChatBatch> {
    Ok(ChatBatch::new("b", state))
}

fn busy() -> Result<ChatBatch> {
    Err(Error::new(ErrorKind::Unavailable, "busy"))
}

#[async_trait]
impl BatchModel for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
    async fn create(&self, _order: &BatchOrder) -> Result<ChatBatch> {
        Err(Error::unsupported("not here"))
    }
    async fn get(&self, _id: &str) -> Result<ChatBatch> {
        let mut looks = self.looks.lock().unwrap();
        if looks.len() > 1 { looks.pop_front().unwrap() } else { looks[0].clone() }
    }
    async fn cancel(&self, id: &str) -> Result<ChatBatch> {
        self.get(id).await
    }
    async fn results(&self, _id: &str) -> Result<BatchResults> {
        Err(Error::unsupported("not here"))
    }
}

/// Lets the time pass until the waiting ends; how long it took, in seconds.
fn passed(model: &Scripted, how: &BatchWait) -> (u64, Result<ChatBatch>) {
    let clock = ManualClock::new();
    let mut waiting = model.wait("b", &clock, how);
    let mut seconds = 0;
    loop {
        if let Some(result) = (&mut waiting).now_or_never() {
            return (seconds, result);
        }
        clock.advance(Duration::from_secs(1));
        seconds += 1;
        assert!(seconds < 1_000_000, "it waits for ever");
    }
}

#[test]
fn it_looks_until_the_batch_is_over() {
    let how = BatchWait::new().with_every(Duration::from_secs(10));
    for end in [BatchState::Completed, BatchState::Expired, BatchState::Failed, BatchState::Cancelled] {
        let looks = [
            state(BatchState::Waiting),
            state(BatchState::Running),
            state(BatchState::Other("odd".into())),
            state(BatchState::Cancelling),
            state(end.clone()),
        ];
        let (seconds, result) = passed(&model(looks), &how);
        assert_eq!((seconds, result.unwrap().state), (40, end));
    }
}

#[test]
fn trouble_is_borne_for_a_while() {
    let how = BatchWait::new().with_every(Duration::from_secs(10)).with_patience(2);
    let slow = Err(Error::new(ErrorKind::RateLimited, "slow").with_retry_after(Duration::from_secs(60)));
    let looks = [busy(), slow, state(BatchState::Running), busy(), busy(), state(BatchState::Completed)];
    assert_eq!(passed(&model(looks), &how).0, 10 + 60 + 10 + 10 + 10);
    let (seconds, result) = passed(&model([busy()]), &how);
    assert_eq!((seconds, result.unwrap_err().kind()), (20, ErrorKind::Unavailable));
    let (seconds, result) = passed(&model([Err(Error::new(ErrorKind::NotFound, "none"))]), &how);
    assert_eq!((seconds, result.unwrap_err().kind()), (0, ErrorKind::NotFound));
}

#[test]
fn it_does_not_wait_for_ever() {
    let how = BatchWait::new().with_at_most(Duration::from_secs(100));
    let (seconds, result) = passed(&model([state(BatchState::Running)]), &how);
    assert_eq!((seconds, result.unwrap_err().kind()), (90, ErrorKind::Timeout));
    let cancel = Cancel::new();
    let how = BatchWait::new().with_context(Context::new().with_cancel(cancel.clone()));
    let (scripted, clock) = (model([state(BatchState::Running)]), ManualClock::new());
    let mut waiting = scripted.wait("b", &clock, &how);
    assert!((&mut waiting).now_or_never().is_none());
    cancel.cancel();
    assert_eq!(waiting.now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn orders_are_checked() {
    let request = ChatRequest::default;
    assert_eq!(BatchOrder::new().check().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(BatchOrder::new().with_request("", request()).check().is_err());
    let twice = BatchOrder::new().with_request("a", request()).with_request("a", request());
    assert_eq!(twice.check().unwrap_err().context("custom id"), Some("a"));
}
