use katena_core::{ToolCall, ToolResult};
use serde_json::json;

use super::*;

#[test]
fn a_newer_form_is_refused_and_damage_is_named() {
    let newer = r#"{"v":2,"role":"poet","stanzas":[]}"#;
    assert_eq!(decode(newer).unwrap_err().kind(), ErrorKind::Unsupported);
    let readable = r#"{"v":2,"role":"user","parts":[]}"#;
    assert_eq!(decode(readable).unwrap_err().kind(), ErrorKind::Unsupported);
    for newer in [newer, readable] {
        assert_eq!(decode_list(&format!("[{newer}]")).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let first = r#"{"v":1,"role":"user","parts":[{"type":"text","text":"hi"}]}"#;
    assert_eq!(decode(first).unwrap(), Message::user("hi"));
    for damaged in ["", "{", "[]", r#"{"role":"user"}"#, r#"{"role":"poet","parts":[]}"#] {
        assert_eq!(decode(damaged).unwrap_err().kind(), ErrorKind::Unexpected, "{damaged}");
    }
}

#[test]
fn too_large_is_invalid_input() {
    let options = HistoryOptions::new().with_max_message_bytes(100);
    assert!(options.encode(&[Message::user("short")]).is_ok());
    let error = options.encode(&[Message::user("x".repeat(101))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.context("limit"), Some("100"));
    assert!(!format!("{error:?}").contains("xxx"), "the text stays out of the error");
}

#[test]
fn what_is_written_can_be_read() {
    let options = HistoryOptions::new();
    let nested = |depth: usize| {
        let value = (0..depth).fold(json!(1), |inner, _| Value::Array(vec![inner]));
        Message::new(Role::Assistant, vec![Part::Opaque { vendor: "v".to_owned(), value }])
    };
    for depth in [1, 50, 100, 124, 126, 130, 1000] {
        match options.encode(&[nested(depth)]) {
            Ok(texts) => {
                assert_eq!(decode(&texts[0]).unwrap(), nested(depth));
                assert_eq!(decode_list(&format!("[{}]", texts[0])).unwrap(), [nested(depth)]);
            }
            Err(error) => {
                assert!(depth > 100, "{depth}");
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
        }
    }
    let call = ToolCall::new("1", "t", "\0{");
    let message = Message::tool(ToolResult::text(&call, "a\0b \u{2028} \u{ffff} 👩‍👩‍👧"));
    assert_eq!(decode(&options.encode(std::slice::from_ref(&message)).unwrap()[0]).unwrap(), message);
}
