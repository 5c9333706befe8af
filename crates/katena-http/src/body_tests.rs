use futures_util::stream;
use tokio::time::sleep;

use super::*;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// An event at each of these times from now, and then nothing more; given up after a second of silence.
fn events_at(times: impl IntoIterator<Item = u64>) -> HttpStream {
    let start = Instant::now();
    let times: Vec<u64> = times.into_iter().collect();
    let events = stream::iter(times).then(move |after| async move {
        tokio::time::sleep_until(start + millis(after)).await;
        Ok(Bytes::from_static(b"data: x\n\n"))
    });
    let body = events.chain(stream::pending()).boxed();
    HttpStream::over(Head::default(), body, 1 << 20, millis(1000), &katena_core::Context::new())
}

fn timed_out(item: Option<Result<Bytes>>) -> bool {
    item.is_some_and(|i| i.is_err_and(|e| e.kind() == ErrorKind::Timeout))
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_stream_but_slowness_does_not() {
    // Longer in all than the idle timeout, each pause shorter.
    let mut events = events_at((1..=20).map(|n| n * 900)).into_sse();
    for _ in 0..20 {
        assert!(events.next().await.unwrap().is_ok());
    }
    let before = Instant::now();
    assert_eq!(events.next().await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(before.elapsed().as_secs(), 1);
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn time_that_the_consumer_spends_is_not_silence() {
    let mut stream = events_at([0, 1500]);
    stream.next().await.unwrap().unwrap();
    sleep(millis(1300)).await;
    assert!(stream.next().await.unwrap().is_ok());
    // Nor does it hide what came meanwhile, or count after it.
    let mut stream = events_at([0, 1500]);
    stream.next().await.unwrap().unwrap();
    sleep(millis(5000)).await;
    assert!(stream.next().await.unwrap().is_ok());
    sleep(millis(5000)).await;
    let before = Instant::now();
    assert!(timed_out(stream.next().await));
    assert_eq!(before.elapsed().as_secs(), 1);
}
