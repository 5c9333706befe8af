use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::{EchoChat, FlakyChat, HashEmbedder, ScriptedChat};
use katena_core::{ChatModelExt as _, EmbedderExt as _, FinishReason, Message};

use super::*;

fn request() -> ChatRequest {
    ChatRequest::new([Message::user("a b")])
}

#[expect(clippy::unnecessary_wraps, reason = "a line of a script")]
fn answer(text: &str) -> Result<ChatResponse> {
    Ok(ChatResponse::new(Message::assistant(text), FinishReason::Stop))
}

fn fails(kind: ErrorKind) -> ScriptedChat {
    ScriptedChat::new([Err(Error::new(kind, "no"))])
}

/// A fake under another name.
#[derive(Debug)]
struct As<M>(M, ModelInfo);

#[async_trait]
impl<M: ChatModel> ChatModel for As<M> {
    fn info(&self) -> &ModelInfo {
        &self.1
    }
    async fn generate(&self, request: &ChatRequest) -> Result<ChatResponse> {
        self.0.generate(request).await
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        self.0.stream(request).await
    }
}

fn named<M: ChatModel>(vendor: &str, model: &str, inner: M) -> As<M> {
    let info = ModelInfo::new(vendor, model).with_capabilities(inner.info().capabilities);
    As(inner, info)
}

#[test]
fn what_moves_on_and_what_does_not() {
    use ErrorKind::*;
    for (kind, moves) in [
        (RateLimited, true),
        (QuotaExceeded, true),
        (Timeout, true),
        (Unavailable, true),
        (Config, false),
        (InvalidInput, false),
        (Unauthenticated, false),
        (PermissionDenied, false),
        (NotFound, false),
        (ContextTooLong, false),
        (Refused, false),
        (InvalidOutput, false),
        (Unsupported, false),
        (Budget, false),
        (Tool, false),
        (Cancelled, false),
        (Unexpected, false),
    ] {
        let ask = |fallback: Fallback<dyn ChatModel>| {
            fails(kind).layer(fallback).generate(&request()).now_or_never().unwrap()
        };
        assert_eq!(ask(Fallback::chat(EchoChat::new())).is_ok(), moves, "{kind}");
        assert!(ask(Fallback::chat(EchoChat::new()).also_on(kind)).is_ok());
    }
    let stubborn = Error::new(ErrorKind::Unavailable, "no").with_temporary(false);
    let model = ScriptedChat::new([Err(stubborn)]).layer(Fallback::chat(EchoChat::new()));
    assert!(model.generate(&request()).now_or_never().unwrap().is_ok(), "not again there, but elsewhere");
}

#[test]
fn the_answer_says_who_gave_it_streamed_or_not() {
    let model = named("a", "one", FlakyChat::new(EchoChat::new(), 2)).layer(Fallback::chat(named(
        "b",
        "two",
        EchoChat::new(),
    )));
    let whole = model.generate(&request()).now_or_never().unwrap().unwrap();
    let stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    let events: Vec<_> = stream.collect::<Vec<_>>().now_or_never().unwrap();
    let Some(Ok(ChatEvent::Finished(streamed))) = events.last() else { panic!("{events:?}") };
    for response in [whole, (**streamed).clone()] {
        assert_eq!((response.vendor.as_deref(), response.model.as_deref()), (Some("b"), Some("two")));
    }
    let own = model.generate(&request()).now_or_never().unwrap().unwrap();
    assert_eq!(own.vendor.as_deref(), Some("a"), "the first one is well again");
}

#[test]
fn a_streams_failure_after_its_first_event_stays() {
    let flaky = FlakyChat::new(EchoChat::new(), 1).with_failures_mid_stream();
    let model = flaky.layer(Fallback::chat(EchoChat::new()));
    let stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    let events: Vec<_> = stream.collect::<Vec<_>>().now_or_never().unwrap();
    assert!(events.len() == 2 && events[1].is_err());
}

#[test]
fn if_all_fail_the_last_error_names_those_before() {
    let model = named("a", "one", fails(ErrorKind::RateLimited)).layer(
        Fallback::chat(named("b", "two", fails(ErrorKind::Unavailable)))
            .or(fails(ErrorKind::Unauthenticated)),
    );
    let error = model.generate(&request()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(error.context("tried_before"), Some("a/one: rate_limited, b/two: unavailable"));
}

#[test]
fn nothing_moves_on_after_the_signal_or_the_deadline() {
    let second = ScriptedChat::new([answer("never")]);
    let model = fails(ErrorKind::Unavailable).layer(Fallback::chat(second.clone()));
    let cancelled = request();
    cancelled.context.cancel.cancel();
    assert!(model.generate(&cancelled).now_or_never().unwrap().is_err());
    let late = request().with_context(Context::new().with_deadline(std::time::Instant::now()));
    assert!(model.generate(&late).now_or_never().unwrap().is_err());
    assert!(second.requests().is_empty());
}

#[test]
fn abilities_are_those_of_all_and_more_is_unsupported() {
    let small = ChatCapabilities::none().with_stop().with_tools();
    let first = EchoChat::new();
    let all = first.info().capabilities;
    let second =
        As(EchoChat::new(), ModelInfo::new("b", "two").with_capabilities(small).with_context_tokens(100));
    let model = first.layer(Fallback::chat(second));
    assert_eq!(model.info().capabilities, all.common(small));
    assert_eq!(model.info().context_tokens, Some(100));
    let error = model.generate(&request().with_seed(1)).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(model.generate(&request().with_stop(["b"])).now_or_never().unwrap().is_ok());
}

#[test]
fn embedders_of_another_space_are_a_config_error() {
    let texts = EmbedRequest::documents(["a"]);
    let same = HashEmbedder::new(8).layer(Fallback::embedder(HashEmbedder::new(8)));
    assert!(same.embed(&texts).now_or_never().unwrap().is_ok());
    let other = HashEmbedder::new(8).layer(Fallback::embedder(HashEmbedder::new(16)));
    let error = other.embed(&texts).now_or_never().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.context("other")), (ErrorKind::Config, Some("hash-16")));
}
