use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::{EchoChat, ScriptedChat};
use katena_core::{ChatModelExt as _, ChatRequest, ChatResponse, Clock, FinishReason, ManualClock, Message};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

type Seen = Arc<Mutex<Vec<CircuitState>>>;

fn breaker() -> (ManualClock, CircuitBreaker, Seen) {
    let clock = ManualClock::new();
    let seen = Seen::default();
    let heard = seen.clone();
    let breaker = CircuitBreaker::new(0.5)
        .with_min_calls(4)
        .with_clock(Arc::new(clock.clone()) as Arc<dyn Clock>)
        .with_listener(move |state| heard.lock().unwrap().push(state));
    (clock, breaker, seen)
}

fn down() -> Result<ChatResponse> {
    Err(Error::new(ErrorKind::Unavailable, "down"))
}

#[expect(clippy::unnecessary_wraps, reason = "a line of a script")]
fn up() -> Result<ChatResponse> {
    Ok(ChatResponse::new(Message::assistant("up"), FinishReason::Stop))
}

fn request() -> ChatRequest {
    ChatRequest::new([Message::user("hello")])
}

fn ask(model: &dyn ChatModel) -> Result<ChatResponse> {
    model.generate(&request()).now_or_never().unwrap()
}

fn is_open(result: &Result<ChatResponse>) -> bool {
    result.as_ref().is_err_and(|e| e.context("layer") == Some("circuit_breaker"))
}

#[test]
fn it_opens_looks_again_and_closes() {
    let (clock, breaker, seen) = breaker();
    let inner = ScriptedChat::new([up(), up(), down(), down(), down(), up(), up()]);
    let model = inner.clone().layer(breaker);
    for open in [false, false, false, false, true, true] {
        assert_eq!(is_open(&ask(&*model)), open);
    }
    let error = ask(&*model).unwrap_err();
    assert_eq!((error.retry_after(), error.is_temporary()), (Some(SECOND * 30), true));
    assert_eq!(inner.requests().len(), 4, "an open circuit calls nothing");
    clock.advance(SECOND * 30);
    assert!(!is_open(&ask(&*model)), "the probe, which fails");
    assert!(is_open(&ask(&*model)));
    clock.advance(SECOND * 30);
    assert!(ask(&*model).is_ok() && ask(&*model).is_ok());
    use CircuitState::*;
    assert_eq!(*seen.lock().unwrap(), [Open, HalfOpen, Open, HalfOpen, Closed]);
}

#[test]
fn one_probe_at_a_time_and_a_dropped_one_leaves_its_place() {
    let (clock, breaker, _) = breaker();
    let model = ScriptedChat::new(vec![down(); 4].into_iter().chain([up(), up()])).layer(breaker);
    for _ in 0..4 {
        assert!(!is_open(&ask(&*model)));
    }
    clock.advance(SECOND * 30);
    let probe = model.stream(&request()).now_or_never().unwrap().unwrap();
    assert!(is_open(&ask(&*model)) && is_open(&ask(&*model)));
    drop(probe);
    let mut probe = model.stream(&request()).now_or_never().unwrap().unwrap();
    assert!(probe.next().now_or_never().unwrap().unwrap().is_ok());
    assert!(is_open(&ask(&*model)));
    drop(probe);
    assert!(!is_open(&ask(&*model)), "a probe that had begun to answer was good");
}

#[test]
fn only_temporary_errors_count_and_only_those_of_the_window() {
    let (clock, breaker, _) = breaker();
    let bad_request = || Err(Error::invalid_input("no").with_status(400));
    let script = std::iter::repeat_with(bad_request).take(50);
    let model = ScriptedChat::new(script).layer(breaker.clone());
    assert!((0..50).all(|_| !is_open(&ask(&*model))));

    let model = ScriptedChat::new(vec![down(); 50]).layer(breaker.clone());
    for _ in 0..50 {
        assert!(!is_open(&ask(&*model)), "never four in 30 s");
        clock.advance(SECOND * 11);
    }
    let cancelled = || Err(Error::cancelled());
    let model = ScriptedChat::new(std::iter::repeat_with(cancelled).take(50)).layer(breaker);
    assert!((0..50).all(|_| !is_open(&ask(&*model))));
}

#[test]
fn a_deadline_that_passed_is_not_the_components_fault() {
    let (clock, breaker, _) = breaker();
    let late = || Err(Error::new(ErrorKind::Timeout, "too late"));
    let model = ScriptedChat::new(std::iter::repeat_with(late).take(50)).layer(breaker);
    let deadline = clock.now() + SECOND;
    clock.advance(SECOND);
    let request = request().with_context(Context::new().with_deadline(deadline));
    for _ in 0..20 {
        assert!(!is_open(&model.generate(&request).now_or_never().unwrap()));
    }
    for open in [false, false, false, false, true] {
        assert_eq!(is_open(&ask(&*model)), open, "without a deadline it is");
    }
}

#[test]
fn streams_count_by_how_they_end() {
    let (_, breaker, seen) = breaker();
    let flaky = katena_core::fake::FlakyChat::new(EchoChat::new(), 4).with_failures_mid_stream();
    let model = flaky.layer(breaker);
    for _ in 0..4 {
        assert!(seen.lock().unwrap().is_empty());
        let stream = model.stream(&request()).now_or_never().unwrap().unwrap();
        assert!(stream.collect::<Vec<_>>().now_or_never().unwrap().last().unwrap().is_err());
    }
    assert_eq!(*seen.lock().unwrap(), [CircuitState::Open]);
}

#[test]
fn each_component_has_its_own_circuit() {
    let (_, breaker, _) = breaker();
    let broken = ScriptedChat::new(vec![down(); 9]).layer(breaker.clone());
    let fine = EchoChat::new().layer(breaker);
    for _ in 0..9 {
        drop(ask(&*broken));
    }
    assert!(is_open(&ask(&*broken)) && ask(&*fine).is_ok());
}
