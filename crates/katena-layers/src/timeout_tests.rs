use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;
use katena_core::fake::EchoChat;
use katena_core::{
    ChatModel, ChatModelExt as _, ChatRequest, ChatResponse, Clock, ManualClock, Message, ModelInfo, Part,
    PartKind,
};
use tokio::sync::mpsc;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Never answers; its streams give what is sent to them.
#[derive(Debug, Default)]
struct Slow {
    echo: EchoChat,
    events: std::sync::Mutex<Option<mpsc::UnboundedReceiver<Result<ChatEvent>>>>,
}

#[async_trait]
impl ChatModel for Slow {
    fn info(&self) -> &ModelInfo {
        self.echo.info()
    }
    async fn generate(&self, _: &ChatRequest) -> Result<ChatResponse> {
        std::future::pending().await
    }
    async fn stream(&self, _: &ChatRequest) -> Result<ChatStream> {
        let events = self.events.lock().unwrap().take();
        match events {
            Some(events) => {
                Ok(stream::unfold(events, async |mut e| e.recv().await.map(|event| (event, e))).boxed())
            }
            None => std::future::pending().await,
        }
    }
}

type Sender = mpsc::UnboundedSender<Result<ChatEvent>>;

fn slow(timeout: Timeout) -> (ManualClock, Arc<dyn ChatModel>, Sender) {
    let clock = ManualClock::new();
    let (sender, events) = mpsc::unbounded_channel();
    let model = Slow { events: std::sync::Mutex::new(Some(events)), ..Slow::default() };
    let timeout = timeout.with_clock(Arc::new(clock.clone()) as Arc<dyn Clock>);
    (clock, model.layer(timeout), sender)
}

fn request() -> ChatRequest {
    ChatRequest::new([Message::user("hello")])
}

fn start() -> ChatEvent {
    ChatEvent::start(0, PartKind::Text)
}

#[test]
fn a_call_ends_at_the_total() {
    let (clock, model, _sender) = slow(Timeout::total(SECOND * 5));
    let request = request();
    let mut call = model.generate(&request);
    assert!((&mut call).now_or_never().is_none());
    clock.advance(SECOND * 4);
    assert!((&mut call).now_or_never().is_none());
    clock.advance(SECOND);
    let error = call.now_or_never().unwrap().unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && error.is_temporary(), "{error:?}");
}

#[test]
fn the_deadline_ends_a_call_for_good() {
    let (clock, model, _sender) = slow(Timeout::total(SECOND * 5));
    let request = request().with_context(Context::new().with_deadline(clock.now() + SECOND));
    let mut call = model.generate(&request);
    assert!((&mut call).now_or_never().is_none());
    clock.advance(SECOND);
    let error = call.now_or_never().unwrap().unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && !error.is_temporary(), "{error:?}");
}

#[test]
fn a_silent_stream_ends_and_a_slow_one_does_not() {
    let (clock, model, sender) = slow(Timeout::idle(SECOND * 10));
    let mut stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    sender.send(Ok(start())).unwrap();
    for _ in 0..20 {
        assert!(stream.next().now_or_never().unwrap().unwrap().is_ok());
        assert!(stream.next().now_or_never().is_none());
        clock.advance(SECOND * 9);
        assert!(stream.next().now_or_never().is_none());
        sender.send(Ok(ChatEvent::delta(0, "word "))).unwrap();
    }
    assert!(stream.next().now_or_never().unwrap().unwrap().is_ok());
    assert!(stream.next().now_or_never().is_none());
    clock.advance(SECOND * 10);
    let error = stream.next().now_or_never().unwrap().unwrap().unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && error.is_temporary(), "{error:?}");
    assert!(stream.next().now_or_never().unwrap().is_none(), "an error is the end");
    assert!(sender.is_closed(), "the call behind it is over");
}

#[test]
fn a_slow_consumer_is_no_silent_vendor() {
    let (clock, model, sender) = slow(Timeout::idle(SECOND * 10));
    let mut stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    sender.send(Ok(start())).unwrap();
    assert!(stream.next().now_or_never().unwrap().unwrap().is_ok());
    clock.advance(SECOND * 3600);
    assert!(stream.next().now_or_never().is_none(), "the wait begins with the consumer's");
    clock.advance(SECOND * 3600);
    sender.send(Ok(ChatEvent::delta(0, "word"))).unwrap();
    assert!(stream.next().now_or_never().unwrap().unwrap().is_ok(), "data before the clock");
}

#[test]
fn a_stream_that_does_not_begin_ends() {
    let (clock, model, _sender) = slow(Timeout::idle(SECOND * 10));
    drop(model.stream(&request()).now_or_never().unwrap());
    let request = request();
    let mut opening = model.stream(&request);
    assert!((&mut opening).now_or_never().is_none());
    clock.advance(SECOND * 10);
    assert_eq!(opening.now_or_never().unwrap().err().unwrap().kind(), ErrorKind::Timeout);
}

#[test]
fn a_streams_own_total_and_deadline_hold_though_events_come() {
    for own in [true, false] {
        let timeout = Timeout::idle(SECOND * 10);
        let timeout = if own { timeout.with_stream_total(SECOND * 30) } else { timeout };
        let (clock, model, sender) = slow(timeout);
        let context = Context::new().with_deadline(clock.now() + SECOND * if own { 60 } else { 30 });
        let mut stream = model.stream(&request().with_context(context)).now_or_never().unwrap().unwrap();
        sender.send(Ok(start())).unwrap();
        let mut seconds = 0;
        let error = loop {
            match stream.next().now_or_never().unwrap().unwrap() {
                Ok(_) => sender.send(Ok(ChatEvent::delta(0, "word "))).unwrap(),
                Err(error) => break error,
            }
            clock.advance(SECOND);
            seconds += 1;
        };
        assert_eq!((seconds, error.kind(), error.is_temporary()), (30, ErrorKind::Timeout, own));
    }
}

#[test]
fn what_has_come_in_time_is_not_lost() {
    let (clock, model, sender) = slow(Timeout::idle(SECOND).with_stream_total(SECOND * 2));
    let mut stream = model.stream(&request()).now_or_never().unwrap().unwrap();
    let answer = ChatResponse::new(Message::assistant(""), katena_core::FinishReason::Stop);
    for event in [start(), ChatEvent::end(0, Part::text("")), ChatEvent::Finished(Box::new(answer))] {
        sender.send(Ok(event)).unwrap();
    }
    assert_eq!(stream.by_ref().take(2).collect::<Vec<_>>().now_or_never().unwrap().len(), 2);
    clock.advance(SECOND * 60);
    assert!(matches!(stream.next().now_or_never().unwrap(), Some(Ok(ChatEvent::Finished(_)))));
    assert!(stream.next().now_or_never().unwrap().is_none());
}
