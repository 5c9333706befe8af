use serde_json::json;

use super::*;

fn listed(name: &str, description: &str, schema: Value) -> rmcp::model::Tool {
    serde_json::from_value(json!({"name": name, "description": description, "inputSchema": schema})).unwrap()
}

fn made(name: &str, description: &str, schema: Value) -> Result<ToolSpec, String> {
    spec(&listed(name, description, schema), &McpOptions::new("s"))
}

#[test]
fn names_are_the_servers_and_the_tools() {
    assert_eq!(made("read_file", "Reads.", json!({"type": "object"})).unwrap().name, "s__read_file");
    assert_eq!(made("fs/read.v2", "Reads.", json!({"type": "object"})).unwrap().name, "s__fs_read_v2");
    assert!(made(&"n".repeat(62), "Long.", json!({"type": "object"})).is_err());
    assert!(made("", "None.", json!({"type": "object"})).is_err());
    let bare = McpOptions::new("s").without_prefix();
    assert_eq!(spec(&listed("a", "A.", json!({"type": "object"})), &bare).unwrap().name, "a");
}

#[test]
fn descriptions_are_bounded_and_without_hidden_characters() {
    assert!(made("a", &"x".repeat((8 << 10) + 1), json!({"type": "object"})).is_err());
    let hidden = "Adds\u{200b}.\u{1b}[2J \u{202e}evil\u{e0041}\nMore.";
    assert_eq!(made("a", hidden, json!({"type": "object"})).unwrap().description, "Adds.[2J evil\nMore.");
    assert!(!made("a", " ", json!({"type": "object"})).unwrap().description.trim().is_empty());
}

#[test]
fn schema_bombs_are_refused() {
    let mut deep = json!({"type": "string"});
    for _ in 0..40 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    assert!(made("a", "A.", deep).unwrap_err().contains("deeper"));
    let wide: serde_json::Map<String, Value> =
        (0..5000).map(|n| (format!("field_{n}"), json!({"type": "string"}))).collect();
    assert!(made("a", "A.", json!({"type": "object", "properties": wide})).unwrap_err().contains("larger"));
    assert!(made("a", "A.", json!({"type": "array"})).unwrap_err().contains("no object"));
    assert!(
        made("a", "A.", json!({"type": "object", "properties": [1]})).unwrap_err().contains("properties")
    );
    // What refers to itself is passed on as it is: nobody here follows references.
    let circular = json!({"type": "object", "properties": {"a": {"$ref": "#"}}});
    assert_eq!(made("a", "A.", circular.clone()).unwrap().parameters, circular);
    assert_eq!(made("a", "A.", json!({})).unwrap().parameters, json!({"type": "object"}));
}
