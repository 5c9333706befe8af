#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

//! Prompts and parsers as steps of a chain.

use futures_util::{FutureExt as _, StreamExt as _};
use katena_core::fake::{EchoChat, ScriptedChat};
use katena_core::{
    Chain, ChainExt as _, ChatResponse, ErrorKind, Event, FinishReason, Message, Part, Role, Streamed, func,
};
use katena_prompts::{
    BooleanParser, ChatPrompt, CodeParser, EnumParser, JsonParser, ListParser, LiveExt as _, OutputParser,
    ParseExt as _, PromptTemplate, Vars, XmlTag, vars,
};

/// The events and the output of a chain.
fn listen<C: Chain<Input = Vars>>(chain: &C, vars: Vars) -> (Vec<Event>, katena_core::Result<C::Output>)
where
    C::Output: Unpin,
{
    let mut stream = chain.stream(vars);
    let mut events = Vec::new();
    while let Some(item) = stream.next().now_or_never().unwrap() {
        match item {
            Ok(Streamed::Event(event)) => events.push(event.event),
            Ok(Streamed::Output(output)) => return (events, Ok(output)),
            Err(error) => return (events, Err(error)),
        }
    }
    unreachable!("a stream ends with its output")
}

fn question() -> ChatPrompt {
    ChatPrompt::fstring([(Role::User, "{q}")]).unwrap()
}

#[test]
fn a_reply_is_repaired_quietly_and_only_so_often() {
    let model = ScriptedChat::texts(["perhaps", "who knows", "no"]);
    let chain = question().chat(model.clone()).parse(BooleanParser::new()).with_repair(model.clone(), 2);
    let (events, output) = listen(&chain, vars! { "q" => "Is it?" });
    assert!(!output.unwrap());
    let shown: Vec<_> = events.iter().filter(|e| matches!(e, Event::Model(_))).collect();
    assert!(!shown.is_empty() && !format!("{shown:?}").contains("who knows"), "repairs are quiet");
    let requests = model.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[1].messages[0].text().contains("neither yes nor no"));
    assert!(requests[1].messages[0].text().contains("Answer with yes or no"));
    assert_eq!(requests[2].messages[1].text(), "who knows");

    let model = ScriptedChat::texts(["perhaps", "who knows", "no"]);
    let chain = question().chat(model.clone()).parse(BooleanParser::new()).with_repair(model.clone(), 1);
    let error = chain.run(vars! { "q" => "Is it?" }).now_or_never().unwrap().unwrap_err();
    assert_eq!((error.kind(), model.requests().len()), (ErrorKind::InvalidOutput, 2));
}

#[test]
fn refusals_stay_refusals_and_texts_can_be_parsed_too() {
    let refusal = Message::new(Role::Assistant, vec![Part::Refusal { text: "I'd rather not.".into() }]);
    let model = ScriptedChat::new([Ok(ChatResponse::new(refusal, FinishReason::Stop))]);
    let chain = question().chat(model.clone()).parse(ListParser::commas()).with_repair(model, 3);
    let error = chain.run(vars! { "q" => "x" }).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let texts = func(async |text: String, _run| Ok(text)).parse(CodeParser::new());
    assert_eq!(texts.run("~~~\na\n~~~").now_or_never().unwrap().unwrap(), "a");
}

#[test]
fn json_is_shown_while_it_grows_and_the_output_is_the_truth() {
    #[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
    struct Note {
        title: String,
        words: Vec<String>,
    }
    let reply = r#"Here: {"title": "On rain", "words": ["wet", "grey", "soft", "long"]} Done."#;
    let chain = question().chat_parsed(ScriptedChat::texts([reply]), JsonParser::<Note>::new());
    let (events, output) = listen(&chain, vars! { "q" => "x" });
    assert_eq!(output.unwrap().words, ["wet", "grey", "soft", "long"]);
    let values: Vec<_> = events
        .iter()
        .filter_map(|e| {
            if let Event::Custom { name, value } = e { (name == "partial").then_some(value) } else { None }
        })
        .collect();
    assert!(values.len() > 3);
    assert_eq!(values.last().unwrap()["words"].as_array().unwrap().len(), 4);
    assert!(!events.iter().any(|e| matches!(e, Event::Model(_))), "the raw text is not shown");
}

