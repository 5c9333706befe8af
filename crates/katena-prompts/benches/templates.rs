#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

//! What a prompt costs: two messages with two variables, made and filled.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use katena_core::{Chain as _, Role, Run};
use katena_prompts::{ChatPrompt, JsonStream, PromptTemplate, vars};

fn templates(c: &mut Criterion) {
    let prompt =
        ChatPrompt::fstring([(Role::System, "You are a {role}."), (Role::User, "Tell me about {topic}.")])
            .unwrap();
    let run = Run::new();
    c.bench_function("f-string/2 messages, chain call with variables", |b| {
        b.iter(|| {
            let vars = vars! { "role" => "poet", "topic" => "rivers" };
            prompt.call(black_box(vars), &run).now_or_never().unwrap().unwrap()
        });
    });
    let given = vars! { "role" => "poet", "topic" => "rivers" };
    c.bench_function("f-string/2 messages, render", |b| b.iter(|| prompt.render(black_box(&given)).unwrap()));
    #[cfg(feature = "handlebars")]
    {
        let template = PromptTemplate::handlebars("You are a {{role}}. Tell me about {{topic}}.").unwrap();
        c.bench_function("handlebars/1 text, render", |b| {
            b.iter(|| template.render(black_box(&given)).unwrap());
        });
    }
    let template = PromptTemplate::fstring("You are a {role}. Tell me about {topic}.").unwrap();
    c.bench_function("f-string/1 text, render", |b| b.iter(|| template.render(black_box(&given)).unwrap()));
}

fn streams(c: &mut Criterion) {
    let item = r#"{"name": "Delft", "people": 109000, "tags": ["canal", "é"]}"#;
    let text = format!("[{}]", vec![item; 1000].join(","));
    let pieces: Vec<&str> = text.split_inclusive(' ').collect();
    c.bench_function("json stream/60 KB in words", |b| {
        b.iter(|| {
            let mut stream = JsonStream::new();
            for piece in &pieces {
                black_box(stream.push(piece));
            }
            stream.finish().unwrap()
        });
    });
}

criterion_group!(benches, templates, streams);
criterion_main!(benches);
