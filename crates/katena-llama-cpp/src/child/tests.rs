//! Both ends against a hostile other end. Real engines under load are in `tests/child.rs`.

use std::io::{BufReader, Write};
use std::time::Instant;

use futures_util::StreamExt;
use katena_core::{
    Cancel, ChatEvent, ChatModel, ChatRequest, Context, EmbedderInfo, ErrorKind, Message, ModelInfo,
};
use katena_testkit::tiny::tiny_llama;

use super::process::{Socket, own_socket};
use super::serve::serve_on;
use super::wire::{self, Call, ENGINE, Engine, Event, Info, Order, PROTOCOL, Reply, Word};
use super::*;
use crate::LlamaOptions;

fn hello() -> ChatRequest {
    ChatRequest::new([Message::user("hello")]).with_temperature(0.0).with_max_tokens(4)
}

fn options() -> LlamaOptions {
    LlamaOptions::new().with_threads(1).with_context_tokens(256)
}

fn load(path: PathBuf) -> Order {
    Order::Load { protocol: PROTOCOL, engine: Box::new(Engine::Chat { path, options: options() }) }
}

/// A frame of any bytes.
fn raw(id: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = ((body.len() + 8) as u32).to_le_bytes().to_vec();
    frame.extend(id.to_le_bytes());
    frame.extend(body);
    frame
}

/// The next word about `id`.
fn hear(reader: &mut BufReader<Socket>, id: u64) -> Word {
    loop {
        let frame = wire::read(reader).unwrap().expect("the engine lives");
        if frame.id == id {
            match frame.decode().unwrap() {
                Word::Progress(part) => assert!((0.0..=1.0).contains(&part)),
                word => return word,
            }
        }
    }
}

#[test]
fn an_engine_survives_frames_that_make_no_sense() {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny_llama(folder.path());
    let (mut ours, theirs) = Socket::pair().unwrap();
    let (told, ended) = std::sync::mpsc::channel();
    let engine = std::thread::spawn(move || serve_on(theirs, move || told.send(()).unwrap()));
    let mut reader = BufReader::new(ours.try_clone().unwrap());
    ours.write_all(&wire::encode(ENGINE, &load(path.clone())).unwrap()).unwrap();
    assert!(matches!(hear(&mut reader, ENGINE), Word::Ready(Info::Chat(_))));

    for (id, body) in [
        (5, &b"{"[..]),
        (6, b""),
        (7, b"{\"Call\":{\"call\":{\"Generate\":{\"messages\":7}},\"millis\":null}}"),
        (8, b"\"Dance\""),
        (9, b"\xff\xfe\x00"),
        (10, "[".repeat(100_000).as_bytes()),
        (11, b"{\"Call\":{\"call\":{\"Embed\":{\"texts\":[],\"role\":\"document\"}},\"millis\":1000}}"),
        (12, serde_json::to_string(&load(path)).unwrap().as_bytes()),
    ] {
        ours.write_all(&raw(id, body)).unwrap();
        let Word::Failed(failure) = hear(&mut reader, id) else { panic!("frame {id}") };
        assert_eq!(failure.into_error().kind(), ErrorKind::InvalidInput, "frame {id}");
    }
    // Too long, but all there.
    let long = wire::MAX_FRAME + 9;
    ours.write_all(&raw(13, &vec![b' '; long])).unwrap();
    assert!(matches!(hear(&mut reader, 13), Word::Failed(_)));
    // About calls that there are not.
    for order in [Order::Cancel, Order::Credit { events: u32::MAX }] {
        ours.write_all(&wire::encode(99, &order).unwrap()).unwrap();
    }
    // A call of the engine's own number, and one twice.
    let call = || Order::Call { call: Call::Stream(Box::new(hello().with_max_tokens(200))), millis: None };
    ours.write_all(&wire::encode(ENGINE, &call()).unwrap()).unwrap();
    assert!(matches!(hear(&mut reader, ENGINE), Word::Failed(_)));
    ours.write_all(&wire::encode(20, &call()).unwrap()).unwrap();
    ours.write_all(&wire::encode(20, &Order::Credit { events: u32::MAX }).unwrap()).unwrap();
    assert!(matches!(hear(&mut reader, 20), Word::Event(Event::Start { .. })));
    ours.write_all(&wire::encode(20, &Order::Cancel).unwrap()).unwrap();
    // It still answers.
    let call = Order::Call { call: Call::Generate(Box::new(hello())), millis: Some(60_000) };
    ours.write_all(&wire::encode(21, &call).unwrap()).unwrap();
    assert!(matches!(hear(&mut reader, 21), Word::Reply(Reply::Response(_))));
    drop((ours, reader));
    engine.join().unwrap().unwrap();
    ended.recv().unwrap();
}

