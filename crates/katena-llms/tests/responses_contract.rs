//! The contract of a chat model, against a double that speaks OpenAI Responses: it says again what it heard.

#![cfg(feature = "responses")]
#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;

use futures_util::StreamExt as _;
use katena_core::{
    Accumulator, ChatModel as _, ChatRequest, ErrorKind, Message, ModelCatalog as _, TokenCounter as _,
    ToolSpec, Usage,
};
use katena_llms::OpenAiResponses;
use katena_testkit::FAKE_KEY;
use serde_json::{Map, Value, json};
use support::{Reply, Seen, Server, Step};

/// Every text in what was sent.
fn texts(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|v| texts(v, out)),
        Value::Object(map) => {
            for key in ["text", "content", "output"] {
                match map.get(key) {
                    Some(Value::String(text)) => out.push(text.clone()),
                    Some(other) => texts(other, out),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

/// Something that fits a simple schema.
fn example(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            Value::Object(properties.map(|(k, v)| (k.clone(), example(v))).collect::<Map<_, _>>())
        }
        Some("boolean") => json!(true),
        _ => json!("Oslo"),
    }
}

/// The items of the answer, its status and its tokens.
fn answer(body: &Value) -> (Value, &'static str, usize) {
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "opaque",
        "summary": [{"type": "summary_text", "text": "They speak to me."}]});
    let tools = body["tools"].as_array().cloned().unwrap_or_default();
    let choice = &body["tool_choice"];
    let tool = match choice.as_str() {
        Some("required") => tools.first(),
        _ => tools.iter().find(|t| choice["type"] == "function" && t["name"] == choice["name"]),
    };
    if let Some(tool) = tool {
        let arguments = example(&tool["parameters"]).to_string();
        let call = json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed",
            "name": tool["name"], "arguments": arguments});
        return (json!([reasoning, call]), "completed", 9);
    }
    let format = &body["text"]["format"];
    let mut heard = Vec::new();
    texts(body["input"].as_array().unwrap().last().unwrap(), &mut heard);
    let whole = if format["type"] == "json_schema" {
        example(&format["schema"]).to_string()
    } else {
        format!("I heard: {}", heard.concat())
    };
    let words: Vec<&str> = whole.split_inclusive(' ').collect();
    let limit = body["max_output_tokens"].as_u64().map_or(usize::MAX, |n| usize::try_from(n).unwrap());
    let said = &words[..words.len().min(limit)];
    let alternatives = body["top_logprobs"].as_u64();
    let logprobs: Vec<Value> = said
        .iter()
        .filter_map(|word| {
            let top: Vec<Value> = (0..alternatives?)
                .map(|n| json!({"token": format!("{word}{n}"), "logprob": -0.1 - f64::from(u32::try_from(n).unwrap())}))
                .collect();
            Some(json!({"token": word, "logprob": -0.1, "top_logprobs": top}))
        })
        .collect();
    let content =
        json!({"type": "output_text", "text": said.concat(), "annotations": [], "logprobs": logprobs});
    let message = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [content]});
    let status = if said.len() < words.len() { "incomplete" } else { "completed" };
    // Counted as if the model had not thought, so that the tokens of the text are all there are.
    (json!([reasoning, message]), status, said.len())
}

fn sse(response: &Value) -> String {
    let (mut text, mut number) = (String::new(), 0);
    let mut event = |kind: &str, mut value: Value| {
        value["type"] = json!(format!("response.{kind}"));
        value["sequence_number"] = json!(number);
        number += 1;
        writeln!(text, "event: response.{kind}\ndata: {value}\n").unwrap();
    };
    let mut head = response.clone();
    (head["output"], head["status"], head["usage"]) = (json!([]), json!("in_progress"), Value::Null);
    event("created", json!({ "response": head }));
    for (n, item) in response["output"].as_array().unwrap().iter().enumerate() {
        let at = |more: Value| {
            let mut value = json!({"output_index": n, "item_id": item["id"]});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            value
        };
        let mut start = item.clone();
        let pieces = |text: &Value| -> Vec<String> {
            text.as_str().unwrap().split_inclusive(' ').map(str::to_owned).collect()
        };
        match item["type"].as_str().unwrap() {
            "reasoning" => {
                (start["summary"], start["encrypted_content"]) = (json!([]), Value::Null);
                event("output_item.added", at(json!({ "item": start })));
                for piece in pieces(&item["summary"][0]["text"]) {
                    event("reasoning_summary_text.delta", at(json!({"summary_index": 0, "delta": piece})));
                }
            }
            "message" => {
                start["content"] = json!([]);
                event("output_item.added", at(json!({ "item": start })));
                let part = json!({"type": "output_text", "text": "", "annotations": []});
                event("content_part.added", at(json!({"content_index": 0, "part": part})));
                for (k, piece) in pieces(&item["content"][0]["text"]).into_iter().enumerate() {
                    let token: Vec<&Value> = item["content"][0]["logprobs"].get(k).into_iter().collect();
                    let delta = json!({"content_index": 0, "delta": piece, "logprobs": token});
                    event("output_text.delta", at(delta));
                }
            }
            _ => {
                start["arguments"] = json!("");
                event("output_item.added", at(json!({ "item": start })));
                for piece in pieces(&item["arguments"]) {
                    event("function_call_arguments.delta", at(json!({ "delta": piece })));
                }
            }
        }
        event("output_item.done", at(json!({ "item": item })));
    }
    let end = response["status"].as_str().unwrap().to_owned();
    event(&end, json!({ "response": response }));
    text
}

