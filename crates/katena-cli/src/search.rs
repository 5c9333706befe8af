//! `katena search` and `katena ingest`: the index without a chat model.

use std::fmt::Write as _;
use std::time::Instant;

use katena_core::{Context, Query, Retriever as _, Usage};
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
    let retriever = ready.index.retriever().top_k(usize::from(args.top_k));
    let found = retriever.retrieve(&Query::new(args.question.trim()).with_context(context)).await?;
    let mut timings = times(&ready);
    timings.retrieval = Some(asked.elapsed());
    timings.total = Some(start.elapsed());
    if args.documents.json {
        let sources: Vec<_> = found
            .iter()
            .enumerate()
            .map(|(n, s)| output::source_json(n + 1, &s.item, s.score, false))
            .collect();
        let mut object = about(&ready, &timings);
        object["question"] = json!(args.question);
        object["found"] = json!(!found.is_empty());
        object["sources"] = json!(sources);
        output::print_json(&object)?;
    } else {
        let mut text = String::new();
        for (n, s) in found.iter().enumerate() {
            let (place, quote) = (output::place(&s.item.source), output::quote(&s.item.text));
            let _ = writeln!(text, "[{}] {place}  ({:.3})\n    {quote}", n + 1, s.score);
        }
        output::print(if found.is_empty() { "Not in the documents.\n" } else { &text })?;
        progress.note(&timings.line(Usage::default()));
    }
    Ok(if found.is_empty() { Exit::NotFound } else { Exit::Done })
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
