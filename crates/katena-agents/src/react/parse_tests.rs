use serde_json::json;

use super::*;

fn action(text: &str) -> (String, String) {
    match parse(text) {
        Parsed::Action { name, input, .. } => (name, input),
        other => panic!("{other:?}"),
    }
}

fn answer(text: &str) -> String {
    match parse(text) {
        Parsed::Answer { text } => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn actions_in_many_dresses_are_read() {
    let expected = ("search".to_owned(), "{\"q\": \"x\"}".to_owned());
    for text in [
        "Thought: look\nAction: search\nAction Input: {\"q\": \"x\"}",
        "thought: look\naction: search\naction input: {\"q\": \"x\"}",
        "**Thought:** look\n**Action:** search\n**Action Input:** {\"q\": \"x\"}",
        "### Action: `search`\n### Action Input:\n```json\n{\"q\": \"x\"}\n```",
        "Action : search\nAction_Input : {\"q\": \"x\"}",
        "  Action: \"search\"\r\n  ActionInput: {\"q\": \"x\"}\r\n",
        "Action: search({\"q\": \"x\"})",
        "Action: search\nAction Input: {\"q\": \"x\"}\nObservation: made up\nFinal Answer: wrong",
        "Action: search\nAction Input: {\"q\": \"x\"}\nAction: delete\nAction Input: {}",
        "Action: search\nAction Input: {\"q\": \"x\"}\nThought: now\nFinal Answer: wrong",
    ] {
        assert_eq!(action(text), expected, "{text}");
    }
    assert_eq!(action("Action: search[a b]"), ("search".to_owned(), "a b".to_owned()));
    let blob = "Action:\n```\n{\"action\": \"search\", \"action_input\": {\"q\":\"x\"}}\n```";
    assert_eq!(action(blob), ("search".to_owned(), "{\"q\":\"x\"}".to_owned()));
}

#[test]
fn answers_are_read() {
    assert_eq!(answer("Thought: I know\nFinal Answer: It is 4.\nReally."), "It is 4.\nReally.");
    assert_eq!(answer("**Final Answer:** yes"), "yes");
    assert_eq!(answer("Just words.\nMore."), "Just words.\nMore.");
    assert_eq!(
        answer("Final Answer: To act, write\nAction: x\nAction Input: y"),
        "To act, write\nAction: x\nAction Input: y"
    );
    assert_eq!(answer("Thought: t\nAction: None\nFinal Answer: ok"), "ok");
    assert_eq!(answer("Action: {\"action\": \"Final Answer\", \"action_input\": \"42\"}"), "42");
    assert_eq!(answer("Action: Final Answer\nAction Input: 42"), "42");
}

#[test]
fn the_rest_is_neither() {
    for text in
        ["", "Thought: hm", "Action:", "Action Input: {}", "Thought: x\nAction: {broken", "Observation: 3"]
    {
        assert!(matches!(parse(text), Parsed::Neither(_)), "{text}");
    }
}

#[test]
fn inputs_become_arguments() {
    let one = json!({"properties": {"q": {"type": "string"}, "n": {"type": "integer"}}, "required": ["q"]});
    let number = json!({"properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let two = json!({"properties": {"a": {}, "b": {}}, "required": ["a", "b"]});
    let none = json!({"properties": {}});
    assert_eq!(arguments("{\"q\":\"x\"} and more", &one), r#"{"q":"x"}"#);
    assert_eq!(arguments("plain words", &one), r#"{"q":"plain words"}"#);
    assert_eq!(arguments("\"quoted\"", &one), r#"{"q":"quoted"}"#);
    assert_eq!(arguments("42", &one), r#"{"q":"42"}"#);
    assert_eq!(arguments("42", &number), r#"{"n":42}"#);
    assert_eq!(arguments("x, y", &two), "x, y", "for the check to refuse");
    assert_eq!(arguments("whatever", &none), "{}");
    assert_eq!(arguments("{broken", &one), "{broken");
}
