use katena_core::fake::{HashEmbedder, ScriptedChat};
use katena_core::{ChatModelExt as _, Context, Labels, Message};

use super::*;

fn ask(text: &str, tenant: &str) -> ChatRequest {
    let labels = Labels::new().with("tenant", tenant).with("feature", text);
    ChatRequest::new([Message::system("short"), Message::user(text)])
        .with_context(Context::new().with_labels(labels))
}

fn model(answers: usize) -> (ScriptedChat, Arc<dyn ChatModel>) {
    let model = ScriptedChat::texts((0..answers).map(|n| n.to_string()));
    let cache = SemanticCache::new(HashEmbedder::new(512)).with_threshold(0.8);
    (model.clone(), model.layer(cache))
}

#[tokio::test]
async fn no_tenant_sees_anothers_answer() {
    let (asked, model) = model(9);
    for (text, tenant, answer) in [
        ("How do I reset my password please", "a", "0"),
        ("how do I reset my password, please?", "a", "0"),
        ("How do I reset my password please", "b", "1"),
        ("How do I reset my password please", "", "2"),
        ("How do I bake bread", "a", "3"),
        ("how do I reset my password, please?", "b", "1"),
    ] {
        assert_eq!(model.generate(&ask(text, tenant)).await.unwrap().text(), answer, "{text} {tenant}");
    }
    let unlabelled = ask("How do I reset my password please", "").with_context(Context::new());
    assert_eq!(model.generate(&unlabelled).await.unwrap().text(), "4");
    assert_eq!(asked.requests().len(), 5);
}

#[tokio::test]
async fn all_else_must_be_equal() {
    let (_, model) = model(20);
    let text = "what do apples cost in the shop";
    let mut other = ask(text, "a");
    other.messages[0] = Message::system("long");
    let mut longer = ask(text, "a");
    longer.messages.insert(1, Message::user("earlier"));
    let variants =
        [ask(text, "a"), other, longer, ask(text, "a").with_max_tokens(3), ask(text, "a").with_extra("x", 1)];
    for (n, request) in variants.iter().enumerate() {
        assert_eq!(model.generate(request).await.unwrap().text(), n.to_string());
    }
    for (n, request) in variants.iter().enumerate() {
        assert_eq!(model.generate(request).await.unwrap().text(), n.to_string());
    }
}

#[tokio::test]
async fn other_numbers_are_another_question() {
    let (_, model) = model(9);
    let question = |n: &str| ask(&format!("what do {n} apples cost in the shop today"), "a");
    assert_eq!(model.generate(&question("3")).await.unwrap().text(), "0");
    assert_eq!(model.generate(&question("4")).await.unwrap().text(), "1");
    assert_eq!(model.generate(&question("3")).await.unwrap().text(), "0");
    assert_eq!(numbers("1,000.5 and v2, or 7."), ["1,000.5", "2", "7"]);
}

#[tokio::test]
async fn what_does_not_end_with_a_users_text_passes() {
    let (asked, model) = model(9);
    let request = ChatRequest::new([Message::user("q"), Message::assistant("a")]);
    model.generate(&request).await.unwrap();
    model.generate(&request).await.unwrap();
    assert_eq!(asked.requests().len(), 2);
}

#[tokio::test]
async fn streams_are_kept_and_replayed() {
    use futures_util::StreamExt as _;
    let model = ScriptedChat::texts(["one two three", "other"]);
    let cached = model.clone().layer(SemanticCache::new(HashEmbedder::new(64)));
    let request = ask("how are you", "a");
    let first: Vec<_> = cached.stream(&request).await.unwrap().map(Result::unwrap).collect().await;
    let again: Vec<_> = cached.stream(&request).await.unwrap().map(Result::unwrap).collect().await;
    assert_eq!(first, again);
    assert!(first.len() > 4);
    assert_eq!(model.requests().len(), 1);
}

#[tokio::test]
async fn the_oldest_goes_first_and_time_ends_answers() {
    let store = MemorySemanticStore::new(2);
    let at = std::time::UNIX_EPOCH;
    let mut entry = CacheEntry::new(*b"x", at);
    entry.expires = Some(at + Duration::from_secs(5));
    for bucket in ["a", "a", "b"] {
        store.put(bucket, vec![1.0], entry.clone()).await.unwrap();
    }
    assert_eq!(store.len(), 2);
    assert!(store.nearest("b", &[1.0], at).await.unwrap().is_some());
    assert!(store.nearest("b", &[1.0], at + Duration::from_secs(5)).await.unwrap().is_none());
    assert!(store.nearest("c", &[1.0], at).await.unwrap().is_none());
}
