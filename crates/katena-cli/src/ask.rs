//! `katena ask`.

use std::fmt::Write as _;
use std::time::Instant;

use futures_util::StreamExt as _;
use katena_chains::{Answer, AnswerKind, CitationOrigin, Passage, Question, RetrievalQa};
use katena_core::{
    ChainExt as _, ChatRequest, Context, Document, Event, Labels, Query, Retriever, Run, Scored, Streamed,
};
use serde_json::{Value, json};

use crate::args::Ask;
use crate::engine::{self, Lazy};
use crate::failure::{Exit, Failure, Result};
use crate::focus::focus;
use crate::index::{self, Ready};
use crate::output::{self, Timings};
use crate::progress::{Progress, Quiet};

/// Brings the index up to date, finds the passages, shows them, and lets the model answer from them.
pub(crate) async fn run(mut args: Ask, context: Context) -> Result<Exit> {
    let start = Instant::now();
    args.question = args.question.trim().to_owned();
    if args.question.is_empty() {
        return Err(Failure::set_up("the question has no words"));
    }
    let progress = Progress::new(if args.documents.quiet { Quiet::Yes } else { Quiet::No });
    // Files first: a model that can't be had should be known before the documents are read.
    let (args, chat) = index::blocking(move || {
        let chat = engine::chat(&args, progress)?;
        Ok((args, chat))
    })
    .await?;
    let ready = index::ready(&args.documents, &context, progress).await?;

    // The default model is very small: it repeats itself, and loses its way in whole passages.
    let weak = args.model.is_none();
    let mut request = ChatRequest::default().with_max_tokens(args.max_tokens).with_temperature(0.0);
    if weak {
        request = request.with_extra("repeat_penalty", 1.15);
    }
    let mut asked = Instant::now();
    let query = Query::new(&args.question).with_context(context.clone());
    let found = ready.retriever(args.top_k, args.documents.min_similarity).search(&query).await?;
    let retrieval = asked.elapsed();
    let answerable = found.verdict.is_none_or(|v| v.answerable);
    let hits: Vec<_> = found.hits.into_iter().map(|hit| Scored::new(hit.document, hit.score)).collect();
    let mut passages = if answerable { hits.clone() } else { Vec::new() };
    let mut closest = None;
    if answerable {
        let focus = focus(&**ready.index.embedder(), &args.question, &passages, &context).await?;
        closest = focus.closest;
        if weak {
            passages = focus.passages;
        }
    }
    let qa = RetrievalQa::new(Lazy(chat.clone()), Passages(passages))
        .with_passages(args.top_k.into())
        .with_request(request);
    let run = Run::from(context.with_labels(Labels::new().with("feature", "ask")));

    let mut timings = Timings {
        embedder_load: Some(ready.embedder_load),
        ingest: Some(ready.ingest),
        retrieval: Some(retrieval),
        ..Timings::default()
    };
    let mut screen = Screen::new(&args, closest);
    let mut answer = None;
    let mut stream = qa.stream_with(Question::new(&args.question), run);
    while let Some(item) = stream.next().await {
        match item? {
            Streamed::Event(event) => match event.event {
                Event::Sources(sources) => {
                    asked = Instant::now();
                    screen.found(&sources)?;
                }
                Event::Text(text) => {
                    if timings.first_token.is_none() {
                        let loading = chat.loading().unwrap_or_default();
                        timings.first_token = Some(asked.elapsed().saturating_sub(loading));
                        timings.total_to_first_token = Some(start.elapsed());
                    }
                    screen.text(&text)?;
                }
                _ => {}
            },
            Streamed::Output(output) => answer = Some(output),
        }
    }
    drop(stream);
    let mut answer = answer.ok_or_else(|| Failure::failed("the answer did not come to its end"))?;
    // The passages as they were found: the chain may have seen less of them, or none where nothing was near enough to answer
    // from; what was nearest is shown all the same, for the reader to judge.
    let numbered = hits.into_iter().enumerate();
    answer.sources = numbered.map(|(n, s)| Passage::new(n + 1, s.item, s.score)).collect();
    timings.model_load = chat.loading();
    timings.generation = Some(asked.elapsed().saturating_sub(timings.model_load.unwrap_or_default()));
    if answer.kind == AnswerKind::NothingRelevant {
        // No model was asked: there is no such time.
        (timings.first_token, timings.generation, timings.total_to_first_token) = (None, None, None);
    }
    timings.total = Some(start.elapsed());
    if args.documents.json {
        let closest = screen.closest.as_ref().map(|(number, text)| json!({"number": number, "text": text}));
        output::print_json(&object(&args, &ready, &answer, closest, &timings, chat.name()))?;
    } else {
        screen.end(&answer)?;
        progress.note(&timings.line(answer.usage));
    }
    Ok(if answer.found { Exit::Done } else { Exit::NotFound })
}

