use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::{EchoChat, HashEmbedder};
use katena_core::{
    ChatModel as _, ChatModelExt as _, ChatRequest, Clock, EmbedRequest, Embedder as _, EmbedderExt as _,
    ManualClock, Message,
};

use super::*;

fn request() -> ChatRequest {
    ChatRequest::new([Message::user("a b c")])
}

#[test]
fn a_stream_holds_its_permit_until_it_ends() {
    let limit = Concurrency::new(1);
    let model = EchoChat::new().layer(limit.clone());
    let mut stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    let other = request();
    let mut waiting = model.generate(&other);
    let mut last = None;
    while let Some(event) = stream.next().now_or_never().unwrap() {
        if last.is_none() {
            assert!((&mut waiting).now_or_never().is_none());
        }
        last = Some(event.unwrap());
    }
    assert!(matches!(last, Some(katena_core::ChatEvent::Finished(_))));
    assert!(waiting.now_or_never().unwrap().is_ok(), "free though the stream is not dropped");
    assert_eq!(limit.free(), 1);
}

#[test]
fn a_dropped_stream_and_a_dropped_call_free_their_permits() {
    let limit = Concurrency::new(1);
    let model = EchoChat::new().layer(limit.clone());
    let stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    let other = request();
    let mut first = model.generate(&other);
    let mut second = model.generate(&other);
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    drop(first);
    drop(stream);
    assert!(second.now_or_never().unwrap().is_ok(), "who went away leaves no hole");
    assert_eq!(limit.free(), 1);
}

#[test]
fn waiting_ends_by_signal_deadline_and_longest_wait() {
    let clock = ManualClock::new();
    let limit = Concurrency::new(1).with_clock(Arc::new(clock.clone()) as Arc<dyn Clock>);
    let model = EchoChat::new().layer(limit.clone().with_max_wait(Duration::from_secs(9)));
    let _held = model.stream(&request()).now_or_never().unwrap().unwrap();

    let cancelled = request();
    let until = request().with_context(Context::new().with_deadline(clock.now() + Duration::from_secs(5)));
    let patient = request();
    let mut calls = [model.generate(&cancelled), model.generate(&until), model.generate(&patient)];
    assert!(calls.iter_mut().all(|call| call.now_or_never().is_none()));
    cancelled.context.cancel.cancel();
    clock.advance(Duration::from_secs(9));
    let kinds = calls.map(|call| call.now_or_never().unwrap().unwrap_err().kind());
    assert_eq!(kinds, [ErrorKind::Cancelled, ErrorKind::Timeout, ErrorKind::Unavailable]);

    let refusing = EchoChat::new().layer(limit.with_max_wait(Duration::ZERO));
    let error = refusing.generate(&request()).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.context("layer"), Some("concurrency"));
}

#[test]
fn components_under_one_layer_share_its_permits() {
    let limit = Concurrency::new(1);
    let model = EchoChat::new().layer(limit.clone());
    let embedder = HashEmbedder::new(8).layer(limit);
    let stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    let texts = EmbedRequest::documents(["a"]);
    let mut embedding = embedder.embed(&texts);
    assert!((&mut embedding).now_or_never().is_none());
    drop(stream);
    assert!(embedding.now_or_never().unwrap().is_ok());
}
