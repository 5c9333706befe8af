//! Fallback, retry, timeout, struct-parallel, reports, panics.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::ScriptedChat;
use katena_core::{
    Backoff, Chain, ChainExt, Context, Error, ErrorKind, Event, ManualClock, Run, Streamed, func, parallel,
};

/// Fails so many times with an error of this kind, then gives the number of the call.
fn fails(times: u32, kind: ErrorKind) -> (impl Chain<Input = (), Output = u32> + Clone, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let chain = func({
        let calls = calls.clone();
        move |(), _run| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move { if call < times { Err(Error::new(kind, "not yet")) } else { Ok(call) } }
        }
    });
    (Arc::new(chain), calls)
}

#[test]
fn fallback_takes_over_and_tells() {
    let (bad, _) = fails(9, ErrorKind::InvalidOutput);
    let chain = bad.clone().fallback(func(async |(), _run| Ok(7)));
    let items: Vec<_> = chain.stream(()).collect::<Vec<_>>().now_or_never().unwrap();
    let told = items.iter().any(|i| {
        matches!(i, Ok(Streamed::Event(e)) if matches!(&e.event, Event::Custom { name, .. } if name == "fallback"))
    });
    assert!(told && matches!(items.last(), Some(Ok(Streamed::Output(7)))));

    let error = bad.clone().fallback(bad).run(()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOutput);
    assert!(error.context("first").is_some(), "both errors are named: {error}");
}

#[test]
fn a_cancelled_run_has_no_fallback() {
    let (bad, _) = fails(9, ErrorKind::Cancelled);
    let (other, calls) = fails(0, ErrorKind::Timeout);
    let error = bad.fallback(other).run(()).now_or_never().unwrap().unwrap_err();
    assert_eq!((error.kind(), calls.load(Ordering::SeqCst)), (ErrorKind::Cancelled, 0));
}

#[test]
fn retry_waits_by_its_clock_and_only_for_temporary_errors() {
    let clock = ManualClock::new();
    let (flaky, calls) = fails(2, ErrorKind::Unavailable);
    let chain = flaky.retry(Backoff::new(Arc::new(clock.clone())).with_base(Duration::from_secs(10)));
    let mut running = chain.run(());
    for _ in 0..2 {
        assert!(running.as_mut().now_or_never().is_none());
        clock.advance(Duration::from_secs(4));
        assert!(running.as_mut().now_or_never().is_none(), "it waits at least half of the base");
        clock.advance(Duration::from_secs(20));
    }
    assert_eq!(running.now_or_never().unwrap().unwrap(), 2);
    assert_eq!(calls.load(Ordering::SeqCst), 3);

    let (wrong, calls) = fails(9, ErrorKind::InvalidInput);
    let chain = wrong.retry(Backoff::new(Arc::new(ManualClock::new())));
    assert!(chain.run(()).now_or_never().unwrap().is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn retry_stops_before_the_deadline() {
    let clock = ManualClock::new();
    let (flaky, calls) = fails(9, ErrorKind::Unavailable);
    let chain = flaky.retry(
        Backoff::new(Arc::new(clock))
            .with_base(Duration::from_secs(3600))
            .with_cap(Duration::from_secs(3600)),
    );
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let run = Run::new().with_context(Context::new().with_deadline(deadline));
    let error = chain.run_with((), run).now_or_never().unwrap().unwrap_err();
    assert_eq!((error.kind(), calls.load(Ordering::SeqCst)), (ErrorKind::Unavailable, 1));
}

#[test]
fn timeout_ends_what_hangs() {
    let clock = ManualClock::new();
    let hangs = func(async |(), _run| {
        std::future::pending::<()>().await;
        Ok(())
    });
    let chain = hangs.timeout(Duration::from_secs(5), Arc::new(clock.clone()));
    let mut running = chain.run(());
    assert!(running.as_mut().now_or_never().is_none());
    clock.advance(Duration::from_secs(5));
    assert_eq!(running.now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn the_parts_inside_see_the_time_limit() {
    let sees = func(async |(), run: Run| Ok(run.context().deadline.is_some()));
    let chain = sees.timeout(Duration::from_secs(5), Arc::new(ManualClock::new()));
    assert!(chain.run(()).now_or_never().unwrap().unwrap());
}

struct Pair {
    length: usize,
    loud: String,
}

#[test]
fn parallel_fills_a_struct() {
    let chain = parallel!(Pair {
        length: func(async |t: String, _run| Ok(t.len())),
        loud: func(async |t: String, _run| Ok(t.to_uppercase())),
    });
    let pair = chain.run("abc").now_or_never().unwrap().unwrap();
    assert_eq!((pair.length, pair.loud.as_str()), (3, "ABC"));
}

#[test]
fn a_panic_is_an_error_of_its_step() {
    let chain = func(async |(), run: Run| {
        run.step("shaky", async |_run| if true { panic!("oh no") } else { Ok(()) }).await
    });
    let error = chain.run(()).now_or_never().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.context("step")), (ErrorKind::Unexpected, Some("shaky")));
    assert!(error.message().contains("oh no"));
}

#[test]
fn a_report_has_usage_steps_and_quiet_calls() {
    let model = ScriptedChat::texts(["a b", "c d e"]);
    let inner = func({
        let model = model.clone();
        move |q: String, run: Run| {
            let model = model.clone();
            async move {
                let request = katena_core::ChatRequest::new([katena_core::Message::user(q)]);
                let first = run
                    .step("condense", |run| async move { run.quiet().chat(&model, request).await })
                    .await?;
                run.emit(Event::Custom { name: "question".into(), value: first.text().into() }).await;
                Ok(first.text())
            }
        }
    });
    let report = inner.chat(model).text().reported().run("x").now_or_never().unwrap().unwrap();
    assert_eq!(report.output, "c d e");
    assert_eq!(report.usage.output_tokens, Some(5));
    let names: Vec<_> = report.steps.iter().map(|s| (s.name.as_str(), s.ok)).collect();
    assert_eq!(
        names,
        [("run", None), ("condense", Some(true)), ("scripted", Some(true)), ("scripted", Some(true))]
    );
    assert_eq!(report.notes("reply").collect::<Vec<_>>(), ["a b", "c d e"]);
    assert_eq!(report.steps[0].note("question").unwrap(), "a b");
    assert_eq!(report.steps[2].parent, report.steps[1].id);
}

#[test]
fn nested_reports_count_in_the_outer_one_too() {
    let inner =
        func(async |q: String, _run| Ok(q)).chat(ScriptedChat::texts(["one", "two"])).text().reported();
    let both = inner.map(|r| r.output).reported();
    let report = both.run("x").now_or_never().unwrap().unwrap();
    assert_eq!(report.usage.output_tokens, Some(1));
    assert_eq!(report.notes("reply").count(), 1);
}
