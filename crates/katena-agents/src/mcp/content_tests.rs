use serde_json::json;

use super::*;

fn result(value: serde_json::Value) -> CallToolResult {
    serde_json::from_value(value).unwrap()
}

#[test]
fn every_kind_of_content_is_a_part() {
    let output = from_result(
        result(json!({"content": [
            {"type": "text", "text": "one"},
            {"type": "image", "data": "aGk=", "mimeType": "image/png"},
            {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"},
            {"type": "resource", "resource": {"uri": "file:///a.txt", "text": "inside"}},
            {"type": "resource", "resource": {"uri": "file:///a.pdf", "mimeType": "application/pdf", "blob": "aGk="}},
            {"type": "resource_link", "uri": "http://169.254.169.254/x", "name": "x"},
        ]})),
        1000,
    )
    .unwrap();
    assert_eq!(output.parts.len(), 6);
    assert_eq!(output.text(), "one[resource file:///a.txt]\ninside\n[link to x: http://169.254.169.254/x]\n");
    assert!(
        matches!(&output.parts[1], Part::Image { media: Media::Base64 { mime, .. } } if mime == "image/png")
    );
    assert!(matches!(&output.parts[2], Part::Audio { .. }));
    assert!(matches!(&output.parts[4], Part::File { name: Some(name), .. } if name == "file:///a.pdf"));
}

#[test]
fn structured_content_is_kept_once() {
    let only = from_result(result(json!({"content": [], "structuredContent": {"a": 1}})), 100).unwrap();
    assert_eq!(only.text(), r#"{"a":1}"#);
    let both = json!({"content": [{"type": "text", "text": "{\"a\": 1}"}], "structuredContent": {"a": 1}});
    assert_eq!(from_result(result(both), 100).unwrap().text(), "{\"a\": 1}");
    for (text, result) in [("5", json!(5)), ("five", json!("five"))] {
        let wrapped =
            json!({"content": [{"type": "text", "text": text}], "structuredContent": {"result": result}});
        assert_eq!(from_result(self::result(wrapped), 100).unwrap().text(), text);
    }
    let other = json!({"content": [{"type": "text", "text": "done. "}], "structuredContent": {"a": 1}});
    assert_eq!(from_result(result(other), 100).unwrap().text(), "done. {\"a\":1}");
}

#[test]
fn a_tools_error_is_one_of_kind_tool_with_its_words() {
    let failed = json!({"content": [{"type": "text", "text": "no such city"}], "isError": true});
    let error = from_result(result(failed), 100).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Tool, "no such city"));
    let silent = from_result(result(json!({"content": [], "isError": true})), 100).unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::Tool);
}

#[test]
fn results_beyond_the_limit_are_refused() {
    let text = json!({"content": [{"type": "text", "text": "x".repeat(101)}]});
    assert_eq!(from_result(result(text), 100).unwrap_err().kind(), ErrorKind::InvalidOutput);
    let media = json!({"content": [{"type": "image", "data": "x".repeat(101), "mimeType": "image/png"}]});
    assert_eq!(from_result(result(media), 100).unwrap_err().kind(), ErrorKind::InvalidOutput);
    let structured = json!({"content": [], "structuredContent": {"a": "x".repeat(101)}});
    assert_eq!(from_result(result(structured), 100).unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[test]
fn parts_survive_the_way_there_and_back() {
    let media = || Media::Base64 { mime: "image/png".into(), data: "aGk=".into() };
    let parts = vec![Part::text("one"), Part::Image { media: media() }, Part::Audio { media: media() }];
    let blocks = to_blocks(ToolOutput::new(parts.clone()), 100).unwrap();
    assert_eq!(from_blocks(blocks, 100).unwrap(), parts);
    let reasoning = Part::Reasoning { text: "hm".into(), signature: None };
    let error = to_blocks(ToolOutput::new(vec![reasoning]), 100).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
