use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::*;

fn lines(text: &[u8], split: usize) -> (Vec<String>, bool) {
    let mut decoder = NdjsonDecoder::new();
    for piece in text.chunks(split) {
        decoder.push(piece).unwrap();
    }
    let whole = decoder.finish().is_ok();
    (std::iter::from_fn(|| decoder.next_line()).collect(), whole)
}

#[test]
fn any_split_gives_the_same_lines() {
    let text = "\u{feff}{\"a\":\"ü☕\"}\n\r\n  {\"b\":1} \r\n\n{\"c\":2}\r[3]".as_bytes();
    for split in 1..=text.len() {
        let (lines, whole) = lines(text, split);
        assert_eq!(lines, ["{\"a\":\"ü☕\"}", "{\"b\":1}", "{\"c\":2}", "[3]"], "split {split}");
        assert!(whole);
    }
}

#[test]
fn a_last_line_without_an_end_counts_if_it_is_whole() {
    assert_eq!(lines(b"{}\n{\"done\":true}", 3), (vec!["{}".into(), "{\"done\":true}".into()], true));
    assert_eq!(lines(b"{}\n{\"done\":tr", 3), (vec!["{}".into()], false));
    assert_eq!(lines(b"{}\n   ", 3), (vec!["{}".into()], true));
    assert_eq!(lines(b"", 1), (vec![], true));
}

#[test]
fn what_only_looks_like_a_bom_is_kept() {
    let (lines, _) = lines(b"\xEF\xBB{}\n", 1);
    assert_eq!(lines, ["\u{fffd}{}"]);
}

#[test]
fn a_line_beyond_the_limit_is_an_error_that_stays() {
    let mut decoder = NdjsonDecoder::new().with_max_line_bytes(8);
    decoder.push(b"{\"a\":1}\n           ").unwrap();
    let error = decoder.push(b"\n{\"a\":123}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOutput);
    assert_eq!(decoder.next_line().as_deref(), Some("{\"a\":1}"));
    assert!(decoder.push(b"\n").is_err());
    assert!(NdjsonDecoder::new().with_max_line_bytes(2).push(b"[1]\n").is_err());
}

#[test]
fn the_stream_ends_after_its_first_error() {
    let all = |pieces: Vec<Result<Bytes>>| -> Vec<Result<String, ErrorKind>> {
        let lines = NdjsonStream::new(stream::iter(pieces)).map(|l| l.map_err(|e| e.kind()));
        lines.collect().now_or_never().unwrap()
    };
    let cut = all(vec![Ok("{}\n{\"a\"".into())]);
    assert_eq!(cut, [Ok("{}".to_owned()), Err(ErrorKind::Unavailable)]);
    let broken = all(vec![Ok("{}\n".into()), Err(Error::cancelled()), Ok("{}\n".into())]);
    assert_eq!(broken, [Ok("{}".to_owned()), Err(ErrorKind::Cancelled)]);
}
