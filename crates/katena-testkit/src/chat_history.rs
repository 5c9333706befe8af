//! The contract of [`ChatHistory`]. Each law wants an empty history.

use katena_core::{ChatHistory, Media, Message, Part, Role, ToolCall, ToolResult};
use serde_json::json;

use crate::harness::{Law, parallel};

/// A conversation with every kind of part.
fn conversation() -> Vec<Message> {
    let call = ToolCall::new("call_1", "get_weather", "{\"city\": \"Oslo\", ");
    let url = Media::Url { mime: None, url: "https://example.org/a.mp3".to_owned() };
    let inline = |mime: &str| Media::Base64 { mime: mime.to_owned(), data: "AAECAw==".to_owned() };
    vec![
        Message::system("You are brief."),
        Message::new(
            Role::User,
            vec![
                Part::text("What is this?"),
                Part::Image { media: inline("image/png") },
                Part::text(""),
                Part::Audio { media: url.clone() },
                Part::Video { media: url },
                Part::File { media: inline("application/pdf"), name: Some("a.pdf".to_owned()) },
            ],
        ),
        Message::new(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "Hm.".to_owned(), signature: Some("c2ln/+==".to_owned()) },
                Part::Opaque { vendor: "fake".to_owned(), value: json!({"a": [1, 2.5, null, {"b": "ü"}]}) },
                Part::ToolCall(call.clone()),
            ],
        ),
        Message::tool(ToolResult::text(&call, "no such tool").with_error()),
        Message::new(Role::Assistant, vec![Part::Refusal { text: "I can't say.".to_owned() }]),
        Message::new(Role::Assistant, Vec::new()),
    ]
}

async fn read(law: Law, history: &dyn ChatHistory, session: &str) -> Vec<Message> {
    law.ok("reading", history.messages(session).await)
}

async fn append(law: Law, history: &dyn ChatHistory, session: &str, messages: Vec<Message>) {
    law.ok("appending", history.append(session, messages).await);
}

fn same(law: Law, what: &str, got: &[Message], wanted: &[Message]) {
    // `Debug` of messages hides what they say, which is what a failing test must show.
    let show = |messages| serde_json::to_string(messages).unwrap_or_default();
    law.check(got == wanted, format!("{what}: got {}, wanted {}", show(got), show(wanted)));
}

/// An unknown session has no messages; that is no error.
pub async fn starts_empty(history: &dyn ChatHistory) {
    let law = Law("ChatHistory: starts_empty");
    for session in ["a", "", "never seen"] {
        same(law, "messages", &read(law, history, session).await, &[]);
    }
}

/// Messages come back as they went in, all parts included.
pub async fn append_keeps_order(history: &dyn ChatHistory) {
    let law = Law("ChatHistory: append_keeps_order");
    let mut wanted = conversation();
    append(law, history, "a", wanted.clone()).await;
    same(law, "one call", &read(law, history, "a").await, &wanted);
    for n in 0..20 {
        let more = vec![Message::user(format!("Question {n}")), Message::assistant(format!("Answer {n}"))];
        append(law, history, "a", more.clone()).await;
        wanted.extend(more);
    }
    append(law, history, "a", Vec::new()).await;
    same(law, "many calls", &read(law, history, "a").await, &wanted);
    append(law, history, "a", conversation()).await;
    wanted.extend(conversation());
    same(law, "the same messages again", &read(law, history, "a").await, &wanted);
}

/// Writing or clearing one leaves the others.
pub async fn sessions_are_apart(history: &dyn ChatHistory) {
    let law = Law("ChatHistory: sessions_are_apart");
    let sessions = ["a", "A", "a ", "ab", "", "a%", "a_", "á"];
    for session in sessions {
        append(law, history, session, vec![Message::user(format!("<{session}>"))]).await;
    }
    law.ok("clearing", history.clear("a").await);
    law.ok("replacing", history.replace("A", vec![Message::user("new")]).await);
    law.ok("clearing", history.clear("a_").await);
    law.ok("clearing", history.clear("a%").await);
    for session in sessions {
        let wanted = match session {
            "a" | "a_" | "a%" => Vec::new(),
            "A" => vec![Message::user("new")],
            _ => vec![Message::user(format!("<{session}>"))],
        };
        same(law, &format!("session {session:?}"), &read(law, history, session).await, &wanted);
    }
}

