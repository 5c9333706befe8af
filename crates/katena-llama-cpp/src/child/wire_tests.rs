//! Frames that are whole, and frames that are not.

use super::*;

fn read_all(mut bytes: &[u8]) -> Vec<io::Result<Frame>> {
    let mut frames = Vec::new();
    loop {
        match read(&mut bytes) {
            Ok(Some(frame)) => frames.push(Ok(frame)),
            Ok(None) => return frames,
            Err(e) => {
                frames.push(Err(e));
                return frames;
            }
        }
    }
}

#[test]
fn frames_come_back() {
    let mut bytes = encode(7, &Order::Credit { events: 3 }).unwrap();
    bytes.extend(encode(u64::MAX, &Order::Cancel).unwrap());
    let frames = read_all(&bytes);
    assert_eq!(frames.len(), 2);
    let first = frames[0].as_ref().unwrap();
    assert_eq!(first.id, 7);
    assert!(matches!(first.decode().unwrap(), Order::Credit { events: 3 }));
    assert_eq!(frames[1].as_ref().unwrap().id, u64::MAX);
}

#[test]
fn what_is_broken_off_is_an_error_and_what_is_too_long_is_skipped() {
    let bytes = encode(7, &Order::Cancel).unwrap();
    for cut in 1..bytes.len() {
        let frames = read_all(&bytes[..cut]);
        assert!(matches!(&frames[..], [Err(_)]), "cut at {cut}");
    }
    // Shorter than its own number.
    assert!(read_all(&[4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).pop().unwrap().is_err());
    // A length that nobody sends: no memory is taken for it.
    assert!(read_all(&[0xff; 100]).pop().unwrap().is_err());
    let long = MAX_FRAME + 1;
    let mut bytes = (long as u32).to_le_bytes().to_vec();
    bytes.extend(9u64.to_le_bytes());
    bytes.resize(4 + long, b' ');
    bytes.extend(encode(10, &Order::Cancel).unwrap());
    let frames = read_all(&bytes);
    assert_eq!(frames[0].as_ref().unwrap().id, 9);
    assert!(frames[0].as_ref().unwrap().decode::<Order>().is_err());
    assert!(frames[1].as_ref().unwrap().decode::<Order>().is_ok());
    let text = "x".repeat(MAX_FRAME);
    assert_eq!(encode(1, &text).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn errors_keep_what_a_caller_acts_on() {
    let error = Error::new(ErrorKind::ContextTooLong, "the prompt is too long")
        .with_context("prompt_tokens", "9")
        .with_context("of_another_crate", "x")
        .with_temporary(true)
        .with_retry_after(Duration::from_millis(250))
        .with_source(io::Error::other("deep down"));
    let text = serde_json::to_string(&Failure::of(&error)).unwrap();
    let back = serde_json::from_str::<Failure>(&text).unwrap().into_error();
    assert_eq!(back.kind(), ErrorKind::ContextTooLong);
    assert_eq!(back.context("prompt_tokens"), Some("9"));
    assert_eq!(back.message(), "the prompt is too long (of_another_crate: x)");
    assert!(back.is_temporary());
    assert_eq!(back.retry_after(), Some(Duration::from_millis(250)));
    assert!(format!("{back:?}").contains("deep down"));
    for kind in KINDS {
        let failure = Failure::of(&Error::new(kind, ""));
        assert_eq!(failure.into_error().kind(), kind);
    }
    let odd = r#"{"kind":"?","message":"m","temporary":false,"retry_millis":null,"context":[],"cause":null}"#;
    let odd = serde_json::from_str::<Failure>(odd).unwrap().into_error();
    assert_eq!(odd.kind(), ErrorKind::Unexpected, "a kind of another version");
}

#[test]
fn events_and_infinities_come_back() {
    let mut response =
        ChatResponse::new(katena_core::Message::assistant("hi"), katena_core::FinishReason::Stop);
    response.logprobs =
        Some(vec![katena_core::TokenLogprob::new("hi", -0.1, vec![("ho".into(), f32::NEG_INFINITY)])]);
    let events = [
        ChatEvent::start_tool(0, "id", "name"),
        ChatEvent::delta(0, "日本"),
        ChatEvent::end(0, Part::text("日本")),
        ChatEvent::Finished(Box::new(response.clone())),
    ];
    for event in events {
        let text = serde_json::to_string(&Event::of(event.clone()).unwrap()).unwrap();
        let back = serde_json::from_str::<Event>(&text).unwrap().into_event();
        match (event, back) {
            (ChatEvent::Finished(_), ChatEvent::Finished(back)) => {
                assert_eq!(*back, finite(response.clone()));
                assert_eq!(back.logprobs.unwrap()[0].top[0].1, f32::MIN);
            }
            (event, back) => assert_eq!(event, back),
        }
    }
}
