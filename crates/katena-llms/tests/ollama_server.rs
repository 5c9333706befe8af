//! Ollama's component against a small server that speaks its protocol (a double, not Ollama).

#![cfg(feature = "ollama")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatModel as _, ChatRequest, ChatResponse, Context, ErrorKind, Message, ModelCatalog as _,
    Result,
};
use katena_llms::OllamaChat;
use katena_testkit::FAKE_KEY;
use serde_json::{Value, json};
use support::{Reply, Seen, Server, Step};

const NDJSON: &str = "application/x-ndjson";

/// Answers like a model: calls a tool or writes JSON if told to, else repeats what it was asked, word by word.
fn double(seen: &Seen) -> Reply {
    if seen.path != "/api/chat" {
        return Reply::new(404, "application/json", r#"{"error":"not found"}"#);
    }
    let body = seen.json();
    let asked = body["messages"].as_array().unwrap();
    let said = asked.last().unwrap()["content"].as_str().unwrap_or_default().to_owned();
    let options = &body["options"];
    let format = &body["format"];
    let mut text = match &format["properties"] {
        Value::Object(p) if p.contains_key("arguments") => {
            let name = &p["name"]["enum"][0];
            let key = p["arguments"]["required"][0].as_str().unwrap_or("x").to_owned();
            json!({"name": name, "arguments": {key: "utc"}}).to_string()
        }
        Value::Object(_) => json!({"colour": "red", "ready": true}).to_string(),
        _ => format!("You said: {said}"),
    };
    let mut reason = "stop";
    for stop in options["stop"].as_array().into_iter().flatten() {
        if let Some(at) = text.find(stop.as_str().unwrap()) {
            text.truncate(at);
        }
    }
    let mut words: Vec<&str> = text.split_inclusive(' ').collect();
    if let Some(max) = options["num_predict"].as_u64().filter(|m| (*m as usize) < words.len()) {
        words.truncate(max as usize);
        reason = "length";
    }
    let logprobs = |word: &str| {
        let rivals = body["top_logprobs"].as_u64().unwrap_or(0);
        let top: Vec<Value> =
            (0..rivals).map(|n| json!({"token": n.to_string(), "logprob": -1.0 - n as f64})).collect();
        json!([{"token": word, "logprob": -0.1, "top_logprobs": top}])
    };
    let input: usize = asked.iter().map(|m| m["content"].as_str().unwrap_or("").split(' ').count()).sum();
    let end = json!({"model": body["model"], "message": {"role": "assistant", "content": ""}, "done": true,
        "done_reason": reason, "prompt_eval_count": input, "eval_count": words.len()});
    if body["stream"] == false {
        let mut whole = end;
        whole["message"]["content"] = json!(words.concat());
        if body["logprobs"] == true {
            whole["logprobs"] = words.iter().map(|w| logprobs(w)[0].clone()).collect();
        }
        return Reply::json(whole.to_string());
    }
    let mut lines = String::new();
    for word in &words {
        let mut line = json!({"model": body["model"], "message": {"content": word}, "done": false});
        if body["logprobs"] == true {
            line["logprobs"] = logprobs(word);
        }
        lines.extend([&line.to_string(), "\n"]);
    }
    Reply::new(200, NDJSON, format!("{lines}{end}\n"))
}

fn model(server: &Server) -> OllamaChat {
    OllamaChat::new("m").with_base_url(&server.url).unwrap().with_api_key(FAKE_KEY)
}

katena_testkit::chat_model_contract!(scripted, async {
    let server = Server::start(double).await;
    (model(&server), server)
});

fn ask() -> ChatRequest {
    ChatRequest::new([Message::user("Hi")])
}

async fn fold(model: &OllamaChat, request: &ChatRequest) -> Result<ChatResponse> {
    let mut stream = model.stream(request).await?;
    let mut answer = Accumulator::new();
    while let Some(event) = stream.next().await {
        answer.push(&event?)?;
    }
    answer.finish()
}

const LINES: &str = "{\"message\":{\"content\":\"Grüße \"},\"done\":false}\n{\"message\":{\"content\":\"☕\"},\"done\":false}\n{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":3,\"eval_count\":2}\n";

#[tokio::test]
async fn either_form_of_reply_answers_either_call() {
    let one = r#"{"message":{"content":"Grüße ☕"},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":2}"#;
    for reply in [
        Reply::new(200, NDJSON, LINES),
        Reply::new(200, NDJSON, LINES).in_pieces(1),
        Reply::new(200, NDJSON, LINES.trim_end()),
        Reply::new(200, NDJSON, format!("\u{feff}{}", LINES.replace('\n', "\r\n\r\n"))).in_pieces(7),
        Reply::new(200, NDJSON, format!("{LINES}rubbish\n")),
        Reply::json(one),
        Reply::json(format!("\n  {one}\n")).in_pieces(3),
    ] {
        let server = Server::always(reply.with_header("x-request-id", "req_7")).await;
        let model = model(&server);
        let whole = model.generate(&ask()).await;
        let answers =
            if server.requests().is_empty() { vec![] } else { vec![whole, fold(&model, &ask()).await] };
        for answer in answers {
            let response = answer.unwrap();
            assert_eq!(response.text(), "Grüße ☕");
            assert_eq!(response.usage, katena_core::Usage::new(3, 2));
            assert_eq!(response.request_id.as_deref(), Some("req_7"));
            assert_eq!(response.vendor.as_deref(), Some("ollama"));
        }
    }
}

#[tokio::test]
async fn what_is_cut_or_no_answer_is_a_typed_error() {
    let first = LINES.split_inclusive('\n').next().unwrap();
    let cases = [
        (Reply::new(200, NDJSON, first), ErrorKind::Unavailable),
        (Reply::new(200, NDJSON, &LINES.as_bytes()[..60]), ErrorKind::Unavailable),
        (Reply::new(200, NDJSON, &LINES.as_bytes()[..60]).then(Step::Cut), ErrorKind::Unavailable),
        (Reply::new(200, NDJSON, format!("{first}{{\"error\":\"stopped\"}}\n")), ErrorKind::Unavailable),
        (Reply::new(200, NDJSON, ""), ErrorKind::Unavailable),
        (Reply::new(200, "text/html", "<html>Sign in</html>"), ErrorKind::InvalidOutput),
        (Reply::new(200, NDJSON, "words"), ErrorKind::InvalidOutput),
        (Reply::new(404, "application/json", r#"{"error":"model 'm' not found"}"#), ErrorKind::NotFound),
    ];
    for (reply, kind) in cases {
        let server = Server::always(reply.clone()).await;
        let model = model(&server);
        for error in [model.generate(&ask()).await.unwrap_err(), fold(&model, &ask()).await.unwrap_err()] {
            assert_eq!(error.kind(), kind, "{reply:?}: {error:?}");
            assert_eq!(error.vendor(), Some("ollama"));
        }
    }
}

#[tokio::test]
async fn pulls_tell_of_each_step_and_of_failure() {
    let steps = "{\"status\":\"pulling manifest\"}\n{\"status\":\"pulling 1b\",\"digest\":\"sha256:1b\",\"total\":10,\"completed\":4}\n";
    let server =
        Server::always(Reply::new(200, NDJSON, format!("{steps}{{\"status\":\"success\"}}\n"))).await;
    let pull = model(&server).puller();
    let all: Vec<_> = pull.pull("a", &Context::new()).await.unwrap().map(|s| s.unwrap()).collect().await;
    assert_eq!(all.len(), 3);
    assert_eq!((all[1].total, all[1].completed), (Some(10), Some(4)));
    assert_eq!(server.requests()[0].json(), json!({"model": "a", "stream": true}));
    pull.fetch("a", &Context::new()).await.unwrap();
    for (end, words) in [("{\"error\":\"file does not exist\"}", "file does not exist"), ("", "ended")] {
        let server = Server::always(Reply::new(200, NDJSON, format!("{steps}{end}"))).await;
        let error = model(&server).puller().fetch("a", &Context::new()).await.unwrap_err();
        assert!(error.message().contains(words), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn the_models_of_a_server() {
    let server =
        Server::always(Reply::json(r#"{"models":[{"name":"a","model":"a:latest","size":1}]}"#)).await;
    let models = model(&server).models().await.unwrap();
    assert_eq!((models[0].model.as_str(), models.len()), ("a:latest", 1));
    assert_eq!(server.requests()[0].path, "/api/tags");
}

#[tokio::test]
async fn what_a_model_can_do_is_asked_for() {
    let server = Server::always(Reply::json(r#"{"capabilities":["completion","tools"],"details":{}}"#)).await;
    let can = model(&server).detected(&Context::new()).await.unwrap().info().capabilities;
    assert!(can.tools && !can.images && !can.reasoning && can.json_schema);
    assert_eq!(server.requests()[0].json(), json!({"model": "m"}));
    let silent = Server::always(Reply::json(r#"{"details":{}}"#)).await;
    assert!(model(&silent).detected(&Context::new()).await.unwrap().info().capabilities.images);
    let unknown =
        Server::always(Reply::new(404, "application/json", r#"{"error":"model 'm' not found"}"#)).await;
    let error = model(&unknown).detected(&Context::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