#[test]
fn an_engine_without_a_model_to_load_ends() {
    for first in [raw(0, b"{"), raw(0, b"\"Cancel\""), raw(0, b""), vec![1, 0, 0, 0], Vec::new()] {
        let (mut ours, theirs) = Socket::pair().unwrap();
        ours.write_all(&first).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(serve_on(theirs, || {}).is_err());
    }
    let (mut ours, theirs) = Socket::pair().unwrap();
    let other = Order::Load {
        protocol: PROTOCOL + 1,
        engine: Box::new(Engine::Chat { path: "x".into(), options: options() }),
    };
    ours.write_all(&wire::encode(ENGINE, &other).unwrap()).unwrap();
    assert_eq!(serve_on(theirs, || {}).unwrap_err().kind(), ErrorKind::Config);
    // A missing model is told to the other side.
    let (mut ours, theirs) = Socket::pair().unwrap();
    ours.write_all(&wire::encode(ENGINE, &load("/nowhere.gguf".into())).unwrap()).unwrap();
    serve_on(theirs, || {}).unwrap();
    let Word::Refused(failure) = hear(&mut BufReader::new(ours), ENGINE) else { panic!("refused") };
    assert_eq!(failure.into_error().kind(), ErrorKind::NotFound);
}

/// What the process of a hostile engine does.
const PLAY: &str = "KATENA_TEST_PLAY";

/// Not a test of its own: an engine that does what [`PLAY`] says.
#[test]
fn a_hostile_engine() {
    let Ok(play) = std::env::var(PLAY) else { return };
    let socket = own_socket().unwrap();
    let mut out = socket.try_clone().unwrap();
    let mut reader = BufReader::new(socket);
    let mut say = |frame: &[u8]| drop(out.write_all(frame));
    let word = |id, word| wire::encode(id, &word).unwrap();
    let ready = || word(ENGINE, Word::Ready(Info::Chat(ModelInfo::new("test", "hostile"))));
    let first = wire::read(&mut reader).unwrap().unwrap();
    assert!(matches!(first.decode().unwrap(), Order::Load { .. }));
    match play.as_str() {
        "dies at once" => std::process::exit(3),
        "is another" => say(&word(ENGINE, Word::Ready(Info::Embedder(EmbedderInfo::new("x", 3))))),
        "says nothing" => {
            let _ = wire::read(&mut reader);
            return;
        }
        _ => say(&ready()),
    }
    let mut calls = 0;
    while let Ok(Some(frame)) = wire::read(&mut reader) {
        let id = frame.id;
        let Ok(Order::Call { call, .. }) = frame.decode() else { continue };
        calls += 1;
        match play.as_str() {
            "dies at each call" => std::process::exit(4),
            "breaks off" => {
                say(&raw(id, b"{\"Reply\":")[..15]);
                std::process::exit(5);
            }
            "never answers" => {}
            "floods" => (0..200).for_each(|n| {
                say(&word(id, Word::Event(Event::Delta { part: 0, text: n.to_string() })));
            }),
            _ => {
                // Nonsense about everything, then an answer of the wrong kind or a good one.
                say(&raw(ENGINE, b"nonsense"));
                say(&raw(id + 1000, b"nonsense"));
                say(&word(id + 1000, Word::Reply(Reply::Tokens(7))));
                say(&word(ENGINE, Word::Reply(Reply::Tokens(7))));
                say(&ready());
                match (calls, call) {
                    (1, _) => say(&raw(id, b"{\"Reply\":")),
                    (2, _) => say(&word(id, Word::Progress(0.5))),
                    (3, _) => say(&word(
                        id,
                        Word::Reply(Reply::Vectors { vectors: vec![], usage: Default::default() }),
                    )),
                    _ => say(&word(id, Word::Reply(Reply::Tokens(42)))),
                }
            }
        }
    }
}