/// Afterwards exactly the new messages are there.
pub async fn replace_is_whole(history: &dyn ChatHistory) {
    let law = Law("ChatHistory: replace_is_whole");
    append(law, history, "a", conversation()).await;
    for wanted in
        [vec![Message::user("one"), Message::assistant("two")], conversation(), Vec::new(), conversation()]
    {
        law.ok("replacing", history.replace("a", wanted.clone()).await);
        same(law, "messages", &read(law, history, "a").await, &wanted);
    }
    law.ok("replacing what is not there", history.replace("new", conversation()).await);
    same(law, "a new session", &read(law, history, "new").await, &conversation());
    append(law, history, "new", vec![Message::user("more")]).await;
    let wanted: Vec<Message> = conversation().into_iter().chain([Message::user("more")]).collect();
    same(law, "appending after it", &read(law, history, "new").await, &wanted);
}

/// Afterwards there are none; clearing twice is no error.
pub async fn clear_forgets(history: &dyn ChatHistory) {
    let law = Law("ChatHistory: clear_forgets");
    law.ok("clearing what is not there", history.clear("a").await);
    append(law, history, "a", conversation()).await;
    law.ok("clearing", history.clear("a").await);
    same(law, "messages", &read(law, history, "a").await, &[]);
    law.ok("clearing again", history.clear("a").await);
    append(law, history, "a", vec![Message::user("new")]).await;
    same(law, "messages afterwards", &read(law, history, "a").await, &[Message::user("new")]);
}

/// And the messages of one call stay together.
pub async fn concurrent_appends_lose_nothing(history: &dyn ChatHistory) {
    const WRITERS: usize = 8;
    const TURNS: usize = 10;
    let law = Law("ChatHistory: concurrent_appends_lose_nothing");
    parallel(WRITERS, |writer| async move {
        for turn in 0..TURNS {
            let turn = (0..3).map(|n| Message::user(format!("{writer}/{turn}/{n}"))).collect();
            append(law, history, "shared", turn).await;
            append(law, history, &format!("own {writer}"), vec![Message::user("x")]).await;
        }
    });
    let all = read(law, history, "shared").await;
    law.same("number of messages", &all.len(), &(WRITERS * TURNS * 3));
    let mut next = [0; WRITERS];
    for turn in all.chunks(3) {
        let first = turn[0].text();
        let Some(writer) =
            first.split('/').next().and_then(|w| w.parse::<usize>().ok()).filter(|w| *w < WRITERS)
        else {
            law.broken(format!("an unknown message {first:?}"))
        };
        let wanted: Vec<Message> =
            (0..3).map(|n| Message::user(format!("{writer}/{}/{n}", next[writer]))).collect();
        same(law, "messages of one call, in the writer's order", turn, &wanted);
        next[writer] += 1;
    }
    for writer in 0..WRITERS {
        let own = read(law, history, &format!("own {writer}")).await;
        law.same("messages of an own session", &own.len(), &TURNS);
    }
}

/// Any session name and text.
pub async fn unicode_survives(history: &dyn ChatHistory) {
    let law = Law("ChatHistory: unicode_survives");
    let long = "long-".repeat(100);
    let strange = [
        "👩‍👩‍👧‍👦 🇨🇭 ☕",
        "it's \"quoted\" `so` \\ and $1 ?1 :x {0}",
        "line\nbreak\r\n\u{2028}\t",
        "'; DROP TABLE messages; --",
        "e\u{301}",
        "\u{e9}",
        "\u{202e}עברית \u{feff}\u{fffd}\u{10ffff}",
        "../../etc/passwd",
        "*",
        "",
        &long,
    ];
    for name in strange {
        let text = format!("{name} a\0b");
        append(law, history, name, vec![Message::user(name), Message::assistant(text)]).await;
    }
    for name in strange {
        let wanted = [Message::user(name), Message::assistant(format!("{name} a\0b"))];
        same(law, &format!("session {name:?}"), &read(law, history, name).await, &wanted);
    }
}

