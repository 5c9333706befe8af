use super::*;

fn decode(pieces: &[&[u8]]) -> Vec<(String, String, Option<String>)> {
    let mut decoder = SseDecoder::new();
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece).unwrap();
        while let Some(e) = decoder.next_event() {
            events.push((e.event.into_owned(), e.data, e.id.map(|i| i.to_string())));
        }
    }
    decoder.finish();
    events
}

fn data(pieces: &[&[u8]]) -> Vec<String> {
    decode(pieces).into_iter().map(|e| e.1).collect()
}

#[test]
fn line_ends_of_all_kinds_at_every_split() {
    for end in ["\n", "\r", "\r\n"] {
        let text = format!("data: a{end}data: b{end}{end}: note{end}event: x{end}data:c{end}{end}");
        let whole = decode(&[text.as_bytes()]);
        assert_eq!(whole.len(), 2, "{end:?}");
        assert_eq!((whole[0].1.as_str(), whole[1].0.as_str()), ("a\nb", "x"));
        for i in 0..=text.len() {
            for j in i..=text.len() {
                let b = text.as_bytes();
                assert_eq!(decode(&[&b[..i], &[], &b[i..j], &b[j..]]), whole, "{end:?} {i} {j}");
            }
        }
    }
}

#[test]
fn one_bom_is_skipped_and_only_at_the_start() {
    let bom = b"\xEF\xBB\xBF";
    assert_eq!(data(&[bom, b"data:1\n\n"]), ["1"]);
    assert_eq!(data(&[&bom[..1], &bom[1..2], &bom[2..], b"data:1\n\n"]), ["1"]);
    assert_eq!(data(&[bom, bom, b"data:1\n\ndata:2\n\n"]), ["2"]);
    // A beginning of a BOM that isn't one spoils its line, no more.
    assert_eq!(data(&[b"\xEF\xBBdata:1\n\ndata:2\n\n"]), ["2"]);
    assert_eq!(data(&[b"data:1\n\n", bom, b"data:2\n\ndata:3\n\n"]), ["1", "3"]);
}

#[test]
fn ignored_lines_take_no_memory() {
    let mut decoder = SseDecoder::new().with_max_event_bytes(1024);
    let block = vec![b'x'; 64 << 10];
    for start in [&b":"[..], b"datax", b"unknown: ", b"dat\0", b"da"] {
        decoder.push(start).unwrap();
        for _ in 0..64 {
            decoder.push(&block).unwrap();
        }
        assert!(decoder.line.capacity() <= 64, "{start:?} {}", decoder.line.capacity());
        decoder.push(b"\n").unwrap();
    }
    decoder.push(b"data: ok\n\n").unwrap();
    assert_eq!(decoder.next_event().unwrap().data, "ok");
}

#[test]
fn a_too_large_event_is_an_error_and_stays_one() {
    for text in [
        format!("data: {}", "x".repeat(2000)),
        "data: xxxxxxxxxxx\n".repeat(200),
        format!("event: {}\n", "x".repeat(2000)),
    ] {
        for step in [1, 100, 100_000] {
            let mut decoder = SseDecoder::new().with_max_event_bytes(1000);
            decoder.push(b"data: before\n\n").unwrap();
            let results: Vec<_> = text.as_bytes().chunks(step).map(|c| decoder.push(c)).collect();
            let error = results.iter().find_map(|r| r.as_ref().err()).expect("an error").clone();
            assert_eq!(error.kind(), katena_core::ErrorKind::InvalidOutput);
            assert_eq!(decoder.next_event().unwrap().data, "before");
            assert!(decoder.push(b"\n\ndata: after\n\n").is_err());
            assert!(decoder.next_event().is_none());
        }
    }
}

#[test]
fn megabytes_in_one_line_one_byte_at_a_time() {
    let big = "é".repeat(1 << 20);
    let text = format!("data: {big}\n\n");
    let whole = data(&[text.as_bytes()]);
    assert_eq!(data(&text.as_bytes().chunks(1).collect::<Vec<_>>()), whole);
    assert_eq!(whole, [big]);
}

#[test]
fn what_is_unfinished_is_discarded_and_told() {
    let mut decoder = SseDecoder::new();
    decoder.push(b"data: a\n\ndata: b\n").unwrap();
    assert_eq!(decoder.next_event().unwrap().data, "a");
    assert!(decoder.finish());
    assert!(decoder.next_event().is_none());
    let mut decoder = SseDecoder::new();
    decoder.push(b"data: a\r\r").unwrap();
    assert_eq!(decoder.next_event().unwrap().data, "a", "CR alone ends a line at once");
    assert!(!decoder.finish());
}