fn hostile(play: &str) -> ChildOptions {
    let command = ChildCommand::this_program()
        .with_arg("child::tests::a_hostile_engine")
        .with_arg("--exact")
        .with_env(PLAY, play)
        .with_log(ChildLog::Discard);
    ChildOptions::new(command).with_starts(3)
}

fn spawn(play: &str) -> Result<ChildChat> {
    ChildChat::spawn("unused.gguf", options(), hostile(play))
}

#[tokio::test]
async fn nonsense_is_an_error_of_its_call_alone() {
    let model = spawn("talks nonsense").unwrap();
    for _ in 0..3 {
        let error = model.prompt_tokens(&hello()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{error}");
    }
    assert_eq!(model.prompt_tokens(&hello()).await.unwrap(), 42);
    assert_eq!(model.starts(), 1, "the process was kept");
}

#[tokio::test]
async fn more_events_than_allowed_end_the_call() {
    let model = spawn("floods").unwrap();
    let mut stream = model.stream(&hello()).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert!(matches!(first, ChatEvent::Delta { .. }));
    // A reader that keeps up allows more: it waits until the call has ended.
    while !model.0.shared.calls().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert_eq!(error.kind(), ErrorKind::InvalidOutput);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn starts_are_bounded_and_can_be_allowed_again() {
    let model = spawn("dies at each call").unwrap();
    for n in 1..=3 {
        let error = model.prompt_tokens(&hello()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_temporary() && error.retry_after().is_some(), "{n}: {error:?}");
        assert!(error.context("reason").is_some_and(|r| r.contains('4')), "{error}");
    }
    let error = model.prompt_tokens(&hello()).await.unwrap_err();
    assert!(!error.is_temporary(), "{error}");
    assert_eq!(error.context("count"), Some("3"));
    assert_eq!(model.starts(), 3);
    model.restart();
    assert!(model.prompt_tokens(&hello()).await.unwrap_err().is_temporary());
    assert_eq!(model.starts(), 4);
}

#[tokio::test]
async fn a_frame_that_breaks_off_is_a_death() {
    let model = spawn("breaks off").unwrap();
    let error = model.generate(&hello()).await.unwrap_err();
    assert!(error.is_temporary(), "{error}");
}

#[test]
fn a_first_start_that_fails_is_an_error() {
    let died = spawn("dies at once").unwrap_err();
    assert_eq!(died.kind(), ErrorKind::Unavailable, "{died}");
    let other = spawn("is another").unwrap_err();
    assert_eq!(other.kind(), ErrorKind::InvalidOutput, "{other}");
    let slow = hostile("says nothing").with_start_timeout(Duration::from_millis(50));
    let slow = ChildChat::spawn("unused.gguf", options(), slow).unwrap_err();
    assert_eq!(slow.kind(), ErrorKind::Unavailable, "{slow}");
    let missing = ChildOptions::new(ChildCommand::new("/nowhere/engine"));
    let missing = ChildChat::spawn("unused.gguf", options(), missing).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
}

#[tokio::test]
async fn deadlines_and_cancels_do_not_need_the_engine() {
    let model = spawn("never answers").unwrap();
    let soon = Context::new().with_deadline(Instant::now() + Duration::from_millis(20));
    let error = model.generate(&hello().with_context(soon)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let cancel = Cancel::new();
    let mut stream =
        model.stream(&hello().with_context(Context::new().with_cancel(cancel.clone()))).await.unwrap();
    cancel.cancel();
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(stream.next().await.is_none());
    let nan = model.generate(&hello().with_temperature(f32::NAN)).await.unwrap_err();
    assert_eq!(nan.kind(), ErrorKind::InvalidInput);
    assert!(model.0.shared.calls().is_empty(), "nothing is kept of them");
}

#[tokio::test]
async fn more_calls_than_allowed_are_refused() {
    let model = ChildChat::spawn("unused.gguf", options(), hostile("never answers").with_calls(2)).unwrap();
    let first = model.stream(&hello()).await.unwrap();
    let _second = model.stream(&hello()).await.unwrap();
    let error = model.stream(&hello()).await.err().unwrap();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_temporary() && error.retry_after().is_some());
    drop(first);
    assert!(model.stream(&hello()).await.is_ok());
}
