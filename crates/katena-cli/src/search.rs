//! `katena search` and `katena ingest`: the index without a chat model.

use std::fmt::Write as _;
use std::time::Instant;

use katena_core::{Context, Query, Usage};
use serde_json::{Value, json};

use crate::args::{Ingest, Search};
use crate::failure::{Exit, Failure, Result};
use crate::index::{self, Ready};
use crate::output::{self, Timings};
use crate::progress::{Progress, Quiet};

/// Finds passages and shows them, best first.
pub(crate) async fn search(args: Search, context: Context) -> Result<Exit> {
    let start = Instant::now();
    if args.question.trim().is_empty() {
        return Err(Failure::set_up("the question has no words"));
    }
    let progress = Progress::new(if args.documents.quiet { Quiet::Yes } else { Quiet::No });
    let ready = index::ready(&args.documents, &context, progress).await?;
    let asked = Instant::now();
    let retriever = ready.retriever(args.top_k, args.documents.min_similarity);
    let result = retriever.search(&Query::new(args.question.trim()).with_context(context)).await?;
    let found = !result.hits.is_empty() && result.verdict.is_none_or(|v| v.answerable);
    let mut timings = times(&ready);
    timings.retrieval = Some(asked.elapsed());
    timings.total = Some(start.elapsed());
    let hits = result.hits.iter().enumerate().map(|(n, hit)| (n + 1, hit));
    if args.documents.json {
        let sources: Vec<_> =
            hits.map(|(n, hit)| output::source_json(n, &hit.document, hit.score, false)).collect();
        let mut object = about(&ready, &timings);
        object["question"] = json!(args.question);
        object["found"] = json!(found);
        object["similarity"] = json!(result.verdict.map(|v| v.similarity));
        object["sources"] = json!(sources);
        output::print_json(&object)?;
    } else {
        let mut text = String::new();
        if !found {
            text.push_str("Not in the documents.\n");
            text.push_str(if result.hits.is_empty() { "" } else { "\nNearest passages:\n" });
        }
        for (n, hit) in hits {
            let (place, quote) = (output::place(&hit.document.source), output::quote(&hit.document.text));
            let _ = writeln!(text, "[{n}] {place}  ({:.3})\n    {quote}", hit.score);
        }
        output::print(&text)?;
        progress.note(&timings.line(Usage::default()));
    }
    Ok(if found { Exit::Done } else { Exit::NotFound })
}

/// Brings the index up to date.
pub(crate) async fn ingest(args: Ingest, context: Context) -> Result<Exit> {
    let start = Instant::now();
    let progress = Progress::new(if args.documents.quiet { Quiet::Yes } else { Quiet::No });
    let ready = index::ready(&args.documents, &context, progress).await?;
    let chunks = ready.index.count().await?;
    let mut timings = times(&ready);
    timings.total = Some(start.elapsed());
    if args.documents.json {
        let mut object = about(&ready, &timings);
        object["chunks"] = json!(chunks);
        output::print_json(&object)?;
    } else {
        output::print(&format!("{chunks} chunks in {}\n", ready.store))?;
    }
    Ok(if ready.report.failed.is_empty() { Exit::Done } else { Exit::Incomplete })
}

fn times(ready: &Ready) -> Timings {
    Timings { embedder_load: Some(ready.embedder_load), ingest: Some(ready.ingest), ..Timings::default() }
}

fn about(ready: &Ready, timings: &Timings) -> Value {
    json!({
        "embedder": ready.embedder,
        "path": ready.folder,
        "store": ready.store,
        "namespace": ready.namespace,
        "rebuilt_because_of": ready.report.rebuilt,
        "counts": output::counts_json(&ready.report, Usage::default()),
        "failed": output::failed_json(&ready.report),
        "seconds": timings,
    })
}