#[test]
fn only_the_inside_of_a_tag_is_shown_and_a_missing_one_is_an_error() {
    let ask = |reply: &str| {
        listen(
            &question().chat_parsed(ScriptedChat::texts([reply]), XmlTag::new("answer")),
            vars! { "q" => "x" },
        )
    };
    let (events, output) = ask("<think>secret plan</think> <answer> a b  c </answer> secret");
    let shown: String =
        events.iter().filter_map(|e| if let Event::Text(t) = e { Some(t.as_str()) } else { None }).collect();
    assert_eq!((shown.as_str(), output.unwrap().as_str()), ("a b  c", "a b  c"));
    assert!(!format!("{events:?}").contains("secret"));
    let (_, output) = ask("no tag");
    assert_eq!(output.unwrap_err().context("tag"), Some("answer"));
}

#[test]
fn what_is_missing_or_wrong_in_a_chat_prompt_is_told() {
    let prompt = ChatPrompt::builder().placeholder("history").user("{q}").image("pic").build().unwrap();
    let full =
        || vars! { "q" => "x" }.with_messages("history", vec![]).with_part("pic", Part::text("a part"));
    assert_eq!(prompt.render(&full()).unwrap().len(), 1);
    for (vars, name) in [
        (vars! { "q" => "x" }, "history"),
        (full().with("history", "text"), "history"),
        (full().with_messages("pic", vec![]), "pic"),
        (full().with_part("q", Part::text("x")), "q"),
    ] {
        let error = prompt.render(&vars).unwrap_err();
        assert_eq!((error.kind(), error.context("variable")), (ErrorKind::InvalidInput, Some(name)));
    }
    let short = ChatPrompt::builder().with_max_bytes(3).user("{q}").build().unwrap();
    assert!(short.render(&vars! { "q" => "abc" }).is_ok() && short.render(&vars! { "q" => "abcd" }).is_err());
    let error = ChatPrompt::fstring([(Role::System, "ok"), (Role::User, "a\n{")]).unwrap_err();
    assert_eq!((error.context("message"), error.context("line")), (Some("2"), Some("2")));
}

#[test]
fn errors_and_debug_hold_no_texts() {
    let secret = "x".repeat(2000);
    let vars = vars! { "q" => secret.clone() };
    let prompt = ChatPrompt::fstring([(Role::User, "secret {q}")]).unwrap();
    assert!(
        !format!("{vars:?} {prompt:?} {:?}", PromptTemplate::fstring("secret {q}").unwrap())
            .contains("secret {")
    );
    assert!(format!("{vars:?}").len() < 20);
    let parsers: [&dyn Fn(&str) -> katena_core::Error; 4] = [
        &|t| BooleanParser::new().parse(t).unwrap_err(),
        &|t| EnumParser::names_of(["a", "b"]).parse(t).unwrap_err(),
        &|t| XmlTag::new("t").parse(t).unwrap_err(),
        &|t| JsonParser::<u32>::new().parse(&format!("[\"{t}\"]")).unwrap_err(),
    ];
    for parse in parsers {
        let error = parse(&secret);
        assert_eq!(error.kind(), ErrorKind::InvalidOutput);
        assert!(format!("{error:?}").len() < 500, "{error:?}");
    }
}

#[cfg(feature = "files")]
#[test]
fn a_prompt_files_labels_reach_the_model() {
    use katena_core::{Labels, Run};
    let text = "---\nname: ask\nversion: 3\noptions: {temperature: 0}\n---\n{{q}}";
    let prompt = katena_prompts::PromptFile::parse(text, &katena_prompts::Partials::new()).unwrap();
    let hash = prompt.hash().to_owned();
    let model = ScriptedChat::texts(["a"]);
    let run = Run::new().with_labels(Labels::new().with("tenant", "acme"));
    let chain = prompt.chat(model.clone()).text();
    chain.run_with(vars! { "q" => "x" }, run).now_or_never().unwrap().unwrap();
    let labels = model.requests()[0].context.labels.clone();
    let found: Vec<_> = ["prompt", "prompt_hash", "tenant"].into_iter().map(|n| labels.get(n)).collect();
    assert_eq!(found, [Some("ask@3"), Some(hash.as_str()), Some("acme")]);
}

#[test]
fn a_prompt_is_a_chain_of_its_own() {
    let chain = PromptTemplate::fstring("{n:03}!").unwrap().chat(EchoChat::new()).text();
    assert_eq!(chain.run(vars! { "n" => 7 }).now_or_never().unwrap().unwrap(), "007!");
}
