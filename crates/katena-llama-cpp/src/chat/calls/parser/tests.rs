use katena_core::ToolSpec;
use serde_json::json;

use super::*;
use crate::chat::calls::formats::FORMATS;

pub(super) fn format(name: &str) -> &'static Format {
    FORMATS.iter().find(|f| f.name == name).unwrap()
}

pub(super) fn tools() -> Vec<ToolSpec> {
    let schema = json!({"type": "object", "properties": {
        "q": {"type": "string"}, "n": {"type": "integer"}, "list": {"type": "array"}, "on": {"type": "boolean"},
    }});
    ["find", "now", "get_weather"].map(|name| ToolSpec::new(name, "", schema.clone())).to_vec()
}

/// Joined: neighbouring pieces of one kind are one.
pub(super) fn read(format: &'static Format, pieces: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Found> {
    let mut parser = CallParser::new(format, tools());
    let mut found = Vec::new();
    for piece in pieces {
        found.extend(parser.push(piece.as_ref()));
    }
    found.extend(parser.finish());
    let mut merged: Vec<Found> = Vec::new();
    for item in found {
        match (merged.last_mut(), item) {
            (Some(Found::Text(a)), Found::Text(b)) | (Some(Found::Arguments(a)), Found::Arguments(b)) => {
                a.push_str(&b);
            }
            (_, item) => merged.push(item),
        }
    }
    merged
}

fn cut(text: &str, size: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(size).map(|c| c.iter().collect()).collect()
}

pub(super) fn call(name: &str, arguments: &str) -> Vec<Found> {
    let mut found = vec![Found::Start(name.into()), Found::Arguments(arguments.into()), Found::End];
    found.retain(|f| *f != Found::Arguments(String::new()));
    found
}

fn text(text: &str) -> Vec<Found> {
    vec![Found::Text(text.into())]
}

fn check(name: &str, written: &str, want: &[Vec<Found>]) {
    let want = want.concat();
    for size in 1..=written.chars().count().max(1) {
        assert_eq!(read(format(name), cut(written, size)), want, "{name}: {written:?} in pieces of {size}");
    }
}

