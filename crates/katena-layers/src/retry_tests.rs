use std::path::Path;
use std::time::SystemTime;

use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::{EchoChat, FlakyChat, ScriptedChat};
use katena_core::{
    ChatHistory, ChatHistoryExt as _, ChatModel, ChatModelExt as _, ChatRequest, Clock, Context, ErrorKind,
    FnTool, ManualClock, Message, Run, ToolCall,
};
use serde_json::Value;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn request() -> ChatRequest {
    ChatRequest::new([Message::user("a b c")])
}

fn busy() -> Error {
    Error::new(ErrorKind::Unavailable, "busy")
}

fn clock() -> (ManualClock, Arc<dyn Clock>) {
    let clock = ManualClock::new();
    (clock.clone(), Arc::new(clock))
}

/// Moves the clock in small steps until the future is done; says after how long.
fn run<T>(clock: &ManualClock, future: impl Future<Output = T>) -> (T, Duration) {
    let start = clock.now();
    let mut future = std::pin::pin!(future);
    for _ in 0..100_000 {
        if let Some(done) = (&mut future).now_or_never() {
            return (done, clock.now() - start);
        }
        clock.advance(Duration::from_millis(10));
    }
    panic!("the future is never done");
}

#[test]
fn temporary_errors_are_tried_again_and_counted() {
    let (manual, clock) = clock();
    let model = FlakyChat::new(EchoChat::new(), 2).layer(Retry::default().with_clock(clock));
    let (answer, took) = run(&manual, model.generate(&request()));
    assert_eq!(answer.unwrap().attempts, Some(3));
    assert!(took >= SECOND * 9 / 8 && took <= SECOND * 16 / 10, "{took:?}");
}

#[test]
fn the_last_error_comes_with_the_number_of_tries() {
    let (manual, clock) = clock();
    let model = FlakyChat::new(EchoChat::new(), 9).layer(Retry::default().with_clock(clock));
    let error = run(&manual, model.generate(&request())).0.unwrap_err();
    assert_eq!((error.kind(), error.context("attempts")), (ErrorKind::Unavailable, Some("3")));
}

#[test]
fn what_will_not_help_is_not_tried_again() {
    for kind in [
        ErrorKind::QuotaExceeded,
        ErrorKind::InvalidInput,
        ErrorKind::Unauthenticated,
        ErrorKind::PermissionDenied,
        ErrorKind::NotFound,
        ErrorKind::ContextTooLong,
        ErrorKind::Refused,
        ErrorKind::Cancelled,
    ] {
        let inner = ScriptedChat::new([Err(Error::new(kind, "no"))]);
        let model = inner.clone().layer(Retry::default());
        let error = model.generate(&request()).now_or_never().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.context("attempts"), inner.requests().len()), (kind, None, 1));
    }
    let told = busy().with_temporary(false);
    let model = FlakyChat::new(EchoChat::new(), 1).with_error(told).layer(Retry::default());
    assert!(model.generate(&request()).now_or_never().unwrap().is_err(), "x-should-retry: false");
}

#[test]
fn what_a_layer_below_refused_is_not_tried_again() {
    let limit = crate::RateLimit::new(crate::PerMinute::requests(1)).with_max_wait(Duration::ZERO);
    let model = EchoChat::new().layer(limit).layer(Retry::default());
    assert!(model.generate(&request()).now_or_never().unwrap().is_ok());
    let error = model.generate(&request()).now_or_never().expect("no wait").unwrap_err();
    assert!(error.retry_after().is_some() && error.context("attempts") == Some("1"));
}

#[test]
fn x_should_retry_makes_any_error_temporary() {
    let (manual, clock) = clock();
    let told = Error::invalid_input("odd").with_temporary(true);
    let model = FlakyChat::new(EchoChat::new(), 1).with_error(told).layer(Retry::default().with_clock(clock));
    assert_eq!(run(&manual, model.generate(&request())).0.unwrap().attempts, Some(2));
}

