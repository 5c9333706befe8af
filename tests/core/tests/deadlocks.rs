//! The two ways to deadlock a chain that moves only while it is polled, and their cures (see the docs of `Chain`).
//!
//! No clock is involved: with a single-threaded executor a deadlock is a future that is pending although nobody holds a
//! wake-up for it, which `assert_pending_forever` finds out by polling until nothing is woken any more.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use async_trait::async_trait;
use futures_util::StreamExt;
use katena_core::*;
use tokio::sync::Semaphore;

/// A model behind a concurrency limit, as a layer makes one: a stream holds its permit until it is dropped or done.
#[derive(Debug)]
struct Limited {
    inner: fake::EchoChat,
    permits: Arc<Semaphore>,
}

impl Limited {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { inner: fake::EchoChat::new(), permits: Arc::new(Semaphore::new(permits)) })
    }
}

#[async_trait]
impl ChatModel for Limited {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        let _permit = self.permits.acquire().await.expect("never closed");
        YieldOnce(false).await;
        self.inner.generate(request).await
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let permit = self.permits.clone().acquire_owned().await.expect("never closed");
        let stream = self.inner.stream(request).await?;
        Ok(stream.inspect(move |_| _ = &permit).boxed())
    }
}

struct YieldOnce(bool);

impl Future for YieldOnce {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Polls as long as somebody wakes; `None` means that the future waits for a wake-up that can't come.
fn run_until_stuck<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return Some(output),
            Poll::Pending if !woken.0.swap(false, Ordering::SeqCst) => return None,
            Poll::Pending => {}
        }
    }
}

fn chain(model: Arc<Limited>) -> impl Chain<Input = String, Output = String> + 'static {
    func(async |text: String, _run| Ok(text)).chat(model).text()
}

#[test]
fn a_consumer_that_awaits_the_chains_limited_model_between_events_is_stuck() {
    let model = Limited::new(1);
    let chain = chain(model.clone());
    let consumer = pin!(async {
        // Longer than the chain may run ahead: it is still in the middle of its call.
        let mut stream = chain.stream("word ".repeat(100));
        let mut answers = 0;
        while let Some(item) = stream.next().await {
            item.unwrap();
            model.generate(&ChatRequest::new([Message::user("more")])).await.unwrap();
            answers += 1;
        }
        answers
    });
    assert_eq!(run_until_stuck(consumer), None, "the hazard is gone: update the docs of `Chain`");
}

#[tokio::test]
async fn into_stream_in_a_task_cures_it() {
    let model = Limited::new(1);
    let chain = chain(model.clone());
    let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut stream = chain.into_stream("one two three", Run::new());
        while let Some(item) = stream.next().await {
            send.send(item).unwrap();
        }
    });
    let mut last = None;
    while let Some(item) = receive.recv().await {
        model.generate(&ChatRequest::new([Message::user("more")])).await.unwrap();
        last = Some(item.unwrap());
    }
    assert_eq!(last, Some(Streamed::Output("one two three".to_owned())));
}

fn texts() -> impl futures_util::Stream<Item = &'static str> {
    futures_util::stream::iter(["a", "b", "c"])
}

#[test]
fn awaiting_in_the_body_of_a_loop_over_a_buffered_stream_is_stuck() {
    let model = Limited::new(1);
    let work = pin!(async {
        let ask = |text: &'static str| {
            let model = model.clone();
            async move { model.generate(&ChatRequest::new([Message::user(text)])).await }
        };
        let mut answers = pin!(texts().map(ask).buffered(2));
        while let Some(answer) = answers.next().await {
            ask("and then?").await.unwrap();
            answer.unwrap();
        }
    });
    assert_eq!(run_until_stuck(work), None, "the hazard is gone: update the docs of `Chain`");
}

#[test]
fn work_in_the_mapped_future_cures_it() {
    let model = Limited::new(1);
    let seen = Mutex::new(Vec::new());
    let work = pin!(async {
        let ask = async |text: &'static str| {
            model.generate(&ChatRequest::new([Message::user(text)])).await.unwrap()
        };
        let answers = texts().map(|text| async move {
            let answer = ask(text).await.text();
            ask("and then?").await;
            answer
        });
        let mut answers = pin!(answers.buffered(2));
        while let Some(answer) = answers.next().await {
            seen.lock().unwrap().push(answer);
        }
    });
    assert_eq!(run_until_stuck(work), Some(()));
    assert_eq!(*seen.lock().unwrap(), ["a", "b", "c"]);
}

#[tokio::test]
async fn many_streams_share_a_limited_model() {
    let model = Limited::new(2);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let stream = chain(model.clone()).into_stream(format!("text {n}"), Run::new());
            tokio::spawn(stream.output())
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().unwrap(), format!("text {n}"));
    }
}