#[test]
fn each_family_writes_calls_in_its_way() {
    let weather = r#"{"q": "Zürich }] </tool_call \"x\"", "n": [1, {"a": null}]}"#;
    let both = [call("find", weather), call("now", "{}")];
    let objects = |key: &str| {
        (format!(r#"{{"name": "find", "{key}": {weather}}}"#), format!(r#"{{"name": "now", "{key}": {{}}}}"#))
    };
    let (a, b) = objects("arguments");
    check("hermes", &format!("<tool_call>\n{a}\n</tool_call>\n<tool_call>\n{b}\n</tool_call>"), &both);
    check("hermes", &format!("<tool_call>{a}{b}</tool_call>"), &both);
    check("mistral", &format!("[TOOL_CALLS][{a}, {b}]"), &both);
    check("mistral", &format!("[TOOL_CALLS] [{}, \"id\": \"123456789\"}},{b}]", &a[..a.len() - 1]), &both);
    check("mistral-args", &format!("[TOOL_CALLS]find[ARGS]{weather}[TOOL_CALLS]now[ARGS]{{}}"), &both);
    check(
        "mistral-args",
        &format!("[TOOL_CALLS]find[CALL_ID]abcdefghi[ARGS]{weather}[TOOL_CALLS]now{{}}"),
        &both,
    );
    check("granite-3", &format!("<|tool_call|>[{a}, {b}]"), &both);
    check("nemotron-2", &format!("<TOOLCALL>[{a}, {b}]</TOOLCALL>"), &both);
    check("apriel", &format!("<tool_calls>[{a}, {b}]</tool_calls>"), &both);
    check("minimax-m1", &format!("<tool_calls>\n{a}\n{b}\n</tool_calls>"), &both);
    check("firefunction-2", &format!(" functools[{a}, {b}]"), &both);
    let (a, b) = objects("parameters");
    check("llama-3", &format!("{a}; {b}"), &both);
    check("llama-3", &format!("<|python_tag|>{a}; {b}"), &both);
    check("llama-3", &a.replacen('{', "{\"type\": \"function\", ", 1), &both[..1]);
    let action = |o: &str| o.replacen("{\"name\"", "{\"tool_call_id\": \"0\", \"tool_name\"", 1);
    check(
        "command-r7b",
        &format!("<|START_ACTION|>[\n    {},\n    {}\n]<|END_ACTION|>", action(&a), action(&b)),
        &both,
    );
    check(
        "deepseek-3",
        &format!(
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>find\n```json\n{weather}\n```<｜tool▁call▁end｜>\n\
             <｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{{}}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        &both,
    );
    check(
        "deepseek-3.1",
        &format!(
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>find<｜tool▁sep｜>{weather}<｜tool▁call▁end｜>\
             <｜tool▁call▁begin｜>now<｜tool▁sep｜>{{}}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        &both,
    );
    check(
        "kimi-k2",
        &format!(
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.find:0<|tool_call_argument_begin|>{weather}<|tool_call_end|>\
             <|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{{}}<|tool_call_end|><|tool_calls_section_end|>"
        ),
        &both,
    );
    check(
        "functionary-3.1",
        &format!("<function=find>{weather}</function>\n<function=now>{{}}</function>"),
        &both,
    );
}

#[test]
fn parameters_in_tags_become_json() {
    let want = [
        call("find", r#"{"q": "12 <b> \"x\"\nü", "n": 3, "list": ["a"], "on": true, "other": "a b"}"#),
        call("now", "{}"),
    ];
    let tags = |open: &str, close: &str, line: &str| {
        let p = |key: &str, value: &str| format!("<parameter={key}>{line}{value}{line}</parameter>\n");
        format!(
            "{open}\n<function=find>\n{}{}{}{}{}</function>\n{close}\n{open}\n<function=now>\n</function>\n{close}",
            p("q", "12 <b> \"x\"\nü"),
            p("n", "3"),
            p("list", "[\"a\"]"),
            p("on", "True"),
            p("other", "a b"),
        )
    };
    check("qwen3-coder", &tags("<tool_call>", "</tool_call>", "\n"), &want);
    check("seed-oss", &tags("<seed:tool_call>", "</seed:tool_call>", ""), &want);
    let p = |key: &str, value: &str| format!("<parameter name=\"{key}\">{value}</parameter>\n");
    let minimax = format!(
        "<minimax:tool_call>\n<invoke name=\"find\">\n{}{}{}{}{}</invoke>\n<invoke name=\"now\">\n</invoke>\n</minimax:tool_call>",
        p("q", "12 <b> \"x\"\nü"),
        p("n", "3"),
        p("list", "[\"a\"]"),
        p("on", "true"),
        p("other", "a b"),
    );
    check("minimax-m2", &minimax, &want);
    let p = |key: &str, value: &str| format!("<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n");
    let glm = format!(
        "<tool_call>find\n{}{}{}{}{}</tool_call>\n<tool_call>now\n</tool_call>",
        p("q", "12 <b> \"x\"\nü"),
        p("n", "3"),
        p("list", "[\"a\"]"),
        p("on", "true"),
        p("other", "a b"),
    );
    check("glm-4.5", &glm, &want);
    check("qwen3-coder", "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", &want[1..]);
}

#[test]
fn text_around_calls_stays_text() {
    let now = "<tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>";
    check(
        "hermes",
        &format!("Let me <b> look.\n\n{now}\n Then: {now}\n"),
        &[text("Let me <b> look."), call("now", "{}"), text("Then:"), call("now", "{}")],
    );
    check(
        "mistral-args",
        "I look [TOOL_CALLS]now[ARGS]{} and see",
        &[text("I look"), call("now", "{}"), text("and see")],
    );
    check("llama-3", "{\"name\": \"now\", \"parameters\": {}} so", &[call("now", "{}"), text("so")]);
    check("hermes", "{\"name\": \"now\", \"arguments\": {}}\n12", &[call("now", "{}"), text("12")]);
    check("command-r7b", "<|START_RESPONSE|>Hello<|END_RESPONSE|>", &[text("Hello")]);
}

#[test]
fn what_is_no_call_stays_text() {
    for (name, written) in [
        ("hermes", "<tool_call>not json</tool_call> rest"),
        ("hermes", "<tool_call>{\"name\": \"cut\", \"argum"),
        ("hermes", "a <tool_cal"),
        ("hermes", "x < y and 日本  "),
        ("hermes", "x  <tool_call>  {\"no_name\": 1}</tool_call>"),
        ("hermes", "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>"),
        ("hermes", "<tool_call>[[{\"name\": \"a\", \"arguments\": {}}]]</tool_call>"),
        ("hermes", "<tool_call>{\"name\": \"a\" oops, \"arguments\": {}}</tool_call>"),
        ("llama-3", "{\"name\": \"Bob\", \"parameters\": {}}"),
        ("llama-3", "{\"name\": \"now\", \"age\": 3, \"parameters\": {}}"),
        ("llama-3", "{\"answer\": 42}"),
        ("hermes", "{\"name\": \"Bob\", \"arguments\": {}}"),
        ("llama-3", "Call {\"name\": \"now\", \"parameters\": {}}"),
        ("llama-3", "<|python_tag|>brave_search.call(query=\"x\")"),
        ("llama-3", "{"),
        ("mistral", "[TOOL_CALLS] is a mark, {he said}"),
        ("mistral", "[TOOL_CALLS][]"),
        ("qwen3-coder", "<tool_call>\n<function=now>\noops</function>\n</tool_call>"),
        ("qwen3-coder", "<tool_call>\n<function=a b>\n</function>\n</tool_call>"),
        ("glm-4.5", "<tool_call>hello world</tool_call>"),
        ("deepseek-3", "<｜tool▁call▁begin｜>{\"a\": 1}"),
        ("firefunction-2", "In Python, functools.partial({})"),
    ] {
        check(name, written, &[text(written)]);
    }
    check(
        "hermes",
        "<tool_call>oops <tool_call>{\"name\": \"now\", \"arguments\": {}}</tool_call>",
        &[text("<tool_call>oops"), call("now", "{}")],
    );
}

#[test]
fn forms_of_objects() {
    let one = |written: &str, arguments: &str| {
        check("hermes", &format!("<tool_call>{written}</tool_call>"), &[call("a", arguments)]);
        check("hermes", &format!("<tool_call>{written}"), &[call("a", arguments)]);
    };
    one(r#"{"name":"a","arguments":"{\"x\":1}"}"#, r#"{"x":1}"#);
    one(r#"{"name":"a"}"#, "{}");
    one(r#"{"name":"a","arguments":null}"#, "{}");
    one(r#"{"parameters":{"arguments":2},"name":"a"}"#, r#"{"arguments":2}"#);
    one(
        r#"{ "n\"ame" : [ { } ] , "name" : "\u0061" , "arguments" : { "x" : 1 } , "id" : 7 }"#,
        r#"{ "x" : 1 }"#,
    );
    one(r#"{"name":"a","arguments":[1]}"#, "[1]");
    // Models write line breaks into JSON strings; whoever parses the arguments sees it.
    one("{\"name\":\"a\",\"arguments\":{\"x\":\"1\n2\"}}", "{\"x\":\"1\n2\"}");
}

#[test]
fn broken_arguments_reach_to_the_mark_the_next_call_or_the_end() {
    let a = "<tool_call>{\"name\":\"a\",\"arguments\":{\"x\": <oops>]}}";
    let b = "<tool_call>{\"name\":\"b\",\"arguments\":{}}</tool_call>";
    let broken = || call("a", "{\"x\": <oops>]}}");
    check("hermes", &format!("{a}\n</tool_call> text"), &[broken(), text("text")]);
    check("hermes", &format!("{a} {b}"), &[broken(), call("b", "{}")]);
    check("hermes", &format!("{a} "), &[broken()]);
    check("mistral-args", "[TOOL_CALLS]a[ARGS]{x:]} so", &[call("a", "{x:]} so")]);
}

#[test]
fn a_call_that_is_cut_off_keeps_what_there_is() {
    let written = "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": \"yes\"}, \"id\": 1}";
    let (from, to) = (written.find("{\"x").unwrap(), written.find(", \"id").unwrap());
    for end in from + 1..=written.len() {
        check("hermes", &written[..end], &[call("a", &written[from..end.min(to)])]);
    }
    let tags = "<tool_call>\n<function=find>\n<parameter=q>\nab c\n</parameter>\n<parameter=n>\n1";
    check("qwen3-coder", tags, &[call("find", "{\"q\": \"ab c\", \"n\": 1")]);
    check("qwen3-coder", &tags[..tags.find(" c").unwrap()], &[call("find", "{\"q\": \"ab")]);
}

#[test]
fn the_beginning_may_have_been_given() {
    let mut parser = CallParser::new(format("hermes"), tools());
    assert_eq!(parser.push("<tool_call>\n{\"name\": \"now\", \"arguments\":"), []);
    let mut found = parser.push(" {\"q\": ");
    found.extend(parser.push("1}}"));
    found.extend(parser.finish());
    let want = ["{\"q\": ", "1}"].map(|a| Found::Arguments(a.into()));
    assert_eq!(found[..3], [&[Found::Start("now".into())][..], &want].concat());
}