/// What was found, as the retriever of the chain: the search is done once, and its verdict is known before.
#[derive(Debug)]
struct Passages(Vec<Scored<Document>>);

#[async_trait::async_trait]
impl Retriever for Passages {
    async fn retrieve(&self, _query: &Query) -> katena_core::Result<Vec<Scored<Document>>> {
        Ok(self.0.clone())
    }
}

/// What a person sees on stdout.
struct Screen {
    json: bool,
    quiet: bool,
    shown: String,
    closest: Option<(usize, String)>,
}

impl Screen {
    fn new(args: &Ask, closest: Option<(usize, String)>) -> Self {
        Self { json: args.documents.json, quiet: args.documents.quiet, shown: String::new(), closest }
    }

    fn print(&self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { output::print(text) }
    }

    /// The places of the passages, before the model starts.
    fn found(&self, sources: &[Scored<Document>]) -> Result<()> {
        if sources.is_empty() || self.quiet {
            return Ok(());
        }
        let mut text = String::from("Found:\n");
        for (n, source) in sources.iter().enumerate() {
            let _ = writeln!(text, "[{}] {}", n + 1, output::place(&source.item.source));
        }
        if let Some((number, words)) = &self.closest {
            let _ = writeln!(text, "\nClosest words: \"{}\" [{number}]", output::printable(words));
        }
        self.print(&format!("{text}\nAnswer:\n"))
    }

    fn text(&mut self, text: &str) -> Result<()> {
        let text = output::printable(text);
        self.shown.push_str(&text);
        self.print(&text)
    }

    fn end(&self, answer: &Answer) -> Result<()> {
        let mut text = String::from("\n");
        if answer.kind == AnswerKind::DeclinedByModel && !answer.text.contains("Not in the documents") {
            text.push_str("Not in the documents, as the model reads them.\n");
        }
        let unsupported = answer.unsupported_numbers();
        if answer.found && !unsupported.is_empty() {
            let _ = writeln!(
                text,
                "\nCareful: {} stands in none of the sources; believe the quotes.",
                unsupported.join(", ")
            );
        }
        if !answer.sources.is_empty() {
            text.push_str(if answer.found { "\nSources:\n" } else { "\nNearest passages:\n" });
            text.push_str(&output::sources_text(answer));
        }
        self.print(&text)
    }
}

/// The object that `--json` prints.
fn object(
    args: &Ask,
    ready: &Ready,
    answer: &Answer,
    closest: Option<Value>,
    timings: &Timings,
    model: &str,
) -> Value {
    let cited = |n: usize| answer.citations.iter().any(|c| c.number == n);
    let sources: Vec<_> = answer
        .sources
        .iter()
        .map(|p| output::source_json(p.number, &p.document, p.score, cited(p.number)))
        .collect();
    let citations: Vec<_> = answer
        .citations
        .iter()
        .filter_map(|c| {
            let passage = answer.sources.iter().find(|p| p.number == c.number)?;
            let source = &passage.document.source;
            Some(json!({
                "number": c.number,
                "origin": match c.origin {
                    CitationOrigin::NamedByModel => "named_by_model",
                    _ => "matched_by_text",
                },
                "at": c.at,
                "uri": source.uri, "page": source.page, "lines": source.lines, "span": source.span,
                "quote": passage.document.text,
            }))
        })
        .collect();
    json!({
        "question": args.question,
        "found": answer.found,
        "outcome": answer.kind,
        "answer": answer.text,
        "sources": sources,
        "citations": citations,
        "closest_words": closest,
        "unsupported_numbers": answer.unsupported_numbers(),
        "model": model,
        "embedder": ready.embedder,
        "path": ready.folder,
        "store": ready.store,
        "namespace": ready.namespace,
        "rebuilt_because_of": ready.report.rebuilt,
        "counts": output::counts_json(&ready.report, answer.usage),
        "failed": output::failed_json(&ready.report),
        "seconds": timings,
    })
}