fn reply(seen: &Seen) -> Reply {
    assert_eq!(seen.headers["authorization"], format!("Bearer {FAKE_KEY}"));
    if seen.method == "GET" {
        assert_eq!(seen.path, "/v1/models");
        return Reply::json(r#"{"object": "list", "data": [{"id": "gpt-5"}, {"id": "gpt-5-mini"}]}"#);
    }
    let body = seen.json();
    let mut heard = vec![body["instructions"].as_str().unwrap_or_default().to_owned()];
    texts(&body["input"], &mut heard);
    let words = heard.concat().split(' ').count();
    if seen.path == "/v1/responses/input_tokens" {
        return Reply::json(json!({"object": "response.input_tokens", "input_tokens": words}).to_string());
    }
    assert_eq!(seen.path, "/v1/responses");
    assert_eq!((&body["store"], &body["include"][0]), (&json!(false), &json!("reasoning.encrypted_content")));
    // Reasoning that was sent once comes back as it was.
    for item in body["input"].as_array().unwrap().iter().filter(|i| i["type"] == "reasoning") {
        assert_eq!((&item["encrypted_content"], &item["id"]), (&json!("opaque"), &json!("rs_1")));
    }
    let (output, status, tokens) = answer(&body);
    let details = if status == "incomplete" { json!({"reason": "max_output_tokens"}) } else { Value::Null };
    let response = json!({"id": "resp_1", "object": "response", "model": body["model"], "status": status,
        "error": null, "incomplete_details": details, "output": output, "usage": {"input_tokens": words,
        "output_tokens": tokens, "input_tokens_details": {"cached_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 0}}});
    if body["stream"] == true { Reply::sse(sse(&response)) } else { Reply::json(response.to_string()) }
}

async fn double() -> (OpenAiResponses, Server) {
    let server = Server::start(reply).await;
    let model = OpenAiResponses::new("gpt-5-mini", FAKE_KEY);
    (model.with_base_url(format!("{}/v1", server.url)).unwrap(), server)
}

katena_testkit::chat_model_contract!(responses_double, async { double().await });

#[tokio::test]
async fn models_are_listed_and_tokens_counted() {
    let (model, server) = double().await;
    let names: Vec<String> = model.models().await.unwrap().into_iter().map(|m| m.model).collect();
    assert_eq!(names, ["gpt-5", "gpt-5-mini"]);
    let tool = ToolSpec::new("f", "", json!({}));
    let request = ChatRequest::new([Message::user("one two three")]).with_tools([tool]).with_temperature(0.0);
    assert_eq!(model.count_tokens(&request).await.unwrap(), 3);
    let sent = server.requests().pop().unwrap().json();
    assert!(sent.get("tools").is_some() && sent.get("store").is_none() && sent.get("temperature").is_none());
}

#[tokio::test]
async fn either_form_of_reply_answers_either_call_and_a_cut_stream_none() {
    let whole = json!({"id": "resp_1", "status": "completed", "output": [{"type": "message", "id": "msg_1",
        "content": [{"type": "output_text", "text": "Grüße ☕"}]}], "usage": {"input_tokens": 3, "output_tokens": 2}});
    let stream = sse(&whole);
    let cut = &stream[..stream.find("event: response.completed").unwrap()];
    let replies = [
        (Reply::json(whole.to_string()), true),
        (Reply::sse(stream.clone()).in_pieces(3), true),
        (Reply::sse(stream.replace('\n', "\r\n")).in_pieces(1), true),
        (Reply::sse(cut).then(Step::Cut), false),
        (Reply::sse(cut), false),
    ];
    for (reply, fine) in replies {
        let server = Server::always(reply).await;
        let model = OpenAiResponses::compatible("m", format!("{}/v1", server.url)).unwrap();
        let request = ChatRequest::new([Message::user("Hi")]);
        let folded = async {
            let (mut stream, mut answer) = (model.stream(&request).await?, Accumulator::new());
            while let Some(event) = stream.next().await {
                answer.push(&event?)?;
            }
            answer.finish()
        };
        for response in [model.generate(&request).await, folded.await] {
            match response {
                Ok(response) => {
                    assert!(fine);
                    assert_eq!((response.text().as_str(), response.usage), ("Grüße ☕", Usage::new(3, 2)));
                    assert_eq!(response.vendor.as_deref(), Some("openai-compatible"));
                }
                Err(error) => {
                    assert!(!fine, "{error:?}");
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                }
            }
        }
    }
}