#[test]
fn a_wait_that_reaches_the_deadline_fails_at_once() {
    let (manual, clock) = clock();
    let slow = busy().with_retry_after(SECOND * 20);
    let model = FlakyChat::new(EchoChat::new(), 1).with_error(slow).layer(Retry::default().with_clock(clock));
    let context = Context::new().with_deadline(manual.now() + SECOND * 19);
    let request = request().with_context(context);
    let error = model.generate(&request).now_or_never().expect("no wait").unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Unavailable, Some(SECOND * 20)));
    assert_eq!(error.context("attempts"), Some("1"));
}

#[test]
fn the_waits_together_stay_inside_the_deadline() {
    let (manual, clock) = clock();
    let model = FlakyChat::new(EchoChat::new(), 99).layer(Retry::new(50).with_clock(clock));
    let context = Context::new().with_deadline(manual.now() + SECOND * 30);
    let (result, took) = run(&manual, model.generate(&request().with_context(context)));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(took < SECOND * 30, "{took:?}");
}

#[test]
fn cancel_ends_a_wait() {
    let (_, clock) = clock();
    let model = FlakyChat::new(EchoChat::new(), 9).layer(Retry::default().with_clock(clock));
    let request = request();
    let mut call = model.generate(&request);
    assert!((&mut call).now_or_never().is_none());
    request.context.cancel.cancel();
    assert_eq!(call.now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_stream_is_tried_again_before_its_first_event() {
    let (manual, clock) = clock();
    let model = FlakyChat::new(EchoChat::new(), 1).layer(Retry::default().with_clock(clock));
    let stream = run(&manual, model.stream(&request())).0.unwrap();
    let events: Vec<_> = stream.collect::<Vec<_>>().now_or_never().unwrap();
    let Some(Ok(ChatEvent::Finished(answer))) = events.last() else { panic!("{events:?}") };
    assert_eq!((answer.text().as_str(), answer.attempts), ("a b c", Some(2)));
}

#[test]
fn a_stream_is_not_tried_again_after_its_first_event() {
    let (manual, clock) = clock();
    let flaky = FlakyChat::new(EchoChat::new(), 1).with_failures_mid_stream();
    let model = flaky.layer(Retry::default().with_clock(clock));
    let stream = run(&manual, model.stream(&request())).0.unwrap();
    let events: Vec<_> = stream.collect::<Vec<_>>().now_or_never().unwrap();
    assert!(matches!(&events[..], [Ok(ChatEvent::Start { .. }), Err(_)]), "{events:?}");
}

#[test]
fn tools_are_called_again_only_if_asked() {
    let (manual, clock) = clock();
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let tool = || -> Arc<dyn Tool> {
        Arc::new(FnTool::with_state("t", "A tool.", calls.clone(), async |calls, _: Value, _run| match calls
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst)
        {
            0 => Err(busy()),
            _ => Ok("done"),
        }))
    };
    let retry = Retry::default().with_clock(clock);
    let call = ToolCall::new("1", "t", "{}");
    assert!(run(&manual, retry.layer(tool()).call(call.clone(), &Run::new())).0.is_err());
    calls.store(0, std::sync::atomic::Ordering::SeqCst);
    let output = run(&manual, retry.with_tools().layer(tool()).call(call, &Run::new())).0.unwrap();
    assert_eq!(output.text(), "done");
}

/// Fails each method once.
#[derive(Debug, Default)]
struct FlakyHistory(katena_core::fake::InMemoryHistory, Mutex<Vec<&'static str>>);

impl FlakyHistory {
    fn fails(&self, method: &'static str) -> Result<()> {
        let mut seen = self.1.lock().unwrap();
        let first = !seen.contains(&method);
        seen.push(method);
        if first { Err(busy()) } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl ChatHistory for FlakyHistory {
    async fn messages(&self, session: &str) -> Result<Vec<Message>> {
        self.fails("messages")?;
        self.0.messages(session).await
    }
    async fn append(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.0.append(session, messages).await?;
        self.fails("append")
    }
    async fn replace(&self, session: &str, messages: Vec<Message>) -> Result<()> {
        self.fails("replace")?;
        self.0.replace(session, messages).await
    }
    async fn clear(&self, session: &str) -> Result<()> {
        self.fails("clear")?;
        self.0.clear(session).await
    }
    async fn count(&self, session: &str) -> Result<usize> {
        self.fails("count")?;
        self.0.count(session).await
    }
    async fn range(&self, session: &str, range: std::ops::Range<usize>) -> Result<Vec<Message>> {
        self.fails("range")?;
        self.0.range(session, range).await
    }
    async fn sessions(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.fails("sessions")?;
        self.0.sessions(after, limit).await
    }
}

#[test]
fn a_history_appends_once_and_the_rest_is_tried_again() {
    let (manual, clock) = clock();
    let history = FlakyHistory::default().layer(Retry::default().with_clock(clock));
    let turn = || vec![Message::user("hello")];
    assert!(run(&manual, history.append("s", turn())).0.is_err(), "it may have been kept, and was");
    assert_eq!(run(&manual, history.messages("s")).0.unwrap(), turn());
    run(&manual, history.replace("s", [turn(), turn()].concat())).0.unwrap();
    assert_eq!(run(&manual, history.messages("s")).0.unwrap().len(), 2);
    assert_eq!(run(&manual, history.count("s")).0.unwrap(), 2);
    assert_eq!(run(&manual, history.range("s", 1..9)).0.unwrap(), turn());
    assert_eq!(run(&manual, history.sessions(None, 9)).0.unwrap(), ["s"]);
    run(&manual, history.clear("s")).0.unwrap();
}

#[test]
fn delays_do_not_overflow() {
    let retry =
        Retry::new(u32::MAX).with_base(Duration::MAX).with_cap(Duration::MAX).with_hint_cap(Duration::MAX);
    assert!(retry.wait_before(u32::MAX, &busy()).is_some());
    assert!(retry.wait_before(1, &busy().with_retry_after(Duration::MAX)).is_some());
    assert_eq!(Retry::new(0).wait_before(1, &busy()), None);
}

/// The published table of delays; its `should_retry` rows are those of a client that gives up on a long hint.
#[test]
#[expect(clippy::print_stdout, reason = "a skipped test must be seen, and so must what was checked")]
fn the_table_of_retry_after_is_kept() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/retry/retry_table.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let table: Value = serde_json::from_str(&text).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_696_004_797);
    let tolerance = table["tolerance"].as_f64().unwrap();
    let error_of = |millis: Option<&str>, seconds: Option<&str>| {
        let error = Error::new(ErrorKind::RateLimited, "slow down").with_status(429);
        match katena_http::parse_retry_after(millis, seconds, now) {
            Some(hint) => error.with_retry_after(hint),
            None => error,
        }
    };
    let rows = table["retry_after_to_delay"].as_array().unwrap();
    for row in rows {
        let left = row[0].as_i64().unwrap();
        let retry = u32::try_from(3 - left + 1).unwrap();
        let error = error_of(None, row[1].as_str());
        let wait = Retry::new(u32::MAX).wait_before(retry, &error).unwrap().as_secs_f64();
        let wanted = row[2].as_f64().unwrap();
        assert!((wait - wanted).abs() <= wanted * tolerance, "{row}: {wait}");
    }
    let decisions = table["should_retry"].as_array().unwrap();
    for row in decisions {
        let header = |name: &str| row[0].get(name).and_then(Value::as_str);
        let mut error = error_of(header("retry-after-ms"), header("retry-after"));
        if let Some(word) = header("x-should-retry") {
            error = error.with_temporary(word == "true");
        }
        let retry = Retry::default().with_long_hint(LongHint::GiveUp);
        assert_eq!(Value::Bool(retry.wait_before(1, &error).is_some()), row[1], "{row}");
    }
    println!("{} delays and {} decisions", rows.len(), decisions.len());
    assert!(rows.len() >= 20 && decisions.len() >= 5);
}