/// A range is that part of the messages; what lies past the end is left out, no error.
pub async fn count_and_range_agree(history: &dyn ChatHistory) {
    let law = Law("ChatHistory: count_and_range_agree");
    let count = |session: &'static str| async move { law.ok("counting", history.count(session).await) };
    law.same("messages of an unknown session", &count("a").await, &0);
    law.check(law.ok("reading", history.range("a", 0..5).await).is_empty(), "an unknown session has a range");
    let mut all: Vec<Message> = Vec::new();
    for n in 0..7 {
        let turn: Vec<Message> = (0..=n % 3).map(|m| Message::user(format!("{n}.{m}"))).collect();
        append(law, history, "a", turn.clone()).await;
        append(law, history, "b", vec![Message::user("x")]).await;
        all.extend(turn);
        law.same("number of messages", &count("a").await, &all.len());
    }
    let n = all.len();
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is tried")]
    let ranges =
        [0..n, 0..1, 2..5, n - 1..n, n - 1..n + 9, 0..usize::MAX, n..n + 1, n + 3..n + 9, 3..3, 5..2];
    for range in ranges {
        let got = law.ok("reading", history.range("a", range.clone()).await);
        let wanted: Vec<Message> = all.iter().take(range.end).skip(range.start).cloned().collect();
        same(law, &format!("{range:?}"), &got, &wanted);
    }
    law.ok("replacing", history.replace("a", all[..2].to_vec()).await);
    law.same("messages after replacing", &count("a").await, &2);
    let got = law.ok("reading", history.range("a", 1..9).await);
    same(law, "1..9 after replacing", &got, &all[1..2]);
    append(law, history, "a", all[4..5].to_vec()).await;
    let got = law.ok("reading", history.range("a", 2..9).await);
    same(law, "2..9 after appending", &got, &all[4..5]);
    law.ok("clearing", history.clear("a").await);
    law.same("messages after clearing", &count("a").await, &0);
}

/// Those with messages, each once, in the order of their bytes, page by page.
pub async fn sessions_are_listed(history: &dyn ChatHistory) {
    let law = Law("ChatHistory: sessions_are_listed");
    let list = |after: Option<&'static str>, limit: usize| async move {
        law.ok("listing", history.sessions(after, limit).await)
    };
    law.check(list(None, 9).await.is_empty(), "an empty history lists sessions");
    let mut names = ["b", "a", "A", "", "a/b", "é", "z", "a\0", "👩", "\u{ffff}", "10", "9"];
    for name in names {
        append(law, history, name, vec![Message::user("x")]).await;
        append(law, history, name, vec![Message::user("y")]).await;
    }
    append(law, history, "gone", vec![Message::user("x")]).await;
    law.ok("clearing", history.clear("gone").await);
    append(law, history, "emptied", vec![Message::user("x")]).await;
    law.ok("replacing", history.replace("emptied", Vec::new()).await);
    append(law, history, "never", Vec::new()).await;
    names.sort_unstable();
    let wanted = |from: usize, to: usize| names[from..to].iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let end = names.len();
    law.same("all sessions", &list(None, 100).await, &wanted(0, end));
    law.same("the first five", &list(None, 5).await, &wanted(0, 5));
    law.same("the next five", &list(Some(names[4]), 5).await, &wanted(5, 10));
    law.same("the rest", &list(Some(names[9]), 5).await, &wanted(10, end));
    law.same("after the last", &list(Some(names[end - 1]), 5).await, &wanted(0, 0));
    let first_after_b = names.iter().position(|n| *n > "bb").unwrap_or(end);
    law.same("after a name that is none", &list(Some("bb"), 100).await, &wanted(first_after_b, end));
    law.same("none asked for", &list(None, 0).await, &wanted(0, 0));
}
