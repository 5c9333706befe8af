use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::{EchoChat, FlakyChat, HashEmbedder, ScriptedChat};
use katena_core::{
    ChatModel, ChatModelExt as _, ChatResponse, Clock, EmbedRequest, Embedder as _, EmbedderExt as _,
    FinishReason, Labels, ManualClock, Message,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn request() -> ChatRequest {
    ChatRequest::new([Message::user("hello")])
}

fn of(tenant: &str) -> ChatRequest {
    request().with_context(Context::new().with_labels(Labels::new().with("tenant", tenant)))
}

fn limit(limit: PerMinute) -> (ManualClock, RateLimit) {
    let clock = ManualClock::new();
    (clock.clone(), RateLimit::new(limit).with_clock(Arc::new(clock) as Arc<dyn Clock>))
}

#[test]
fn no_minute_has_more_than_the_limit() {
    let (clock, limit) = limit(PerMinute::requests(7));
    let model = EchoChat::new().layer(limit);
    let request = request();
    let mut calls: Vec<_> = (0..40).map(|_| Some(model.generate(&request))).collect();
    let mut begun = Vec::new();
    for second in 0..400_i64 {
        for (number, call) in calls.iter_mut().enumerate() {
            if call.as_mut().is_some_and(|c| c.now_or_never().is_some()) {
                *call = None;
                begun.push((second, number));
            }
        }
        clock.advance(SECOND);
    }
    assert!(begun.iter().map(|b| b.1).eq(0..40), "in the order of asking, all of them: {begun:?}");
    for window in begun.windows(8) {
        assert!(window[7].0 - window[0].0 >= 60, "{window:?}");
    }
    assert_eq!(begun.last().unwrap().0, 300, "and no later than need be");
}

#[test]
fn who_goes_away_leaves_no_hole() {
    let (clock, limit) = limit(PerMinute::requests(1));
    let model = EchoChat::new().layer(limit);
    assert!(model.generate(&request()).now_or_never().unwrap().is_ok());
    let (cancelled, dropped, other) = (request(), request(), request());
    let mut calls = [model.generate(&cancelled), model.generate(&dropped), model.generate(&other)];
    assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()));
    cancelled.context.cancel.cancel();
    let [mut first, second, third] = calls;
    assert_eq!((&mut first).now_or_never().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    drop(second);
    clock.advance(SECOND * 60);
    assert!(third.now_or_never().unwrap().is_ok());
}

#[test]
fn a_wait_beyond_deadline_or_longest_wait_is_refused_at_once() {
    let (clock, limit) = limit(PerMinute::requests(2));
    let model = EchoChat::new().layer(limit.clone());
    for _ in 0..2 {
        assert!(model.generate(&request()).now_or_never().unwrap().is_ok());
    }
    let late = request().with_context(Context::new().with_deadline(clock.now() + SECOND * 59));
    let error = model.generate(&late).now_or_never().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(SECOND * 60)));

    let waiting = request();
    let mut calls: Vec<_> = (0..4).map(|_| model.generate(&waiting)).collect();
    assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()));
    let impatient = EchoChat::new().layer(limit.with_max_wait(SECOND * 100));
    let error = impatient.generate(&request()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.retry_after(), Some(SECOND * 180), "four wait already: two minutes' worth");
}

#[test]
fn each_key_has_its_own_account_and_limit() {
    let (_, limit) = limit(PerMinute::requests(1));
    let limit = limit.with_key_label("tenant").with_limit_of("gold", PerMinute::requests(3));
    let model = EchoChat::new().layer(limit.with_max_wait(Duration::ZERO));
    let allowed =
        |tenant: &str| (0..5).filter(|_| model.generate(&of(tenant)).now_or_never().unwrap().is_ok()).count();
    assert_eq!([allowed("a"), allowed("b"), allowed("gold"), allowed("a")], [1, 1, 3, 0]);
    let unlabelled = model.generate(&request()).now_or_never().unwrap();
    assert!(unlabelled.is_ok() && model.generate(&request()).now_or_never().unwrap().is_err());
}

#[test]
fn accounts_of_keys_that_went_away_are_forgotten() {
    let (clock, limit) = limit(PerMinute::requests(1));
    let limit = limit.with_key_label("tenant");
    let model = EchoChat::new().layer(limit.clone());
    for n in 0..20_000 {
        assert!(model.generate(&of(&n.to_string())).now_or_never().unwrap().is_ok());
        clock.advance(SECOND);
    }
    assert!(limit.lanes.len() <= 1100, "{}", limit.lanes.len());
}

