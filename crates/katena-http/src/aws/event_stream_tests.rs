use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::*;

/// A frame of our own making.
fn frame(headers: &[(&str, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(name.len() as u8);
        block.extend_from_slice(name.as_bytes());
        block.extend_from_slice(value);
    }
    let total = OVERHEAD + block.len() + payload.len();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(total as u32).to_be_bytes());
    bytes.extend_from_slice(&(block.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    bytes.extend_from_slice(&block);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
    bytes
}

fn text(value: &str) -> Vec<u8> {
    let mut bytes = vec![7, 0, value.len() as u8];
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

#[test]
fn the_checksum_is_that_of_gzip() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}

#[test]
fn every_kind_of_header() {
    let long = [5, 0, 0, 0, 0, 0, 0, 1, 0];
    let mut uuid = vec![9];
    uuid.extend_from_slice(&[7; 16]);
    let bytes = frame(
        &[
            ("yes", &[0]),
            ("no", &[1]),
            ("byte", &[2, 0xFF]),
            ("short", &[3, 1, 0]),
            ("int", &[4, 0, 1, 0, 0]),
            ("long", &long),
            ("bytes", &[6, 0, 2, 1, 2]),
            ("text", &text("hé")),
            ("time", &[8, 0, 0, 0, 0, 0, 0, 0, 9]),
            ("uuid", &uuid),
        ],
        b"{}",
    );
    let mut decoder = EventStreamDecoder::new();
    for byte in &bytes {
        decoder.push(&[*byte]).unwrap();
    }
    let frame = decoder.next_frame().unwrap();
    let values: Vec<&HeaderValue> = frame.headers.iter().map(|(_, v)| v).collect();
    let number = HeaderValue::Number;
    assert_eq!(
        values,
        [
            &HeaderValue::Bool(true),
            &HeaderValue::Bool(false),
            &number(-1),
            &number(256),
            &number(65_536),
            &number(256),
            &HeaderValue::Bytes(Bytes::from_static(&[1, 2])),
            &HeaderValue::Text("hé".into()),
            &number(9),
            &HeaderValue::Bytes(Bytes::from_static(&[7; 16])),
        ]
    );
    assert_eq!((&frame.payload[..], frame.text("text"), frame.text("yes")), (&b"{}"[..], Some("hé"), None));
    decoder.finish().unwrap();
}

#[test]
fn every_changed_byte_is_noticed() {
    let good = frame(&[(":event-type", &text("chunk"))], br#"{"bytes":"AAAA"}"#);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        let mut decoder = EventStreamDecoder::new().with_max_frame_bytes(1 << 20);
        let end = decoder.push(&bad).and_then(|()| decoder.finish());
        assert!(end.is_err() && decoder.next_frame().is_none(), "byte {at}");
    }
    for cut in 1..good.len() {
        let mut decoder = EventStreamDecoder::new();
        decoder.push(&good[..cut]).unwrap();
        assert_eq!(decoder.finish().unwrap_err().kind(), ErrorKind::Unavailable, "cut at {cut}");
    }
}

#[test]
fn bad_headers_and_limits() {
    for value in [&[7, 0, 9, 65][..], &[10][..], &[5, 0][..], &[7, 0, 1, 0xFF][..]] {
        let mut decoder = EventStreamDecoder::new();
        assert_eq!(decoder.push(&frame(&[("h", value)], b"")).unwrap_err().kind(), ErrorKind::InvalidOutput);
    }
    let mut decoder = EventStreamDecoder::new().with_max_frame_bytes(100);
    decoder.push(&frame(&[], b"small")).unwrap();
    assert!(decoder.push(&frame(&[], &[0; 100])).is_err());
    // The frame before is still there, and the error stays.
    assert!(decoder.next_frame().is_some());
    assert!(decoder.push(b"").is_err() && decoder.finish().is_err());
}

#[test]
fn a_stream_ends_with_its_first_error() {
    let good = frame(&[(":exception-type", &text("x")), (":message-type", &text("exception"))], b"{}");
    let pieces = |bytes: Vec<u8>| stream::iter([Ok(Bytes::from(bytes))]);
    let whole: Vec<_> = EventStream::new(pieces(good.clone())).collect().now_or_never().unwrap();
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].as_ref().unwrap().event_type(), "x");
    let cut = [good.clone(), good[..20].to_vec()].concat();
    let items: Vec<_> = EventStream::new(pieces(cut)).collect().now_or_never().unwrap();
    assert_eq!((items.len(), items[0].is_ok(), items[1].is_err()), (2, true, true));
}
