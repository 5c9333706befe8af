//! A graph that stops for an approval, in one process, and goes on in another:
//! `cargo run -p katena-examples --example approval_graph`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::path::Path;

use katena::fake::ScriptedChat;
use katena::prelude::*;
use katena::{CheckpointedGraph, END, Graph, GraphOutcome, NodeContext};
use katena_sqlite::{Database, SqliteCheckpoints};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Article {
    topic: String,
    text: String,
    remarks: Vec<String>,
    drafts: u32,
    published_as: Option<u64>,
}

/// What each process does at its start: the same graph over the same file.
fn open(file: &Path) -> Result<CheckpointedGraph<Article>> {
    // A fake that answers from a script; a real model takes its place in one line.
    let model = ScriptedChat::texts(["Rust in a hundred words, second draft."]);
    let draft = func(async |mut article: Article, run: Run| {
        article.drafts += 1;
        run.emit(Event::Text(format!("draft {}", article.drafts))).await;
        Ok(article)
    })
    .and_then(move |mut article: Article, run: Run| {
        let model = model.clone();
        async move {
            article.text = if article.drafts == 1 {
                "Rust in a hundred words.".to_owned()
            } else {
                let prompt = format!("Improve: {}\nRemarks: {:?}", article.text, article.remarks);
                run.chat(&model, ChatRequest::new([Message::user(prompt)])).await?.text()
            };
            Ok(article)
        }
    });

    let graph = Graph::<Article>::new("article")
        .chain("draft", draft)
        .fan_out("review", ["spelling", "facts"])
        .node("spelling", async |mut article: Article, _ctx: NodeContext| {
            article.remarks.push("spelling is fine".into());
            Ok(article)
        })
        .node("facts", async |mut article: Article, _ctx: NodeContext| {
            article.remarks.push("facts are fine".into());
            Ok(article)
        })
        .join("collect", |mut article: Article, reviews: Vec<Article>| {
            let known = article.remarks.len();
            article.remarks.extend(reviews.into_iter().flat_map(|r| r.remarks.into_iter().skip(known)));
            Ok(article)
        })
        .node("approve", async |mut article: Article, ctx: NodeContext| {
            let answer = ctx.interrupt(article.text.as_str()).await?;
            match answer.as_str() {
                Some("yes") => article.remarks.clear(),
                _ => article.remarks.push(format!("the editor says: {answer}")),
            }
            Ok(article)
        })
        .node("publish", async |mut article: Article, ctx: NodeContext| {
            // Done once, whatever happens to the process after it.
            let id = ctx.effect("publish", async || {
                println!("  (published to the world: {:?})", article.text);
                Ok(4711)
            });
            article.published_as = Some(id.await?);
            Ok(article)
        })
        .entry("draft")
        .edge("draft", "review")
        .edge("spelling", "collect")
        .edge("facts", "collect")
        .edge("collect", "approve")
        .branch("approve", |a| if a.remarks.is_empty() { "publish" } else { "draft" }, ["publish", "draft"])
        .edge("publish", END)
        .build()?;
    Ok(graph.with_checkpoints(SqliteCheckpoints::new(Database::open(file)?)?))
}

fn show(outcome: &GraphOutcome<Article>) {
    match outcome {
        GraphOutcome::Interrupted(at) => {
            println!("waits at step {}: {} asks {}", at.step, at.interrupts[0].node, at.interrupts[0].value);
        }
        GraphOutcome::Finished(article) => println!("finished: {article:?}"),
        _ => {}
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("articles.katena");

    println!("First process");
    let article = Article { topic: "Rust".into(), ..Article::default() };
    show(&open(&file)?.start("article 1", article).await?);

    println!("Second process, a day later: the editor wants more");
    show(&open(&file)?.answer("article 1", "make it shorter").await?);

    println!("Third process: the editor agrees");
    let graph = open(&file)?;
    show(&graph.answer("article 1", "yes").await?);

    println!("\nWhat was kept:");
    for checkpoint in graph.history("article 1").await? {
        println!("  {:>2} {:?} at {}", checkpoint.step, checkpoint.status, checkpoint.node);
    }
    println!("\n{}", graph.graph().to_mermaid());
    Ok(())
}