#[test]
fn tokens_are_estimated_before_and_put_right_after() {
    let (clock, limit) = limit(PerMinute::tokens(1000));
    let limit = limit.with_estimate(|_| 100).with_output_estimate(500).with_max_wait(Duration::ZERO);
    let answer = |used| {
        Ok(ChatResponse::new(Message::assistant("hi"), FinishReason::Stop).with_usage(Usage::new(100, used)))
    };
    let model = ScriptedChat::new([answer(100), answer(700), answer(1)]).layer(limit);
    assert!(model.generate(&request()).now_or_never().unwrap().is_ok(), "600 of 1000");
    assert!(model.generate(&request()).now_or_never().unwrap().is_ok(), "it was 200, so 800 of 1000");
    let error = model.generate(&request()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.context("layer"), Some("rate_limit"), "it was 1000");
    clock.advance(SECOND * 60);
    assert!(model.generate(&request()).now_or_never().unwrap().is_ok());
}

#[test]
fn tokens_given_back_let_the_next_one_go() {
    let (_, limit) = limit(PerMinute::tokens(1000));
    let limit = limit.with_estimate(|_| 0).with_output_estimate(1000);
    let model = EchoChat::new().layer(limit);
    let mut stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    let other = request().with_max_tokens(900);
    let mut waiting = model.generate(&other);
    assert!((&mut waiting).now_or_never().is_none());
    while stream.next().now_or_never().unwrap().is_some() {}
    assert!(waiting.now_or_never().unwrap().is_ok(), "the usage of the finished stream was 2");
}

#[test]
fn a_dropped_stream_counts_what_had_come() {
    let (_, limit) = limit(PerMinute::tokens(1000));
    let limit = limit.with_estimate(|_| 100).with_output_estimate(900).with_max_wait(Duration::ZERO);
    let model = EchoChat::new().layer(limit);
    let mut stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    assert!(stream.next().now_or_never().unwrap().unwrap().is_ok());
    assert!(model.generate(&request().with_max_tokens(100)).now_or_never().unwrap().is_err());
    drop(stream);
    assert!(model.generate(&request().with_max_tokens(800)).now_or_never().unwrap().is_ok());
}

#[test]
fn a_refused_call_used_no_tokens_but_a_cut_one_may_have() {
    for (error, free) in [
        (Error::new(ErrorKind::Unavailable, "no").with_status(503), true),
        (Error::new(ErrorKind::Unavailable, "cut"), false),
    ] {
        let (_, limit) = limit(PerMinute::tokens(1000));
        let limit = limit.with_estimate(|_| 1).with_output_estimate(600).with_max_wait(Duration::ZERO);
        let model = FlakyChat::new(EchoChat::new(), 1).with_error(error).layer(limit);
        assert!(model.generate(&request()).now_or_never().unwrap().is_err());
        assert_eq!(model.generate(&request()).now_or_never().unwrap().is_ok(), free);
    }
}

#[test]
fn what_is_larger_than_the_limit_waits_for_an_empty_minute() {
    let (clock, limit) = limit(PerMinute::tokens(100));
    let model = EchoChat::new().layer(limit.with_estimate(|_| 0).with_output_estimate(40));
    assert!(model.generate(&request()).now_or_never().unwrap().is_ok());
    let huge = request().with_max_tokens(5000);
    let mut call = model.generate(&huge);
    assert!((&mut call).now_or_never().is_none());
    clock.advance(SECOND * 60);
    assert!(call.now_or_never().unwrap().is_ok());
}

#[test]
fn a_limit_of_zero_refuses_for_good() {
    let (_, limit) = limit(PerMinute::requests(0));
    let error = EchoChat::new().layer(limit).generate(&request()).now_or_never().unwrap().unwrap_err();
    assert!(error.kind() == ErrorKind::RateLimited && !error.is_temporary());
}

#[test]
fn absurd_usage_does_not_overflow() {
    let (clock, limit) = limit(PerMinute::tokens(1000));
    let answer = ChatResponse::new(Message::assistant("hi"), FinishReason::Stop)
        .with_usage(Usage::new(u64::MAX, u64::MAX));
    let model = ScriptedChat::new(vec![Ok(answer); 3]).layer(limit.with_output_estimate(u64::MAX));
    for _ in 0..3 {
        assert!(model.generate(&request()).now_or_never().unwrap().is_ok());
        clock.advance(SECOND * 60);
    }
}

#[test]
fn an_embedder_has_tokens_too() {
    let (_, limit) = limit(PerMinute::tokens(1000));
    let embedder = HashEmbedder::new(8).layer(limit.with_max_wait(Duration::ZERO));
    let texts = EmbedRequest::documents(["x".repeat(2000)]);
    let allowed = (0..3).map(|_| embedder.embed(&texts).now_or_never().unwrap().is_ok());
    assert_eq!(allowed.collect::<Vec<_>>(), [true, true, false], "500 tokens each, by estimate");
}
