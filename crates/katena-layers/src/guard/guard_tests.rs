use futures_util::{StreamExt as _, stream};
use katena_core::fake::{EchoChat, HashEmbedder, ScriptedChat};
use katena_core::{
    ChatEvent, ChatModel, ChatModelExt as _, ChatRequest, ChatResponse, ChatStream, EmbedRequest,
    EmbedderExt as _, FinishReason, Message, ModelInfo, Part, PartKind, ToolCall, ToolResult,
};
use serde_json::json;

use super::*;

fn ask(text: &str) -> ChatRequest {
    ChatRequest::new([Message::user(text)])
}

#[derive(Debug)]
struct Pieces(ModelInfo, Vec<String>);

impl Pieces {
    fn new(pieces: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(ModelInfo::new("fake", "pieces"), pieces.into_iter().map(Into::into).collect())
    }
}

#[async_trait]
impl ChatModel for Pieces {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
    async fn generate(&self, _: &ChatRequest) -> Result<ChatResponse> {
        let response = ChatResponse::new(Message::assistant(self.1.concat()), FinishReason::Stop);
        Ok(response.with_raw(json!({ "text": self.1.concat() })).with_logprobs(Vec::new()))
    }
    async fn stream(&self, request: &ChatRequest) -> Result<ChatStream> {
        let response = self.generate(request).await?;
        let mut events = vec![ChatEvent::start(0, PartKind::Text)];
        events.extend(self.1.iter().map(|p| ChatEvent::delta(0, p)));
        events.push(ChatEvent::end(0, Part::text(self.1.concat())));
        events.push(ChatEvent::Finished(Box::new(response)));
        Ok(stream::iter(events.into_iter().map(Ok)).boxed())
    }
}

/// What goes out of a guarded stream before its end, and how it ends.
async fn read(model: &dyn ChatModel) -> (Vec<String>, Result<ChatResponse>) {
    let mut stream = model.stream(&ask("x")).await.unwrap();
    let mut accumulator = katena_core::Accumulator::new();
    let mut pieces = Vec::new();
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => return (pieces, Err(error)),
        };
        accumulator.push(&event).unwrap();
        if let ChatEvent::Delta { text, .. } = event {
            pieces.push(text);
        }
    }
    (pieces, accumulator.finish())
}

#[tokio::test]
async fn personal_data_is_found_and_words_and_numbers_stay() {
    let check = Pii::new();
    for (text, expected) in [
        ("mail ann.b+c@mail.example.co.uk.", "mail [email]."),
        ("a@b, @name, x@y.z, 5@6", "a@b, @name, x@y.z, 5@6"),
        ("call +49 30 1234567 now", "call [phone] now"),
        ("call (030) 123-4567-8 now", "call [phone] now"),
        ("4111111111111111", "[card]"),
        ("4111-1111-1111-1111!", "[card]!"),
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("5 4111 1111 1111 1111 12/27", "5 [card] 12/27"),
        ("1234 5678 9012 3456 7890 1234 5678", "1234 5678 9012 3456 7890 1234 5678"),
        ("order 20250101, 3.14159265, 12:30, v1.2.3", "order 20250101, 3.14159265, 12:30, v1.2.3"),
        ("id a4111111111111111", "id a4111111111111111"),
        ("ünï@exämple.de ☎ +1 (555) 010-9999", "[email] ☎ [phone]"),
    ] {
        let expected = if text == expected { Verdict::Pass } else { Verdict::Redact(expected.to_owned()) };
        let verdict = check.check(text, &Context::new()).await.unwrap();
        assert!(verdict == expected, "{text}");
    }
    let only = Pii::new().with_kinds([PiiKind::Card]).with_action(Action::Refuse);
    assert_eq!(only.check("a@b.cd", &Context::new()).await.unwrap(), Verdict::Pass);
    assert!(matches!(only.check("4111111111111111", &Context::new()).await.unwrap(), Verdict::Refuse(_)));
}

#[tokio::test]
async fn words_are_denied_whole_and_in_any_case() {
    let check = DenyWords::new(["cat", "cat fo", "$$$"]).with_action(Action::Redact);
    for (text, expected) in [
        ("A CAT, a category, a tomcat", "A [removed], a category, a tomcat"),
        ("cat food", "[removed] food"),
        ("us$$$now", "us[removed]now"),
        ("cat", "[removed]"),
    ] {
        let verdict = check.check(text, &Context::new()).await.unwrap();
        assert!(verdict == Verdict::Redact(expected.to_owned()), "{text}");
    }
}

