use async_trait::async_trait;
use futures_util::StreamExt as _;
use katena_core::fake::{EchoChat, FlakyChat, HashEmbedder, ScriptedChat};
use katena_core::{
    ChatEvent, ChatModel as _, ChatModelExt as _, ChatRequest, ChatResponse, Document, EmbedRequest,
    Embedder as _, EmbedderExt as _, ErrorKind, FinishReason, Message, RerankRequest, Reranker,
    RerankerExt as _, Run, Scored, Source, Tool as _, ToolCall, ToolExt as _, Usage,
};

use super::*;

/// Made up for these tests.
const SECRET: &str = "sk-planted-0123456789abcdefghij";

fn ask(text: &str) -> ChatRequest {
    ChatRequest::new([Message::user(text)])
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/test.jsonl");
    (dir, path)
}

/// Must not be asked.
fn nobody() -> ScriptedChat {
    ScriptedChat::texts(Vec::<String>::new())
}

#[tokio::test]
async fn answers_come_again_in_any_order_and_equal_ones_in_theirs() {
    let (_dir, path) = file();
    let record = Record::new(&path);
    let model = ScriptedChat::texts(["one", "two", "three"]).layer(record.clone());
    let mut answers = Vec::new();
    for text in ["a", "b", "a"] {
        answers.push(model.generate(&ask(text)).await.unwrap());
    }
    record.save().unwrap();
    let inner = nobody();
    let model = inner.clone().layer(Replay::open(&path).unwrap());
    assert_eq!(model.generate(&ask("b")).await.unwrap(), answers[1]);
    assert_eq!(model.generate(&ask("a")).await.unwrap(), answers[0]);
    assert_eq!(model.generate(&ask("a")).await.unwrap(), answers[2]);
    let error = model.generate(&ask("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.context("recorded")), (ErrorKind::NotFound, Some("2")));
    assert!(inner.requests().is_empty());
}

#[tokio::test]
async fn streams_errors_and_cuts_come_again_as_they_were() {
    let (_dir, path) = file();
    let record = Record::new(&path);
    let collect = async |model: &dyn katena_core::ChatModel, text: &str| {
        let stream = model.stream(&ask(text)).await?;
        Ok::<_, katena_core::Error>(stream.map(|e| e.map_err(|e| e.to_string())).collect::<Vec<_>>().await)
    };
    let whole = EchoChat::new().layer(record.clone());
    let cut = FlakyChat::new(EchoChat::new(), 1).with_failures_mid_stream().layer(record.clone());
    let down = FlakyChat::new(EchoChat::new(), 2).layer(record.clone());
    let first = collect(&whole, "one two three").await.unwrap();
    let broken = collect(&cut, "cut here please").await.unwrap();
    assert!(broken.last().unwrap().is_err() && broken.len() > 1);
    let refused = collect(&down, "down").await.unwrap_err();
    let failed = down.generate(&ask("also down")).await.unwrap_err();
    let generated = whole.generate(&ask("as a whole")).await.unwrap();
    // Dropped in the midst: not recorded.
    drop(whole.stream(&ask("dropped")).await.unwrap());
    drop((whole, cut, down));
    drop(record);
    let model = EchoChat::new().layer(Replay::open(&path).unwrap());
    assert_eq!(collect(&model, "one two three").await.unwrap(), first);
    assert_eq!(collect(&model, "cut here please").await.unwrap(), broken);
    let again = collect(&model, "down").await.unwrap_err();
    assert_eq!((again.to_string(), again.is_temporary()), (refused.to_string(), true));
    assert_eq!(model.generate(&ask("also down")).await.unwrap_err().to_string(), failed.to_string());
    let streamed =
        model.stream(&ask("as a whole")).await.unwrap().map(Result::unwrap).collect::<Vec<_>>().await;
    assert_eq!(streamed, ChatEvent::of_response(generated));
    assert!(model.stream(&ask("dropped")).await.is_err());
}

#[tokio::test]
async fn a_missing_request_names_the_nearest_difference() {
    let (_dir, path) = file();
    let record = Record::new(&path);
    let model = EchoChat::new().layer(record.clone());
    model.generate(&ask("far away").with_max_tokens(1).with_seed(1)).await.unwrap();
    model.generate(&ask("near").with_temperature(0.5)).await.unwrap();
    for n in 0..200 {
        model.generate(&ask("near").with_temperature(n as f32 * 0.007 + 5.0)).await.unwrap();
    }
    record.save().unwrap();
    let model = EchoChat::new().layer(Replay::open(&path).unwrap());
    let error = model.generate(&ask("near").with_temperature(0.25)).await.unwrap_err();
    let nearest = error.context("nearest").unwrap();
    assert_eq!(nearest, "1 difference(s), first: request.temperature was 0.5, is 0.25");
    for n in 0..200 {
        model.generate(&ask("near").with_temperature(n as f32 * 0.007 + 5.0)).await.unwrap();
    }
    let other = nobody().layer(Replay::open(&path).unwrap());
    let error = other.generate(&ask("near").with_temperature(0.5)).await.unwrap_err();
    assert!(error.context("nearest").unwrap().contains("component.model was \"echo\", is \"scripted\""));
}

#[tokio::test]
async fn what_is_missing_can_be_recorded() {
    let (_dir, path) = file();
    for _ in 0..2 {
        let replay = Replay::open_or_record(&path).unwrap();
        let model = EchoChat::new().layer(replay.clone());
        model.generate(&ask("a")).await.unwrap();
        replay.save().unwrap();
    }
    let inner = ScriptedChat::texts(["new"]);
    let replay = Replay::open(&path).unwrap().with_missing_recorded();
    inner.layer(replay.clone()).generate(&ask("b")).await.unwrap();
    replay.save().unwrap();
    let strict = Replay::open(&path).unwrap();
    EchoChat::new().layer(strict.clone()).generate(&ask("a")).await.unwrap();
    assert_eq!(nobody().layer(strict).generate(&ask("b")).await.unwrap().text(), "new");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3, "a head and two calls");
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_planted_secret_is_nowhere_in_the_file() {
    let (_dir, path) = file();
    let record = Record::new(&path).with_redactor(|text| text.replace("Falcon", "[project]"));
    let said = format!("key {SECRET} for Falcon");
    let raw = serde_json::json!({ "headers": { "x-api-key": "short" }, "echo": said });
    let call = katena_core::Part::ToolCall(ToolCall::new("1", "login", r#"{"password":"hunter2"}"#));
    let message = Message::new(katena_core::Role::Assistant, vec![katena_core::Part::text(&said), call]);
    let response =
        ChatResponse::new(message, FinishReason::ToolCalls).with_raw(raw).with_usage(Usage::new(1, 2));
    let model = ScriptedChat::new([Ok(response.clone()), Ok(response)]).layer(record.clone());
    let request = ask(&format!("my key is {SECRET}")).with_extra("api_key", "hidden-extra");
    assert!(model.generate(&request).await.unwrap().text().contains(SECRET), "the caller gets it all");
    // Streamed word by word, "key" and the secret in pieces of their own.
    let events = model.stream(&request).await.unwrap().collect::<Vec<_>>().await;
    assert!(events.len() > 8);
    record.save().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for secret in [SECRET, "planted", "hunter2", "hidden-extra", "short", "Falcon"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let replay =
        Replay::open(&path).unwrap().with_redactor(|text| text.replace("Falcon", "[project]")).unwrap();
    let model = nobody().layer(replay);
    assert_eq!(model.generate(&request).await.unwrap().text(), "key *** for [project]");
    let mut whole = katena_core::Accumulator::new();
    let mut stream = model.stream(&request).await.unwrap();
    while let Some(event) = stream.next().await {
        whole.push(&event.unwrap()).unwrap();
    }
    assert_eq!(whole.finish().unwrap().text(), "key *** for [project]", "the law of streams holds");
}

#[derive(Debug)]
struct Reverse;

#[async_trait]
impl Reranker for Reverse {
    async fn rerank(&self, request: RerankRequest) -> Result<Vec<Scored<Document>>> {
        Ok(request.documents.into_iter().rev().map(|d| Scored::new(d, 0.5)).collect())
    }
}

#[derive(Debug)]
struct Dead;

#[async_trait]
impl Reranker for Dead {
    async fn rerank(&self, _: RerankRequest) -> Result<Vec<Scored<Document>>> {
        Err(katena_core::Error::unexpected("asked"))
    }
}

#[derive(Debug)]
struct Add(katena_core::ToolSpec, bool);

#[async_trait]
impl katena_core::Tool for Add {
    fn spec(&self) -> &katena_core::ToolSpec {
        &self.0
    }
    async fn call(&self, call: ToolCall, _: &Run) -> Result<katena_core::ToolOutput> {
        if !self.1 {
            return Err(katena_core::Error::unexpected("asked"));
        }
        let args: serde_json::Value = call.parse()?;
        Ok((args["a"].as_i64().unwrap() + args["b"].as_i64().unwrap()).to_string().into())
    }
}

#[tokio::test]
async fn embedders_rerankers_and_tools_too() {
    let (_dir, path) = file();
    let record = Record::new(&path);
    let spec = katena_core::ToolSpec::new("add", "Adds.", serde_json::json!({"type": "object"}));
    let (add, dead) = (Add(spec.clone(), true), Add(spec, false));
    let texts = EmbedRequest::documents(["a b", "c"]);
    let vectors = HashEmbedder::new(8).layer(record.clone()).embed(&texts).await.unwrap();
    let documents = ["x", "y"].map(|t| Document::new(t, Source::new(t)).with_id(t));
    let request = RerankRequest::new("q", documents.to_vec());
    let ranked = Reverse.layer(record.named("r")).rerank(request.clone()).await.unwrap();
    let call = |id: &str, args: &str| ToolCall::new(id, "add", args);
    add.layer(record.clone()).call(call("1", r#"{"a":1,"b":2}"#), &Run::new()).await.unwrap();
    record.save().unwrap();
    let replay = Replay::open(&path).unwrap();
    assert_eq!(HashEmbedder::new(8).layer(replay.clone()).embed(&texts).await.unwrap(), vectors);
    assert!(HashEmbedder::new(9).layer(replay.clone()).embed(&texts).await.is_err(), "another model");
    assert!(Dead.layer(replay.named("other")).rerank(request.clone()).await.is_err());
    assert_eq!(Dead.layer(replay.named("r")).rerank(request).await.unwrap(), ranked);
    let tool = dead.layer(replay);
    let output = tool.call(call("other id", r#"{ "b": 2, "a": 1 }"#), &Run::new()).await.unwrap();
    assert_eq!(output.text(), "3");
}

#[test]
fn damaged_files_are_refused_with_their_line() {
    let (_dir, path) = file();
    assert_eq!(Replay::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    for (text, kind) in [
        ("", ErrorKind::InvalidInput),
        ("hello", ErrorKind::InvalidInput),
        ("{\"katena_cassette\":2}\n", ErrorKind::Unsupported),
        ("{\"katena_cassette\":1}\n{\"kind\":", ErrorKind::InvalidInput),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Replay::open(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(error.context("file").is_some());
    }
}
