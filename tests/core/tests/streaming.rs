//! Streaming of chains: order, bound, cancelling, identity of steps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use katena_core::fake::{EchoChat, FlakyChat, ScriptedChat};
use katena_core::*;

fn custom(n: usize) -> Event {
    Event::Custom { name: "n".to_owned(), value: n.into() }
}

fn emitter(events: usize, sent: Arc<AtomicUsize>) -> impl Chain<Input = (), Output = usize> + 'static {
    func(move |(): (), run: Run| {
        let sent = sent.clone();
        async move {
            for n in 0..events {
                run.emit(custom(n)).await;
                sent.fetch_add(1, Ordering::SeqCst);
            }
            Ok(events)
        }
    })
}

#[tokio::test]
async fn the_output_comes_last_and_events_in_order() {
    let chain = emitter(1000, Arc::default());
    let items: Vec<_> = chain.stream(()).map(|i| i.unwrap()).collect().await;
    assert_eq!(items.len(), 1001);
    for (n, item) in items[..1000].iter().enumerate() {
        assert!(matches!(item, Streamed::Event(e) if e.event == custom(n)));
    }
    assert_eq!(items[1000], Streamed::Output(1000));
}

#[test]
fn a_stopped_reader_stops_the_chain() {
    let sent = Arc::new(AtomicUsize::new(0));
    let chain = emitter(1000, sent.clone());
    let mut stream = chain.stream(());
    assert!(stream.next().now_or_never().flatten().is_some());
    assert!(sent.load(Ordering::SeqCst) <= 33, "at most 32 events ahead");
    drop(stream);
    assert!(sent.load(Ordering::SeqCst) <= 33, "a dropped stream's chain does nothing more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clones_of_a_run_share_the_bound_and_lose_no_wakeup() {
    for _ in 0..100 {
        let chain = func(async |(): (), run: Run| {
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let run = run.clone();
                    tokio::spawn(async move {
                        for n in 0..50 {
                            run.emit(custom(n)).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.map_err(|e| Error::unexpected(e.to_string()))?;
            }
            Ok(())
        });
        assert_eq!(chain.stream(()).count().await, 401);
    }
}

#[tokio::test]
async fn an_error_comes_last_too() {
    let chain = func(async |(): (), run: Run| {
        run.emit(custom(0)).await;
        Err::<(), _>(Error::invalid_input("no"))
    });
    let items: Vec<_> = chain.stream(()).collect().await;
    assert!(items[0].is_ok());
    assert_eq!(items[1].as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(items.len(), 2);
}

#[tokio::test]
async fn a_run_that_outlives_its_call_does_not_hold_the_stream_open() {
    let kept: Arc<Mutex<Option<Run>>> = Arc::default();
    let keep = kept.clone();
    let chain = func(move |(): (), run: Run| {
        keep.lock().unwrap().replace(run);
        async { Ok(()) }
    });
    assert_eq!(chain.stream(()).count().await, 1);
    let run = kept.lock().unwrap().take().unwrap();
    for n in 0..100 {
        run.emit(custom(n)).await;
    }
}

#[tokio::test]
async fn models_stream_when_somebody_listens_and_are_told_apart() {
    let ask =
        |text: &'static str| func(move |(): (), _| std::future::ready(Ok(text))).chat(EchoChat::new()).text();
    let chain = func(async |(): (), _run| Ok(())).parallel((ask("a b c"), ask("x y z")));
    let mut by_step = std::collections::BTreeMap::<StepId, String>::new();
    let mut stream = chain.stream(());
    let mut output = None;
    while let Some(item) = stream.next().await {
        match item.unwrap() {
            Streamed::Event(RunEvent {
                step, event: Event::Model(ChatEvent::Delta { text, .. }), ..
            }) => {
                by_step.entry(step).or_default().push_str(&text);
            }
            Streamed::Event(_) => {}
            Streamed::Output(o) => output = Some(o),
        }
    }
    assert_eq!(output, Some(("a b c".to_owned(), "x y z".to_owned())));
    assert_eq!(by_step.into_values().collect::<Vec<_>>(), ["a b c", "x y z"]);
}

#[tokio::test]
async fn quiet_calls_are_not_shown_and_still_counted() {
    let chain = func(async |(): (), run: Run| {
        let request = ChatRequest::new([Message::user("secret words")]);
        let answer = run.quiet().chat(&EchoChat::new(), request).await?;
        Ok((answer.text(), run.usage()))
    });
    let items: Vec<_> = chain.stream(()).map(Result::unwrap).collect().await;
    let expected = ("secret words".to_owned(), Usage::new(2, 2));
    assert_eq!(items, [Streamed::Output(expected)]);
}

#[tokio::test]
async fn labels_and_cancel_reach_the_model_streamed_or_not() {
    let model = ScriptedChat::texts(["one", "two"]);
    let chain = func(async |(): (), _| Ok("hi"))
        .chat(model.clone())
        .with_labels(Labels::new().with("feature", "x").with("tenant", "own"));
    let run = || Run::new().with_labels(Labels::new().with("tenant", "acme"));
    chain.run_with((), run()).await.unwrap();
    chain.stream_with((), run()).output().await.unwrap();
    for request in model.requests() {
        assert_eq!(request.context.labels.get("tenant"), Some("acme"), "the caller's label wins");
        assert_eq!(request.context.labels.get("feature"), Some("x"));
    }
    let cancel = Cancel::new();
    cancel.cancel();
    let cancelled = chain.run_with((), Run::from(Context::new().with_cancel(cancel))).await;
    assert_eq!(cancelled.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(model.requests().len(), 2, "nothing was asked after the signal");
}

#[tokio::test]
async fn dropping_a_stream_cancels_its_calls_but_not_the_callers_signal() {
    let seen: Arc<Mutex<Option<Cancel>>> = Arc::default();
    let keep = seen.clone();
    let chain = func(move |(): (), run: Run| {
        keep.lock().unwrap().replace(run.context().cancel.clone());
        async move {
            run.emit(custom(0)).await;
            std::future::pending::<Result<()>>().await
        }
    });
    let outer = Cancel::new();
    let mut stream = chain.stream_with((), Run::from(Context::new().with_cancel(outer.clone())));
    stream.next().await.unwrap().unwrap();
    drop(stream);
    assert!(seen.lock().unwrap().as_ref().unwrap().is_cancelled());
    assert!(!outer.is_cancelled());
}

#[tokio::test]
async fn an_outside_cancel_ends_a_waiting_chain() {
    let chain = func(async |(): (), _| std::future::pending::<Result<()>>().await);
    let cancel = Cancel::new();
    let run = Run::from(Context::new().with_cancel(cancel.clone()));
    let (result, ()) = futures_util::join!(chain.run_with((), run), async {
        tokio::task::yield_now().await;
        cancel.cancel();
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn the_deadline_ends_a_waiting_chain_by_the_clock() {
    let clock = ManualClock::new();
    let context = Context::new().with_deadline(clock.now() + Duration::from_secs(60));
    let chain = func(async |(): (), _| std::future::pending::<Result<()>>().await);
    let run = Run::from(context).with_clock(Arc::new(clock.clone()));
    let (result, ()) = futures_util::join!(chain.run_with((), run), async {
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(61));
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
    let past = Run::from(Context::new().with_deadline(Instant::now()));
    assert_eq!(chain.run_with((), past).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_stream_that_breaks_is_an_error_never_a_short_answer() {
    let model = FlakyChat::new(EchoChat::new(), 1).with_failures_mid_stream();
    let chain = func(async |(): (), _| Ok("a b c")).chat(model);
    let result = chain.stream(()).output().await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn batch_keeps_order_and_fails_one_by_one() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (r, m) = (running.clone(), most.clone());
    let chain = func(move |n: usize, _run| {
        let (running, most) = (r.clone(), m.clone());
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            if n == 3 { Err(Error::invalid_input("three")) } else { Ok(n * 2) }
        }
    });
    let results = chain.batch(4).run((0..20).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 4);
    for (n, result) in results.into_iter().enumerate() {
        if n == 3 { assert!(result.is_err()) } else { assert_eq!(result.unwrap(), n * 2) }
    }
}