#[tokio::test]
async fn input_is_checked_in_every_part_but_the_systems() {
    let model = ScriptedChat::texts(["a", "b", "c"]);
    let guarded = model.clone().layer(Guard::new().with_input(Pii::new()));
    let mail = "ann@example.com";
    let call = ToolCall::new("1", "t", format!(r#"{{"to":"{mail}"}}"#));
    let request = ChatRequest::new([
        Message::system(mail),
        Message::user(mail),
        Message::new(katena_core::Role::Assistant, vec![Part::ToolCall(call.clone())]),
        Message::tool(ToolResult::text(&call, mail)),
    ]);
    guarded.generate(&request).await.unwrap();
    let seen = serde_json::to_string(&model.requests()[0].messages).unwrap();
    assert_eq!(seen.matches(mail).count(), 1, "the system message is trusted: {seen}");
    assert_eq!(seen.matches("[email]").count(), 3);
    let strict = model.clone().layer(Guard::new().with_input(Pii::new()).with_system_checked());
    drop(strict.stream(&request).await.unwrap());
    assert!(!serde_json::to_string(&model.requests()[1].messages).unwrap().contains(mail));
    // A refusal asks nobody and repeats nothing.
    let refusing = model.clone().layer(Guard::new().with_input(Pii::new().with_action(Action::Refuse)));
    let error = refusing.generate(&request).await.unwrap_err();
    assert_eq!((error.kind(), error.context("check")), (ErrorKind::Refused, Some("pii")));
    assert!(!format!("{error:?}").contains("ann"), "{error:?}");
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn a_redacted_answer_hides_its_text_everywhere() {
    let guarded = Pieces::new(["write to ann@example.com"]).layer(Guard::new().with_output(Pii::new()));
    let response = guarded.generate(&ask("x")).await.unwrap();
    assert_eq!(response.text(), "write to [email]");
    assert!(response.raw.is_none() && response.logprobs.is_none());
    let passing = Pieces::new(["hello"]).layer(Guard::new().with_output(Pii::new()));
    assert!(passing.generate(&ask("x")).await.unwrap().raw.is_some());
    let reasoning = Part::Reasoning { text: "ann@example.com".into(), signature: Some("s".into()) };
    let opaque = Part::Opaque { vendor: "v".into(), value: json!({ "mail": "ann@example.com" }) };
    let message = Message::new(katena_core::Role::Assistant, vec![reasoning, opaque]);
    let model = ScriptedChat::new([Ok(ChatResponse::new(message, FinishReason::Stop))]);
    let response = model.layer(Guard::new().with_output(Pii::new())).generate(&ask("x")).await.unwrap();
    let expected = [
        Part::Reasoning { text: "[email]".into(), signature: None },
        Part::Opaque { vendor: "v".into(), value: json!({ "mail": "[email]" }) },
    ];
    assert_eq!(response.message.parts, expected);
}

#[tokio::test]
async fn nothing_leaves_a_stream_before_it_was_seen() {
    // The secret comes letter by letter, after and before much other text.
    let filler = "lorem ipsum ".repeat(400);
    let text = format!("{filler}ann.secret@example.com {filler}");
    for size in [1, 7, 1000] {
        let chars: Vec<char> = text.chars().collect();
        let pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
        let guarded = Pieces::new(pieces.clone()).layer(Guard::new().with_output(Pii::new()));
        let (out, response) = read(&guarded).await;
        assert_eq!(out.concat(), text.replace("ann.secret@example.com", "[email]"));
        assert!(out.len() > 1, "a window lets the beginning go");
        let response = response.unwrap();
        assert!(response.raw.is_none() && response.text() == out.concat());
        let refusing = Guard::new().with_output(Pii::new().with_action(Action::Refuse));
        let (out, end) = read(&Pieces::new(pieces).layer(refusing)).await;
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Refused);
        assert!(filler.starts_with(&out.concat()));
    }
}

#[tokio::test]
async fn a_check_without_a_window_sees_the_whole_part_first() {
    let guard = Guard::new().with_output(MaxLength::new(5_000)).with_output(DenyWords::new(["never"]));
    let long: Vec<String> = (0..2_000).map(|n| format!("{n} ")).collect();
    let (out, end) = read(&Pieces::new(long).layer(guard.clone())).await;
    assert!(out.is_empty());
    assert_eq!(end.unwrap_err().context("check"), Some("max_length"));
    let (out, end) = read(&Pieces::new(["short ", "text"]).layer(guard)).await;
    assert_eq!((out.concat().as_str(), end.unwrap().text().as_str()), ("short text", "short text"));
}

#[tokio::test]
async fn a_word_that_goes_on_is_not_refused_too_early() {
    let pieces: Vec<String> =
        "we never say nevermore ".repeat(50).replace("never ", "always ").chars().map(String::from).collect();
    let whole = pieces.concat();
    let guarded = Pieces::new(pieces).layer(Guard::new().with_output(DenyWords::new(["never"])));
    let (out, end) = read(&guarded).await;
    assert_eq!((out.concat(), end.unwrap().text()), (whole.clone(), whole));
}

#[tokio::test]
async fn embedders_are_guarded() {
    let inner = HashEmbedder::new(32);
    let guarded = inner.clone().layer(Guard::new().with_input(Pii::new()));
    let got = guarded.embed(&EmbedRequest::documents(["a", "to ann@example.com"])).await.unwrap();
    let plain = inner.embed(&EmbedRequest::documents(["a", "to [email]"])).await.unwrap();
    assert_eq!(got, plain);
    let refusing = inner.layer(Guard::new().with_input(MaxLength::new(3)));
    assert!(refusing.embed(&EmbedRequest::query("long text")).await.is_err());
}

use katena_core::Embedder as _;

#[tokio::test]
async fn debug_names_checks_only() {
    let guard = Guard::new().with_input(DenyWords::new(["falcon"])).with_output(Pii::new());
    let shown = format!("{guard:?} {:?}", EchoChat::new().layer(guard.clone()));
    assert!(shown.contains("deny_words") && !shown.contains("falcon"), "{shown}");
}