#[test]
fn retry_and_id_follow_the_standard() {
    let mut decoder = SseDecoder::new();
    decoder.push(b"retry: 3000\nretry: 10x\nretry:\nretry: 99999999999999999999999\nid: 7\ndata: a\n\nid: b\0d\ndata: b\n\nid\ndata: c\n\n").unwrap();
    assert_eq!(decoder.retry_ms(), Some(3000));
    let ids: Vec<_> =
        std::iter::from_fn(|| decoder.next_event()).map(|e| e.id.unwrap().to_string()).collect();
    assert_eq!(ids, ["7", "7", ""]);
}

/// Small and deterministic; good enough to make odd bytes and odd splits.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

#[test]
fn random_bytes_give_the_same_events_at_every_split() {
    const ATOMS: [&[u8]; 20] = [
        b"data",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"data: ",
        b"event: ",
        b"id: ",
        b"retry: 1",
        b"\0",
        b"\xEF\xBB\xBF",
        b"\xFF",
        "ü€😀".as_bytes(),
        b"x",
        b"{\"a\":1}",
        b"[DONE]",
        b"\xE2\x82",
        b"data:\n\n",
    ];
    let mut random = Lcg(7);
    for _ in 0..3000 {
        let mut text = Vec::new();
        for _ in 0..random.below(40) {
            text.extend_from_slice(ATOMS[random.below(ATOMS.len())]);
        }
        let whole = decode(&[&text]);
        let mut pieces = Vec::new();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let (a, b) = rest.split_at(random.below(rest.len().min(7) + 1));
            pieces.push(a);
            rest = b;
        }
        assert_eq!(decode(&pieces), whole, "{:?}", String::from_utf8_lossy(&text));
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(decode(&bytes), whole, "{:?}", String::from_utf8_lossy(&text));
    }
}

#[tokio::test]
async fn the_stream_ends_after_its_first_error() {
    use futures_util::StreamExt as _;
    let pieces = vec![
        Ok(Bytes::from_static(b"data: a\n\ndata: b")),
        Err(Error::new(katena_core::ErrorKind::Unavailable, "cut")),
        Ok(Bytes::from_static(b"\n\n")),
    ];
    let mut stream = SseStream::new(futures_util::stream::iter(pieces));
    assert_eq!(stream.next().await.unwrap().unwrap().data, "a");
    assert!(stream.next().await.unwrap().is_err());
    assert!(stream.next().await.is_none());
}

#[test]
fn comments_without_end_are_an_error_but_not_between_events() {
    use futures_util::{FutureExt as _, StreamExt as _};
    let stream = |pieces: Vec<String>| {
        let pieces = pieces.into_iter().map(|text| Ok(Bytes::from(text)));
        let decoder = SseDecoder::new().with_max_event_bytes(1000);
        let all = SseStream::with_decoder(futures_util::stream::iter(pieces), decoder).collect::<Vec<_>>();
        all.now_or_never().unwrap()
    };
    let ping = ": ping\n\n".repeat(1000);
    let events = stream((0..100).map(|n| format!("{ping}data: {n}\n\n")).collect());
    assert_eq!(events.iter().filter(|e| e.is_ok()).count(), 100);
    for endless in [ping, ": ping".repeat(1000)] {
        let events = stream(vec![endless; 100]);
        assert_eq!(events.len(), 1);
        let error = events[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), katena_core::ErrorKind::InvalidOutput);
    }
}

#[test]
fn an_unfinished_event_is_given_only_if_it_is_whole_json() {
    let rest = |text: &str| {
        let mut decoder = SseDecoder::new();
        decoder.push(text.as_bytes()).unwrap();
        decoder.finish_json().map(|e| (e.event.into_owned(), e.data))
    };
    let done = |event: &str| Some((event.to_owned(), "{\"a\":1}".to_owned()));
    assert_eq!(rest("data: {\"a\":1}"), done("message"));
    assert_eq!(rest("event: x\ndata: {\"a\":1}\n"), done("x"));
    assert_eq!(rest("data: {\"a\":\ndata: 1}").map(|(_, data)| data), Some("{\"a\":\n1}".to_owned()));
    assert_eq!(rest("data: [DONE]").map(|(_, data)| data), Some("[DONE]".to_owned()));
    for cut in ["data: {\"a\":", "data: 12", "data: [DON", "", "data: {\"a\":1}\n\n", ": x"] {
        let mut decoder = SseDecoder::new();
        decoder.push(cut.as_bytes()).unwrap();
        while decoder.next_event().is_some() {}
        assert_eq!(decoder.finish_json(), None, "{cut}");
    }
}
